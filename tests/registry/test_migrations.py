"""The schema: up, down, no drift from the tables in code, and what it refuses by itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, Engine, create_engine, inspect, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from heldout.errors import ConflictError, InputError, UnavailableError
from registry.db import Sessions, make_engine, make_sessions, transaction
from registry.migrate import downgrade, upgrade
from registry.tables import EventRow, Table
from tests.registry.builders import add_entries


def test_migrating_up_gives_exactly_the_tables_in_code(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Table.metadata) == []


def test_migrating_down_leaves_nothing_and_up_again_works(engine: Engine) -> None:
    downgrade(engine, "base")
    assert set(inspect(engine).get_table_names()) == {"alembic_version"}
    upgrade(engine)
    assert set(inspect(engine).get_table_names()) == {"alembic_version", *Table.metadata.tables}


def test_migrating_twice_changes_nothing(engine: Engine, sessions: Sessions) -> None:
    add_entries(sessions, [b"kept"])
    upgrade(engine)
    with transaction(sessions) as session:
        assert session.query(EventRow).one().payload == b"kept"


def test_every_constraint_in_code_is_in_the_database(engine: Engine) -> None:
    """Alembic compares neither checks nor what a foreign key does on deletion."""
    inspector = inspect(engine)
    for name, table in Table.metadata.tables.items():
        wanted = {str(each.name) for each in table.constraints if isinstance(each, CheckConstraint)}
        assert {each["name"] for each in inspector.get_check_constraints(name)} == wanted
        on_delete = {each.name: each.ondelete for each in table.foreign_key_constraints}
        found = {each["name"]: each["options"].get("ondelete") for each in inspector.get_foreign_keys(name)}
        assert found == on_delete


FIRST_RELEASE = """
    INSERT INTO claims VALUES ('withdrawn1', 'withdrawn', 'train-ai=n', 'declared', '2026-11-22 01:02:03');
    INSERT INTO claims VALUES ('held', 'in_force', 'train-ai=y', 'host', '2026-11-22 01:02:03');
    INSERT INTO claimants VALUES ('held', 'artist', 'Jane', NULL), ('withdrawn1', 'estate', NULL, NULL);
    INSERT INTO subjects (claim_id, position, kind, digest, url) VALUES ('held', 0, 'url', 'd', 'jane.example/a.jpg');
    INSERT INTO subjects (claim_id, position, kind, pdq, quality) VALUES ('withdrawn1', 0, 'image', 'p', 9);
    INSERT INTO events (kind, claim_id, payload, log_index) VALUES ('opt-out', 'held', 'one', 0);
    INSERT INTO events (kind, claim_id, payload) VALUES ('withdraw', 'withdrawn1', 'two')
"""


@pytest.fixture
def first_release(empty_database_url: str) -> Iterator[Engine]:
    """A database of the first schema, with rows in it."""
    engine = make_engine(empty_database_url)
    upgrade(engine, "0001")
    with engine.begin() as connection:
        for statement in FIRST_RELEASE.split(";"):
            connection.execute(text(statement))
    yield engine
    engine.dispose()


def rows_of(engine: Engine, query: str) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def test_each_subject_takes_over_its_claims_state_and_assurance(first_release: Engine) -> None:
    upgrade(first_release)
    assert rows_of(first_release, "SELECT claim_id, state, assurance, rule FROM subjects ORDER BY claim_id") == [
        ("held", "in_force", "host", None),
        ("withdrawn1", "withdrawn", "declared", None),
    ]
    with pytest.raises(DBAPIError, match="append-only"), first_release.begin() as connection:
        connection.execute(text("DELETE FROM events"))


def test_going_up_and_down_again_loses_nothing_and_leaves_the_first_schema(first_release: Engine) -> None:
    tables = ("claims", "claimants", "subjects", "events", "sequencer", "idempotency_keys")
    before = {table: rows_of(first_release, f"SELECT * FROM {table} ORDER BY 1") for table in tables}  # noqa: S608

    def schema() -> dict[str, object]:
        inspector = inspect(first_release)
        return {
            table: (
                [column["name"] for column in inspector.get_columns(table)],
                sorted((str(each["name"]), each["sqltext"]) for each in inspector.get_check_constraints(table)),
                sorted(str(each["name"]) for each in inspector.get_indexes(table)),
                sorted(str(each["name"]) for each in inspector.get_foreign_keys(table)),
            )
            for table in inspector.get_table_names()
        }

    first = schema()
    upgrade(first_release)
    downgrade(first_release, "0001")
    assert schema() == first
    assert {table: rows_of(first_release, f"SELECT * FROM {table} ORDER BY 1") for table in tables} == before  # noqa: S608
    with pytest.raises(DBAPIError, match="append-only"), first_release.begin() as connection:
        connection.execute(text("DELETE FROM events"))


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO events (kind, claim_id, payload) VALUES ('state', 'held', 'three')",
        (
            "INSERT INTO subjects (claim_id, position, kind, digest, rule, state, assurance) "
            "VALUES ('held', 1, 'host', 'd', 'jane.example', 'pending', 'declared')"
        ),
        (
            "INSERT INTO disputes (id, claim_id, state, basis, positions, filed_at, answer_due_at, decide_due_at) "
            "VALUES ('d', 'held', 'open', 'mine', '[0]', '2026-11-22', '2026-12-22', '2027-02-20')"
        ),
        (
            "INSERT INTO reviews (claim_id, outcome, positions, reason, at) "
            "VALUES ('held', 'assure', '[0]', 'seen', '2026-11-22')"
        ),
    ],
)
def test_what_the_older_schema_cannot_hold_is_not_thrown_away(first_release: Engine, statement: str) -> None:
    upgrade(first_release)
    newest = rows_of(first_release, "SELECT version_num FROM alembic_version")
    with first_release.begin() as connection:
        connection.execute(text(statement))
    with pytest.raises(ConflictError, match="keep this version"):
        downgrade(first_release, "0001")
    assert rows_of(first_release, "SELECT version_num FROM alembic_version") == newest


@pytest.mark.parametrize(
    "statement",
    [
        (
            "INSERT INTO subjects (claim_id, position, kind, digest, state, assurance) "
            "VALUES ('held', 1, 'host', 'd', 'pending', 'declared')"
        ),
        (
            "INSERT INTO subjects (claim_id, position, kind, digest, rule, state, assurance) "
            "VALUES ('held', 1, 'url', 'd', 'jane.example', 'pending', 'declared')"
        ),
        (
            "INSERT INTO subjects (claim_id, position, kind, digest, state, assurance) "
            "VALUES ('held', 1, 'url', 'd', 'gone', 'declared')"
        ),
        (
            "INSERT INTO subjects (claim_id, position, kind, digest, state, assurance) "
            "VALUES ('held', 1, 'url', 'd', 'pending', 'certain')"
        ),
    ],
)
def test_subjects_that_make_no_sense_are_refused(first_release: Engine, statement: str) -> None:
    upgrade(first_release)
    with pytest.raises(IntegrityError), first_release.begin() as connection:
        connection.execute(text(statement))


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM events",
        "UPDATE events SET payload = 'changed'",
        "UPDATE events SET log_index = 9 WHERE log_index = 0",
        "UPDATE events SET log_index = NULL WHERE log_index = 0",
    ],
)
def test_events_are_append_only_even_for_the_operator(sessions: Sessions, engine: Engine, statement: str) -> None:
    add_entries(sessions, [b"first", b"second"])
    with engine.begin() as connection:
        connection.execute(text("UPDATE events SET log_index = 0 WHERE id = (SELECT min(id) FROM events)"))
    with pytest.raises(DBAPIError, match="append-only"), engine.begin() as connection:
        connection.execute(text(statement))


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO claims VALUES ('c', 'maybe', 'train-ai=n', 'declared', '2026-01-01')",
        "INSERT INTO claims VALUES ('c', 'in_force', 'train-ai=n', 'certain', '2026-01-01')",
        "INSERT INTO events (kind, payload) VALUES ('withdraw', 'x')",
        "INSERT INTO events (kind, payload) VALUES ('other', 'x')",
        "INSERT INTO events (kind, claim_id, payload) VALUES ('state', NULL, 'x')",
        "INSERT INTO sequencer VALUES (2, 0)",
        "INSERT INTO sessions VALUES ('s', 'nobody', '2026-01-01', '2026-01-01')",
        "INSERT INTO idempotency_keys VALUES ('k', 'r', 'no such claim')",
        "INSERT INTO notices VALUES (1, 'none', 'claimant', 'filed', '2026-01-01', 0)",
        "INSERT INTO uses (who, what, n, at) VALUES ('w', 'search', 1, '2026-01-01')",
        "INSERT INTO common_pictures (pdq, n_domains, reason, seen_at) VALUES ('p', 5, 'ugly', '2026-01-01')",
        "INSERT INTO picture_scan VALUES (2, '', 0)",
    ],
)
def test_rows_that_make_no_sense_are_refused(engine: Engine, statement: str) -> None:
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(text(statement))


def test_a_database_without_tables_is_an_error_that_says_what_to_do(empty_database_url: str) -> None:
    engine = make_engine(empty_database_url)
    migrate_first = pytest.raises(UnavailableError, match="python -m registry migrate")
    with migrate_first, transaction(make_sessions(engine)) as session:
        session.query(EventRow).all()
    engine.dispose()


def test_a_database_that_cannot_be_reached_is_an_error_that_says_so(tmp_path: Path) -> None:
    for url in (f"sqlite:///{tmp_path}/none/registry.db", f"postgresql+psycopg://nobody@/none?host={tmp_path}"):
        engine = make_engine(url)
        with pytest.raises(UnavailableError, match="database failed"), transaction(make_sessions(engine)) as session:
            session.query(EventRow).all()
        engine.dispose()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://root:secret@host/name"])
def test_other_databases_are_refused_without_showing_a_password(url: str) -> None:
    with pytest.raises(InputError, match="not supported") as caught:
        make_engine(url)
    assert "secret" not in str(caught.value)


def test_a_plain_postgresql_url_uses_the_installed_driver() -> None:
    assert make_engine("postgresql://host/name").driver == "psycopg"


def test_a_database_file_that_is_damaged_says_so(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    path.write_bytes(b"no database at all" * 1000)
    engine = make_engine(f"sqlite:///{path}")
    with pytest.raises(UnavailableError, match="database failed"), transaction(make_sessions(engine)) as session:
        session.execute(text("SELECT 1"))
    engine.dispose()


def test_a_pool_without_a_free_connection_says_so(migrated_sqlite: Path) -> None:
    engine = create_engine(f"sqlite:///{migrated_sqlite}", pool_size=1, max_overflow=0, pool_timeout=0.01)
    refused = pytest.raises(UnavailableError, match="try again")
    with engine.connect(), refused, transaction(make_sessions(engine)) as session:
        session.execute(text("SELECT 1"))
    engine.dispose()


def test_a_value_that_a_constraint_refuses_is_a_mistake_of_ours(sessions: Sessions) -> None:
    with pytest.raises(IntegrityError), transaction(sessions) as session:
        session.execute(text("INSERT INTO sequencer (id, next_index) VALUES (1, 0)"))
