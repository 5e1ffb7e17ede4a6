"""What happens to a claim after it was made: proof found or lost, disputes, quarantine, review. Each is an event.

Takes a Session whose transaction the caller opened; the claim's row is locked until it ends. The table of states is
`heldout.states`. Positions are those of a claim's subjects, from 0; None means all of them.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Final, cast

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from heldout.errors import InputError
from heldout.leaves import AssuranceLeaf, StateLeaf, format_leaf, split_positions
from heldout.records import ASSURANCES, Assurance, ClaimState, SubjectKind
from heldout.states import check_transition, claim_assurance, claim_state, is_enough
from registry.claim_history import history, why
from registry.claims import locked_claim
from registry.dispute_positions import disputed_positions
from registry.tables import ClaimRow, EventRow, SubjectRow

SHOWN_OF_ITSELF: Final[frozenset[Assurance]] = frozenset({"credential", "reviewed"})
"""Assurances that a picture has by itself, not for where it is: how often it is copied says nothing against them."""

_IN_CLAUSE = 500


def raise_assurance(
    session: Session,
    claim_id: str,
    assurance: Assurance,
    *,
    reason: str,
    now: datetime,
    positions: Collection[int] | None = None,
) -> None:
    """Note that this much has been shown; subjects of which more was shown stay as they are.

    A place that waited for it comes into force, and so does what was held because so much came at once or, if it is
    shown of the picture itself, because of the picture. Doing it again changes nothing.

    Args:
        session: in a transaction.
        claim_id: of the claim.
        assurance: what has been shown.
        reason: how, as a code for the log: `dns-txt`, `well-known`, `meta-tag`, `profile`, `c2pa`, `review`, ...
        now: goes into the log.
        positions: of the subjects it has been shown of.

    Raises:
        NotFoundError: no such claim.
        InputError: the claim has no such subjects, or the reason is no code.
    """
    _change_assurance(
        session, claim_id, assurance, reason=reason, now=now, positions=positions, is_change=lambda old, new: new > old
    )


def lower_assurance(
    session: Session,
    claim_id: str,
    assurance: Assurance,
    *,
    reason: str,
    now: datetime,
    positions: Collection[int] | None = None,
) -> None:
    """Note that no more than this is shown now, as when a proof was taken away; a place may fall back to pending.

    Raises:
        NotFoundError, InputError: as `raise_assurance`.
    """
    _change_assurance(
        session, claim_id, assurance, reason=reason, now=now, positions=positions, is_change=lambda old, new: new < old
    )


def change_state(
    session: Session,
    claim_id: str,
    state: ClaimState,
    *,
    reason: str,
    now: datetime,
    positions: Collection[int] | None = None,
) -> None:
    """Take subjects of a claim into another state; those in it already stay.

    What comes into force while somebody disputes it is disputed at once.

    Raises:
        NotFoundError: no such claim.
        ConflictError: one of them cannot pass into it.
        InputError: no such subjects, a reason that is none of the table's, or a place would come into force unproved.
    """
    if state == "withdrawn":
        raise InputError("a claim is withdrawn as a whole: use withdraw")
    claim = locked_claim(session, claim_id)
    subjects = _chosen(session, claim_id, positions)
    changed = [each for each in subjects if each.state != state]
    for each in changed:
        check_transition(cast("ClaimState", each.state), state, reason)
        if state == "in_force" and not is_enough(cast("SubjectKind", each.kind), cast("Assurance", each.assurance)):
            raise InputError(f"subject {each.position} of claim {claim_id} is a place that nobody proved: not in force")
    _move(session, claim, [each.position for each in changed], state, reason=reason, now=now)
    _sum_up(session, claim)


def _change_assurance(
    session: Session,
    claim_id: str,
    assurance: Assurance,
    *,
    reason: str,
    now: datetime,
    positions: Collection[int] | None,
    is_change: Callable[[int, int], bool],
) -> None:
    claim = locked_claim(session, claim_id)
    if claim.state == "withdrawn":
        return
    rank = ASSURANCES.index(assurance)
    changed = [
        each
        for each in _chosen(session, claim_id, positions)
        if is_change(ASSURANCES.index(cast("Assurance", each.assurance)), rank)
    ]
    if not changed:
        return
    at = now.replace(microsecond=0)
    n_subjects = _count(session, claim_id)
    for part in _parts([each.position for each in changed], n_subjects):
        leaf = AssuranceLeaf(at, claim_id, assurance, reason, part)
        session.add(EventRow(kind="assurance", claim_id=claim_id, payload=format_leaf(leaf)))
        session.flush()  # ids in this order
    _update(session, claim_id, [each.position for each in changed], {"assurance": assurance})
    enough = [is_enough(cast("SubjectKind", each.kind), assurance) for each in changed]
    waiting = {each.position for each, is_so in zip(changed, enough, strict=True) if is_so and each.state == "pending"}
    held = {each.position for each in changed if each.state == "quarantined"}
    if held:
        lifted = {"over-limit"} if assurance != "declared" else set()
        lifted |= {"too-plain", "too-many-hosts"} if assurance in SHOWN_OF_ITSELF else set()
        reasons = why(history(session, claim_id), n_subjects)
        waiting |= {position for position in held if reasons[position] in lifted}
    rising = sorted(waiting)
    falling = [
        each.position
        for each, is_so in zip(changed, enough, strict=True)
        if not is_so and each.state in {"in_force", "disputed"}
    ]
    _move(session, claim, rising, "in_force", reason="evidence", now=now)
    _move(session, claim, falling, "pending", reason="evidence-lost", now=now)
    _sum_up(session, claim)


def _move(
    session: Session, claim: ClaimRow, positions: Sequence[int], state: ClaimState, *, reason: str, now: datetime
) -> None:
    if not positions:
        return
    for part in _parts(positions, _count(session, claim.id)):
        leaf = StateLeaf(now.replace(microsecond=0), claim.id, state, reason, part)
        session.add(EventRow(kind="state", claim_id=claim.id, payload=format_leaf(leaf)))
        session.flush()
    _update(session, claim.id, positions, {"state": state})
    if state == "in_force":
        disputed = sorted(set(positions) & disputed_positions(session, claim.id))
        _move(session, claim, disputed, "disputed", reason="counter-claim", now=now)


def _parts(positions: Sequence[int], n_subjects: int) -> list[tuple[int, ...] | None]:
    """As leaves name them: None where it is all."""
    return [None] if len(positions) == n_subjects else list(split_positions(positions))


def _count(session: Session, claim_id: str) -> int:
    last = select(SubjectRow.position).where(SubjectRow.claim_id == claim_id).order_by(SubjectRow.position.desc())
    return session.scalars(last.limit(1)).one() + 1


def _chosen(session: Session, claim_id: str, positions: Collection[int] | None) -> list[SubjectRow]:
    rows = session.scalars(
        select(SubjectRow)
        .where(SubjectRow.claim_id == claim_id)
        .order_by(SubjectRow.position)
        .execution_options(populate_existing=True)
    ).all()
    if positions is None:
        return list(rows)
    wanted = set(positions)
    chosen = [row for row in rows if row.position in wanted]
    if not wanted or len(chosen) != len(wanted):
        raise InputError(f"claim {claim_id} has subjects 0 to {len(rows) - 1}, not all of those that are named")
    return chosen


def _update(session: Session, claim_id: str, positions: Sequence[int], values: dict[str, str]) -> None:
    for start in range(0, len(positions), _IN_CLAUSE):
        session.execute(
            update(SubjectRow)
            .where(SubjectRow.claim_id == claim_id, SubjectRow.position.in_(positions[start : start + _IN_CLAUSE]))
            .values(**values),
            # The default, `evaluate`, compares every subject that was loaded with every position: seconds of 10,000.
            execution_options={"synchronize_session": "fetch"},
        )


def _sum_up(session: Session, claim: ClaimRow) -> None:
    """The claim's own state and assurance follow from its subjects'."""
    rows = session.execute(
        select(SubjectRow.state, SubjectRow.assurance).where(SubjectRow.claim_id == claim.id).distinct()
    ).all()
    claim.state = claim_state(cast("ClaimState", state) for state, _ in rows)
    claim.assurance = claim_assurance(cast("Assurance", assurance) for _, assurance in rows)
    session.flush()
