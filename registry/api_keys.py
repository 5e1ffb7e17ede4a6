"""Keys for scripts: `heldout_<prefix>_<secret>`. Found by the prefix, compared by the secret's digest, in equal time.

Takes a Session whose transaction the caller opened. A key has scopes, an end, and an account.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, cast, get_args

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from heldout.errors import ConflictError, InputError, NotFoundError
from registry.tables import ApiKeyRow

Scope = Literal["claims:read", "claims:write", "list:check"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
MAX_DAYS: Final = 366
MAX_KEYS: Final = 20
"""Of one account."""
ROTATION_GRACE: Final = timedelta(days=1)
"""How long a key goes on beside the one that replaces it."""

_KEY = re.compile(r"heldout_([a-z2-7]{8})_([a-z2-7]{32})", re.ASCII)
_NO_DIGEST: Final = bytes(32)


@dataclass(frozen=True)
class ApiKey:
    """What can be shown of a key."""

    prefix: str
    account_id: str
    name: str
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None
    """By the day."""


@dataclass(frozen=True)
class NewApiKey:
    """A key just made; the only time its text is known here."""

    text: str
    key: ApiKey


def make_key(
    session: Session, account_id: str, *, name: str, scopes: Collection[str], days: int, now: datetime
) -> NewApiKey:
    """A new key.

    Raises:
        InputError: no name, no scope or an unknown one, no or too long a life.
        ConflictError: the account has as many keys as it can.
    """
    name = name.strip()
    if not (0 < len(name) <= 80 and name.isprintable()):
        raise InputError("give the key a name of 1 to 80 characters: what it is for")
    if not scopes or not set(scopes) <= set(SCOPES):
        raise InputError(f"give the key one or more of the scopes {', '.join(SCOPES)}")
    if not 1 <= days <= MAX_DAYS:
        raise InputError(f"give the key a life of 1 to {MAX_DAYS} days")
    n_keys = select(func.count()).select_from(ApiKeyRow).where(ApiKeyRow.account_id == account_id)
    if session.scalars(n_keys).one() >= MAX_KEYS:
        raise ConflictError(f"this account has {MAX_KEYS} keys: remove one that is not needed")
    prefix, secret = _random(5), _random(20)
    row = ApiKeyRow(
        prefix=prefix,
        account_id=account_id,
        name=name,
        secret_sha256=_digest(secret),
        scopes=" ".join(sorted(set(scopes))),
        created_at=now,
        expires_at=now + timedelta(days=days),
    )
    session.add(row)
    session.flush()
    return NewApiKey(f"heldout_{prefix}_{secret}", _shown(row))


def check_key(session: Session, text: str, *, now: datetime) -> ApiKey | None:
    """The key this is the text of; None if there is none, or it has ended. Reads only."""
    match = _KEY.fullmatch(text)
    row = session.get(ApiKeyRow, match[1]) if match else None
    held = _NO_DIGEST if row is None else row.secret_sha256
    is_right = hmac.compare_digest(held, _digest(match[2] if match else ""))
    return None if row is None or not is_right or row.expires_at <= now else _shown(row)


def day_of(now: datetime) -> datetime:
    """What is noted of a key's use."""
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def note_use(session: Session, prefix: str, *, now: datetime) -> None:
    """Note the day on which a key was used."""
    session.execute(update(ApiKeyRow).where(ApiKeyRow.prefix == prefix).values(used_at=day_of(now)))


def list_keys(session: Session, account_id: str) -> list[ApiKey]:
    """An account's keys, newest first; those that have ended too."""
    query = select(ApiKeyRow).where(ApiKeyRow.account_id == account_id)
    return [_shown(row) for row in session.scalars(query.order_by(ApiKeyRow.created_at.desc(), ApiKeyRow.prefix))]


def rotate_key(session: Session, account_id: str, prefix: str, *, now: datetime) -> NewApiKey:
    """A key like this one, which itself ends after `ROTATION_GRACE`: there is time to replace it everywhere.

    Raises:
        NotFoundError: the account has no such key.
        ConflictError: it has ended or was replaced before, or there are too many.
    """
    row = _own(session, account_id, prefix)
    if row.expires_at <= now:
        raise ConflictError(f"key {prefix} has ended: make a new one")
    life = row.expires_at - row.created_at
    if life % timedelta(days=1):  # lives are whole days, but of a key that was cut short: a button pressed twice
        raise ConflictError(f"key {prefix} was replaced already: use the key that replaced it, or make a new one")
    days = life.days
    made = make_key(session, account_id, name=row.name, scopes=row.scopes.split(), days=days, now=now)
    row.expires_at = min(row.expires_at, now + ROTATION_GRACE)
    session.flush()
    return made


def revoke_key(session: Session, account_id: str, prefix: str) -> None:
    """End a key at once. Raises NotFoundError: the account has no such key."""
    session.delete(_own(session, account_id, prefix))
    session.flush()


def _own(session: Session, account_id: str, prefix: str) -> ApiKeyRow:
    row = session.get(ApiKeyRow, prefix) if prefix.isalnum() and prefix.isascii() else None
    if row is None or row.account_id != account_id:
        raise NotFoundError(f"there is no key {prefix!r:.40} in this account")
    return row


def _shown(row: ApiKeyRow) -> ApiKey:
    scopes = cast("frozenset[Scope]", frozenset(row.scopes.split()))
    return ApiKey(row.prefix, row.account_id, row.name, scopes, row.created_at, row.expires_at, row.used_at)


def _random(n_bytes: int) -> str:
    return base64.b32encode(secrets.token_bytes(n_bytes)).decode("ascii").lower()


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
