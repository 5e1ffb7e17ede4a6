"""Places among the subjects, a state and an assurance for each subject, accounts

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

from heldout.errors import ConflictError

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATES = "('pending', 'in_force', 'withdrawn', 'rejected', 'disputed', 'quarantined')"
ASSURANCES = "('declared', 'account', 'host', 'credential', 'reviewed')"
OLD_KINDS = "('opt-out', 'withdraw', 'list')"
NEW_KINDS = "('opt-out', 'assurance', 'state', 'withdraw', 'list')"
SUBJECT_CHECKS = {
    "rule_of_kind": "(kind IN ('prefix', 'host')) = (rule IS NOT NULL)",
    "state": f"state IN {STATES}",
    "assurance": f"assurance IN {ASSURANCES}",
}
INDEXES = {
    "claimants": [("ix_claimants_account_id", "account_id")],
    "subjects": [("ix_subjects_digest", "digest"), ("ix_subjects_sha256", "sha256")],
    "events": [("ix_events_claim_id", "claim_id")],
}

# SQLite drops triggers with the table they are on. As in 0001; copied, since migrations never change.
SQLITE_TRIGGERS = [
    "CREATE TRIGGER events_no_delete BEFORE DELETE ON events "
    "BEGIN SELECT RAISE(ABORT, 'events are append-only'); END",
    "CREATE TRIGGER events_no_change BEFORE UPDATE ON events "
    "WHEN OLD.log_index IS NOT NULL OR NEW.id IS NOT OLD.id OR NEW.kind IS NOT OLD.kind "
    "OR NEW.claim_id IS NOT OLD.claim_id OR NEW.payload IS NOT OLD.payload "
    "BEGIN SELECT RAISE(ABORT, 'events are append-only'); END",
]


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
        sa.UniqueConstraint("email", name=op.f("uq_accounts_email")),
    )
    op.create_table(
        "sign_ins",
        sa.Column("token_sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("email", sa.String(length=320), nullable=False),
        sa.Column("client", sa.LargeBinary(length=32), nullable=False),
        sa.Column("next_path", sa.String(length=2048), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("token_sha256", name=op.f("pk_sign_ins")),
    )
    op.create_index("ix_sign_ins_email", "sign_ins", ["email"])
    op.create_index("ix_sign_ins_client", "sign_ins", ["client"])
    op.create_table(
        "sessions",
        sa.Column("id_sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("account_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_sessions_account_id_accounts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id_sha256", name=op.f("pk_sessions")),
    )
    op.create_index("ix_sessions_account_id", "sessions", ["account_id"])
    op.create_table(
        "api_keys",
        sa.Column("prefix", sa.String(length=16), nullable=False),
        sa.Column("account_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("secret_sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("scopes", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_api_keys_account_id_accounts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("prefix", name=op.f("pk_api_keys")),
    )
    op.create_index("ix_api_keys_account_id", "api_keys", ["account_id"])
    op.add_column("claimants", sa.Column("account_id", sa.String(length=64), nullable=True))
    for column in (sa.Column("rule", sa.Text()), sa.Column("state", sa.String(16)), sa.Column("assurance", sa.String(16))):
        op.add_column("subjects", column)
    op.execute(
        "UPDATE subjects SET state = (SELECT state FROM claims WHERE claims.id = subjects.claim_id), "
        "assurance = (SELECT assurance FROM claims WHERE claims.id = subjects.claim_id)"
    )
    if op.get_bind().dialect.name == "sqlite":
        _replace_sqlite_table("claimants", _claimants_columns(is_new=True))
        _replace_sqlite_table("subjects", _subjects_columns(is_new=True))
        _replace_sqlite_table("events", _events_columns(NEW_KINDS))
    else:
        op.create_foreign_key(
            op.f("fk_claimants_account_id_accounts"), "claimants", "accounts", ["account_id"], ["id"], ondelete="SET NULL"
        )
        op.create_index("ix_claimants_account_id", "claimants", ["account_id"])
        op.alter_column("subjects", "state", nullable=False)
        op.alter_column("subjects", "assurance", nullable=False)
        for name, condition in SUBJECT_CHECKS.items():
            op.create_check_constraint(op.f(f"ck_subjects_{name}"), "subjects", condition)
        op.drop_constraint(op.f("ck_events_kind"), "events", type_="check")
        op.create_check_constraint(op.f("ck_events_kind"), "events", f"kind IN {NEW_KINDS}")


def downgrade() -> None:
    bind = op.get_bind()
    n_new = bind.scalar(sa.text("SELECT count(*) FROM subjects WHERE rule IS NOT NULL"))
    n_new += bind.scalar(sa.text("SELECT count(*) FROM events WHERE kind IN ('assurance', 'state')"))
    if n_new:
        raise ConflictError(
            f"the log holds {n_new} things that the older schema has no place for, and a log is never rewritten: "
            "keep this version"
        )
    if bind.dialect.name == "sqlite":
        _replace_sqlite_table("claimants", _claimants_columns(is_new=False))
        _replace_sqlite_table("subjects", _subjects_columns(is_new=False))
        _replace_sqlite_table("events", _events_columns(OLD_KINDS))
    else:
        op.drop_constraint(op.f("ck_events_kind"), "events", type_="check")
        op.create_check_constraint(op.f("ck_events_kind"), "events", f"kind IN {OLD_KINDS}")
        for name in SUBJECT_CHECKS:
            op.drop_constraint(op.f(f"ck_subjects_{name}"), "subjects", type_="check")
        for name in ("rule", "state", "assurance"):
            op.drop_column("subjects", name)
        op.drop_index("ix_claimants_account_id", table_name="claimants")
        op.drop_column("claimants", "account_id")
    for table in ("api_keys", "sessions", "sign_ins", "accounts"):
        op.drop_table(table)


def _claimants_columns(*, is_new: bool) -> list[sa.schema.SchemaItem]:
    """The table on SQLite, which changes no constraint in place: Alembic's batches would lose those of checks."""
    account: list[sa.schema.SchemaItem] = [
        sa.Column("account_id", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name=op.f("fk_claimants_account_id_accounts"), ondelete="SET NULL"
        ),
    ]
    return [
        sa.Column("claim_id", sa.String(length=64), nullable=False),
        sa.Column("acting_as", sa.String(length=16), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("contact", sa.Text(), nullable=True),
        *(account if is_new else []),
        sa.CheckConstraint(
            "acting_as IN ('artist', 'representative', 'estate', 'organisation')", name=op.f("ck_claimants_acting_as")
        ),
        sa.ForeignKeyConstraint(["claim_id"], ["claims.id"], name=op.f("fk_claimants_claim_id_claims")),
        sa.PrimaryKeyConstraint("claim_id", name=op.f("pk_claimants")),
    ]


def _subjects_columns(*, is_new: bool) -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("claim_id", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        *([sa.Column("rule", sa.Text(), nullable=True)] if is_new else []),
        sa.Column("pdq", sa.LargeBinary(length=32), nullable=True),
        sa.Column("quality", sa.SmallInteger(), nullable=True),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=True),
        *([sa.Column(name, sa.String(length=16), nullable=False) for name in ("state", "assurance")] if is_new else []),
        *(
            [sa.CheckConstraint(condition, name=op.f(f"ck_subjects_{name}")) for name, condition in SUBJECT_CHECKS.items()]
            if is_new
            else []
        ),
        sa.CheckConstraint(
            "(kind = 'image' AND pdq IS NOT NULL AND quality BETWEEN 0 AND 100 AND digest IS NULL AND url IS NULL)"
            " OR (kind <> 'image' AND digest IS NOT NULL AND pdq IS NULL AND quality IS NULL AND sha256 IS NULL)",
            name=op.f("ck_subjects_columns_of_kind"),
        ),
        sa.CheckConstraint("kind IN ('url', 'prefix', 'host', 'image')", name=op.f("ck_subjects_kind")),
        sa.ForeignKeyConstraint(["claim_id"], ["claims.id"], name=op.f("fk_subjects_claim_id_claims")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subjects")),
        sa.UniqueConstraint("claim_id", "position", name=op.f("uq_subjects_claim_id")),
    ]


def _events_columns(kinds: str) -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("claim_id", sa.String(length=64), nullable=True),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("log_index", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("(kind = 'list') = (claim_id IS NULL)", name=op.f("ck_events_claim_of_kind")),
        sa.CheckConstraint(f"kind IN {kinds}", name=op.f("ck_events_kind")),
        sa.CheckConstraint("log_index >= 0", name=op.f("ck_events_log_index")),
        sa.ForeignKeyConstraint(["claim_id"], ["claims.id"], name=op.f("fk_events_claim_id_claims")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sa.UniqueConstraint("log_index", name=op.f("uq_events_log_index")),
    ]


def _replace_sqlite_table(name: str, items: list[sa.schema.SchemaItem]) -> None:
    """The same rows under other constraints. Nothing refers to these tables."""
    columns = ", ".join(item.name for item in items if isinstance(item, sa.Column))
    op.create_table(f"{name}_new", *items)
    op.execute(f"INSERT INTO {name}_new ({columns}) SELECT {columns} FROM {name}")
    op.drop_table(name)
    op.rename_table(f"{name}_new", name)
    for index, column in INDEXES[name]:
        if column in columns.split(", "):
            op.create_index(index, name, [column])
    for statement in SQLITE_TRIGGERS if name == "events" else []:
        op.execute(statement)
