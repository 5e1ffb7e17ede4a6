"""Claimed pictures looked up in the indexes, so that what is nobody's is held (`HELDOUT_QUARANTINE=auto`).

`python -m web.quarantine` does one round. Nothing is done twice: the registry remembers how far each state of the
indexes was searched, and a lock file in the state folder keeps the processes of one machine from doing the same.
"""

import argparse
import asyncio
import sys
from contextlib import ExitStack, closing
from functools import partial

import typer

from heldout.durable import locked
from heldout.errors import ConflictError, HeldoutError
from indexer.generation import Generation
from registry.quarantine import Scanned, Thresholds
from registry.service import Registry
from search.engine import SearchEngine
from web.background import Condition
from web.settings import Settings
from web.whereabouts import all_generations, find_pictures, label_of

LOOK_S = 30.0
"""Seconds between looks for new claims and indexes: a small query."""


class PictureWatch:
    """Looks up what is new, then waits."""

    def __init__(
        self, registry: Registry, engine: SearchEngine, thresholds: Thresholds, *, every_s: float = LOOK_S
    ) -> None:
        self.condition = Condition("quarantine")
        self._registry = registry
        self._engine = engine
        self._thresholds = thresholds
        self._every_s = every_s

    async def run(self) -> None:
        """Look until cancelled. A failure is noted and tried again."""
        while True:
            await asyncio.sleep(self._every_s)
            with self.condition.noted():
                await asyncio.to_thread(self.look)

    def look(self) -> Scanned:
        """One round; nothing if another process is at it."""
        with all_generations(self._engine) as generations:
            return _scan(self._registry, generations, self._thresholds)


def _scan(registry: Registry, generations: dict[str, Generation], thresholds: Thresholds) -> Scanned:
    look = partial(find_pictures, generations)
    try:
        with locked(registry.state_dir / "scan.lock"):
            return registry.reviewing.scan(label_of(generations), look, thresholds=thresholds)
    except ConflictError:
        return Scanned()


def main() -> int:
    """One round over the indexes on disk."""
    description = (
        "Look claimed pictures up in the indexes, and hold those that are nobody's own. HELDOUT_* as the site."
    )
    argparse.ArgumentParser(prog="python -m web.quarantine", description=description).parse_args()
    settings = Settings()
    try:
        with Registry(settings.state_dir, settings.database_url) as registry, ExitStack() as stack:
            generations = {
                path.parent.name: stack.enter_context(closing(Generation.open(path.parent)))
                for path in sorted(settings.datasets_dir.glob("*/CURRENT"))
            }
            done = _scan(registry, generations, settings.thresholds)
    except HeldoutError as error:
        typer.echo(f"error: {error}", err=True)
        return int(error.exit_code)
    typer.echo(f"Looked up {done.n_looked_up:,} pictures in {len(generations)} data sets; held {done.n_held:,}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
