"""What reviewers decide: disputes, what is held, how sure a claim is. Every decision is an event with a reason code.

Takes a Session whose transaction the caller opened. The reviewer's own words are kept beside (`ReviewRow`), never in
the log. Each outcome can be reversed by another, but nobody reverses by accident: a decision names the state that was
seen. Nobody decides what is their own.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Final, Literal, cast

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from heldout.errors import AccessError, ConflictError, InputError
from heldout.records import ASSURANCES, Assurance, DisputeState, SubjectKind
from heldout.states import is_enough
from registry.claim_history import history, why
from registry.claims import locked_claim
from registry.dispute_positions import disputed_positions
from registry.dispute_records import positions_of
from registry.disputes import close, free, in_states, locked_dispute, plain_words
from registry.evidence import shown_by_proofs
from registry.notices import owe
from registry.quarantine import MIN_CLAIM_QUALITY, hold_pictures, release_pictures
from registry.tables import ClaimantRow, ClaimRow, DisputeRow, ReviewRow, SubjectRow
from registry.transitions import change_state, lower_assurance, raise_assurance

DisputeOutcome = Literal["uphold", "refuse"]
ClaimOutcome = Literal["release", "reject", "quarantine", "assure", "unassure"]

STATE_AFTER: Final[dict[DisputeOutcome, DisputeState]] = {"uphold": "upheld", "refuse": "refused"}
REASON_CHARS: Final = (5, 2_000)
OPEN_STATES: Final = frozenset({"pending", "in_force", "disputed", "quarantined"})


def decide_dispute(
    session: Session,
    dispute_id: str,
    outcome: DisputeOutcome,
    *,
    reason: str,
    now: datetime,
    reviewer: str | None,
    seen: DisputeState = "open",
) -> ReviewRow:
    """Decide a dispute, or decide it anew: `uphold` rejects what it is about, `refuse` brings that back into force.

    Args:
        session: in a transaction.
        dispute_id: of the dispute.
        outcome: of the two.
        reason: the reviewer's, for the two sides.
        now: goes into the log.
        reviewer: account of the reviewer; None: the operator.
        seen: the state the reviewer decides about.

    Raises:
        NotFoundError: no such dispute.
        AccessError: the reviewer is one of the two sides, or claims something of it too.
        ConflictError: it is in another state by now, was taken back, or the claimant may still answer.
        InputError: the reason is missing, or holds what cannot be shown.
    """
    row = locked_dispute(session, dispute_id)
    said = _reason(reason)
    _check_is_impartial(session, row.claim_id, reviewer)
    if row.state in {"withdrawn", "moot"}:
        raise ConflictError(f"dispute {row.id} was taken back or is moot: there is nothing to decide")
    if row.state != seen or row.state == STATE_AFTER[outcome]:
        raise ConflictError(f"dispute {row.id} is {row.state} by now: look at it again before you decide")
    if outcome == "uphold" and row.answered_at is None and now < row.answer_due_at:
        raise ConflictError(
            f"the claimant may answer dispute {row.id} until {row.answer_due_at:%Y-%m-%d}: uphold it after that, or "
            "after the answer"
        )
    before = row.state
    close(session, row, STATE_AFTER[outcome], now=now)
    if outcome == "uphold":
        changed = _reject_disputed(session, row, now=now)
    elif before == "open":
        changed = sorted(in_states(session, row.claim_id, {"disputed"}, positions_of(row)))
        free(session, row, reason="dispute-refused", now=now)
    else:
        changed = _restore(session, row, before, now=now)
    for side in ("claimant", "disputer"):
        owe(session, row.id, side, "decided", now=now)
    return _note(session, row.claim_id, outcome, changed, said, now=now, reviewer=reviewer, dispute_id=row.id)


def decide_claim(
    session: Session,
    claim_id: str,
    outcome: ClaimOutcome,
    *,
    reason: str,
    now: datetime,
    reviewer: str | None,
    positions: Collection[int] | None = None,
    seen: int | None = None,
) -> ReviewRow:
    """Decide about a claim, or some of its subjects.

    `release` brings what is held or was rejected back; `reject` takes it out; `quarantine` holds it; `assure` notes
    that a person has seen proof enough (`reviewed`), and `unassure` takes that back to what proofs show.

    Args:
        session: in a transaction.
        claim_id: of the claim.
        outcome: of the five.
        reason: the reviewer's.
        now: goes into the log.
        reviewer: account of the reviewer; None: the operator.
        positions: of the subjects; left out: those held, if some are, else all it can be about.
        seen: newest decision on this claim that the reviewer has seen (0: none); None: not compared.

    Raises:
        NotFoundError: no such claim.
        AccessError: it is the reviewer's own, one that the reviewer has disputed, or they claim something of it too.
        ConflictError: the claim was withdrawn, or decided about meanwhile.
        InputError: the reason is missing or holds what cannot be shown, or there is nothing to decide so.
    """
    claim = locked_claim(session, claim_id)
    said = _reason(reason)
    _check_is_impartial(session, claim_id, reviewer)
    if claim.state == "withdrawn":
        raise ConflictError(f"claim {claim_id} was withdrawn: nothing about it can be decided any more")
    if seen is not None and seen != newest_review(session, claim_id):
        raise ConflictError(f"somebody decided about claim {claim_id} meanwhile: look at it again before you decide")
    if positions is not None and not set(positions) <= set(_positions_in(session, claim_id)):
        raise InputError(f"claim {claim_id} has not all of the subjects that are named: look at it again")
    changed = _DECIDE[outcome](session, claim_id, positions, now)
    if not changed:
        raise InputError(f"there is nothing in claim {claim_id} to {outcome}: look at its states")
    return _note(session, claim_id, outcome, sorted(changed), said, now=now, reviewer=reviewer)


def newest_review(session: Session, claim_id: str) -> int:
    """Id of the newest decision about a claim; 0 if there is none."""
    return session.scalar(select(func.max(ReviewRow.id)).where(ReviewRow.claim_id == claim_id)) or 0


def _reject_disputed(session: Session, row: DisputeRow, *, now: datetime) -> list[int]:
    about = positions_of(row)
    disputed = in_states(session, row.claim_id, {"disputed"}, about)
    others = in_states(session, row.claim_id, OPEN_STATES - {"disputed"}, about)
    for positions, code in ((disputed, "dispute-upheld"), (others, "review")):
        if positions:
            change_state(session, row.claim_id, "rejected", reason=code, now=now, positions=positions)
    return sorted(disputed | others)


def _restore(session: Session, row: DisputeRow, before: str, *, now: datetime) -> list[int]:
    """Bring back what this dispute took out of force, unless another that was upheld is about it too."""
    if before == "expired":  # an expiry rejects grants alone
        is_grant = session.get_one(ClaimRow, row.claim_id).preference == "train-ai=y"
        taken = positions_of(row) if is_grant else []
    else:
        last = session.scalars(
            select(ReviewRow)
            .where(ReviewRow.dispute_id == row.id, ReviewRow.outcome == "uphold")
            .order_by(ReviewRow.id.desc())
            .limit(1)
        ).first()
        taken = positions_of(row if last is None else last)
    others = disputed_positions(session, row.claim_id, states={"upheld"})
    restored = in_states(session, row.claim_id, {"rejected"}, taken) - others
    _bring_back(session, row.claim_id, restored, reason="review", now=now)
    return sorted(restored)


def _release(session: Session, claim_id: str, positions: Collection[int] | None, now: datetime) -> set[int]:
    held = in_states(session, claim_id, {"quarantined"}, positions)
    rejected = in_states(session, claim_id, {"rejected"}, positions) - disputed_positions(
        session, claim_id, states={"upheld"}
    )
    if positions is None and held:
        rejected = set()
    orphans = in_states(session, claim_id, {"disputed"}, positions) - disputed_positions(session, claim_id)
    reasons = why(history(session, claim_id), len(_positions_in(session, claim_id)))
    common = {at for at in held | rejected if reasons[at] in {"too-many-hosts", "too-plain"}}
    release_pictures(session, _pdq(session, claim_id, held | rejected), common=_pdq(session, claim_id, common), now=now)
    _bring_back(session, claim_id, held | rejected, reason="review", now=now)
    _bring_back(session, claim_id, orphans, reason="dispute-refused", now=now)
    return held | rejected | orphans


def _reject(session: Session, claim_id: str, positions: Collection[int] | None, now: datetime) -> set[int]:
    held = in_states(session, claim_id, {"quarantined"}, positions)
    rejected = held if positions is None and held else in_states(session, claim_id, OPEN_STATES, positions)
    reasons = why(history(session, claim_id), len(_positions_in(session, claim_id)))
    for code in ("too-many-hosts", "too-plain"):
        pictures = {at for at in held & rejected if reasons[at] == code}
        found = _pdq(session, claim_id, pictures, min_quality=MIN_CLAIM_QUALITY)
        hold_pictures(session, found, reason=code, now=now)
    if rejected:
        change_state(session, claim_id, "rejected", reason="review", now=now, positions=rejected)
    return rejected


def _quarantine(session: Session, claim_id: str, positions: Collection[int] | None, now: datetime) -> set[int]:
    found = in_states(session, claim_id, OPEN_STATES - {"quarantined"}, positions)
    if found:
        change_state(session, claim_id, "quarantined", reason="review", now=now, positions=found)
    return found


def _assure(session: Session, claim_id: str, positions: Collection[int] | None, now: datetime) -> set[int]:
    found = in_states(session, claim_id, OPEN_STATES, positions) - _at_reviewed(session, claim_id)
    if found:
        raise_assurance(session, claim_id, "reviewed", reason="review", now=now, positions=found)
    return found


def _unassure(session: Session, claim_id: str, positions: Collection[int] | None, now: datetime) -> set[int]:
    found = _at_reviewed(session, claim_id)
    found = found if positions is None else found & set(positions)
    shown = shown_by_proofs(session, claim_id, found)
    for best in ASSURANCES[:-1]:
        falling = [position for position in sorted(found) if shown[position] == best]
        if falling:
            lower_assurance(session, claim_id, best, reason="review", now=now, positions=falling)
    return found


_DECIDE: Final[Mapping[ClaimOutcome, Callable[[Session, str, Collection[int] | None, datetime], set[int]]]] = {
    "release": _release,
    "reject": _reject,
    "quarantine": _quarantine,
    "assure": _assure,
    "unassure": _unassure,
}


def _bring_back(session: Session, claim_id: str, positions: set[int], *, reason: str, now: datetime) -> None:
    """Into force; a place that nobody proved back to waiting."""
    query = select(SubjectRow.position, SubjectRow.kind, SubjectRow.assurance).where(SubjectRow.claim_id == claim_id)
    proved = {
        at
        for at, kind, assurance in session.execute(query)
        if at in positions and is_enough(cast("SubjectKind", kind), cast("Assurance", assurance))
    }
    waiting = positions - proved
    if proved:
        change_state(session, claim_id, "in_force", reason=reason, now=now, positions=proved)
    if waiting:
        change_state(session, claim_id, "pending", reason="review", now=now, positions=waiting)


def _at_reviewed(session: Session, claim_id: str) -> set[int]:
    query = select(SubjectRow.position).where(SubjectRow.claim_id == claim_id, SubjectRow.assurance == "reviewed")
    return set(session.scalars(query))


def _positions_in(session: Session, claim_id: str) -> list[int]:
    return list(session.scalars(select(SubjectRow.position).where(SubjectRow.claim_id == claim_id)))


def _pdq(session: Session, claim_id: str, positions: Collection[int], *, min_quality: int = 0) -> set[bytes]:
    query = select(SubjectRow.position, SubjectRow.pdq).where(
        SubjectRow.claim_id == claim_id, SubjectRow.kind == "image", SubjectRow.quality >= min_quality
    )
    return {pdq for at, pdq in session.execute(query) if at in positions and pdq is not None}


def _reason(text: str) -> str:
    least, most = REASON_CHARS
    said = plain_words(text)
    if not least <= len(said) <= most:
        raise InputError(f"give a reason of {least} to {most:,} characters: those it concerns will read it")
    return said


def _check_is_impartial(session: Session, claim_id: str, reviewer: str | None) -> None:
    """Refuse a side of the case: whose claim it is, who ever disputed it, who claims something of it too."""
    if reviewer is None:
        return
    owner = session.get_one(ClaimantRow, claim_id, populate_existing=True).account_id
    disputers = select(DisputeRow.account_id).where(DisputeRow.claim_id == claim_id)
    if reviewer in {owner, *session.scalars(disputers)} or _claims_too(session, claim_id, reviewer):
        raise AccessError("this is your own claim or dispute: another reviewer decides it")


def _claims_too(session: Session, claim_id: str, account_id: str) -> bool:
    theirs = select(ClaimantRow.claim_id).where(ClaimantRow.account_id == account_id)
    is_shared = [
        name.in_(select(name).where(SubjectRow.claim_id.in_(theirs), name.is_not(None)).scalar_subquery())
        for name in (SubjectRow.digest, SubjectRow.rule, SubjectRow.pdq)
    ]
    shared = select(SubjectRow.id).where(SubjectRow.claim_id == claim_id, or_(*is_shared))
    return session.scalars(shared.limit(1)).first() is not None


def _note(
    session: Session,
    claim_id: str,
    outcome: str,
    positions: Sequence[int],
    reason: str,
    *,
    now: datetime,
    reviewer: str | None,
    dispute_id: str | None = None,
) -> ReviewRow:
    row = ReviewRow(
        claim_id=claim_id,
        dispute_id=dispute_id,
        account_id=reviewer,
        outcome=outcome,
        positions=json.dumps(list(positions)),
        reason=reason,
        at=now,
    )
    session.add(row)
    session.flush()
    return row
