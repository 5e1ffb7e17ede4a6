"""Browsers that are signed in. The cookie holds a random id; the table its digest, so that ending a session ends it.

Takes a Session whose transaction the caller opened ("session" is SQLAlchemy's word there, a browser's here).
"""

import hashlib
import secrets
from datetime import datetime, timedelta

from sqlalchemy import delete
from sqlalchemy.orm import Session

from registry.tables import SessionRow

SESSION_LIFE = timedelta(days=30)


def begin_session(session: Session, account_id: str, *, now: datetime) -> str:
    """A new session's id, for the cookie."""
    session_id = secrets.token_urlsafe(32)
    session.execute(delete(SessionRow).where(SessionRow.expires_at <= now))
    session.add(
        SessionRow(id_sha256=_digest(session_id), account_id=account_id, created_at=now, expires_at=now + SESSION_LIFE)
    )
    session.flush()
    return session_id


def account_of_session(session: Session, session_id: str, *, now: datetime) -> str | None:
    """The account a session belongs to; None if it has ended."""
    row = session.get(SessionRow, _digest(session_id))
    return row.account_id if row is not None and row.expires_at > now else None


def end_session(session: Session, session_id: str) -> None:
    """End one browser's session. Nothing happens if it has ended."""
    session.execute(delete(SessionRow).where(SessionRow.id_sha256 == _digest(session_id)))


def end_sessions(session: Session, account_id: str) -> None:
    """End all of an account."""
    session.execute(delete(SessionRow).where(SessionRow.account_id == account_id))


def _digest(session_id: str) -> bytes:
    return hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).digest()
