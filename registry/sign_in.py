"""Signing in by a link in a mail: who has the mail has the account. No passwords.

A link works once, for a quarter of an hour, and only by a button: programs that look at mail open links, and would use
it up. What the person who asks is told never depends on whether there is such an account: the first link makes one.
Takes a Session whose transaction the caller opened.
"""

import base64
import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.fernet import Fernet
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from heldout.errors import AccessError, InputError
from heldout.places import host_rule
from registry.sessions import begin_session
from registry.tables import AccountRow, SignInRow

LINK_LIFE = timedelta(minutes=15)
MAX_LINKS_PER_EMAIL = 5
"""In `LIMIT_SPAN`, and then one whenever none is good any more: nobody's mailbox is flooded, and nobody who asks for
links in another's name keeps them from signing in."""
MAX_LINKS_PER_CLIENT = 20
"""In `LIMIT_SPAN`, per network address: nobody mails the whole town."""
LIMIT_SPAN = timedelta(hours=1)
MAX_NEXT_CHARS = 1_400
"""Of where to go afterwards: sealed it fits its column."""

_LOCAL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


@dataclass(frozen=True)
class SignedIn:
    """A sign-in that worked."""

    account_id: str
    session_id: str
    """For the browser's cookie; kept here as a digest only."""
    next_path: str


def parse_email(text: str) -> str:
    """An e-mail address in the one form an account is known by: all lower case.

    ASCII before the @ alone: letters of other scripts that fold to the same lower case would be another's account. No
    `=?` there: it begins an encoded word (RFC 2047), which headers of mail would show as something else.

    Raises:
        InputError: not an address.
    """
    name, at, host = text.strip().rpartition("@")
    shown = ascii(text[:80])
    is_plain = not (name.startswith(".") or name.endswith(".") or ".." in name or "=?" in name)
    if not at or not _LOCAL.fullmatch(name) or not is_plain:
        raise InputError(f"{shown} is not an e-mail address: correct it")
    try:
        domain = host_rule(host).host
    except InputError as error:
        raise InputError(f"{shown} is not an e-mail address: correct what follows the @") from error
    if "/" in host or "*" in host or ":" in host:
        raise InputError(f"{shown} is not an e-mail address: correct what follows the @")
    return f"{name.lower()}@{domain}"


def make_link_token(session: Session, email: str, *, client: bytes, next_path: str, now: datetime) -> str | None:
    """The secret part of a link to mail; None where too many were asked for, which nobody is told.

    Args:
        session: in a transaction.
        email: as `parse_email` gives it.
        client: digest of the network address that asks, keyed, so that it says nothing by itself.
        next_path: where to go afterwards, on this site; at most `MAX_NEXT_CHARS`. It may hold a claim's secret.
        now: the link's life begins.
    """
    session.execute(delete(SignInRow).where(SignInRow.created_at < now - LIMIT_SPAN, SignInRow.expires_at < now))
    recent = select(func.count()).select_from(SignInRow).where(SignInRow.created_at > now - LIMIT_SPAN)
    if session.scalars(recent.where(SignInRow.client == client)).one() >= MAX_LINKS_PER_CLIENT:
        return None
    to_email = recent.where(SignInRow.email == email)
    if session.scalars(to_email).one() >= MAX_LINKS_PER_EMAIL:
        is_good = (SignInRow.expires_at > now) & SignInRow.used_at.is_(None)
        if session.scalars(to_email.where(is_good)).one():
            return None
    token = secrets.token_urlsafe(32)
    session.add(
        SignInRow(
            token_sha256=_digest(token),
            email=email,
            client=client,
            next_path=_box(token).encrypt(next_path.encode()).decode(),
            created_at=now,
            expires_at=now + LINK_LIFE,
        )
    )
    session.flush()
    return token


def email_of_link(session: Session, token: str, *, now: datetime) -> str | None:
    """Whose link this is, while it can still be used. Uses nothing up."""
    if not _TOKEN.fullmatch(token):
        return None
    row = session.get(SignInRow, _digest(token))
    return row.email if row is not None and row.used_at is None and row.expires_at > now else None


def use_link(session: Session, token: str, *, now: datetime, new_account_id: str) -> SignedIn:
    """Sign in, making the account if it is the first time. Other links mailed to the same address end with it.

    Raises:
        AccessError: used already, too old, or never made.
    """
    email = email_of_link(session, token, now=now)
    links = _locked_links(session, email) if email is not None else {}
    used = links.get(_digest(token)) if email is not None else None
    if email is None or used is None or used.used_at is not None:
        raise AccessError("this link was used already or is too old: ask for a new one and use the newest mail")
    next_path = _box(token).decrypt(used.next_path).decode()
    for row in links.values():
        row.used_at = row.used_at or now
    account = session.scalars(select(AccountRow).where(AccountRow.email == email)).one_or_none()
    if account is None:
        account = AccountRow(id=new_account_id, email=email, created_at=now)
        session.add(account)
        session.flush()
    return SignedIn(account.id, begin_session(session, account.id, now=now), next_path)


def _locked_links(session: Session, email: str) -> dict[bytes, SignInRow]:
    """An address's links by their digest, locked in one order: two that are used at once wait for each other."""
    rows = session.scalars(
        select(SignInRow)
        .where(SignInRow.email == email)
        .order_by(SignInRow.token_sha256)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return {row.token_sha256: row for row in rows}


def _box(token: str) -> Fernet:
    """Seals what only the link itself opens: the database has no token, so a thief of it learns nothing."""
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(f"next path {token}".encode()).digest()))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
