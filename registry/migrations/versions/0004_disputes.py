"""Disputes, reviews, limits, and pictures that are nobody's

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

from heldout.errors import ConflictError

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
IS_OPEN = sa.text("state = 'open'")


def upgrade() -> None:
    op.create_table(
        "disputes",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("claim_id", sa.String(length=64), nullable=False),
        sa.Column("account_id", sa.String(length=64), nullable=True),
        sa.Column("key_sha256", sa.LargeBinary(length=32), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("basis", sa.String(length=16), nullable=False),
        sa.Column("positions", sa.Text(), nullable=False),
        sa.Column("statement", sa.Text(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("filed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answer_due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decide_due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('open', 'upheld', 'refused', 'withdrawn', 'expired', 'moot')", name=op.f("ck_disputes_state")
        ),
        sa.CheckConstraint(
            "basis IN ('mine', 'agreement', 'place', 'nobodys', 'other')", name=op.f("ck_disputes_basis")
        ),
        sa.CheckConstraint("(state = 'open') = (decided_at IS NULL)", name=op.f("ck_disputes_decided_at_of_state")),
        sa.ForeignKeyConstraint(["claim_id"], ["claims.id"], name=op.f("fk_disputes_claim_id_claims")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_disputes_account_id_accounts"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_disputes")),
        sa.UniqueConstraint("key_sha256", name=op.f("uq_disputes_key_sha256")),
    )
    op.create_index("ix_disputes_claim_id", "disputes", ["claim_id"])
    op.create_index("ix_disputes_account_id", "disputes", ["account_id"])
    op.create_index("ix_disputes_decide_due_at", "disputes", ["decide_due_at"])
    op.create_index(
        "uq_disputes_open",
        "disputes",
        ["claim_id", "account_id"],
        unique=True,
        sqlite_where=IS_OPEN,
        postgresql_where=IS_OPEN,
    )
    op.create_table(
        "notices",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("dispute_id", sa.String(length=64), nullable=False),
        sa.Column("side", sa.String(length=16), nullable=False),
        sa.Column("about", sa.String(length=16), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("n_tries", sa.Integer(), nullable=False),
        sa.CheckConstraint("side IN ('claimant', 'disputer')", name=op.f("ck_notices_side")),
        sa.CheckConstraint("about IN ('filed', 'answered', 'decided')", name=op.f("ck_notices_about")),
        sa.ForeignKeyConstraint(["dispute_id"], ["disputes.id"], name=op.f("fk_notices_dispute_id_disputes")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
    )
    op.create_index("ix_notices_due_at", "notices", ["due_at"])
    op.create_table(
        "reviews",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("claim_id", sa.String(length=64), nullable=False),
        sa.Column("dispute_id", sa.String(length=64), nullable=True),
        sa.Column("account_id", sa.String(length=64), nullable=True),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("positions", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "outcome IN ('uphold', 'refuse', 'release', 'reject', 'quarantine', 'assure', 'unassure')",
            name=op.f("ck_reviews_outcome"),
        ),
        sa.CheckConstraint(
            "(outcome IN ('uphold', 'refuse')) = (dispute_id IS NOT NULL)", name=op.f("ck_reviews_dispute_of_outcome")
        ),
        sa.ForeignKeyConstraint(["claim_id"], ["claims.id"], name=op.f("fk_reviews_claim_id_claims")),
        sa.ForeignKeyConstraint(["dispute_id"], ["disputes.id"], name=op.f("fk_reviews_dispute_id_disputes")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_reviews_account_id_accounts"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
    )
    op.create_index("ix_reviews_claim_id", "reviews", ["claim_id"])
    op.create_table(
        "uses",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("who", sa.LargeBinary(length=32), nullable=False),
        sa.Column("what", sa.String(length=8), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("what IN ('claim', 'dispute')", name=op.f("ck_uses_what")),
        sa.CheckConstraint("n >= 0", name=op.f("ck_uses_n")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uses")),
    )
    op.create_index("ix_uses_who", "uses", ["who", "at"])
    op.create_index("ix_uses_at", "uses", ["at"])
    op.create_table(
        "common_pictures",
        sa.Column("pdq", sa.LargeBinary(length=32), nullable=False),
        sa.Column("n_domains", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(length=16), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("reason IN ('too-many-hosts', 'too-plain')", name=op.f("ck_common_pictures_reason")),
        sa.CheckConstraint("n_domains >= 0", name=op.f("ck_common_pictures_n_domains")),
        sa.PrimaryKeyConstraint("pdq", name=op.f("pk_common_pictures")),
    )
    op.create_table(
        "picture_scan",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("generations", sa.Text(), nullable=False),
        sa.Column("up_to", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_picture_scan_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_picture_scan")),
    )


def downgrade() -> None:
    bind = op.get_bind()
    n_kept = bind.scalar(sa.text("SELECT count(*) FROM disputes")) + bind.scalar(
        sa.text("SELECT count(*) FROM reviews")
    )
    if n_kept:
        raise ConflictError(
            f"the database holds {n_kept} disputes and decisions that the older schema has no place for: "
            "keep this version"
        )
    for table in ("picture_scan", "common_pictures", "uses", "reviews", "notices", "disputes"):
        op.drop_table(table)
