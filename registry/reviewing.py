"""Reviewing as one object: the queue, cases, decisions, and the scan for pictures that are nobody's."""

import logging
from collections.abc import Callable, Collection
from datetime import datetime
from typing import get_args

from heldout.errors import InputError
from heldout.records import DisputeState
from registry import review_queue, reviews
from registry.db import Sessions, transaction
from registry.quarantine import Look, Scanned, Thresholds, scan
from registry.review_queue import Case, Kind, Waiting
from registry.reviews import ClaimOutcome, DisputeOutcome

logger = logging.getLogger(__name__)


class Reviewing:
    """A registry's reviews.

    Args:
        sessions: of the registry's database.
        reading: the same, read only.
        clock: aware time.
        on_change: called when the log has something new.
    """

    def __init__(
        self,
        sessions: Sessions,
        reading: Sessions,
        clock: Callable[[], datetime],
        *,
        on_change: Callable[[], None],
    ) -> None:
        self._sessions = sessions
        self._reading = reading
        self._clock = clock
        self._on_change = on_change

    def queue(self, kind: Kind | None = None, *, limit: int = review_queue.MAX_LISTED) -> list[Waiting]:
        """As `registry.review_queue.queue`."""
        with transaction(self._reading) as session:
            return review_queue.queue(session, kind=kind, now=self._clock(), limit=limit)

    def case(self, item_id: str) -> Case:
        """As `registry.review_queue.case_of`."""
        with transaction(self._reading) as session:
            return review_queue.case_of(session, item_id)

    def decide_dispute(
        self,
        dispute_id: str,
        outcome: DisputeOutcome,
        *,
        reason: str,
        reviewer: str | None = None,
        seen: DisputeState = "open",
    ) -> None:
        """As `registry.reviews.decide_dispute`."""
        with transaction(self._sessions) as session:
            reviews.decide_dispute(
                session, dispute_id, outcome, reason=reason, now=self._clock(), reviewer=reviewer, seen=seen
            )
        logger.info("dispute_decided", extra={"dispute": dispute_id, "outcome": outcome})
        self._on_change()

    def decide_claim(
        self,
        claim_id: str,
        outcome: ClaimOutcome,
        *,
        reason: str,
        reviewer: str | None = None,
        positions: Collection[int] | None = None,
        seen: int | None = None,
    ) -> None:
        """As `registry.reviews.decide_claim`."""
        with transaction(self._sessions) as session:
            reviews.decide_claim(
                session,
                claim_id,
                outcome,
                reason=reason,
                now=self._clock(),
                reviewer=reviewer,
                positions=positions,
                seen=seen,
            )
        logger.info("claim_decided", extra={"claim": claim_id, "outcome": outcome})
        self._on_change()

    def scan(self, generations: str, look: Look, *, thresholds: Thresholds | None = None) -> Scanned:
        """As `registry.quarantine.scan`."""
        done = scan(self._sessions, generations, look, now=self._clock, thresholds=thresholds or Thresholds())
        if done.n_held:
            logger.info("pictures_held", extra={"n_looked_up": done.n_looked_up, "n_held": done.n_held})
            self._on_change()
        return done


def parse_dispute_outcome(text: str) -> DisputeOutcome:
    """Raises InputError: not an outcome of a dispute."""
    outcomes: tuple[DisputeOutcome, ...] = get_args(DisputeOutcome)
    for outcome in outcomes:
        if text == outcome:
            return outcome
    raise InputError(f"{text!r:.40} is no outcome of a dispute: give one of {', '.join(outcomes)}")


def parse_claim_outcome(text: str) -> ClaimOutcome:
    """Raises InputError: not a decision about a claim."""
    outcomes: tuple[ClaimOutcome, ...] = get_args(ClaimOutcome)
    for outcome in outcomes:
        if text == outcome:
            return outcome
    raise InputError(f"{text!r:.40} is no decision about a claim: give one of {', '.join(outcomes)}")
