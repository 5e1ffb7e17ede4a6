"""How right text answers are: precision at 10 by look alone, by caption alone, fused, and as cards on the page.

Right answers come from a file: query -> keys of the samples that show it. Each ranking is measured before grouping,
the cards after it, as a visitor sees them: ten different pictures.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from heldout.errors import InputError
from indexer.generation import Generation
from search.engine import SearchEngine
from search.merge import Ref
from search.query_encoder import QueryEncoder
from search.reading import Reading
from search.text import WEIGHTS, Weights, ask_channels, fuse

DEPTH: Final = 10

RANKINGS: Final = ("clip", "caption", "fused", "cards")

LOOK: Final = Weights(caption=0.0, some_words=0.0, look=1.0)
"""CLIP alone."""

GRIDS: Final[Mapping[str, Sequence[Weights]]] = {
    "clip": [LOOK],
    "captions": [Weights(caption, 1.0, 0.0) for caption in (0.5, 1.0, 1.5, 2.0, 3.0)],
    "fused": [
        Weights(caption, some, 1.0) for caption in (0.5, 1.0, 1.5, 2.0, 3.0) for some in (0.25, 0.5, 1.0, 1.5, 2.0)
    ],
}
"""Weights to choose among, by ranking."""


@dataclass(frozen=True)
class QueryFigures:
    """One query's precision at 10 by ranking."""

    query: str
    n_right: int
    """Samples that would be right."""
    precision: Mapping[str, float]


@dataclass(frozen=True)
class TextFigures:
    """Figures of all queries."""

    n: int
    """Samples in the data set."""
    queries: Sequence[QueryFigures]

    def mean(self, ranking: str) -> float:
        """Mean precision at 10 of one of `RANKINGS`."""
        return sum(query.precision[ranking] for query in self.queries) / len(self.queries)

    @property
    def random(self) -> float:
        """Mean precision at 10 of picking at random."""
        return sum(query.n_right / self.n for query in self.queries) / len(self.queries)

    @property
    def attainable(self) -> float:
        """Mean precision at 10 of a perfect ranking."""
        return sum(min(DEPTH, query.n_right) / DEPTH for query in self.queries) / len(self.queries)

    def to_json(self) -> str:
        """All figures, as JSON."""
        summary = {ranking: round(self.mean(ranking), 4) for ranking in RANKINGS}
        return json.dumps(
            {
                "n": self.n,
                "n_queries": len(self.queries),
                "precision_at_10": summary,
                "random": round(self.random, 4),
                "attainable": round(self.attainable, 4),
                "queries": {query.query: {"right": query.n_right, **query.precision} for query in self.queries},
            },
            indent=2,
            ensure_ascii=False,
        )

    def to_text(self) -> str:
        """All figures, as a table; the worst fused queries first."""
        head = f"{'query':<24} right " + " ".join(f"{ranking:>8}" for ranking in RANKINGS)
        rows = [
            f"{query.query[:24]:<24} {query.n_right:5d} "
            + " ".join(f"{query.precision[ranking]:8.2f}" for ranking in RANKINGS)
            for query in sorted(self.queries, key=lambda query: (query.precision["fused"], query.query))
        ]
        means = f"{'mean':<24} {'':5} " + " ".join(f"{self.mean(ranking):8.3f}" for ranking in RANKINGS)
        foot = f"n={self.n}, {len(self.queries)} queries, random {self.random:.3f}, attainable {self.attainable:.3f}"
        return "\n".join([head, *rows, means, foot])


@dataclass(frozen=True)
class HeldOut:
    """Recall at 10 on queries that weights were not chosen on."""

    n_queries: int
    recall: Mapping[str, float]
    """By ranking of `GRIDS`."""
    chosen: Mapping[str, Sequence[Weights]]
    """The weights chosen on either half."""

    def to_text(self) -> str:
        """One line for each ranking."""
        lines = [f"recall@{DEPTH} of {self.n_queries} queries, weights chosen on the other half of them:"]
        for name, recall in self.recall.items():
            weights = ", ".join("/".join(f"{weight:g}" for weight in each) for each in self.chosen[name])
            lines.append(f"  {name:<9} {recall:.3f}  (caption/some words/look: {weights})")
        return "\n".join(lines)


def load_queries(path: Path) -> dict[str, list[str]]:
    """Query -> keys of its right answers.

    Raises:
        InputError: the file cannot be read or is not such an object.
    """
    try:
        queries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}): give an object of query -> keys") from error
    if not isinstance(queries, dict) or not queries or not all(isinstance(keys, list) for keys in queries.values()):
        raise InputError(f"{path} is not an object of query -> keys of the right samples")
    return queries


def evaluate_text(engine: SearchEngine, dataset: str, queries: Mapping[str, Sequence[str]]) -> TextFigures:
    """Precision at 10 of every query on one data set.

    Raises:
        NotFoundError: no such data set.
        InputError: a query has no word in it.
    """
    with engine.generation(dataset) as generation:
        rankings = _rankings(generation, engine.encoder)
        figures = []
        for query, right in queries.items():
            keys = set(right)
            precision = {name: _precision(_keys(generation, rank(query)), keys) for name, rank in rankings.items()}
            result = engine.search_text(query, k=DEPTH, datasets=[dataset])
            faces = [result.hits[group.hits[0]].sample.key for group in result.groups]
            figures.append(QueryFigures(query, len(keys), precision | {"cards": _precision(faces, keys)}))
        return TextFigures(generation.n, figures)


def cross_fit(engine: SearchEngine, dataset: str, queries: Mapping[str, Sequence[str]]) -> HeldOut:
    """Recall at 10 of fusion and of its parts, on queries that their weights were not chosen on.

    The queries are halved by their digests. Weights are chosen on the one half and measured on the other, and the
    other way round; the figures are means over all queries. Captions alone choose theirs in the same way.

    Raises:
        NotFoundError: no such data set.
        InputError: a query has no word in it.
    """
    halves: tuple[list[str], list[str]] = ([], [])
    for query in sorted(queries):
        halves[hashlib.sha256(query.encode()).digest()[0] % 2].append(query)
    if not all(halves):
        raise InputError(f"{len(queries)} queries cannot be halved: give more of them")
    with engine.generation(dataset) as generation:
        only = Reading({generation.dataset: generation})
        asked = {query: ask_channels(only, engine.encoder, query) for query in queries}
        keys = {query: set(right) for query, right in queries.items()}

        def recall(query: str, weights: Weights) -> float:
            found = _keys(generation, fuse(asked[query], weights).order[:DEPTH])
            return sum(key in keys[query] for key in found) / min(DEPTH, len(keys[query]))

        def mean(half: Sequence[str], weights: Weights) -> float:
            return sum(recall(query, weights) for query in half) / len(half)

        measured: dict[str, float] = {}
        chosen: dict[str, list[Weights]] = {}
        for name, grid in GRIDS.items():
            pairs = ((halves[0], halves[1]), (halves[1], halves[0]))
            chosen[name] = [max(grid, key=lambda weights, on=on: mean(on, weights)) for on, _ in pairs]  # type: ignore[misc]
            measured[name] = sum(
                mean(held, weights) * len(held) for (_, held), weights in zip(pairs, chosen[name], strict=True)
            ) / len(queries)
    return HeldOut(len(queries), measured, chosen)


def _rankings(generation: Generation, encoder: QueryEncoder) -> dict[str, Callable[[str], list[Ref]]]:
    only = Reading({generation.dataset: generation})

    def by(weights: Weights) -> Callable[[str], list[Ref]]:
        return lambda query: list(fuse(ask_channels(only, encoder, query), weights).order[:DEPTH])

    return {"clip": by(LOOK), "caption": by(WEIGHTS._replace(look=0.0)), "fused": by(WEIGHTS)}


def _keys(generation: Generation, ranked: Sequence[Ref]) -> list[str]:
    return [sample.key for sample in generation.samples([ref.id for ref in ranked])]


def _precision(found: Sequence[str], right: set[str]) -> float:
    return sum(key in right for key in found[:DEPTH]) / DEPTH
