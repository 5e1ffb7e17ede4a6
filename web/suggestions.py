"""Queries worth trying, for the first page: read from a JSON file, each with the picture it finds first."""

import json
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from heldout.errors import InputError
from search.engine import SearchEngine
from search.words import fold, has_all_words
from web.cards import thumbnail_href
from web.contexts import Suggestion

MAX_SUGGESTIONS = 12
MAX_LOOKED_AT = 6
WALL_SIZE = 9


def read_queries(path: Path | None) -> list[str]:
    """Queries of a JSON file: a list of them, or an object that is keyed by them. None when there is no file.

    Of more than are offered, some from everywhere in the list: neighbours there are often alike.

    Raises:
        InputError: the file is not such a list.
    """
    if path is None or not path.exists():
        return []
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f'{path} is not JSON ({error!r:.80}): give a list such as ["red car", "castle"]') from error
    queries = list(given) if isinstance(given, list | dict) else []
    if not queries or not all(isinstance(query, str) for query in queries):
        raise InputError(f'{path} is not a list of queries: give JSON such as ["red car", "castle"]')
    n = min(len(queries), MAX_SUGGESTIONS)
    return [queries[at * len(queries) // n] for at in range(n)]


@dataclass(frozen=True)
class Offer:
    """What the first page shows of the data sets."""

    suggestions: list[Suggestion]
    wall: list[str]
    """Thumbnails to hang beside the box: `WALL_SIZE`, or none."""


class Suggestions:
    """The suggestions, and for each generation of the data sets the pictures that go with them."""

    def __init__(self, queries: list[str]) -> None:
        self._queries = queries
        self._offers: dict[tuple[tuple[str, int], ...], Offer] = {}

    def current(self, engine: SearchEngine) -> Offer:
        """What to offer over the current data sets. Searches once per generation, then remembers."""
        generations = tuple((info.name, info.generation) for info in engine.datasets())
        if generations not in self._offers:
            self._offers = {generations: self._make(engine) if generations else Offer([], [])}
        return self._offers[generations]

    def _make(self, engine: SearchEngine) -> Offer:
        suggestions: list[Suggestion] = []
        firsts: dict[str, None] = {}
        others: dict[str, None] = {}
        for words in self._queries:
            try:
                found = _thumbnails(engine, words)
            except InputError:  # a query that search cannot read is no reason to have no first page
                continue
            first = next((href for href in found if href not in firsts), None)
            if first is not None:
                suggestions.append(Suggestion(words, f"/search?{urlencode({'q': words})}", first))
                firsts[first] = None
                others.update(dict.fromkeys(found[1:3]))
        wall = [href for href in others if href not in firsts][:WALL_SIZE]
        return Offer(suggestions, wall if len(wall) == WALL_SIZE else [])


def _thumbnails(engine: SearchEngine, words: str) -> list[str]:
    """Thumbnails of what the words find, best first, one per picture, nothing unsafe; those called so before others."""
    result = engine.search_text(words, k=MAX_LOOKED_AT)
    asked = fold(words).split()
    faces = [result.hits[group.hits[0]].sample for group in result.groups]
    faces.sort(key=lambda face: not has_all_words(fold(face.caption or ""), asked))
    hrefs = [thumbnail_href(face, result.generations) for face in faces if not face.unsafe]
    return [href for href in hrefs if href is not None]
