"""Claims: submit, get, withdraw. Takes a Session whose transaction the caller opened; returns wire records.

Every change writes its event and its tables in one transaction. Policy: a claim comes into force at once, at the
assurance it has shown (today always `declared`); labs choose what they accept.
"""

import base64
import hashlib
import secrets
from collections.abc import Callable
from datetime import datetime
from typing import cast

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from heldout.errors import ConflictError, InputError, NotFoundError
from heldout.fingerprints import MIN_QUALITY
from heldout.leaves import (
    MAX_SUBJECTS_PER_LEAF,
    ImageDigest,
    OptOutLeaf,
    SubjectDigest,
    UrlDigest,
    WithdrawLeaf,
    canonical_json,
    format_leaf,
)
from heldout.records import Assurance, Claim, ClaimRequest, ImageSubject, UrlSubject
from heldout.urls import canonical_key, key_digest
from registry.tables import ClaimantRow, ClaimRow, EventRow, IdempotencyRow, SubjectRow

WITHDRAW_REASONS = ("by-claimant", "by-operator")
MAX_IDEMPOTENCY_KEY_CHARS = 255


def new_claim_id() -> str:
    """128 random bits as 26 lower-case base32 characters: nothing can be read from it, nobody can guess it."""
    return base64.b32encode(secrets.token_bytes(16)).decode("ascii").rstrip("=").lower()


def submit(
    session: Session,
    request: ClaimRequest,
    *,
    now: datetime,
    idempotency_key: str | None = None,
    new_id: Callable[[], str] = new_claim_id,
) -> Claim:
    """Put a claim into force and write its events.

    Idempotent by `idempotency_key`: the same key with the same request gives the claim made the first time.

    Raises:
        InputError: a URL cannot be canonicalised or a picture can match nothing (the message names it), or name,
            contact or key are unusable.
        ConflictError: the idempotency key was used for another request, or by another person.
    """
    if idempotency_key is not None:
        earlier = _earlier_claim(session, request, idempotency_key)
        if earlier is not None:
            return earlier
    _check_personal_data(request)
    subjects = _distinct_subjects(request)
    claim = ClaimRow(
        id=new_id(),
        state="in_force",
        preference=request.preference,
        assurance="declared",
        received_at=now.replace(microsecond=0),
    )
    session.add(claim)
    session.flush()
    if idempotency_key is not None and not _remember(session, request, idempotency_key, claim.id):
        session.delete(claim)
        session.flush()
        return cast("Claim", _earlier_claim(session, request, idempotency_key))
    session.add(ClaimantRow(claim_id=claim.id, acting_as=request.acting_as, name=request.name, contact=request.contact))
    session.add_all(
        _subject_row(claim.id, position, digest, url) for position, (digest, url) in enumerate(subjects.items())
    )
    session.add_all(_opt_out_events(claim, list(subjects)))
    session.flush()
    return get_claim(session, claim.id)


def get_claim(session: Session, claim_id: str) -> Claim:
    """A claim as it stands.

    Raises:
        NotFoundError: no such claim.
    """
    check_claim_id(claim_id)
    claim = session.get(ClaimRow, claim_id)
    claimant = session.get(ClaimantRow, claim_id)
    if claim is None or claimant is None:
        raise _no_such_claim(claim_id)
    rows = session.execute(
        select(SubjectRow.kind, func.count()).where(SubjectRow.claim_id == claim_id).group_by(SubjectRow.kind)
    )
    kinds = {kind: n for kind, n in rows}  # noqa: C416 - rows are not pairs to the type checker
    indices = session.scalars(
        select(EventRow.log_index)
        .where(EventRow.claim_id == claim_id, EventRow.log_index.is_not(None))
        .order_by(EventRow.log_index)
    )
    return Claim.model_validate(
        {
            "id": claim.id,
            "state": claim.state,
            "preference": claim.preference,
            "assurance": claim.assurance,
            "acting_as": claimant.acting_as,
            "received_at": claim.received_at,
            "n_subjects": sum(kinds.values()),
            "n_url_subjects": kinds.get("url", 0),
            "n_image_subjects": kinds.get("image", 0),
            "log_indices": list(indices),
        }
    )


def withdraw(session: Session, claim_id: str, *, reason: str, now: datetime) -> Claim:
    """Take a claim out of force; nothing is deleted. Withdrawing twice changes nothing.

    Raises:
        NotFoundError: no such claim.
        InputError: the reason is none of `WITHDRAW_REASONS`.
        ConflictError: the claim is in a state that cannot be withdrawn from.
    """
    if reason not in WITHDRAW_REASONS:
        raise InputError(f"reason {reason!r:.40} is unknown: give one of {', '.join(WITHDRAW_REASONS)}")
    check_claim_id(claim_id)
    claim = session.get(ClaimRow, claim_id, with_for_update=True)
    if claim is None:
        raise _no_such_claim(claim_id)
    if claim.state == "withdrawn":
        return get_claim(session, claim_id)
    if claim.state != "in_force":
        raise ConflictError(f"claim {claim_id} is {claim.state}, not in force: it cannot be withdrawn")
    claim.state = "withdrawn"
    leaf = WithdrawLeaf(now.replace(microsecond=0), claim_id, reason)
    session.add(EventRow(kind="withdraw", claim_id=claim_id, payload=format_leaf(leaf)))
    session.flush()
    return get_claim(session, claim_id)


def erase_personal_data(session: Session, claim_id: str) -> None:
    """Forget name, contact and the text of the URLs of a claim. The claim stays in force: its log entries hold none.

    Raises:
        NotFoundError: no such claim.
    """
    check_claim_id(claim_id)
    claimant = session.get(ClaimantRow, claim_id)
    if claimant is None:
        raise _no_such_claim(claim_id)
    claimant.name = claimant.contact = None
    for subject in session.scalars(select(SubjectRow).where(SubjectRow.claim_id == claim_id)):
        subject.url = None
    session.flush()


def check_claim_id(claim_id: str) -> None:
    """Refuse what cannot be a claim's id, as NotFoundError; a database may choke on it."""
    if not (claim_id.isascii() and claim_id.isalnum()):
        raise _no_such_claim(claim_id)


def _no_such_claim(claim_id: str) -> NotFoundError:
    return NotFoundError(f"there is no claim {claim_id!r:.80}: check the id on your receipt")


def _check_personal_data(request: ClaimRequest) -> None:
    for field in ("name", "contact"):
        value: str | None = getattr(request, field)
        if value is not None and not value.isprintable():
            raise InputError(f"{field} holds a control character or a line break: remove it")


def _distinct_subjects(request: ClaimRequest) -> dict[SubjectDigest, str | None]:
    """Subjects as the log has them, first mention first, with the canonical key of a URL."""
    subjects: dict[SubjectDigest, str | None] = {}
    for position, subject in enumerate(request.subjects, start=1):
        match subject:
            case UrlSubject():
                key = canonical_key(subject.url)
                subjects.setdefault(UrlDigest(key_digest(key)), key)
            case ImageSubject():
                _check_can_match(position, subject)
                sha256 = None if subject.sha256 is None else bytes.fromhex(subject.sha256)
                subjects.setdefault(ImageDigest(bytes.fromhex(subject.pdq), subject.quality, sha256), None)
    return subjects


def _check_can_match(position: int, subject: ImageSubject) -> None:
    if subject.quality < MIN_QUALITY and subject.sha256 is None:
        raise InputError(
            f"subject {position}, the picture of PDQ {subject.pdq}, can match nothing: its quality {subject.quality} "
            f"is under {MIN_QUALITY}, too plain to tell from others; give the file's SHA-256 too"
        )


def _subject_row(claim_id: str, position: int, digest: SubjectDigest, url: str | None) -> SubjectRow:
    match digest:
        case UrlDigest():
            return SubjectRow(claim_id=claim_id, position=position, kind="url", digest=digest.key, url=url)
        case ImageDigest():
            return SubjectRow(
                claim_id=claim_id,
                position=position,
                kind="image",
                pdq=digest.pdq,
                quality=digest.quality,
                sha256=digest.sha256,
            )


def _opt_out_events(claim: ClaimRow, subjects: list[SubjectDigest]) -> list[EventRow]:
    parts = [
        tuple(subjects[start : start + MAX_SUBJECTS_PER_LEAF])
        for start in range(0, len(subjects), MAX_SUBJECTS_PER_LEAF)
    ]
    return [
        EventRow(
            kind="opt-out",
            claim_id=claim.id,
            payload=format_leaf(
                OptOutLeaf(
                    at=claim.received_at,
                    claim=claim.id,
                    assurance=cast("Assurance", claim.assurance),
                    preference="train-ai=n" if claim.preference == "train-ai=n" else "train-ai=y",
                    subjects=part,
                    part=i,
                    n_parts=len(parts),
                )
            ),
        )
        for i, part in enumerate(parts, start=1)
    ]


def _key_sha256(key: str) -> bytes:
    if not 0 < len(key) <= MAX_IDEMPOTENCY_KEY_CHARS:
        raise InputError(f"an idempotency key has 1 to {MAX_IDEMPOTENCY_KEY_CHARS} characters, this one {len(key)}")
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _request_sha256(request: ClaimRequest) -> bytes:
    """Digest of what is asked, without personal data: its digest would be guessable, and could not be erased."""
    return hashlib.sha256(canonical_json(request.model_dump(mode="json", exclude={"name", "contact"}))).digest()


def _earlier_claim(session: Session, request: ClaimRequest, key: str) -> Claim | None:
    row = session.get(IdempotencyRow, _key_sha256(key))
    if row is None:
        return None
    claimant = session.get_one(ClaimantRow, row.claim_id)
    is_same_person = (claimant.name, claimant.contact) == (request.name, request.contact)
    if not is_same_person or row.request_sha256 != _request_sha256(request):
        raise ConflictError("this idempotency key was used for another request: make a new key for a new request")
    return get_claim(session, row.claim_id)


def _remember(session: Session, request: ClaimRequest, key: str, claim_id: str) -> bool:
    """False if another transaction was faster with this key; it has committed by then."""
    row = IdempotencyRow(key_sha256=_key_sha256(key), request_sha256=_request_sha256(request), claim_id=claim_id)
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:
        return False
    return True
