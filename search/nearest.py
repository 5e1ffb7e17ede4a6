"""The CLIP channel: pictures nearest to an embedding, over several data sets."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from indexer.generation import Generation
from search import merge
from search.merge import Candidate, Ref

TEXT_NPROBE: Final = 64
TEXT_RERANK: Final = 640
"""Text queries lie off the pictures' distribution and need a wider search of a large index than pictures do."""


def nearest_embeddings(
    generations: Mapping[str, Generation],
    embedding: npt.NDArray[np.float32],
    k: int,
    *,
    nprobe: int | None = None,
    rerank: int | None = None,
) -> list[Candidate]:
    """The k samples of all data sets whose picture is nearest by cosine to one (1, d) embedding, best first."""
    found: list[tuple[Ref, float]] = []
    for dataset, generation in generations.items():
        scores, ids = generation.search_embedding(embedding, k, nprobe=nprobe, rerank=rerank)
        found += [
            (Ref(dataset, sample), min(score, 1.0))  # rounding to float16 can lift a cosine over 1
            for score, sample in zip(scores[0].tolist(), ids[0].tolist(), strict=True)
            if sample >= 0
        ]
    found.sort(key=lambda pair: (-pair[1], pair[0]))
    return merge.similar(found[:k])
