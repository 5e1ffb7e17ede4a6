"""From rows of disputes to what the API and the pages say of them. Reads only."""

import json
from collections.abc import Sequence
from typing import cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from heldout.records import Dispute
from registry.tables import DisputeRow, ReviewRow


def positions_of(row: DisputeRow | ReviewRow) -> list[int]:
    """The subjects it is about."""
    return cast("list[int]", json.loads(row.positions))


def dispute_record(row: DisputeRow, *, is_party: bool, decision: str | None = None) -> Dispute:
    """A dispute, with what was said if the reader may see it."""
    positions = positions_of(row)
    return Dispute.model_validate(
        {
            "id": row.id,
            "claim": row.claim_id,
            "state": row.state,
            "basis": row.basis,
            "subjects": positions,
            "n_subjects": len(positions),
            "filed_at": row.filed_at,
            "answer_due_at": row.answer_due_at,
            "answered_at": row.answered_at,
            "decide_due_at": row.decide_due_at,
            "decided_at": row.decided_at,
            "statement": row.statement if is_party else None,
            "answer": row.answer if is_party else None,
            "decision": decision if is_party else None,
        }
    )


def decisions_on(session: Session, dispute_ids: Sequence[str]) -> dict[str, str | None]:
    """The newest reviewer's reason on each of these disputes."""
    rows = session.execute(
        select(ReviewRow.dispute_id, ReviewRow.reason)
        .where(ReviewRow.dispute_id.in_(dispute_ids))
        .order_by(ReviewRow.id)
    )
    return {dispute_id: reason for dispute_id, reason in rows if dispute_id is not None}
