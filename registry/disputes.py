"""Counter-claims: file, answer, withdraw, list, and what happens when time runs out. docs/disputes.md, ADR 0021.

Takes a Session whose transaction the caller opened. Policy: a dispute takes nothing out of force. Where nobody answers
and nobody decides, an opt-out stays, since a missed one costs an artist her work, and a grant that its claimant does
not stand up for goes, for the same reason. Whatever was decided, `registry.reviews` can decide again.
"""

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from heldout.errors import AccessError, ConflictError, InputError, NotFoundError, TooOftenError
from heldout.records import MAX_STATEMENT_CHARS, Dispute, DisputePage, DisputeRequest, DisputeState
from heldout.states import CLOSED
from registry.claims import hold_account, locked_claim, new_claim_id
from registry.cursors import cursor_of, is_past
from registry.dispute_positions import disputable, disputed_positions
from registry.dispute_records import decisions_on, dispute_record, positions_of
from registry.limits import Limits, check_dispute
from registry.notices import owe
from registry.tables import ClaimantRow, ClaimRow, DisputeRow, ReviewRow, SubjectRow
from registry.transitions import change_state

MAX_OPEN: Final = 20
"""Disputes of one account at a time."""
MAX_REFUSED: Final = 5
"""Disputes of one account that reviewers refused within `REFUSED_SPAN`; then it waits."""
REFUSED_SPAN: Final = timedelta(days=90)
MAX_PAGE: Final = 100
MIN_STATEMENT_CHARS: Final = 20

_KEY_USED = "this idempotency key was used for another dispute: make a new key for a new request"


@dataclass(frozen=True)
class Deadlines:
    """How long things may take."""

    answer: timedelta = timedelta(days=30)
    """For the claimant: longer than a holiday. A grant without an answer ends here."""
    decide: timedelta = timedelta(days=90)
    """Since it was filed. Then it ends by itself."""


def file(
    session: Session,
    request: DisputeRequest,
    account_id: str,
    *,
    now: datetime,
    client: bytes | None = None,
    idempotency_key: str | None = None,
    limits: Limits | None = None,
    deadlines: Deadlines | None = None,
) -> DisputeRow:
    """Dispute a claim. What it names goes on counting, shown as disputed.

    Raises:
        NotFoundError: no such claim.
        ConflictError: the claim is closed, the account has a dispute about it already, or the key was used otherwise.
        InputError: the statement is unusable, the claim is the account's own, or it names nothing in force.
        TooOftenError: too many disputes, or too many that were refused.
        AccessError: the account was deleted.
    """
    deadlines = deadlines or Deadlines()
    hold_account(session, account_id)
    key = None if idempotency_key is None else _key_sha256(account_id, idempotency_key)
    claim = locked_claim(session, request.claim)
    earlier = None if key is None else session.scalars(select(DisputeRow).where(DisputeRow.key_sha256 == key)).first()
    if earlier is not None:
        return _same(earlier, request)
    statement = _statement(request.statement)
    if claim.state in CLOSED:
        raise ConflictError(f"claim {claim.id} is {claim.state}: there is nothing to dispute any more")
    if session.get_one(ClaimantRow, claim.id).account_id == account_id:
        raise InputError("this claim is your own: take it back instead of disputing it")
    _check_brakes(session, claim.id, account_id, now)
    positions = disputable(session, claim.id, request.subjects)
    check_dispute(session, account_id=account_id, client=client, now=now, limits=limits or Limits())
    at = now.replace(microsecond=0)
    row = DisputeRow(
        id=new_claim_id(),
        claim_id=claim.id,
        account_id=account_id,
        key_sha256=key,
        state="open",
        basis=request.basis,
        positions=json.dumps(positions),
        statement=statement,
        filed_at=at,
        answer_due_at=at + deadlines.answer,
        decide_due_at=at + deadlines.decide,
    )
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError as error:  # the key, for another claim at the same moment
        raise ConflictError(_KEY_USED) from error
    change_state(session, claim.id, "disputed", reason="counter-claim", now=now, positions=positions)
    owe(session, row.id, "claimant", "filed", now=now)
    return row


def answer(session: Session, dispute_id: str, text: str, *, now: datetime) -> DisputeRow:
    """Keep the claimant's statement. One, as long as the dispute is open; the same again changes nothing.

    After `answer_due_at` it is still taken, but nobody waits for it any more. Who may: the caller asks first.

    Raises:
        NotFoundError: no such dispute.
        ConflictError: it is decided, or was answered.
        InputError: the statement is unusable.
    """
    row = locked_dispute(session, dispute_id)
    said = _statement(text)
    if row.answer == said:
        return row
    if row.state != "open":
        raise ConflictError(f"this dispute is over ({row.state}): write to us if the outcome is wrong")
    if row.answered_at is not None:
        raise ConflictError("this dispute was answered already, and an answer is not changed: write to us to add to it")
    row.answer, row.answered_at = said, now
    owe(session, row.id, "disputer", "answered", now=now)
    session.flush()
    return row


def withdraw_dispute(session: Session, dispute_id: str, *, now: datetime) -> DisputeRow:
    """Take a dispute back; what it was about is in force as before. Again changes nothing. Who may: the caller asks.

    Raises:
        NotFoundError: no such dispute.
        ConflictError: it was decided.
    """
    row = locked_dispute(session, dispute_id)
    if row.state == "withdrawn":
        return row
    if row.state != "open":
        raise ConflictError(f"this dispute is over already ({row.state}): there is nothing to take back")
    close(session, row, "withdrawn", now=now)
    free(session, row, reason="dispute-withdrawn", now=now)
    owe(session, row.id, "claimant", "decided", now=now)
    return row


def expire_due(session: Session, *, now: datetime, limit: int = 100) -> list[str]:
    """End disputes whose time has run out; ids of those. Any number of processes may do it at once.

    An opt-out stays in force. So does a grant that was answered; one that was not is rejected.
    """
    is_grant = ClaimRow.preference == "train-ai=y"
    due = (DisputeRow.decide_due_at <= now) | (
        is_grant & DisputeRow.answered_at.is_(None) & (DisputeRow.answer_due_at <= now)
    )
    query = select(DisputeRow.id).join(ClaimRow).where(DisputeRow.state == "open", due)
    ended = []
    for dispute_id in session.scalars(query.order_by(DisputeRow.claim_id, DisputeRow.id).limit(limit)).all():
        row = locked_dispute(session, dispute_id)
        if row.state != "open":
            continue  # decided meanwhile
        grant = session.get_one(ClaimRow, row.claim_id).preference == "train-ai=y"
        if row.decide_due_at > now and not (grant and row.answered_at is None):
            continue  # answered meanwhile
        close(session, row, "expired", now=now)
        if grant and row.answered_at is None:
            reject(session, row, reason="dispute-expired", now=now)
        else:
            free(session, row, reason="dispute-expired", now=now)
        for side in ("claimant", "disputer"):
            owe(session, row.id, side, "decided", now=now)
        ended.append(row.id)
    return ended


def close(session: Session, row: DisputeRow, state: DisputeState, *, now: datetime) -> None:
    """Note how a dispute ended. The subjects follow by `free` or `reject`."""
    row.state, row.decided_at = state, now
    session.flush()


def free(session: Session, row: DisputeRow, *, reason: str, now: datetime) -> None:
    """Bring what a closed dispute was about back into force, unless others dispute it too."""
    others = disputed_positions(session, row.claim_id)
    freed = in_states(session, row.claim_id, {"disputed"}, positions_of(row)) - others
    if freed:
        change_state(session, row.claim_id, "in_force", reason=reason, now=now, positions=freed)


def reject(session: Session, row: DisputeRow, *, reason: str, now: datetime) -> None:
    """Take what a dispute was about, and is still disputed, out of force."""
    rejected = in_states(session, row.claim_id, {"disputed"}, positions_of(row))
    if rejected:
        change_state(session, row.claim_id, "rejected", reason=reason, now=now, positions=rejected)


def in_states(
    session: Session, claim_id: str, states: Collection[str], positions: Collection[int] | None = None
) -> set[int]:
    """Subjects of a claim that are in one of these states; of these positions, or of all."""
    query = select(SubjectRow.position).where(SubjectRow.claim_id == claim_id, SubjectRow.state.in_(states))
    found = set(session.scalars(query))
    return found if positions is None else found & set(positions)


def locked_dispute(session: Session, dispute_id: str) -> DisputeRow:
    """A dispute as it stands, its claim locked until the transaction ends.

    Raises:
        NotFoundError: no such dispute.
    """
    locked_claim(session, get_dispute(session, dispute_id).claim_id)
    return get_dispute(session, dispute_id)


def get_dispute(session: Session, dispute_id: str) -> DisputeRow:
    """One dispute. Raises NotFoundError."""
    is_sound = dispute_id.isascii() and dispute_id.isalnum()
    found = session.get(DisputeRow, dispute_id, populate_existing=True) if is_sound else None
    if found is None:
        raise NotFoundError(f"there is no dispute {dispute_id!r:.80}: check its id")
    return found


def disputes_of(session: Session, claim_id: str, *, is_party: bool = False) -> list[Dispute]:
    """The disputes about a claim, newest first; with what was said, for its claimant."""
    query = select(DisputeRow).where(DisputeRow.claim_id == claim_id)
    rows = session.scalars(query.order_by(DisputeRow.filed_at.desc(), DisputeRow.id)).all()
    return records(session, rows, is_party=is_party)


def records(session: Session, rows: Collection[DisputeRow], *, is_party: bool) -> list[Dispute]:
    """What is said of these."""
    decisions = decisions_on(session, [row.id for row in rows])
    return [dispute_record(row, is_party=is_party, decision=decisions.get(row.id)) for row in rows]


def page_of(
    session: Session, *, filed_by: str | None = None, against: str | None = None, cursor: str | None, limit: int
) -> DisputePage:
    """The disputes an account filed, or those against its claims, newest first.

    Raises:
        InputError: not a cursor of ours.
    """
    is_theirs: ColumnElement[bool] = DisputeRow.account_id == filed_by
    query = select(DisputeRow)
    if against is not None:
        query = query.join(ClaimantRow, ClaimantRow.claim_id == DisputeRow.claim_id)
        is_theirs = ClaimantRow.account_id == against
    query = query.where(is_theirs)
    if cursor is not None:
        query = query.where(is_past(cursor, DisputeRow.filed_at, DisputeRow.id))
    n = min(limit, MAX_PAGE)
    rows = session.scalars(query.order_by(DisputeRow.filed_at.desc(), DisputeRow.id.desc()).limit(n + 1)).all()
    last = rows[n - 1] if len(rows) > n else None
    return DisputePage(
        disputes=records(session, rows[:n], is_party=True),
        next_cursor=None if last is None else cursor_of(last.filed_at, last.id),
    )


def forget_disputer(session: Session, account_id: str, *, now: datetime) -> None:
    """Take back an account's open disputes, and erase what it said, and was told, in all of them.

    Their claims are locked already.
    """
    rows = session.scalars(
        select(DisputeRow).where(DisputeRow.account_id == account_id).order_by(DisputeRow.claim_id, DisputeRow.id)
    ).all()
    for row in rows:
        if row.state == "open":
            withdraw_dispute(session, row.id, now=now)
        row.statement = row.account_id = None
        session.execute(update(ReviewRow).where(ReviewRow.dispute_id == row.id).values(reason=None))
    session.flush()


def _check_brakes(session: Session, claim_id: str, account_id: str, now: datetime) -> None:
    """Refuse an account that disputes too much, or for too little."""
    theirs = select(func.count()).where(DisputeRow.account_id == account_id)
    is_open = DisputeRow.state == "open"
    if session.scalar(theirs.where(DisputeRow.claim_id == claim_id, is_open)):
        raise ConflictError(f"you have an open dispute about claim {claim_id}: take it back first to file another")
    if (session.scalar(theirs.where(is_open)) or 0) >= MAX_OPEN:
        raise TooOftenError(
            f"you have {MAX_OPEN} open disputes, which is the limit: wait until one is decided", retry_after_s=86_400
        )
    refused = theirs.where(DisputeRow.state == "refused", DisputeRow.decided_at > now - REFUSED_SPAN)
    if (session.scalar(refused) or 0) >= MAX_REFUSED:
        raise TooOftenError(
            f"{MAX_REFUSED} of your disputes were refused within {REFUSED_SPAN.days} days: wait, or write to us",
            retry_after_s=86_400,
        )


def _same(earlier: DisputeRow, request: DisputeRequest) -> DisputeRow:
    theirs = (earlier.claim_id, earlier.basis, earlier.statement)
    if theirs != (request.claim, request.basis, _statement(request.statement)):
        raise ConflictError(_KEY_USED)
    return earlier


def plain_words(text: str) -> str:
    """What somebody said, its lines ended in one way. Raises InputError: it cannot be shown, or not be stored."""
    said = "\n".join(text.strip().splitlines())
    if not all(char.isprintable() or char in "\n\t" for char in said):
        raise InputError("the statement holds a control character: remove it")
    return said


def _statement(text: str) -> str:
    """A statement. Raises InputError: too short or long, or as `plain_words`."""
    said = plain_words(text)
    if not MIN_STATEMENT_CHARS <= len(said) <= MAX_STATEMENT_CHARS:
        raise InputError(
            f"a statement has {MIN_STATEMENT_CHARS} to {MAX_STATEMENT_CHARS:,} characters, this one {len(said)}: "
            "say in a few sentences what is wrong and why"
        )
    return said


def _key_sha256(account_id: str, key: str) -> bytes:
    return hashlib.sha256(f"{account_id} {key}".encode("utf-8", "surrogatepass")).digest()


def check_is_filed_by(row: DisputeRow, account_id: str | None) -> None:
    """Accept who filed it. Raises AccessError."""
    if account_id is None or row.account_id != account_id:
        raise AccessError(f"dispute {row.id} is not yours to take back: sign in to the account that filed it")
