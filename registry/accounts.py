"""Accounts as one object: signing in, sessions, keys, what is held about a person, and forgetting it.

An account is an e-mail address and what belongs to it. The log knows of none: deleting an account leaves it as it is.
Each method is one transaction. Mail is the caller's business.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from heldout.errors import NotFoundError
from heldout.leaves import format_at
from heldout.records import Dispute
from registry import api_keys, limits, sessions, sign_in
from registry.api_keys import ApiKey, NewApiKey
from registry.claim_records import claim_records
from registry.claims import erase_of, locked_claim, new_claim_id, withdraw
from registry.db import Sessions, transaction
from registry.disputes import disputes_of, forget_disputer, records
from registry.evidence import list_of
from registry.sign_in import SignedIn
from registry.tables import (
    AccountRow,
    ApiKeyRow,
    ClaimantRow,
    ClaimRow,
    DisputeRow,
    EvidenceRow,
    ReviewRow,
    SessionRow,
    SignInRow,
    SubjectRow,
)

EXPORT_FORMAT = "heldout-export/1"


@dataclass(frozen=True)
class Account:
    """Who somebody is here."""

    id: str
    email: str
    created_at: datetime


class Accounts:
    """The accounts of one registry. Thread-safe."""

    def __init__(self, sessions: Sessions, reading: Sessions, clock: Callable[[], datetime]) -> None:
        self._sessions = sessions
        self._reading = reading
        self._clock = clock

    def link_token(self, email: str, *, client: bytes, next_path: str) -> str | None:
        """As `registry.sign_in.make_link_token`."""
        with transaction(self._sessions) as session:
            return sign_in.make_link_token(session, email, client=client, next_path=next_path, now=self._clock())

    def email_of_link(self, token: str) -> str | None:
        """As `registry.sign_in.email_of_link`."""
        with transaction(self._reading) as session:
            return sign_in.email_of_link(session, token, now=self._clock())

    def use_link(self, token: str) -> SignedIn:
        """As `registry.sign_in.use_link`. Raises AccessError."""
        with transaction(self._sessions) as session:
            return sign_in.use_link(session, token, now=self._clock(), new_account_id=new_claim_id())

    def of_session(self, session_id: str) -> Account | None:
        """Who is signed in by this session; None if it has ended."""
        with transaction(self._reading) as session:
            account_id = sessions.account_of_session(session, session_id, now=self._clock())
            return None if account_id is None else _account(session, account_id)

    def end_session(self, session_id: str) -> None:
        """Sign one browser out."""
        with transaction(self._sessions) as session:
            sessions.end_session(session, session_id)

    def end_sessions(self, account_id: str) -> None:
        """Sign all of an account's browsers out."""
        with transaction(self._sessions) as session:
            sessions.end_sessions(session, account_id)

    def make_key(self, account_id: str, *, name: str, scopes: Collection[str], days: int) -> NewApiKey:
        """As `registry.api_keys.make_key`."""
        with transaction(self._sessions) as session:
            return api_keys.make_key(session, account_id, name=name, scopes=scopes, days=days, now=self._clock())

    def check_key(self, text: str) -> ApiKey | None:
        """As `registry.api_keys.check_key`; notes the day of its use."""
        now = self._clock()
        with transaction(self._reading) as session:
            key = api_keys.check_key(session, text, now=now)
        if key is not None and key.used_at != api_keys.day_of(now):
            with transaction(self._sessions) as session:
                api_keys.note_use(session, key.prefix, now=now)
        return key

    def keys(self, account_id: str) -> list[ApiKey]:
        """As `registry.api_keys.list_keys`."""
        with transaction(self._reading) as session:
            return api_keys.list_keys(session, account_id)

    def rotate_key(self, account_id: str, prefix: str) -> NewApiKey:
        """As `registry.api_keys.rotate_key`."""
        with transaction(self._sessions) as session:
            return api_keys.rotate_key(session, account_id, prefix, now=self._clock())

    def revoke_key(self, account_id: str, prefix: str) -> None:
        """As `registry.api_keys.revoke_key`."""
        with transaction(self._sessions) as session:
            api_keys.revoke_key(session, account_id, prefix)

    def export(self, account_id: str) -> dict[str, Any]:
        """Everything that is held about an account, as JSON. Raises NotFoundError: no such account."""
        with transaction(self._reading) as session:
            return _export(session, account_id, self._clock())

    def delete(self, account_id: str, *, withdraw_claims: bool) -> None:
        """Forget a person: the account, its sessions and keys, what it said, and the personal data of its claims.

        The claims stay in force unless they are withdrawn first; nobody can change them afterwards but the operator,
        or whoever has the secret of one that was made without an account. Its open disputes are taken back: there is
        nobody left to ask. The log stays as it is.

        Raises:
            NotFoundError: no such account.
        """
        with transaction(self._sessions) as session:
            # Locked: no claim comes into an account that is being forgotten.
            session.get(AccountRow, account_id, with_for_update=True)
            account = _account(session, account_id)
            claims = sorted(session.scalars(select(ClaimantRow.claim_id).where(ClaimantRow.account_id == account_id)))
            disputed = select(DisputeRow.claim_id).where(DisputeRow.account_id == account_id)
            for claim_id in sorted({*claims, *session.scalars(disputed)}):  # in one order: nobody waits in a circle
                locked_claim(session, claim_id)
            forget_disputer(session, account_id, now=self._clock())
            limits.forget(session, account_id)
            if withdraw_claims:
                for claim_id in claims:
                    withdraw(session, claim_id, reason="by-claimant", now=self._clock())
            for start in range(0, len(claims), 500):
                erase_of(session, claims[start : start + 500])
            session.execute(delete(SignInRow).where(SignInRow.email == account.email))
            for table in (SessionRow, ApiKeyRow):
                session.execute(delete(table).where(table.account_id == account_id))
            session.execute(delete(AccountRow).where(AccountRow.id == account_id))


def _account(session: Session, account_id: str) -> Account:
    row = session.get(AccountRow, account_id)
    if row is None:
        raise NotFoundError("there is no such account: it was deleted")
    return Account(row.id, row.email, row.created_at)


def _export(session: Session, account_id: str, now: datetime) -> dict[str, Any]:
    account = _account(session, account_id)
    rows = session.scalars(
        select(ClaimRow).join(ClaimantRow).where(ClaimantRow.account_id == account_id).order_by(ClaimRow.received_at)
    ).all()
    claims = []
    for row, record in zip(rows, claim_records(session, rows), strict=True):
        claimant = session.get_one(ClaimantRow, row.id)
        subjects = session.scalars(
            select(SubjectRow).where(SubjectRow.claim_id == row.id).order_by(SubjectRow.position)
        )
        claims.append(
            record.model_dump(mode="json", exclude={"secret", "notes"})
            | {
                "name": claimant.name,
                "contact": claimant.contact,
                "subjects": [_subject(each) for each in subjects],
                "evidence": [_evidence(each) for each in list_of(session, row.id)],
                "disputes": [each.model_dump(mode="json") for each in disputes_of(session, row.id, is_party=True)],
            }
        )
    browsers = session.scalars(select(SessionRow).where(SessionRow.account_id == account_id)).all()
    return {
        "format": EXPORT_FORMAT,
        "at": format_at(now),
        "account": {"id": account.id, "email": account.email, "created_at": format_at(account.created_at)},
        "sessions": [
            {"created_at": format_at(each.created_at), "expires_at": format_at(each.expires_at)} for each in browsers
        ],
        "api_keys": [
            {
                "prefix": key.prefix,
                "name": key.name,
                "scopes": sorted(key.scopes),
                "created_at": format_at(key.created_at),
                "expires_at": format_at(key.expires_at),
                "used_at": None if key.used_at is None else format_at(key.used_at),
            }
            for key in api_keys.list_keys(session, account_id)
        ],
        "claims": claims,
        "disputes_filed": [each.model_dump(mode="json") for each in _filed(session, account_id)],
        "reviews_made": [
            _review(each)
            for each in session.scalars(
                select(ReviewRow).where(ReviewRow.account_id == account_id).order_by(ReviewRow.id)
            )
        ],
    }


def _filed(session: Session, account_id: str) -> list[Dispute]:
    rows = session.scalars(
        select(DisputeRow).where(DisputeRow.account_id == account_id).order_by(DisputeRow.filed_at, DisputeRow.id)
    ).all()
    return records(session, rows, is_party=True)


def _review(row: ReviewRow) -> dict[str, Any]:
    return {"claim": row.claim_id, "outcome": row.outcome, "reason": row.reason, "at": format_at(row.at)}


def _subject(row: SubjectRow) -> dict[str, Any]:
    known = {
        "url": row.url,
        "rule": row.rule,
        "digest": None if row.digest is None else row.digest.hex(),
        "pdq": None if row.pdq is None else row.pdq.hex(),
        "quality": row.quality,
        "sha256": None if row.sha256 is None else row.sha256.hex(),
    }
    held = {name: value for name, value in known.items() if value is not None}
    return {"kind": row.kind, "state": row.state, "assurance": row.assurance, **held}


def _evidence(row: EvidenceRow) -> dict[str, Any]:
    return {
        "method": row.method,
        "target": row.target,
        "token": row.token,
        "state": row.state,
        "created_at": format_at(row.created_at),
        "code": row.code,
        "result": row.result,
    }
