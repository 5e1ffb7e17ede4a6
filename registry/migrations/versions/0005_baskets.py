"""Baskets

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "baskets",
        sa.Column("id_sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("client", sa.LargeBinary(length=32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id_sha256", name=op.f("pk_baskets")),
    )
    op.create_index("ix_baskets_client", "baskets", ["client"])
    op.create_index("ix_baskets_expires_at", "baskets", ["expires_at"])


def downgrade() -> None:
    op.drop_table("baskets")
