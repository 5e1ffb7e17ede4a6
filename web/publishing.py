"""Publishing by itself: a new list soon after claims, for a demo or a small server (`HELDOUT_PUBLISH=auto`).

Larger ones publish on the operator's schedule with `python -m registry publish`.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from heldout.errors import HeldoutError

log = logging.getLogger(__name__)

RENEW_S = 3_600.0
"""Seconds after which the list is signed anew without a claim: its timestamp is only good for so long."""


class AutoPublisher:
    """Publishes once it has been quiet for a while after a claim. Runs in the event loop, works in a thread."""

    def __init__(self, publish: Callable[[], object], *, delay_s: float, renew_s: float = RENEW_S) -> None:
        self._publish = publish
        self._delay_s = delay_s
        self._renew_s = renew_s
        self._claimed = asyncio.Event()

    def claim_came(self) -> None:
        """Ask for a new list. Call it in the event loop; returns at once."""
        self._claimed.set()

    async def run(self) -> None:
        """Publish whenever asked and now and then, until cancelled. A failure is logged; the next turn tries again."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._claimed.wait(), self._renew_s)
            while self._claimed.is_set():
                self._claimed.clear()
                await asyncio.sleep(self._delay_s)
            try:
                await asyncio.to_thread(self._publish)
            except HeldoutError as error:
                log.error("publish_failed", extra={"error": type(error).__name__, "reason": str(error)})  # noqa: TRY400
            else:
                log.info("list_published")
