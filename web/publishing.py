"""Publishing by itself: a new list soon after the log has grown, for a demo or a small server (`HELDOUT_PUBLISH=auto`).

It watches the log's checkpoint, not the routes, so that claims over the API and withdrawals by the operator count as
well. Larger servers publish on the operator's schedule with `python -m registry publish`.
"""

import asyncio
import time
from pathlib import Path
from typing import Never

from registry.service import Registry
from web.background import Condition

LOOK_S = 0.5
"""Seconds between looks at the checkpoint, a file of some hundred bytes."""
MAX_DELAYS = 10
"""Delays after which a log that goes on growing is published all the same: else a busy day, or somebody who claims
every other second, keeps all opt-outs out of the list and lets its signature run out."""
RENEW_S = 3_600.0
"""Seconds after which the list is signed anew though nothing has changed: its timestamp is only good for so long."""


class AutoPublisher:
    """Publishes once the log has grown and then been quiet for a while, or has grown for long.

    Waits in the event loop, works in a thread.
    """

    def __init__(self, registry: Registry, *, delay_s: float, renew_s: float = RENEW_S) -> None:
        self.condition = Condition("publish")
        self._registry = registry
        self._checkpoint = registry.public_dir / "log" / "checkpoint"
        self._delay_s = delay_s
        self._renew_s = renew_s

    async def run(self) -> None:
        """Publish now, and whenever there is news, until cancelled. A failure is noted and tried again soon."""
        while True:
            try:
                await self._follow()
            except Exception as error:  # noqa: BLE001 - a job that ends is a list that goes stale unseen
                self.condition.failed(error)
            await asyncio.sleep(max(self._delay_s, LOOK_S))

    async def _follow(self) -> Never:
        """Publish now, and whenever there is news, until something fails."""
        while True:
            seen = await self._quiet()
            answer = await asyncio.to_thread(self._registry.publish)
            self.condition.succeeded()
            # A new version is itself an entry of the log, and a claim may have come while it was made: look again.
            if not answer.is_new:
                await self._news(since=seen)

    async def _quiet(self) -> bytes:
        """The checkpoint, once it has stayed the same for the delay or has not for `MAX_DELAYS`."""
        seen = _read(self._checkpoint)
        for _ in range(MAX_DELAYS):
            await asyncio.sleep(self._delay_s)
            now = _read(self._checkpoint)
            if now == seen:
                break
            seen = now
        return seen

    async def _news(self, *, since: bytes) -> None:
        """Return when the checkpoint is another one, or it is time to sign anew."""
        until = time.monotonic() + self._renew_s
        while time.monotonic() < until and _read(self._checkpoint) == since:  # noqa: ASYNC110 - a file moves
            await asyncio.sleep(LOOK_S)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:  # the log is empty
        return b""
