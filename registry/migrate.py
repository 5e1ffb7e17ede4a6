"""Bring a database to a schema version. Needs no alembic.ini: the scripts lie beside this file."""

from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine

from registry.db import database_errors

MIGRATIONS = Path(__file__).with_name("migrations")


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Migrate up, in one transaction; nothing happens if the database is there already."""
    _run(engine, lambda config: command.upgrade(config, revision))


def downgrade(engine: Engine, revision: str) -> None:
    """Migrate down, in one transaction. Data of what is taken away is lost."""
    _run(engine, lambda config: command.downgrade(config, revision))


def _run(engine: Engine, run: Callable[[Config], None]) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with database_errors(), engine.begin() as connection:
        config.attributes["connection"] = connection
        run(config)
