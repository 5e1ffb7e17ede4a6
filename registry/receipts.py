"""Receipts: every log entry about a claim, with inclusion proofs under a witnessed checkpoint or the newest."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from heldout.errors import NotFoundError, UnavailableError
from heldout.receipts import Receipt, ReceiptEntry
from registry.claims import check_claim_id
from registry.log import Sequencer
from registry.tables import EventRow


def make_receipt(session: Session, sequencer: Sequencer, claim_id: str) -> Receipt:
    """Receipt of a claim.

    Raises:
        NotFoundError: no such claim, or its entries are not in the published log yet.
        UnavailableError: the log's folder is damaged.
    """
    check_claim_id(claim_id)
    rows = session.execute(
        select(EventRow.log_index, EventRow.payload).where(EventRow.claim_id == claim_id).order_by(EventRow.id)
    ).all()
    if not rows:
        raise NotFoundError(f"there is no claim {claim_id!r:.80}: check the id on your receipt")
    not_yet = NotFoundError(f"claim {claim_id} is not in the published log yet: ask again in a moment")
    if any(row.log_index is None for row in rows):
        raise not_yet
    try:
        note, reader = sequencer.witnessed_reader(max(row.log_index for row in rows) + 1)
    except NotFoundError as error:  # there is no checkpoint yet
        raise not_yet from error
    if any(row.log_index >= reader.size for row in rows):
        raise not_yet
    try:
        entries = tuple(
            ReceiptEntry(row.log_index, row.payload, tuple(reader.inclusion_proof(row.log_index))) for row in rows
        )
    except NotFoundError as error:  # the caller named a claim that exists: it is the log that lacks something
        raise UnavailableError(f"the log's folder lacks a tile of its checkpoint ({error}): restore it") from error
    return Receipt(claim_id, note, entries)
