"""Claims, their events, the log's state

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# The log is never rewritten: an event's only change is to get its log index, once.
APPEND_ONLY = {
    "sqlite": [
        "CREATE TRIGGER events_no_delete BEFORE DELETE ON events "
        "BEGIN SELECT RAISE(ABORT, 'events are append-only'); END",
        "CREATE TRIGGER events_no_change BEFORE UPDATE ON events "
        "WHEN OLD.log_index IS NOT NULL OR NEW.id IS NOT OLD.id OR NEW.kind IS NOT OLD.kind "
        "OR NEW.claim_id IS NOT OLD.claim_id OR NEW.payload IS NOT OLD.payload "
        "BEGIN SELECT RAISE(ABORT, 'events are append-only'); END",
    ],
    "postgresql": [
        "CREATE FUNCTION events_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'events are append-only'; END $$",
        "CREATE TRIGGER events_no_delete BEFORE DELETE ON events FOR EACH ROW EXECUTE FUNCTION events_append_only()",
        "CREATE TRIGGER events_no_truncate BEFORE TRUNCATE ON events "
        "FOR EACH STATEMENT EXECUTE FUNCTION events_append_only()",
        "CREATE TRIGGER events_no_change BEFORE UPDATE ON events FOR EACH ROW "
        "WHEN (OLD.log_index IS NOT NULL OR NEW.id IS DISTINCT FROM OLD.id OR NEW.kind IS DISTINCT FROM OLD.kind "
        "OR NEW.claim_id IS DISTINCT FROM OLD.claim_id OR NEW.payload IS DISTINCT FROM OLD.payload) "
        "EXECUTE FUNCTION events_append_only()",
    ],
}


def upgrade() -> None:
    op.create_table(
        "checkpoints",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("root", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("size", name=op.f("pk_checkpoints")),
    )
    op.create_table(
        "claims",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("preference", sa.String(length=16), nullable=False),
        sa.Column("assurance", sa.String(length=16), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "assurance IN ('declared', 'account', 'host', 'credential', 'reviewed')", name=op.f("ck_claims_assurance")
        ),
        sa.CheckConstraint("preference IN ('train-ai=n', 'train-ai=y')", name=op.f("ck_claims_preference")),
        sa.CheckConstraint(
            "state IN ('pending', 'in_force', 'withdrawn', 'rejected', 'disputed', 'quarantined')",
            name=op.f("ck_claims_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_claims")),
    )
    op.create_table(
        "lists",
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("manifest_sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_lists")),
        sa.UniqueConstraint("manifest_sha256", name=op.f("uq_lists_manifest_sha256")),
    )
    op.create_table(
        "sequencer",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("next_index", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_sequencer_one_row")),
        sa.CheckConstraint("next_index >= 0", name=op.f("ck_sequencer_next_index")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sequencer")),
    )
    op.create_table(
        "claimants",
        sa.Column("claim_id", sa.String(length=64), nullable=False),
        sa.Column("acting_as", sa.String(length=16), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("contact", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "acting_as IN ('artist', 'representative', 'estate', 'organisation')", name=op.f("ck_claimants_acting_as")
        ),
        sa.ForeignKeyConstraint(["claim_id"], ["claims.id"], name=op.f("fk_claimants_claim_id_claims")),
        sa.PrimaryKeyConstraint("claim_id", name=op.f("pk_claimants")),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("claim_id", sa.String(length=64), nullable=True),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("log_index", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("(kind = 'list') = (claim_id IS NULL)", name=op.f("ck_events_claim_of_kind")),
        sa.CheckConstraint("kind IN ('opt-out', 'withdraw', 'list')", name=op.f("ck_events_kind")),
        sa.CheckConstraint("log_index >= 0", name=op.f("ck_events_log_index")),
        sa.ForeignKeyConstraint(["claim_id"], ["claims.id"], name=op.f("fk_events_claim_id_claims")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sa.UniqueConstraint("log_index", name=op.f("uq_events_log_index")),
    )
    op.create_index("ix_events_claim_id", "events", ["claim_id"], unique=False)
    op.create_table(
        "idempotency_keys",
        sa.Column("key_sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("request_sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("claim_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["claim_id"], ["claims.id"], name=op.f("fk_idempotency_keys_claim_id_claims")),
        sa.PrimaryKeyConstraint("key_sha256", name=op.f("pk_idempotency_keys")),
    )
    op.create_table(
        "subjects",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("claim_id", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("pdq", sa.LargeBinary(length=32), nullable=True),
        sa.Column("quality", sa.SmallInteger(), nullable=True),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=True),
        sa.CheckConstraint(
            "(kind = 'image' AND pdq IS NOT NULL AND quality BETWEEN 0 AND 100 AND digest IS NULL AND url IS NULL) OR (kind <> 'image' AND digest IS NOT NULL AND pdq IS NULL AND quality IS NULL AND sha256 IS NULL)",
            name=op.f("ck_subjects_columns_of_kind"),
        ),
        sa.CheckConstraint("kind IN ('url', 'prefix', 'host', 'image')", name=op.f("ck_subjects_kind")),
        sa.ForeignKeyConstraint(["claim_id"], ["claims.id"], name=op.f("fk_subjects_claim_id_claims")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subjects")),
        sa.UniqueConstraint("claim_id", "position", name=op.f("uq_subjects_claim_id")),
    )
    op.create_index("ix_subjects_digest", "subjects", ["digest"], unique=False)
    op.create_index("ix_subjects_sha256", "subjects", ["sha256"], unique=False)
    op.execute("INSERT INTO sequencer (id, next_index) VALUES (1, 0)")
    for statement in APPEND_ONLY[op.get_bind().dialect.name]:
        op.execute(statement)


def downgrade() -> None:
    op.drop_index("ix_subjects_sha256", table_name="subjects")
    op.drop_index("ix_subjects_digest", table_name="subjects")
    op.drop_table("subjects")
    op.drop_table("idempotency_keys")
    op.drop_index("ix_events_claim_id", table_name="events")
    op.drop_table("events")
    op.drop_table("claimants")
    op.drop_table("sequencer")
    op.drop_table("lists")
    op.drop_table("claims")
    op.drop_table("checkpoints")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION events_append_only()")
