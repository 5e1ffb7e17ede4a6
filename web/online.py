"""Keeps the list that is asked online the newest one, beside the requests."""

import asyncio
from typing import Final

from registry.online import OnlineLists
from web.background import Condition

LOOK_S: Final = 1.0
"""Seconds between looks at a file of some hundred bytes."""
AFTER_FAILURE_S: Final = 10.0


class ListKeeper:
    """Takes up each version that is published. One that cannot be read is told in the log, and the old one goes on."""

    def __init__(self, lists: OnlineLists) -> None:
        self.condition = Condition("list")
        self._lists = lists

    async def look(self) -> None:
        """Take up what is published now."""
        with self.condition.noted():
            await asyncio.to_thread(self._lists.refresh)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(AFTER_FAILURE_S if self.condition.failing_since else LOOK_S)
            await self.look()
