"""The registry's tables. Constraints are here, not only in code.

`events` is the log's source: append-only (a trigger refuses changes and deletions), its payloads are the log's entries.
`claims`, `subjects` (but the URL's text) and `lists` are what replaying the events gives (`registry.replay`).
Personal data is in `claimants` and in `subjects.url` only; both can be erased without touching anything else.
"""

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
BIG_ID = BigInteger().with_variant(Integer, "sqlite")
DIGEST = LargeBinary(32)


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC on both sides; SQLite keeps no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC."""
        del dialect
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Say that it is UTC."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Table(DeclarativeBase):
    """Base of the registry's tables."""

    metadata = MetaData(naming_convention=NAMING)


class ClaimRow(Table):
    """A claim as its events leave it."""

    __tablename__ = "claims"
    __table_args__ = (
        CheckConstraint(
            "state IN ('pending', 'in_force', 'withdrawn', 'rejected', 'disputed', 'quarantined')", name="state"
        ),
        CheckConstraint("preference IN ('train-ai=n', 'train-ai=y')", name="preference"),
        CheckConstraint("assurance IN ('declared', 'account', 'host', 'credential', 'reviewed')", name="assurance"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    state: Mapped[str] = mapped_column(String(16))
    preference: Mapped[str] = mapped_column(String(16))
    assurance: Mapped[str] = mapped_column(String(16))
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ClaimantRow(Table):
    """Who made a claim; never in the log. `name` and `contact` are personal data and erasable."""

    __tablename__ = "claimants"
    __table_args__ = (
        CheckConstraint("acting_as IN ('artist', 'representative', 'estate', 'organisation')", name="acting_as"),
    )

    claim_id: Mapped[str] = mapped_column(ForeignKey("claims.id"), primary_key=True)
    acting_as: Mapped[str] = mapped_column(String(16))
    name: Mapped[str | None] = mapped_column(Text)
    contact: Mapped[str | None] = mapped_column(Text)


class SubjectRow(Table):
    """One work or place a claim is about. `url` is the canonical key's text, kept here alone and erasable."""

    __tablename__ = "subjects"
    __table_args__ = (
        UniqueConstraint("claim_id", "position"),
        CheckConstraint("kind IN ('url', 'prefix', 'host', 'image')", name="kind"),
        CheckConstraint(
            "(kind = 'image' AND pdq IS NOT NULL AND quality BETWEEN 0 AND 100 AND digest IS NULL AND url IS NULL)"
            " OR (kind <> 'image' AND digest IS NOT NULL AND pdq IS NULL AND quality IS NULL AND sha256 IS NULL)",
            name="columns_of_kind",
        ),
        Index("ix_subjects_digest", "digest"),
        Index("ix_subjects_sha256", "sha256"),
    )

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    claim_id: Mapped[str] = mapped_column(ForeignKey("claims.id"))
    position: Mapped[int]
    kind: Mapped[str] = mapped_column(String(8))
    digest: Mapped[bytes | None] = mapped_column(DIGEST)
    url: Mapped[str | None] = mapped_column(Text)
    pdq: Mapped[bytes | None] = mapped_column(DIGEST)
    quality: Mapped[int | None] = mapped_column(SmallInteger)
    sha256: Mapped[bytes | None] = mapped_column(DIGEST)


class EventRow(Table):
    """Something that happened. `payload` is the log entry; `log_index` is set once, by the sequencer."""

    __tablename__ = "events"
    __table_args__ = (
        CheckConstraint("kind IN ('opt-out', 'withdraw', 'list')", name="kind"),
        CheckConstraint("log_index >= 0", name="log_index"),
        CheckConstraint("(kind = 'list') = (claim_id IS NULL)", name="claim_of_kind"),
        Index("ix_events_claim_id", "claim_id"),
    )

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    claim_id: Mapped[str | None] = mapped_column(ForeignKey("claims.id"))
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    log_index: Mapped[int | None] = mapped_column(BigInteger, unique=True)


class ListRow(Table):
    """A version of the exclusion list that was put into the log."""

    __tablename__ = "lists"

    version: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    manifest_sha256: Mapped[bytes] = mapped_column(DIGEST, unique=True)
    published_at: Mapped[datetime] = mapped_column(UtcDateTime)


class IdempotencyRow(Table):
    """A request that was carried out. Both are digests: a client's key may hold anything."""

    __tablename__ = "idempotency_keys"

    key_sha256: Mapped[bytes] = mapped_column(DIGEST, primary_key=True)
    request_sha256: Mapped[bytes] = mapped_column(DIGEST)
    claim_id: Mapped[str] = mapped_column(ForeignKey("claims.id"))


class SequencerRow(Table):
    """One row, locked while log indices are given out."""

    __tablename__ = "sequencer"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"), CheckConstraint("next_index >= 0", name="next_index"))

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    next_index: Mapped[int] = mapped_column(BigInteger)


class CheckpointRow(Table):
    """A tree head that was signed: never sign another root for its size."""

    __tablename__ = "checkpoints"

    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    root: Mapped[bytes] = mapped_column(DIGEST)
