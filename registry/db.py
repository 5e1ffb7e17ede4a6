"""Engine and sessions from a database URL; SQLite (WAL) and PostgreSQL. No globals.

On SQLite a writing transaction takes the write lock when it begins, so that it never fails half-way for having read
before another wrote; a reading one (`make_sessions(engine, read_only=True)`) takes none and never waits.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, DataError, IntegrityError, InterfaceError, NotSupportedError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session, sessionmaker

from heldout.errors import InputError, UnavailableError

BUSY_TIMEOUT = "busy_timeout=30000"
"""How long SQLite waits for another writer, in milliseconds."""

Sessions = sessionmaker[Session]


def make_engine(url: str) -> Engine:
    """Engine for `sqlite:///path` or `postgresql+psycopg://...`; connects on first use.

    Raises:
        InputError: another kind of database.
    """
    parsed = make_url(url)
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        return create_engine(parsed, pool_pre_ping=True)
    if backend != "sqlite" or parsed.database in {None, "", ":memory:"}:
        raise InputError(
            f"the database {parsed.render_as_string()!r} is not supported: "
            "give sqlite:////path/to/file or postgresql+psycopg://user@host/name"
        )
    engine = create_engine(parsed)
    event.listen(engine, "connect", _on_sqlite_connect)
    event.listen(engine, "begin", _on_sqlite_begin)
    return engine


def make_sessions(engine: Engine, *, read_only: bool = False) -> Sessions:
    """Factory of sessions. A transaction is opened by the caller, with `transaction`."""
    return sessionmaker(engine.execution_options(heldout_read_only=True) if read_only else engine)


def fold_write_ahead_log(engine: Engine) -> None:
    """Leave nothing of what was erased in SQLite's write-ahead log, which keeps old pages until it is folded.

    Where others are reading it is folded later, by SQLite itself. PostgreSQL's own log is the operator's to keep short.
    """
    if engine.dialect.name != "sqlite":
        return
    with database_errors(), closing(engine.raw_connection()) as connection:
        connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").close()


@contextmanager
def transaction(sessions: Sessions) -> Iterator[Session]:
    """A session in a transaction, committed at the end of the block, rolled back on any error.

    Raises:
        UnavailableError: the database cannot be reached, is damaged, or lacks its tables.
    """
    with database_errors(), sessions.begin() as session:
        yield session


@contextmanager
def database_errors() -> Iterator[None]:
    """Translate a database that fails into UnavailableError. Values it does not take are mistakes of ours, and pass."""
    try:
        yield
    except (DataError, IntegrityError, NotSupportedError):
        raise
    except (DatabaseError, InterfaceError) as error:
        raise UnavailableError(
            f"the database failed ({error.orig}): see that it runs and that `python -m registry migrate` was run"
        ) from error
    except PoolTimeoutError as error:
        raise UnavailableError("every connection to the database is taken: try again in a moment") from error


def _on_sqlite_connect(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver
    # secure_delete: what was erased is overwritten, not only unlinked
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON", BUSY_TIMEOUT):
        connection.execute(f"PRAGMA {pragma}").close()


def _on_sqlite_begin(connection: Connection) -> None:
    options: Any = connection.get_execution_options()
    connection.exec_driver_sql("BEGIN" if options.get("heldout_read_only") else "BEGIN IMMEDIATE")
