"""What the service is made of, opened before it serves."""

from dataclasses import dataclass
from typing import Self

from indexer.encoder import Encoder, load_encoder
from registry.service import Registry
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
        try:
            engine = SearchEngine.open(settings.datasets_dir, encoder or load_encoder(settings.encoder))
        except BaseException:
            registry.close()
            raise
        return cls(registry, engine, suggestions)

    def close(self) -> None:
        """Close all of them."""
        self.registry.close()
        self.engine.close()


def _open_registry(settings: Settings) -> Registry:
    """The registry. Only development makes its own keys and database: in production they are decisions."""
    if settings.environment == "development" and not (settings.state_dir / "keys").exists():
        return Registry.prepare(settings.state_dir, settings.database_url, origin=settings.origin_of_new_log)
    return Registry(settings.state_dir, settings.database_url, origin=settings.origin)
