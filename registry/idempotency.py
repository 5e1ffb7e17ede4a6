"""Requests that were carried out, by the key a client gave them: sent again, they give the first answer.

A key is kept as a digest, since it may hold anything, and so is the request, without personal data.
"""

import hashlib

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from heldout.errors import ConflictError, InputError
from heldout.leaves import canonical_json
from heldout.records import ClaimRequest
from registry.tables import ClaimantRow, IdempotencyRow

MAX_KEY_CHARS = 255


def earlier_claim(session: Session, request: ClaimRequest, key: str, account_id: str | None) -> str | None:
    """Id of the claim that this request made under this key; None if the key is new.

    Raises:
        InputError: not a key.
        ConflictError: the key was used for another request, or by another person.
    """
    row = session.get(IdempotencyRow, _key_sha256(key))
    if row is None:
        return None
    claimant = session.get_one(ClaimantRow, row.claim_id)
    theirs = (claimant.name, claimant.contact, claimant.account_id)
    is_same_person = theirs == (request.name, request.contact, account_id)
    if not is_same_person or row.request_sha256 != _request_sha256(request):
        raise ConflictError("this idempotency key was used for another request: make a new key for a new request")
    return row.claim_id


def remember(session: Session, request: ClaimRequest, key: str, claim_id: str) -> bool:
    """False if another transaction was faster with this key; it has committed by then."""
    row = IdempotencyRow(key_sha256=_key_sha256(key), request_sha256=_request_sha256(request), claim_id=claim_id)
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:
        return False
    return True


def _key_sha256(key: str) -> bytes:
    if not 0 < len(key) <= MAX_KEY_CHARS:
        raise InputError(f"an idempotency key has 1 to {MAX_KEY_CHARS} characters, this one {len(key)}")
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _request_sha256(request: ClaimRequest) -> bytes:
    """Digest of what is asked, without personal data: its digest would be guessable, and could not be erased."""
    return hashlib.sha256(canonical_json(request.model_dump(mode="json", exclude={"name", "contact"}))).digest()
