"""The versions of the exclusion list that the log tells of. Takes a Session in a transaction; reads only."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.tables import EventRow, ListRow


@dataclass(frozen=True)
class LoggedVersion:
    """One version, as its log entry names it."""

    version: int
    manifest_sha256: bytes
    at: datetime


def list_versions(session: Session, *, newest: int, limit: int) -> list[LoggedVersion]:
    """Up to `limit` versions from `newest` on down."""
    query = select(ListRow).where(ListRow.version <= newest).order_by(ListRow.version.desc()).limit(limit)
    return [LoggedVersion(row.version, row.manifest_sha256, row.published_at) for row in session.scalars(query)]


def log_index_of(session: Session, log_size: int) -> int | None:
    """Position of the first `list` entry after the log had so many: that of the version made from it."""
    query = select(EventRow.log_index).where(EventRow.log_index >= log_size, EventRow.kind == "list")
    return session.scalars(query.order_by(EventRow.log_index).limit(1)).first()
