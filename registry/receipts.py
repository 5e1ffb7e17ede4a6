"""Receipts: every log entry about a claim, with inclusion proofs under a witnessed checkpoint or the newest."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from heldout.errors import NotFoundError
from heldout.receipts import Receipt, ReceiptEntry
from registry.claims import check_claim_id
from registry.log import Sequencer
from registry.tables import EventRow


def make_receipt(session: Session, sequencer: Sequencer, claim_id: str) -> Receipt:
    """Receipt of a claim.

    Raises:
        NotFoundError: no such claim, or its entries are not in the published log yet.
    """
    check_claim_id(claim_id)
    rows = session.execute(
        select(EventRow.log_index, EventRow.payload).where(EventRow.claim_id == claim_id).order_by(EventRow.id)
    ).all()
    if not rows:
        raise NotFoundError(f"there is no claim {claim_id!r:.80}: check the id on your receipt")
    if any(row.log_index is None for row in rows):
        raise NotFoundError(f"claim {claim_id} is not in the published log yet: ask again in a moment")
    note, reader = sequencer.witnessed_reader(max(row.log_index for row in rows) + 1)
    if any(row.log_index >= reader.size for row in rows):
        raise NotFoundError(f"claim {claim_id} is not in the published log yet: ask again in a moment")
    entries = tuple(
        ReceiptEntry(row.log_index, row.payload, tuple(reader.inclusion_proof(row.log_index))) for row in rows
    )
    return Receipt(claim_id, note, entries)
