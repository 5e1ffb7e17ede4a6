"""Evidence that something is a claimant's

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "evidence",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("claim_id", sa.String(length=64), nullable=False),
        sa.Column("method", sa.String(length=16), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("host", sa.String(length=253), nullable=False),
        sa.Column("token", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("code", sa.String(length=32), nullable=True),
        sa.Column("positions", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("proved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("n_failures", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "method IN ('dns', 'well-known', 'meta', 'account', 'credential')", name=op.f("ck_evidence_method")
        ),
        sa.CheckConstraint("state IN ('waiting', 'proved', 'lost')", name=op.f("ck_evidence_state")),
        sa.CheckConstraint("n_failures >= 0", name=op.f("ck_evidence_n_failures")),
        sa.CheckConstraint(
            "(state = 'proved') = (positions IS NOT NULL)", name=op.f("ck_evidence_positions_of_state")
        ),
        sa.CheckConstraint(
            "(n_failures > 0) = (failing_since IS NOT NULL)", name=op.f("ck_evidence_failing_since_of_failures")
        ),
        sa.ForeignKeyConstraint(["claim_id"], ["claims.id"], name=op.f("fk_evidence_claim_id_claims")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evidence")),
        sa.UniqueConstraint("claim_id", "method", "target", name=op.f("uq_evidence_claim_id")),
    )
    op.create_index("ix_evidence_due_at", "evidence", ["due_at"])
    op.create_table(
        "evidence_checks",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("evidence_id", sa.String(length=64), nullable=False),
        sa.Column("host", sa.String(length=253), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["evidence_id"], ["evidence.id"], name=op.f("fk_evidence_checks_evidence_id_evidence"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evidence_checks")),
    )
    op.create_index("ix_evidence_checks_evidence_id", "evidence_checks", ["evidence_id"])
    op.create_index("ix_evidence_checks_host", "evidence_checks", ["host"])


def downgrade() -> None:
    op.drop_table("evidence_checks")
    op.drop_table("evidence")
