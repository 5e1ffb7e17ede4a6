"""What the service is made of, opened before it serves."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from heldout.records import Sample
from indexer.encoder import Encoder, load_encoder
from registry.service import Registry, default_database_url, migrate
from search.batching import BatchingEncoder
from search.engine import SearchEngine
from web.settings import Settings
from web.suggestions import Suggestions, read_queries


@dataclass(frozen=True)
class Parts:
    """Open files and databases. Close them after use."""

    registry: Registry
    engine: SearchEngine
    suggestions: Suggestions

    @classmethod
    def open(cls, settings: Settings, encoder: Encoder | None = None) -> Self:
        """Open what the settings name; `encoder`, when given, is used instead of the one they name.

        Raises:
            HeldoutError: something is missing or damaged; the message says what to do. Nothing stays open.
        """
        suggestions = Suggestions(read_queries(settings.suggestions))
        registry = _open_registry(settings)

        def opted_out(samples: Sequence[Sample]) -> list[bool]:
            return [covered is not None for covered in registry.opted_out(samples)]

        try:
            batching = BatchingEncoder(encoder or load_encoder(settings.encoder), lanes=_lanes(settings.workers))
            engine = SearchEngine.open(settings.datasets_dir, batching, opted_out=opted_out)
        except BaseException:
            registry.close()
            raise
        return cls(registry, engine, suggestions)

    def close(self) -> None:
        """Close all of them."""
        self.registry.close()
        self.engine.close()


def _lanes(workers: int) -> int:
    """Runs of the model that one of so many processes keeps going: one for each processor they have between them."""
    return max(1, (os.cpu_count() or 1) // workers)


def _open_registry(settings: Settings) -> Registry:
    """The registry. Only development makes its own keys and database, and brings an older database up to date.

    In production these are decisions.
    """
    if settings.environment == "development":
        if not (settings.state_dir / "keys").exists():
            return Registry.prepare(
                settings.state_dir, settings.database_url, origin=settings.origin_of_new_log, limits=settings.limits
            )
        migrate(settings.database_url or default_database_url(settings.state_dir))
    return Registry(settings.state_dir, settings.database_url, origin=settings.origin, limits=settings.limits)
