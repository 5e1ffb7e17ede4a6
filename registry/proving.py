"""Evidence as one object: codes given out, checks made now or on schedule, pictures handed in. Used as `Accounts` is.

A check is three steps: take it up (a transaction), look (the outside world, no transaction open), record (another). One
that dies in between is looked at again.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from heldout.errors import InputError, NotFoundError
from heldout.records import Proof
from registry import evidence
from registry.db import Sessions, transaction
from registry.evidence import Look, Schedule
from registry.evidence_checks import Finding, Prober
from registry.evidence_pictures import Anchors, check_picture
from registry.evidence_records import proof_record
from registry.evidence_targets import Method, targets_for

BATCH: Final = 32
"""Proofs looked for at once."""
MAX_SUGGESTED: Final = 100

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Suggestion:
    """One way to prove one subject."""

    subject: str
    """What it is called."""
    method: Method
    target: str


@dataclass(frozen=True)
class Rechecked:
    """What a run over the schedule did."""

    n_checked: int = 0
    n_proved: int = 0
    n_missing: int = 0
    """Not found this time; most are within their grace."""
    n_lost: int = 0


class Proving:
    """A registry's evidence.

    Args:
        sessions: of the registry's database.
        reading: the same, read only.
        clock: aware time.
        state_dir: where the operator puts the certificates that are trusted.
        on_change: called when the log has something new.
        schedule: of looking again.
    """

    def __init__(
        self,
        sessions: Sessions,
        reading: Sessions,
        clock: Callable[[], datetime],
        *,
        state_dir: Path,
        on_change: Callable[[], None],
        schedule: Schedule | None = None,
    ) -> None:
        self._sessions = sessions
        self._reading = reading
        self._clock = clock
        self._state_dir = state_dir
        self._on_change = on_change
        self.schedule = schedule or Schedule()

    def create(self, claim_id: str, method: Method, target: str) -> Proof:
        """As `registry.evidence.create`. Who may: the caller asks `Registry.may_change` first."""
        with transaction(self._sessions) as session:
            return proof_record(evidence.create(session, claim_id, method, target, now=self._clock()))

    def get(self, evidence_id: str) -> Proof:
        """One proof. Raises NotFoundError."""
        with transaction(self._reading) as session:
            return proof_record(evidence.get(session, evidence_id))

    def of_claim(self, claim_id: str) -> list[Proof]:
        """A claim's proofs, oldest first."""
        with transaction(self._reading) as session:
            return [proof_record(row) for row in evidence.list_of(session, claim_id)]

    def suggested(self, claim_id: str) -> tuple[list[Suggestion], int]:
        """The first of a claim's places, and its pictures where signed ones can be judged; and how many more there are.

        Raises:
            UnavailableError: the certificates that are trusted cannot be read.
        """
        with transaction(self._reading) as session:
            facts = evidence.subject_facts(session, claim_id)
        has_anchors = not Anchors.of(self._state_dir).are_none
        found = [
            Suggestion(each.rule or f"picture {target.text[:12]}", method, target.text)
            for each in facts
            for method, target in targets_for(each)
            if method != "credential" or has_anchors
        ]
        return found[:MAX_SUGGESTED], max(0, len(found) - MAX_SUGGESTED)

    async def check(self, evidence_id: str, prober: Prober) -> Proof:
        """Look now, because somebody asks.

        Raises:
            NotFoundError, ConflictError, TooOftenError: as `registry.evidence.begin_check`.
            InputError: it is a picture, which must be handed in.
        """
        look = await asyncio.to_thread(self._begin, evidence_id)
        if look.method == "credential":
            raise InputError("nothing is looked for here: hand in the signed picture")
        finding = await prober.look(look.method, look.target, look.token)
        return await asyncio.to_thread(self._record, look.id, finding)

    def check_picture(self, evidence_id: str, data: bytes) -> Proof:
        """Judge a signed picture that was handed in. It is not kept.

        Raises:
            NotFoundError, ConflictError, TooOftenError: as `registry.evidence.begin_check`.
            InputError: it is no picture, or the proof is not of one.
        """
        look = self._begin(evidence_id)
        if look.method != "credential":
            raise InputError("this proof is of a place: no picture is needed")
        return self._record(look.id, check_picture(data, look.target, look.token, Anchors.of(self._state_dir)))

    async def recheck(self, prober: Prober) -> Rechecked:
        """Look at everything whose time has come. Any number may run at once; each takes others."""
        total = Rechecked()
        while looks := await asyncio.to_thread(self._take_due):
            proofs = await asyncio.gather(*(self._recheck_one(look, prober) for look in looks))
            known = [proof for proof in proofs if proof is not None]
            total = Rechecked(
                total.n_checked + len(looks),
                total.n_proved + sum(each.code == "found" for each in known),
                total.n_missing + sum(each.code != "found" for each in known),
                total.n_lost + sum(each.state == "lost" for each in known),
            )
        return total

    async def _recheck_one(self, look: Look, prober: Prober) -> Proof | None:
        finding = await prober.look(look.method, look.target, look.token)
        try:
            return await asyncio.to_thread(self._record, look.id, finding)
        except NotFoundError:  # gone meanwhile
            return None

    def _begin(self, evidence_id: str) -> Look:
        with transaction(self._sessions) as session:
            return evidence.begin_check(session, evidence_id, now=self._clock())

    def _take_due(self) -> list[Look]:
        with transaction(self._sessions) as session:
            return evidence.take_due(session, now=self._clock(), limit=BATCH, schedule=self.schedule)

    def _record(self, evidence_id: str, finding: Finding) -> Proof:
        with transaction(self._sessions) as session:
            row = evidence.record(session, evidence_id, finding, now=self._clock(), schedule=self.schedule)
            proof = proof_record(row)
        fields = {"claim": proof.claim, "method": proof.method, "code": finding.code, "state": proof.state}
        logger.info("evidence_checked", extra=fields)
        self._on_change()
        return proof
