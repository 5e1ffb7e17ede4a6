"""From the tables to what the API says of claims. Reads only."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from heldout.records import CLAIM_STATES, Claim
from heldout.states import CLOSED
from registry.claim_history import history, why
from registry.subjects import notes_on_places
from registry.tables import ClaimantRow, ClaimRow, EventRow, SubjectRow


def claim_records(session: Session, rows: Sequence[ClaimRow]) -> list[Claim]:
    """The claims of these rows, in their order; a fixed number of queries."""
    ids = [row.id for row in rows]
    counts: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    for claim, kind, state, n in session.execute(
        select(SubjectRow.claim_id, SubjectRow.kind, SubjectRow.state, func.count())
        .where(SubjectRow.claim_id.in_(ids))
        .group_by(SubjectRow.claim_id, SubjectRow.kind, SubjectRow.state)
    ):
        counts[claim][kind, state] = n
    indices: dict[str, list[int]] = defaultdict(list)
    for of, index in session.execute(
        select(EventRow.claim_id, EventRow.log_index)
        .where(EventRow.claim_id.in_(ids), EventRow.log_index.is_not(None))
        .order_by(EventRow.log_index)
    ):
        indices[of or ""].append(index or 0)
    claimants = select(ClaimantRow).where(ClaimantRow.claim_id.in_(ids))
    acting_as = {claimant.claim_id: claimant.acting_as for claimant in session.scalars(claimants)}
    held = {row.id: notes_on_held(session, row.id, counts[row.id].total()) for row in rows if _is_held(counts[row.id])}
    return [_record(row, acting_as[row.id], counts[row.id], indices[row.id], held.get(row.id, [])) for row in rows]


def notes_on_held(session: Session, claim_id: str, n_subjects: int) -> list[str]:
    """Why something of a claim is held for review, and what its claimant can do."""
    query = select(SubjectRow.position).where(SubjectRow.claim_id == claim_id, SubjectRow.state == "quarantined")
    reasons = why(history(session, claim_id), n_subjects)
    n_by_reason = Counter(reasons[position] for position in session.scalars(query))
    n_pictures = n_by_reason["too-plain"] + n_by_reason["too-many-hosts"]
    n_others = n_by_reason.total() - n_pictures - n_by_reason["over-limit"]
    notes = []
    if n_pictures:
        what = "One picture is" if n_pictures == 1 else f"{n_pictures:,} pictures are"
        notes.append(
            f"{what} held until a person has looked: plain, or on so many unrelated sites that it may be nobody's own "
            "work. Addresses count as before. You need do nothing; a signed picture lifts it at once."
        )
    if n_by_reason["over-limit"]:
        n = n_by_reason["over-limit"]
        what = "One work is" if n == 1 else f"{n:,} works are"
        notes.append(
            f"{what} held until a person has looked, because so much came within a day. Nothing is lost, and you need "
            "do nothing; a proof that the site or profile is yours lifts it at once for what is there."
        )
    if n_others:
        what = "One subject is" if n_others == 1 else f"{n_others:,} subjects are"
        notes.append(f"{what} held by a reviewer.")
    return notes


def _is_held(counts: Counter[tuple[str, str]]) -> bool:
    return any(state == "quarantined" and n for (_, state), n in counts.items())


def _record(
    row: ClaimRow, acting_as: str, counts: Counter[tuple[str, str]], log_indices: list[int], held: list[str]
) -> Claim:
    kinds: Counter[str] = Counter()
    states: Counter[str] = Counter()
    for (kind, state), n in counts.items():
        kinds[kind] += n
        states[state] += n
    is_open = row.state not in CLOSED
    notes = notes_on_places(n_pending=counts["prefix", "pending"] + counts["host", "pending"])
    return Claim.model_validate(
        {
            "id": row.id,
            "state": row.state,
            "preference": row.preference,
            "assurance": row.assurance,
            "acting_as": acting_as,
            "received_at": row.received_at,
            "n_subjects": counts.total(),
            **{f"n_{kind}_subjects": kinds[kind] for kind in ("url", "image", "prefix", "host")},
            "subject_states": {state: states[state] for state in CLAIM_STATES if states[state]},
            "log_indices": log_indices,
            "notes": [*notes, *held] if is_open else [],
        }
    )
