"""Evidence in the database: codes given out, what checks found, and what follows for a claim. ADR 0019.

Takes a Session whose transaction the caller opened. Looking is `registry.evidence_checks`'s; here its findings are
recorded, each with the events that follow from it in one transaction, so that a run that dies loses or doubles nothing.
"""

import base64
import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, cast

from sqlalchemy import delete, func, or_, select
from sqlalchemy.orm import Session

from heldout.errors import ConflictError, InputError, NotFoundError, TooOftenError
from heldout.records import ASSURANCES, Assurance
from heldout.states import CLOSED
from registry.claims import check_claim_id, locked_claim, new_claim_id
from registry.evidence_checks import Finding
from registry.evidence_targets import CODES, Method, SubjectFacts, Target, bound_by, gives, parse_target
from registry.tables import ClaimantRow, ClaimRow, EvidenceCheckRow, EvidenceRow, SubjectRow
from registry.transitions import lower_assurance, raise_assurance

MAX_PER_CLAIM: Final = 200
TOKEN_BYTES: Final = 20
"""160 bits: nobody guesses it, and it occurs nowhere by chance."""
CHECKS_PER_EVIDENCE: Final = 12
CHECKS_PER_HOST: Final = 60
"""Asked for by people, in `LIMIT_SPAN`; those on schedule do not count, so nobody can keep a claimant's from being."""
LIMIT_SPAN: Final = timedelta(hours=1)
MIN_WAIT: Final = timedelta(seconds=5)
"""Between two checks of one proof."""


@dataclass(frozen=True)
class Schedule:
    """When proofs are looked at again, and when one is lost."""

    every: timedelta = timedelta(days=1)
    """While it is there."""
    retry: timedelta = timedelta(hours=6)
    """After it was not."""
    waiting: timedelta = timedelta(hours=1)
    """While it never was, after somebody has asked once, so that nobody need come back."""
    give_up: timedelta = timedelta(days=14)
    """Then one that never was is looked at only when somebody asks."""
    min_failures: int = 4
    """In a row, before it is lost, and"""
    grace: timedelta = timedelta(days=7)
    """so long, where it is answered that it is not there,"""
    grace_unreachable: timedelta = timedelta(days=30)
    """so long, where nobody answers."""
    lease: timedelta = timedelta(minutes=10)
    """After which a check whose process died is done by another."""


@dataclass(frozen=True)
class Look:
    """One check to make."""

    id: str
    method: Method
    target: str
    token: str


def create(session: Session, claim_id: str, method: Method, target_text: str, *, now: datetime) -> EvidenceRow:
    """Give a code for proving a target. The same again gives the same; an account's claims share one for a target.

    Raises:
        NotFoundError: no such claim.
        ConflictError: the claim is closed.
        InputError: the target does not fit, proves nothing the claim is about, or there are too many.
    """
    claim = locked_claim(session, claim_id)
    if claim.state in CLOSED:
        raise ConflictError(f"claim {claim_id} is {claim.state}: there is nothing to prove any more")
    target = parse_target(method, target_text)
    known = select(EvidenceRow).where(
        EvidenceRow.claim_id == claim_id, EvidenceRow.method == method, EvidenceRow.target == target.text
    )
    found = session.scalars(known).one_or_none()
    if found is not None:
        return found
    subjects = subject_facts(session, claim_id)
    if not bound_by(method, target.text, subjects):
        raise InputError(f"{target.text[:200]} would prove nothing that claim {claim_id} is about: see what it holds")
    n_known = session.scalar(select(func.count()).where(EvidenceRow.claim_id == claim_id)) or 0
    if n_known >= MAX_PER_CLAIM:
        raise InputError(f"claim {claim_id} has {n_known} proofs, which is the limit: make another claim for the rest")
    made = EvidenceRow(
        id=new_claim_id(),
        claim_id=claim_id,
        method=method,
        target=target.text,
        host=target.host,
        token=_token(session, claim_id, target),
        state="waiting",
        created_at=now,
        n_failures=0,
    )
    session.add(made)
    session.flush()
    return made


def get(session: Session, evidence_id: str) -> EvidenceRow:
    """One proof. Raises NotFoundError: no such one."""
    is_sound = evidence_id.isascii() and evidence_id.isalnum()
    found = session.get(EvidenceRow, evidence_id, populate_existing=True) if is_sound else None
    if found is None:
        raise NotFoundError(f"there is no evidence {evidence_id!r:.80}: check its id")
    return found


def list_of(session: Session, claim_id: str) -> list[EvidenceRow]:
    """A claim's proofs, oldest first. Raises NotFoundError: no such claim."""
    check_claim_id(claim_id)
    query = select(EvidenceRow).where(EvidenceRow.claim_id == claim_id)
    return list(session.scalars(query.order_by(EvidenceRow.created_at, EvidenceRow.id)))


def begin_check(session: Session, evidence_id: str, *, now: datetime) -> Look:
    """Count a check that somebody asks for, and say what to look for.

    Raises:
        NotFoundError: no such proof.
        ConflictError: its claim is closed.
        TooOftenError: it, or its host, was looked at too often.
    """
    row = get(session, evidence_id)
    claim = locked_claim(session, row.claim_id)
    if claim.state in CLOSED:
        raise ConflictError(f"claim {claim.id} is {claim.state}: there is nothing to prove any more")
    session.execute(delete(EvidenceCheckRow).where(EvidenceCheckRow.at < now - LIMIT_SPAN))
    last = session.scalar(select(func.max(EvidenceCheckRow.at)).where(EvidenceCheckRow.evidence_id == row.id))
    if last is not None and now < last + MIN_WAIT:
        raise TooOftenError("this was looked for a moment ago: wait some seconds", retry_after_s=5)
    for column, value, most in (
        (EvidenceCheckRow.evidence_id, row.id, CHECKS_PER_EVIDENCE),
        (EvidenceCheckRow.host, row.host, CHECKS_PER_HOST),
    ):
        n_asked = session.scalar(select(func.count()).select_from(EvidenceCheckRow).where(column == value)) or 0
        if n_asked >= most and value:
            raise TooOftenError(
                "this was looked for many times within an hour: it is looked at again by itself, or ask in an hour",
                retry_after_s=int(LIMIT_SPAN.total_seconds()),
            )
    session.add(EvidenceCheckRow(evidence_id=row.id, host=row.host, at=now))
    session.flush()
    return _look(row)


def take_due(session: Session, *, now: datetime, limit: int, schedule: Schedule) -> list[Look]:
    """Proofs whose time has come. Whoever asks meanwhile gets others; one that is not recorded comes up again."""
    rows = session.scalars(
        select(EvidenceRow)
        .where(EvidenceRow.due_at <= now)
        .order_by(EvidenceRow.due_at, EvidenceRow.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
    for row in rows:
        row.due_at = now + schedule.lease
    session.flush()
    return [_look(row) for row in rows]


def record(session: Session, evidence_id: str, finding: Finding, *, now: datetime, schedule: Schedule) -> EvidenceRow:
    """Note what a check found, and let the claim follow: assurance raised, or lowered once the grace is over.

    Recording the same again changes nothing in the log. A proof of a claim that was closed meanwhile is left alone.

    Raises:
        NotFoundError: no such proof (its claimant was forgotten meanwhile).
    """
    claim = locked_claim(session, get(session, evidence_id).claim_id)
    row = get(session, evidence_id)  # again: until the claim was locked, it could change or go
    row.checked_at, row.code, row.result = now, finding.code, finding.words[:500]
    if claim.state in CLOSED:
        row.due_at = None
    elif finding.is_found:
        _found(session, claim, row, finding, now=now, schedule=schedule)
    else:
        _not_found(session, row, finding, now=now, schedule=schedule)
    session.flush()
    return row


def positions_of(row: EvidenceRow) -> list[int]:
    """The subjects a proof binds now."""
    return list(json.loads(row.positions)) if row.positions is not None else []


def subject_facts(session: Session, claim_id: str) -> list[SubjectFacts]:
    """A claim's subjects."""
    rows = session.execute(
        select(SubjectRow.position, SubjectRow.kind, SubjectRow.digest, SubjectRow.url, SubjectRow.rule, SubjectRow.pdq)
        .where(SubjectRow.claim_id == claim_id)
        .order_by(SubjectRow.position)
    )
    return [SubjectFacts(*row) for row in rows]


def _found(
    session: Session, claim: ClaimRow, row: EvidenceRow, finding: Finding, *, now: datetime, schedule: Schedule
) -> None:
    method, before = cast("Method", row.method), positions_of(row)
    subjects = subject_facts(session, claim.id)
    is_grant = claim.preference == "train-ai=y"
    bound = set(bound_by(method, row.target, subjects, links=finding.links, is_grant=is_grant))
    erased = {each.position for each in subjects if each.kind == "url" and each.url is None}
    positions = sorted(bound | (erased & set(before)))  # an address that was forgotten cannot be held against its place
    row.state, row.positions, row.proved_at = "proved", json.dumps(positions), now
    row.n_failures, row.failing_since = 0, None
    row.due_at = None if method == "credential" else now + schedule.every
    session.flush()
    if positions:
        level = gives(method, row.target)
        raise_assurance(session, claim.id, level, reason=CODES[method], now=now, positions=positions)
    _let_fall(session, row, sorted(set(before) - set(positions)), now=now)


def _not_found(session: Session, row: EvidenceRow, finding: Finding, *, now: datetime, schedule: Schedule) -> None:
    if row.method == "credential":
        return  # what was handed in says nothing about what was handed in before
    row.n_failures += 1
    row.failing_since = row.failing_since or now
    if row.state != "proved":
        is_young = now < row.created_at + schedule.give_up
        row.due_at = now + schedule.waiting if is_young else None
        return
    row.due_at = now + schedule.retry
    grace = schedule.grace if finding.is_gone else schedule.grace_unreachable
    if row.n_failures >= schedule.min_failures and now >= row.failing_since + grace:
        before = positions_of(row)
        row.state, row.positions, row.due_at = "lost", None, None
        session.flush()
        _let_fall(session, row, before, now=now)


def _let_fall(session: Session, row: EvidenceRow, positions: Sequence[int], *, now: datetime) -> None:
    """Lower what only this proof held up, to the best that other proofs of the claim still show."""
    if not positions:
        return
    level = gives(cast("Method", row.method), row.target)
    left = shown_by_proofs(session, row.claim_id, positions, besides=row.id)
    query = select(SubjectRow.position, SubjectRow.assurance).where(SubjectRow.claim_id == row.claim_id)
    now_at = {position: assurance for position, assurance in session.execute(query)}  # noqa: C416 - rows are not pairs
    for best in ASSURANCES:
        # What a review or a better proof has shown since is not this proof's to take away.
        falling = [at for at in positions if left[at] == best and now_at[at] == level]
        if falling:
            lower_assurance(session, row.claim_id, best, reason="evidence-lost", now=now, positions=falling)


def shown_by_proofs(
    session: Session, claim_id: str, positions: Iterable[int], *, besides: str | None = None
) -> dict[int, Assurance]:
    """The best that proofs of a claim show now for each of these subjects, one proof left out."""
    left: dict[int, Assurance] = dict.fromkeys(positions, "declared")
    for proof in list_of(session, claim_id):
        shown = gives(cast("Method", proof.method), proof.target)
        for position in positions_of(proof) if proof.id != besides else []:
            if position in left:
                left[position] = max(left[position], shown, key=ASSURANCES.index)
    return left


def _token(session: Session, claim_id: str, target: Target) -> str:
    """The code of this claim, or of another claim of its account, for the same host; else a new one."""
    owner = session.scalar(select(ClaimantRow.account_id).where(ClaimantRow.claim_id == claim_id))
    is_theirs = EvidenceRow.claim_id == claim_id
    if owner is not None:
        is_theirs = or_(is_theirs, ClaimantRow.account_id == owner)
    query = (
        select(EvidenceRow.token)
        .join(ClaimantRow, ClaimantRow.claim_id == EvidenceRow.claim_id)
        .where(is_theirs, EvidenceRow.host == target.host)
        .order_by(EvidenceRow.created_at, EvidenceRow.id)
        .limit(1)
    )
    return session.scalar(query) or _new_token()


def _new_token() -> str:
    return base64.b32encode(secrets.token_bytes(TOKEN_BYTES)).decode("ascii").lower()


def _look(row: EvidenceRow) -> Look:
    return Look(row.id, cast("Method", row.method), row.target, row.token)
