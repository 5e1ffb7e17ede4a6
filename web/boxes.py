"""The search box as it was left, for every page that shows it."""

from search.engine import SearchEngine
from web.contexts import DatasetLine, SearchBox
from web.narrowing import SIDES, Narrowing


def search_box(
    engine: SearchEngine,
    max_picture_bytes: int,
    *,
    words: str = "",
    dataset: str = "",
    narrowing: Narrowing | None = None,
) -> SearchBox:
    """The box, as it was left."""
    lines = [DatasetLine(info.name, info.n_samples, info.name == dataset) for info in engine.datasets()]
    return SearchBox(
        words=words,
        dataset=dataset,
        datasets=lines,
        max_picture_bytes=max_picture_bytes,
        narrowing=narrowing or Narrowing(),
        sides=[side for side in SIDES if side],
    )
