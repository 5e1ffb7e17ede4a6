"""The registry's tables. Constraints are here, not only in code.

`events` is the log's source: append-only (a trigger refuses changes and deletions), its payloads are the log's entries.
`claims`, `subjects` (but the URL's text) and `lists` are what replaying the events gives (`heldout.replay`).
Personal data is in `claimants`, in `subjects.url`, in what was said in `disputes` and `reviews`, and in the tables of
accounts; it can be erased without touching anything else.
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
    text,
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


STATES = "('pending', 'in_force', 'withdrawn', 'rejected', 'disputed', 'quarantined')"
ASSURANCES = "('declared', 'account', 'host', 'credential', 'reviewed')"


class ClaimRow(Table):
    """A claim as its events leave it. `state` and `assurance` sum up its subjects' (`heldout.states`)."""

    __tablename__ = "claims"
    __table_args__ = (
        CheckConstraint(f"state IN {STATES}", name="state"),
        CheckConstraint("preference IN ('train-ai=n', 'train-ai=y')", name="preference"),
        CheckConstraint(f"assurance IN {ASSURANCES}", name="assurance"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    state: Mapped[str] = mapped_column(String(16))
    preference: Mapped[str] = mapped_column(String(16))
    assurance: Mapped[str] = mapped_column(String(16))
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ClaimantRow(Table):
    """Who made a claim, and whose it is; never in the log. `name` and `contact` are personal data and erasable."""

    __tablename__ = "claimants"
    __table_args__ = (
        CheckConstraint("acting_as IN ('artist', 'representative', 'estate', 'organisation')", name="acting_as"),
        Index("ix_claimants_account_id", "account_id"),
    )

    claim_id: Mapped[str] = mapped_column(ForeignKey("claims.id"), primary_key=True)
    acting_as: Mapped[str] = mapped_column(String(16))
    name: Mapped[str | None] = mapped_column(Text)
    contact: Mapped[str | None] = mapped_column(Text)
    account_id: Mapped[str | None] = mapped_column(ForeignKey("accounts.id", ondelete="SET NULL"))
    """None: made without an account, or the account is gone."""


class SubjectRow(Table):
    """One work or place a claim is about. `url` is the canonical key's text, kept here alone and erasable.

    `digest` is the SHA-256 of the canonical key, or of the rule: what it is looked up by.
    """

    __tablename__ = "subjects"
    __table_args__ = (
        UniqueConstraint("claim_id", "position"),
        CheckConstraint("kind IN ('url', 'prefix', 'host', 'image')", name="kind"),
        CheckConstraint(
            "(kind = 'image' AND pdq IS NOT NULL AND quality BETWEEN 0 AND 100 AND digest IS NULL AND url IS NULL)"
            " OR (kind <> 'image' AND digest IS NOT NULL AND pdq IS NULL AND quality IS NULL AND sha256 IS NULL)",
            name="columns_of_kind",
        ),
        CheckConstraint("(kind IN ('prefix', 'host')) = (rule IS NOT NULL)", name="rule_of_kind"),
        CheckConstraint(f"state IN {STATES}", name="state"),
        CheckConstraint(f"assurance IN {ASSURANCES}", name="assurance"),
        Index("ix_subjects_digest", "digest"),
        Index("ix_subjects_sha256", "sha256"),
    )

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    claim_id: Mapped[str] = mapped_column(ForeignKey("claims.id"))
    position: Mapped[int]
    kind: Mapped[str] = mapped_column(String(8))
    digest: Mapped[bytes | None] = mapped_column(DIGEST)
    url: Mapped[str | None] = mapped_column(Text)
    rule: Mapped[str | None] = mapped_column(Text)
    """Of a place, as the log has it: nothing to erase."""
    pdq: Mapped[bytes | None] = mapped_column(DIGEST)
    quality: Mapped[int | None] = mapped_column(SmallInteger)
    sha256: Mapped[bytes | None] = mapped_column(DIGEST)
    state: Mapped[str] = mapped_column(String(16))
    assurance: Mapped[str] = mapped_column(String(16))


class EventRow(Table):
    """Something that happened. `payload` is the log entry; `log_index` is set once, by the sequencer."""

    __tablename__ = "events"
    __table_args__ = (
        CheckConstraint("kind IN ('opt-out', 'assurance', 'state', 'withdraw', 'list')", name="kind"),
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


EVIDENCE_METHODS = "('dns', 'well-known', 'meta', 'account', 'credential')"


class EvidenceRow(Table):
    """A way in which a claimant shows that something is theirs: the code they were given, and what checks have found.

    Not in the log: that holds only what follows for the claim. Erasing a claim's personal data clears `result`, and
    removes the row where the claim is withdrawn; while it is not, the proof goes on being looked at.
    """

    __tablename__ = "evidence"
    __table_args__ = (
        UniqueConstraint("claim_id", "method", "target"),
        CheckConstraint(f"method IN {EVIDENCE_METHODS}", name="method"),
        CheckConstraint("state IN ('waiting', 'proved', 'lost')", name="state"),
        CheckConstraint("n_failures >= 0", name="n_failures"),
        CheckConstraint("(state = 'proved') = (positions IS NOT NULL)", name="positions_of_state"),
        CheckConstraint("(n_failures > 0) = (failing_since IS NOT NULL)", name="failing_since_of_failures"),
        Index("ix_evidence_due_at", "due_at"),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    claim_id: Mapped[str] = mapped_column(ForeignKey("claims.id"))
    method: Mapped[str] = mapped_column(String(16))
    target: Mapped[str] = mapped_column(Text)
    """A host, the address of a page, or a picture's PDQ."""
    host: Mapped[str] = mapped_column(String(253))
    """That is asked; empty for a picture."""
    token: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(8))
    result: Mapped[str | None] = mapped_column(Text)
    """Of the last check, in words for the claimant."""
    code: Mapped[str | None] = mapped_column(String(32))
    """Of the last check, for programs."""
    positions: Mapped[str | None] = mapped_column(Text)
    """Subjects it proves, as JSON."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    checked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    proved_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When it was last seen."""
    failing_since: Mapped[datetime | None] = mapped_column(UtcDateTime)
    n_failures: Mapped[int]
    """In a row."""
    due_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When it is checked next; None: when somebody asks."""


class EvidenceCheckRow(Table):
    """A check that somebody asked for; kept for an hour, to count by."""

    __tablename__ = "evidence_checks"
    __table_args__ = (
        Index("ix_evidence_checks_evidence_id", "evidence_id"),
        Index("ix_evidence_checks_host", "host"),
    )

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    evidence_id: Mapped[str] = mapped_column(ForeignKey("evidence.id", ondelete="CASCADE"))
    host: Mapped[str] = mapped_column(String(253))
    at: Mapped[datetime] = mapped_column(UtcDateTime)


class DisputeRow(Table):
    """A counter-claim. `statement` and `answer` are personal data and erasable; the log has the states that follow."""

    __tablename__ = "disputes"
    __table_args__ = (
        CheckConstraint("state IN ('open', 'upheld', 'refused', 'withdrawn', 'expired', 'moot')", name="state"),
        CheckConstraint("basis IN ('mine', 'agreement', 'place', 'nobodys', 'other')", name="basis"),
        CheckConstraint("(state = 'open') = (decided_at IS NULL)", name="decided_at_of_state"),
        Index("ix_disputes_claim_id", "claim_id"),
        Index("ix_disputes_account_id", "account_id"),
        Index("ix_disputes_decide_due_at", "decide_due_at"),
        Index(
            "uq_disputes_open",
            "claim_id",
            "account_id",
            unique=True,
            sqlite_where=text("state = 'open'"),
            postgresql_where=text("state = 'open'"),
        ),
    )

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    claim_id: Mapped[str] = mapped_column(ForeignKey("claims.id"))
    account_id: Mapped[str | None] = mapped_column(ForeignKey("accounts.id", ondelete="SET NULL"))
    """Who filed it; None: the account is gone."""
    key_sha256: Mapped[bytes | None] = mapped_column(DIGEST, unique=True)
    """Of the request's idempotency key, and the account."""
    state: Mapped[str] = mapped_column(String(16))
    basis: Mapped[str] = mapped_column(String(16))
    positions: Mapped[str] = mapped_column(Text)
    """Subjects it is about, as JSON."""
    statement: Mapped[str | None] = mapped_column(Text)
    answer: Mapped[str | None] = mapped_column(Text)
    filed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    answer_due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    answered_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    decide_due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    decided_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class NoticeRow(Table):
    """A mail that is owed to one side of a dispute; the row goes when it is sent."""

    __tablename__ = "notices"
    __table_args__ = (
        CheckConstraint("side IN ('claimant', 'disputer')", name="side"),
        CheckConstraint("about IN ('filed', 'answered', 'decided')", name="about"),
        Index("ix_notices_due_at", "due_at"),
    )

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    dispute_id: Mapped[str] = mapped_column(ForeignKey("disputes.id"))
    side: Mapped[str] = mapped_column(String(16))
    about: Mapped[str] = mapped_column(String(16))
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    n_tries: Mapped[int]


class ReviewRow(Table):
    """What a reviewer decided, and why. `reason` is for the sides and other reviewers, and erasable."""

    __tablename__ = "reviews"
    __table_args__ = (
        CheckConstraint(
            "outcome IN ('uphold', 'refuse', 'release', 'reject', 'quarantine', 'assure', 'unassure')", name="outcome"
        ),
        CheckConstraint("(outcome IN ('uphold', 'refuse')) = (dispute_id IS NOT NULL)", name="dispute_of_outcome"),
        Index("ix_reviews_claim_id", "claim_id"),
    )

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    claim_id: Mapped[str] = mapped_column(ForeignKey("claims.id"))
    dispute_id: Mapped[str | None] = mapped_column(ForeignKey("disputes.id"))
    account_id: Mapped[str | None] = mapped_column(ForeignKey("accounts.id", ondelete="SET NULL"))
    """The reviewer's; None: the operator at a terminal, or the account is gone."""
    outcome: Mapped[str] = mapped_column(String(16))
    positions: Mapped[str] = mapped_column(Text)
    """Subjects it was about, as JSON."""
    reason: Mapped[str | None] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(UtcDateTime)


class UseRow(Table):
    """That somebody claimed or disputed something; kept for a day, to count by."""

    __tablename__ = "uses"
    __table_args__ = (
        CheckConstraint("what IN ('claim', 'dispute')", name="what"),
        CheckConstraint("n >= 0", name="n"),
        Index("ix_uses_who", "who", "at"),
        Index("ix_uses_at", "at"),
    )

    id: Mapped[int] = mapped_column(BIG_ID, primary_key=True)
    who: Mapped[bytes] = mapped_column(DIGEST)
    """Digest of an account, or keyed digest of a network address."""
    what: Mapped[str] = mapped_column(String(8))
    n: Mapped[int]
    """Subjects."""
    at: Mapped[datetime] = mapped_column(UtcDateTime)


class CommonPictureRow(Table):
    """A fingerprint that is nobody's: found at very many unrelated sites, or of a picture without anything in it."""

    __tablename__ = "common_pictures"
    __table_args__ = (
        CheckConstraint("reason IN ('too-many-hosts', 'too-plain')", name="reason"),
        CheckConstraint("n_domains >= 0", name="n_domains"),
    )

    pdq: Mapped[bytes] = mapped_column(DIGEST, primary_key=True)
    n_domains: Mapped[int]
    reason: Mapped[str] = mapped_column(String(16))
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime)
    released_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When a reviewer said that it is somebody's after all."""


class PictureScanRow(Table):
    """How far claimed pictures were looked for in the indexes. One row, from the first time on."""

    __tablename__ = "picture_scan"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    generations: Mapped[str] = mapped_column(Text)
    """Which indexes: data sets and their generations."""
    up_to: Mapped[int] = mapped_column(BigInteger)
    """The last subject's id."""


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


class AccountRow(Table):
    """A person or an organisation that signs in. `email` is personal data; erasing an account removes the row."""

    __tablename__ = "accounts"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    email: Mapped[str] = mapped_column(String(320), unique=True)
    """As `registry.accounts.parse_email` writes it."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class SignInRow(Table):
    """A link that was mailed. It works once; the row stays until it expires, to count by."""

    __tablename__ = "sign_ins"
    __table_args__ = (Index("ix_sign_ins_email", "email"), Index("ix_sign_ins_client", "client"))

    token_sha256: Mapped[bytes] = mapped_column(DIGEST, primary_key=True)
    email: Mapped[str] = mapped_column(String(320))
    client: Mapped[bytes] = mapped_column(DIGEST)
    """Keyed digest of the network address that asked."""
    next_path: Mapped[str] = mapped_column(String(2048))
    """Sealed with the link's token: it may hold a claim's secret."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class SessionRow(Table):
    """A browser that is signed in. Its cookie holds the id, signed; without this row the cookie is worth nothing."""

    __tablename__ = "sessions"
    __table_args__ = (Index("ix_sessions_account_id", "account_id"),)

    id_sha256: Mapped[bytes] = mapped_column(DIGEST, primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ApiKeyRow(Table):
    """A key for scripts. The secret half is kept as a digest only."""

    __tablename__ = "api_keys"
    __table_args__ = (Index("ix_api_keys_account_id", "account_id"),)

    prefix: Mapped[str] = mapped_column(String(16), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(80))
    secret_sha256: Mapped[bytes] = mapped_column(DIGEST)
    scopes: Mapped[str] = mapped_column(String(200))
    """Separated by spaces, sorted."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """By the day."""


class BasketRow(Table):
    """What a browser has put together to opt out and has not confirmed yet. Without the browser's id it is noise."""

    __tablename__ = "baskets"
    __table_args__ = (Index("ix_baskets_client", "client"), Index("ix_baskets_expires_at", "expires_at"))

    id_sha256: Mapped[bytes] = mapped_column(DIGEST, primary_key=True)
    client: Mapped[bytes] = mapped_column(DIGEST)
    """Keyed digest of the network address that began it."""
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    """By `registry.baskets`."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
