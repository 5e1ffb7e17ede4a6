"""Receipts: every log entry about a claim, with inclusion proofs under the newest checkpoint. Reads only."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from heldout.checkpoint import Verifier, open_checkpoint
from heldout.errors import NotFoundError
from heldout.receipts import Receipt, ReceiptEntry
from heldout.tiles import TileReader
from registry.storage import CheckpointStore, ObjectStore
from registry.tables import EventRow


def make_receipt(
    session: Session, store: ObjectStore, checkpoints: CheckpointStore, verifier: Verifier, claim_id: str
) -> Receipt:
    """Receipt of a claim.

    Raises:
        NotFoundError: no such claim, or its entries are not in the published log yet.
    """
    rows = session.execute(
        select(EventRow.log_index, EventRow.payload).where(EventRow.claim_id == claim_id).order_by(EventRow.id)
    ).all()
    if not rows:
        raise NotFoundError(f"there is no claim {claim_id!r:.80}: check the id on your receipt")
    note = checkpoints.load()
    size = 0 if note is None else open_checkpoint(note, verifier).size
    if note is None or any(row.log_index is None or row.log_index >= size for row in rows):
        raise NotFoundError(f"claim {claim_id} is not in the published log yet: ask again in a moment")
    reader = TileReader(store.read, size)
    entries = tuple(
        ReceiptEntry(row.log_index, row.payload, tuple(reader.inclusion_proof(row.log_index))) for row in rows
    )
    return Receipt(claim_id, note.decode(), entries)
