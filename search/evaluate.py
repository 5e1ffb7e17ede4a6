"""How right text answers are: precision at 10 by look alone, by caption alone, fused, and as cards on the page.

Right answers come from a file: query -> keys of the samples that show it. Each ranking is measured before grouping,
the cards after it, as a visitor sees them: ten different pictures.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from heldout.errors import InputError
from indexer.generation import Generation
from search import words
from search.engine import SearchEngine
from search.merge import Candidate
from search.nearest import TEXT_NPROBE, TEXT_RERANK, nearest_embeddings
from search.query_encoder import QueryEncoder
from search.reading import Reading
from search.text import answer_caption, answer_text

DEPTH: Final = 10

RANKINGS: Final = ("clip", "caption", "fused", "cards")


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


def _rankings(generation: Generation, encoder: QueryEncoder) -> dict[str, Callable[[str], list[Candidate]]]:
    only = Reading({generation.dataset: generation})

    def clip(query: str) -> list[Candidate]:
        embedding = encoder.embed_texts([words.parse_query(query).text])
        return nearest_embeddings(only.generations, embedding, DEPTH, nprobe=TEXT_NPROBE, rerank=TEXT_RERANK)

    return {
        "clip": clip,
        "caption": lambda query: answer_caption(only, query).ranking.window(0, DEPTH),
        "fused": lambda query: answer_text(only, encoder, query).ranking.window(0, DEPTH),
    }


def _keys(generation: Generation, ranked: Sequence[Candidate]) -> list[str]:
    return [sample.key for sample in generation.samples([candidate.ref.id for candidate in ranked])]


def _precision(found: Sequence[str], right: set[str]) -> float:
    return sum(key in right for key in found[:DEPTH]) / DEPTH
