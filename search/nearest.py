"""The CLIP channel: pictures nearest to an embedding, over several data sets, among what filters let through."""

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from indexer.generation import Generation
from indexer.image_index import Kind
from search import merge
from search.merge import Candidate, Ref
from search.rankings import Mask

EXACT_UP_TO: Final = 50_000
"""Samples that a filter lets through at which all of them are compared: 50 MB of vectors, some 30 ms, and nothing is
missed. Beyond it the index is asked for more than wanted, and more again, until enough are let through."""

_CHUNK: Final = 8_192
_ROUNDS: Final = 3
_FURTHER: Final = 4

Found = Iterator[tuple[float, int]]


def nearest_embeddings(
    generations: Mapping[str, Generation],
    embedding: npt.NDArray[np.float32],
    k: int,
    *,
    kind: Kind = "image",
    masks: Mapping[str, Mask] | None = None,
) -> list[Candidate]:
    """The k samples of all data sets whose picture is nearest by cosine to one (1, d) embedding, best first."""
    return merge.similar(nearest_pairs(generations, embedding, k, kind=kind, masks=masks))


def nearest_pairs(
    generations: Mapping[str, Generation],
    embedding: npt.NDArray[np.float32],
    k: int,
    *,
    kind: Kind = "image",
    masks: Mapping[str, Mask] | None = None,
) -> list[tuple[Ref, float]]:
    """The same as samples and cosines, for whoever shows few of many."""
    found: list[tuple[Ref, float]] = []
    for dataset, generation in generations.items():
        if masks is None:
            pairs = _search(generation, embedding, k, kind)
        else:
            pairs = _search_allowed(generation, embedding, k, kind, masks[dataset])
        found += [(Ref(dataset, sample), min(score, 1.0)) for score, sample in pairs]  # float16 can lift one over 1
    if len(generations) > 1:
        found.sort(key=lambda pair: (-pair[1], pair[0]))
    return found[:k]


def _search(generation: Generation, embedding: npt.NDArray[np.float32], k: int, kind: Kind) -> Found:
    scores, ids = generation.search_embedding(embedding, k, kind=kind)
    return ((score, each) for score, each in zip(scores[0].tolist(), ids[0].tolist(), strict=True) if each >= 0)


def _search_allowed(
    generation: Generation, embedding: npt.NDArray[np.float32], k: int, kind: Kind, mask: Mask
) -> Found:
    n_allowed = int(np.count_nonzero(mask))
    if n_allowed <= EXACT_UP_TO:
        return _compare_all(generation, embedding, k, np.flatnonzero(mask))
    reach = k * generation.n // n_allowed
    pairs: list[tuple[float, int]] = []
    for _ in range(_ROUNDS):
        reach = min(generation.n, _FURTHER * reach)
        everything = _search(generation, embedding, reach, kind)
        pairs = [(score, sample) for score, sample in everything if mask[sample]]
        if len(pairs) >= k or reach == generation.n:
            break
    return iter(pairs[:k])


def _compare_all(
    generation: Generation, embedding: npt.NDArray[np.float32], k: int, ids: npt.NDArray[np.int64]
) -> Found:
    parts = [generation.embeddings(ids[at : at + _CHUNK]) @ embedding[0] for at in range(0, len(ids), _CHUNK)]
    scores = np.concatenate([np.empty(0, np.float32), *parts])
    has = ~np.isnan(scores)  # a sample without a picture has a row of NaN
    scores, ids = scores[has], ids[has]
    best = np.lexsort((ids, -scores))[:k]
    return zip(scores[best].tolist(), ids[best].tolist(), strict=True)
