"""What waits for a reviewer, and all that is known of one claim. Reads only; the caller opened the transaction."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, cast

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from heldout.errors import InputError
from heldout.records import Assurance, Claim, ClaimState, Dispute, SubjectKind
from registry.claim_history import Happened, history, why
from registry.claims import get_claim
from registry.dispute_records import positions_of
from registry.disputes import disputes_of, get_dispute
from registry.tables import ClaimantRow, ClaimRow, DisputeRow, ReviewRow, SubjectRow

Kind = Literal["dispute", "held", "left-over", "rejected"]
MAX_LISTED: Final = 100
MAX_SUBJECTS_SHOWN: Final = 60


@dataclass(frozen=True)
class Waiting:
    """One thing in the queue."""

    kind: Kind
    """`dispute`; `held`: quarantined; `left-over`: disputed, but no dispute is known (a rebuilt database);
    `rejected`: decided, and could be decided anew."""
    claim_id: str
    dispute_id: str | None
    n_subjects: int
    reasons: dict[str, int]
    """Why, and for how many subjects."""
    since: datetime
    due_at: datetime | None
    is_ready: bool
    """Whether it can be decided either way now: a dispute before its answer can only be refused."""


@dataclass(frozen=True)
class ShownSubject:
    """A subject as a reviewer sees it."""

    position: int
    kind: SubjectKind
    state: ClaimState
    assurance: Assurance
    reason: str
    """Why it is in its state; empty while it has its first."""
    text: str
    """Its address, rule or fingerprint; empty where the address was erased."""
    pdq: bytes | None
    quality: int
    """Of a picture; 0 of others."""
    sha256: bytes | None


@dataclass(frozen=True)
class Decided:
    """A decision as it was made."""

    id: int
    outcome: str
    dispute_id: str | None
    positions: list[int]
    reason: str | None
    at: datetime
    reviewer: str | None
    """Account; None: the operator, or the account is gone."""


@dataclass(frozen=True)
class Case:
    """Everything a reviewer needs about a claim."""

    claim: Claim
    contact: str | None
    has_account: bool
    subjects: list[ShownSubject]
    """The first `MAX_SUBJECTS_SHOWN`, those that wait for a decision first."""
    disputes: list[Dispute]
    events: list[Happened]
    decisions: list[Decided]


def queue(session: Session, *, kind: Kind | None = None, now: datetime, limit: int = MAX_LISTED) -> list[Waiting]:
    """What waits, the most urgent first: disputes by their deadline, then what is held, oldest first.

    `rejected` is given only when it is asked for, newest first.
    """
    found: list[Waiting] = []
    if kind in {None, "dispute"}:
        found += _disputes(session, now, limit)
    if kind in {None, "held"}:
        found += _claims_in(session, "quarantined", limit)
    if kind in {None, "left-over"}:
        found += _left_over(session, limit)
    if kind == "rejected":
        found += _claims_in(session, "rejected", limit)
    return found


def case_of(session: Session, item_id: str) -> Case:
    """Everything about a claim, named by its id or by that of a dispute about it.

    Raises:
        NotFoundError: there is neither.
    """
    is_dispute = item_id.isascii() and item_id.isalnum() and session.get(DisputeRow, item_id) is not None
    claim_id = get_dispute(session, item_id).claim_id if is_dispute else item_id
    claim = get_claim(session, claim_id)
    claimant = session.get_one(ClaimantRow, claim_id)
    events = history(session, claim_id)
    return Case(
        claim=claim,
        contact=claimant.contact,
        has_account=claimant.account_id is not None,
        subjects=_subjects(session, claim, events),
        disputes=disputes_of(session, claim_id, is_party=True),
        events=events,
        decisions=[_decided(row) for row in _reviews(session, claim_id)],
    )


def _disputes(session: Session, now: datetime, limit: int) -> list[Waiting]:
    rows = session.scalars(
        select(DisputeRow)
        .where(DisputeRow.state == "open")
        .order_by(DisputeRow.decide_due_at, DisputeRow.id)
        .limit(limit)
    )
    return [
        Waiting(
            kind="dispute",
            claim_id=row.claim_id,
            dispute_id=row.id,
            n_subjects=len(positions_of(row)),
            reasons={row.basis: len(positions_of(row))},
            since=row.filed_at,
            due_at=row.decide_due_at,
            is_ready=row.answered_at is not None or row.answer_due_at <= now,
        )
        for row in rows
    ]


def _claims_in(session: Session, state: ClaimState, limit: int) -> list[Waiting]:
    order = ClaimRow.received_at.desc() if state == "rejected" else ClaimRow.received_at
    rows = session.execute(
        select(ClaimRow.id, ClaimRow.received_at, func.count())
        .join(SubjectRow, SubjectRow.claim_id == ClaimRow.id)
        .where(SubjectRow.state == state)
        .group_by(ClaimRow.id, ClaimRow.received_at)
        .order_by(order, ClaimRow.id)
        .limit(limit)
    ).all()
    kind: Kind = "rejected" if state == "rejected" else "held"
    return [
        Waiting(kind, claim_id, None, n, _reasons(session, claim_id, state), received_at, None, is_ready=True)
        for claim_id, received_at, n in rows
    ]


def _left_over(session: Session, limit: int) -> list[Waiting]:
    is_known = (
        select(DisputeRow.id).where(DisputeRow.claim_id == ClaimRow.id, DisputeRow.state == "open").correlate(ClaimRow)
    )
    rows = session.execute(
        select(ClaimRow.id, ClaimRow.received_at, func.count())
        .join(SubjectRow, SubjectRow.claim_id == ClaimRow.id)
        .where(SubjectRow.state == "disputed", ~is_known.exists())
        .group_by(ClaimRow.id, ClaimRow.received_at)
        .order_by(ClaimRow.received_at, ClaimRow.id)
        .limit(limit)
    ).all()
    return [
        Waiting("left-over", claim_id, None, n, {"counter-claim": n}, received_at, None, is_ready=True)
        for claim_id, received_at, n in rows
    ]


def _reasons(session: Session, claim_id: str, state: ClaimState) -> dict[str, int]:
    of_claim = SubjectRow.claim_id == claim_id
    positions = session.scalars(select(SubjectRow.position).where(of_claim, SubjectRow.state == state)).all()
    n_subjects = session.scalars(select(func.count()).select_from(SubjectRow).where(of_claim)).one()
    reasons = why(history(session, claim_id), n_subjects)
    return dict(Counter(reasons[position] for position in positions))


def _subjects(session: Session, claim: Claim, events: Sequence[Happened]) -> list[ShownSubject]:
    reasons = why(events, claim.n_subjects)
    urgency = {"quarantined": 0, "disputed": 1, "rejected": 2}
    rows: Sequence[SubjectRow] = session.scalars(select(SubjectRow).where(SubjectRow.claim_id == claim.id)).all()
    first = sorted(rows, key=lambda row: (urgency.get(row.state, 3), row.position))[:MAX_SUBJECTS_SHOWN]
    return [
        ShownSubject(
            position=row.position,
            kind=cast("SubjectKind", row.kind),
            state=cast("ClaimState", row.state),
            assurance=cast("Assurance", row.assurance),
            reason=reasons[row.position],
            text=row.url or row.rule or ("" if row.pdq is None else row.pdq.hex()),
            pdq=row.pdq,
            quality=row.quality or 0,
            sha256=row.sha256,
        )
        for row in first
    ]


def _reviews(session: Session, claim_id: str) -> Sequence[ReviewRow]:
    return session.scalars(select(ReviewRow).where(ReviewRow.claim_id == claim_id).order_by(ReviewRow.id)).all()


def _decided(row: ReviewRow) -> Decided:
    return Decided(row.id, row.outcome, row.dispute_id, positions_of(row), row.reason, row.at, row.account_id)


def parse_kind(text: str) -> Kind | None:
    """A kind of waiting things, as people name it; None for all that wait.

    Raises:
        InputError: no such kind.
    """
    kinds: tuple[Kind, ...] = ("dispute", "held", "left-over", "rejected")
    if not text:
        return None
    for kind in kinds:
        if text == kind:
            return kind
    raise InputError(f"{text!r:.40} is no kind of thing that is reviewed: give one of {', '.join(kinds)}")
