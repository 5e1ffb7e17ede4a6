"""The schema: up, down, no drift from the tables in code, and what it refuses by itself."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, inspect, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from heldout.errors import InputError, UnavailableError
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
        "INSERT INTO sequencer VALUES (2, 0)",
        "INSERT INTO idempotency_keys VALUES ('k', 'r', 'no such claim')",
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
