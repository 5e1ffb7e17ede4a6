"""Claims: submit, preview, get, list, withdraw, adopt, erase. Takes a Session whose transaction the caller opened.

Every change writes its event and its tables in one transaction. Policy: addresses and pictures come into force at once,
at the assurance that is shown (`declared`); a place waits for proof. Labs choose what they accept. Who may change a
claim is decided here too: its account, or, for a claim without one, whoever has its secret (`registry.claim_secrets`).
"""

import base64
import hashlib
import secrets
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from heldout.errors import AccessError, ConflictError, InputError, NotFoundError
from heldout.leaves import (
    HostRule,
    ImageDigest,
    LoggedSubject,
    OptOutLeaf,
    PrefixRule,
    UrlDigest,
    WithdrawLeaf,
    format_leaf,
    kind_of,
    split_subjects,
)
from heldout.records import Assurance, Claim, ClaimPage, ClaimPreview, ClaimRequest
from heldout.states import TRANSITIONS, claim_state, first_state
from registry.claim_records import claim_records
from registry.cursors import cursor_of, is_past
from registry.idempotency import earlier_claim, remember
from registry.notices import owe
from registry.subjects import preview_of, read_subjects, require_usable
from registry.tables import (
    AccountRow,
    ClaimantRow,
    ClaimRow,
    DisputeRow,
    EventRow,
    EvidenceRow,
    ReviewRow,
    SubjectRow,
)

WITHDRAW_REASONS = tuple(sorted(TRANSITIONS["in_force", "withdrawn"]))
FIRST_ASSURANCE: Assurance = "declared"
MAX_PAGE = 100


def new_claim_id() -> str:
    """128 random bits as 26 lower-case base32 characters: nothing can be read from it, nobody can guess it."""
    return base64.b32encode(secrets.token_bytes(16)).decode("ascii").rstrip("=").lower()


def submit(
    session: Session,
    request: ClaimRequest,
    *,
    now: datetime,
    idempotency_key: str | None = None,
    account_id: str | None = None,
    new_id: Callable[[], str] = new_claim_id,
) -> Claim:
    """Store a claim, in force as far as it can be, and write its events.

    Idempotent by `idempotency_key`: the same key with the same request gives the claim made the first time.

    Raises:
        InputError: a URL cannot be canonicalised, a host is everybody's or a picture can match nothing (the message
            names it), or name, contact or key are unusable.
        ConflictError: the idempotency key was used for another request, or by another person.
        AccessError: the account was deleted.
    """
    if idempotency_key is not None:
        earlier = earlier_claim(session, request, idempotency_key, account_id)
        if earlier is not None:
            return get_claim(session, earlier)
    _check_personal_data(request)
    if account_id is not None:
        hold_account(session, account_id)
    reading = read_subjects(request.subjects)
    require_usable(reading)
    states = [first_state(kind_of(subject), FIRST_ASSURANCE) for subject in reading.subjects]
    claim = ClaimRow(
        id=new_id(),
        state=claim_state(states),
        preference=request.preference,
        assurance=FIRST_ASSURANCE,
        received_at=now.replace(microsecond=0),
    )
    session.add(claim)
    session.flush()
    if idempotency_key is not None and not remember(session, request, idempotency_key, claim.id):
        session.delete(claim)
        session.flush()
        return get_claim(session, earlier_claim(session, request, idempotency_key, account_id) or "")
    session.add(
        ClaimantRow(
            claim_id=claim.id,
            acting_as=request.acting_as,
            name=request.name,
            contact=request.contact,
            account_id=account_id,
        )
    )
    session.execute(
        insert(SubjectRow),
        [
            {"claim_id": claim.id, "position": position, "state": state, "assurance": FIRST_ASSURANCE}
            | subject_columns(subject, url)
            for position, ((subject, url), state) in enumerate(zip(reading.subjects.items(), states, strict=True))
        ],
    )
    session.add_all(_opt_out_events(claim, request, list(reading.subjects)))
    session.flush()
    return get_claim(session, claim.id)


def preview(request: ClaimRequest) -> ClaimPreview:
    """What `submit` would make of a request. Stores nothing.

    Raises:
        InputError: name or contact are unusable.
    """
    _check_personal_data(request)
    return preview_of(read_subjects(request.subjects))


def get_claim(session: Session, claim_id: str) -> Claim:
    """A claim as it stands.

    Raises:
        NotFoundError: no such claim.
    """
    (record,) = claim_records(session, [_row(session, claim_id)])
    return record


def pictures_of(session: Session, claim_id: str, *, limit: int) -> list[ImageDigest]:
    """The first pictures of a claim, in its order; they are public in the log.

    Raises:
        NotFoundError: no such claim.
    """
    _row(session, claim_id)
    rows = session.scalars(
        select(SubjectRow)
        .where(SubjectRow.claim_id == claim_id, SubjectRow.kind == "image")
        .order_by(SubjectRow.position)
        .limit(limit)
    )
    return [ImageDigest(row.pdq, row.quality, row.sha256) for row in rows if row.pdq and row.quality is not None]


def list_claims(session: Session, account_id: str, *, cursor: str | None = None, limit: int = MAX_PAGE) -> ClaimPage:
    """An account's claims, newest first, a page at a time.

    Raises:
        InputError: not a cursor of ours.
    """
    query = select(ClaimRow).join(ClaimantRow).where(ClaimantRow.account_id == account_id)
    if cursor is not None:
        query = query.where(is_past(cursor, ClaimRow.received_at, ClaimRow.id))
    rows = session.scalars(
        query.order_by(ClaimRow.received_at.desc(), ClaimRow.id.desc()).limit(min(limit, MAX_PAGE) + 1)
    ).all()
    shown = rows[: min(limit, MAX_PAGE)]
    last = shown[-1] if len(rows) > len(shown) else None
    return ClaimPage(
        claims=claim_records(session, shown),
        next_cursor=None if last is None else cursor_of(last.received_at, last.id),
    )


def withdraw(session: Session, claim_id: str, *, reason: str, now: datetime) -> Claim:
    """Take a claim out of force, whatever states its subjects are in; nothing is deleted. Twice changes nothing.

    Disputes about it are moot, and whoever filed them is told.

    Raises:
        NotFoundError: no such claim.
        InputError: the reason is none of `WITHDRAW_REASONS`.
    """
    if reason not in WITHDRAW_REASONS:
        raise InputError(f"reason {reason!r:.40} is unknown: give one of {', '.join(WITHDRAW_REASONS)}")
    claim = _row(session, claim_id, for_update=True)
    if claim.state == "withdrawn":
        return get_claim(session, claim_id)
    claim.state = "withdrawn"
    session.execute(update(SubjectRow).where(SubjectRow.claim_id == claim_id).values(state="withdrawn"))
    leaf = WithdrawLeaf(now.replace(microsecond=0), claim_id, reason)
    session.add(EventRow(kind="withdraw", claim_id=claim_id, payload=format_leaf(leaf)))
    is_open = (DisputeRow.claim_id == claim_id) & (DisputeRow.state == "open")
    for dispute in session.scalars(select(DisputeRow).where(is_open)).all():
        dispute.state, dispute.decided_at = "moot", now
        owe(session, dispute.id, "disputer", "decided", now=now)
    session.flush()
    return get_claim(session, claim_id)


def may_change(session: Session, claim_id: str, *, account_id: str | None, has_secret: bool) -> bool:
    """Whether this is the account a claim belongs to or, while it belongs to none, somebody who has its secret.

    Raises:
        NotFoundError: no such claim.
    """
    owner = _claimant(session, claim_id).account_id
    return has_secret if owner is None else owner == account_id


def check_may_change(session: Session, claim_id: str, *, account_id: str | None, has_secret: bool) -> None:
    """Accept whoever `may_change` a claim.

    Raises:
        NotFoundError: no such claim.
        AccessError: it is not the caller's.
    """
    if not may_change(session, claim_id, account_id=account_id, has_secret=has_secret):
        raise AccessError(
            f"claim {claim_id} is not yours to change: sign in to the account it belongs to or, if it belongs to none, "
            "give the secret you were given with it"
        )


def adopt(session: Session, claim_id: str, account_id: str, *, has_secret: bool) -> Claim:
    """Move a claim without an account into one. Doing it again changes nothing.

    Raises:
        NotFoundError: no such claim.
        AccessError: the secret is wrong, or the account was deleted.
        ConflictError: it belongs to another account.
    """
    locked_claim(session, claim_id)
    claimant = _claimant(session, claim_id)
    if claimant.account_id != account_id:
        if claimant.account_id is not None:
            raise ConflictError(f"claim {claim_id} belongs to an account already")
        check_may_change(session, claim_id, account_id=account_id, has_secret=has_secret)
        hold_account(session, account_id)
        claimant.account_id = account_id
        session.flush()
    return get_claim(session, claim_id)


def erase_personal_data(session: Session, claim_id: str) -> None:
    """Forget name, contact and the text of the URLs of a claim. The claim stays in force: its log entries hold none.

    What was said in answer to disputes, and by reviewers, goes too. Its proofs stay, without what looks said: they hold
    the claim up. Those of a withdrawn claim go, for what they are about (a profile, the site of an address) may name a
    person, and nobody looks there any more.

    Raises:
        NotFoundError: no such claim.
    """
    _row(session, claim_id)
    erase_of(session, [claim_id])


def erase_of(session: Session, claim_ids: list[str]) -> None:
    """`erase_personal_data` of many claims."""
    # Locked first, as where a look is recorded, so that neither waits for what the other holds.
    query = select(ClaimRow.id, ClaimRow.state).where(ClaimRow.id.in_(claim_ids)).order_by(ClaimRow.id)
    rows = session.execute(query.with_for_update()).all()
    withdrawn = [claim_id for claim_id, state in rows if state == "withdrawn"]
    session.execute(update(ClaimantRow).where(ClaimantRow.claim_id.in_(claim_ids)).values(name=None, contact=None))
    session.execute(update(SubjectRow).where(SubjectRow.claim_id.in_(claim_ids)).values(url=None))
    session.execute(update(EvidenceRow).where(EvidenceRow.claim_id.in_(claim_ids)).values(result=None))  # may name one
    session.execute(update(DisputeRow).where(DisputeRow.claim_id.in_(claim_ids)).values(answer=None))
    session.execute(update(ReviewRow).where(ReviewRow.claim_id.in_(claim_ids)).values(reason=None))
    session.execute(delete(EvidenceRow).where(EvidenceRow.claim_id.in_(withdrawn)))


def check_claim_id(claim_id: str) -> None:
    """Refuse what cannot be a claim's id, as NotFoundError; a database may choke on it."""
    if not (claim_id.isascii() and claim_id.isalnum()):
        raise _no_such_claim(claim_id)


def locked_claim(session: Session, claim_id: str) -> ClaimRow:
    """A claim's row, locked until the transaction ends: whatever changes a claim begins here.

    Raises:
        NotFoundError: no such claim.
    """
    return _row(session, claim_id, for_update=True)


def _row(session: Session, claim_id: str, *, for_update: bool = False) -> ClaimRow:
    check_claim_id(claim_id)
    claim = session.get(ClaimRow, claim_id, with_for_update=for_update, populate_existing=for_update)
    if claim is None:
        raise _no_such_claim(claim_id)
    return claim


def _claimant(session: Session, claim_id: str) -> ClaimantRow:
    check_claim_id(claim_id)
    claimant = session.get(ClaimantRow, claim_id, populate_existing=True)
    if claimant is None:
        raise _no_such_claim(claim_id)
    return claimant


def hold_account(session: Session, account_id: str) -> None:
    """Keep an account from being deleted until the transaction ends; others may do the same.

    Raises:
        AccessError: it was deleted already.
    """
    if session.get(AccountRow, account_id, with_for_update={"read": True, "key_share": True}) is None:
        raise AccessError("this account was deleted: sign in again")


def _no_such_claim(claim_id: str) -> NotFoundError:
    return NotFoundError(f"there is no claim {claim_id!r:.80}: check the id on your receipt")


def _check_personal_data(request: ClaimRequest) -> None:
    for field in ("name", "contact"):
        value: str | None = getattr(request, field)
        if value is not None and not value.isprintable():
            raise InputError(f"{field} holds a control character or a line break: remove it")


def subject_columns(subject: LoggedSubject, url: str | None) -> dict[str, object]:
    """Of `SubjectRow`, those that say what it is; every kind with the same names, so that one statement inserts all."""
    blank: dict[str, object] = dict.fromkeys(("digest", "url", "rule", "pdq", "quality", "sha256"))
    blank["kind"] = kind_of(subject)
    match subject:
        case UrlDigest(key):
            return blank | {"digest": key, "url": url}
        case ImageDigest(pdq, quality, sha256):
            return blank | {"pdq": pdq, "quality": quality, "sha256": sha256}
        case PrefixRule(rule) | HostRule(rule):
            return blank | {"digest": rule_digest(rule), "rule": rule}


def rule_digest(rule: str) -> bytes:
    """What a place is looked up by."""
    return hashlib.sha256(rule.encode()).digest()


def _opt_out_events(claim: ClaimRow, request: ClaimRequest, subjects: list[LoggedSubject]) -> list[EventRow]:
    parts = split_subjects(subjects)
    return [
        EventRow(
            kind="opt-out",
            claim_id=claim.id,
            payload=format_leaf(
                OptOutLeaf(
                    at=claim.received_at,
                    claim=claim.id,
                    assurance=FIRST_ASSURANCE,
                    preference=request.preference,
                    subjects=part,
                    part=i,
                    n_parts=len(parts),
                )
            ),
        )
        for i, part in enumerate(parts, start=1)
    ]
