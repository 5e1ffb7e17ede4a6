"""What runs beside the requests. A job here outlives every failure, says so in the log, and `/readyz` shows it."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

from heldout.errors import HeldoutError
from web.logs import describe

log = logging.getLogger(__name__)

REFRESH_S = 5.0
"""Seconds between looks for a new index generation: one small file per data set."""


class Condition:
    """Whether a job gets its work done."""

    def __init__(self, job: str) -> None:
        self.job = job
        self.failing_since: datetime | None = None
        """When the failures began that no success has ended yet."""

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note how the work in this block went; a failure ends the block, not the job."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - a job that ends is work that nobody misses until it is too late
            self.failed(error)
        else:
            self.succeeded()

    def failed(self, error: Exception) -> None:
        """Note a failure; the job goes on."""
        self.failing_since = self.failing_since or datetime.now(UTC)
        log.error("background_failed", extra={"job": self.job, **describe(error)})

    def succeeded(self) -> None:
        """Note that the work is done."""
        if self.failing_since is not None:
            log.info("background_recovered", extra={"job": self.job, "failing_since": self.failing_since})
        self.failing_since = None


class Refresher:
    """Takes up new generations while serving. One that is refused is logged once, and the old one goes on."""

    def __init__(self, refresh: Callable[[], Mapping[str, HeldoutError]], *, every_s: float = REFRESH_S) -> None:
        """Call `refresh`, which returns why a data set's newest generation was refused, in a thread every `every_s`."""
        self.condition = Condition("refresh")
        self._refresh = refresh
        self._every_s = every_s

    async def run(self) -> None:
        """Refresh until cancelled."""
        refused: dict[str, str] = {}
        while True:
            await asyncio.sleep(self._every_s)
            try:
                answer = await asyncio.to_thread(self._refresh)
            except Exception as error:  # noqa: BLE001 - a job that ends is a site that goes stale unseen
                self.condition.failed(error)
                continue
            self.condition.succeeded()
            found = {name: str(error) for name, error in answer.items()}
            for name, reason in found.items():
                if refused.get(name) != reason:
                    log.error("generation_refused", extra={"dataset": name, "reason": reason})
            refused = found
