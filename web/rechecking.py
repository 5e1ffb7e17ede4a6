"""Looking again for claimants' proofs when their time has come (`HELDOUT_RECHECK=auto`).

Any number of processes may do it at once: each takes other proofs. `python -m registry recheck` does one round.
"""

import asyncio

from registry.evidence_checks import Prober
from registry.service import Registry
from web.background import Condition

LOOK_S = 60.0
"""Seconds between looks for what is due: one small query."""


class Rechecker:
    """Rechecks what is due, then waits."""

    def __init__(self, registry: Registry, prober: Prober, *, every_s: float = LOOK_S) -> None:
        self.condition = Condition("recheck")
        self._proving = registry.proving
        self._prober = prober
        self._every_s = every_s

    async def run(self) -> None:
        """Recheck until cancelled. A failure is noted and tried again."""
        while True:
            await asyncio.sleep(self._every_s)
            with self.condition.noted():
                await self._proving.recheck(self._prober)
