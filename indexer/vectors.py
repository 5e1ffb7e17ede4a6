"""The image index: exact while that is quick, then `IVF,RaBitQ` re-ranked against the float16 rows on disk.

RaBitQ keeps one bit a dimension in memory; re-ranking the best few against the true vectors, read from a memory-mapped
file, brings recall back. Positions in the index are row numbers of `embeddings.npy`.
"""

import logging
import math
from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np
import numpy.typing as npt

log = logging.getLogger(__name__)

EXACT_UP_TO: Final = 10_000
"""Embeddings: up to here a scan of everything takes about a millisecond and needs no training."""
NPROBE: Final = 32
RERANK: Final = 160
"""Candidates re-ranked, at least; see `docs/benchmarks.md` for what other settings give."""
RERANK_PER_HIT: Final = 4
_TRAIN_PER_LIST: Final = 64
_MIN_PER_LIST: Final = 39  # below it faiss warns that centroids are poorly trained
_ADD: Final = 65_536
"""Rows added at once."""


def unit_rows(rows: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
    """Stored rows as float32 of length one again: rounding to float16 would let a longer row beat an equal one."""
    wide = rows.astype(np.float32)
    wide /= np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), np.float32(1e-12))
    return wide


def factory_string(n: int, *, exact_up_to: int = EXACT_UP_TO) -> str:
    """The faiss factory string for `n` embeddings."""
    if n <= exact_up_to:
        return "Flat"
    n_lists = max(1, min(round(4 * math.sqrt(n)), n // _MIN_PER_LIST))
    return f"IVF{n_lists},RaBitQ"


def build_image_index(rows: npt.NDArray[np.float16], factory: str, *, seed: int = 0) -> Any:  # noqa: ANN401 - faiss
    """Train and fill an index over (n, d) float16 unit rows, read in order and by parts."""
    n, d = rows.shape
    # Unit rows rank alike by either metric; RaBitQ's estimate of L2 is the better one, most of all for text queries.
    metric = faiss.METRIC_INNER_PRODUCT if factory == "Flat" else faiss.METRIC_L2
    index = faiss.index_factory(d, factory, metric)
    if not index.is_trained:
        n_lists = faiss.extract_index_ivf(index).nlist
        chosen = np.random.default_rng(seed).choice(n, min(n, n_lists * _TRAIN_PER_LIST), replace=False)
        index.train(unit_rows(rows[np.sort(chosen)]))
    for start in range(0, n, _ADD):
        index.add(unit_rows(rows[start : start + _ADD]))
    return index


class ImageIndex:
    """A built index opened for searching."""

    def __init__(self, path: Path, rows: npt.NDArray[np.float16]) -> None:
        self._index: Any = faiss.read_index(str(path))
        self._rows = rows
        self.exact = not isinstance(self._index, faiss.IndexIVF)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def d(self) -> int:
        """Length of a vector."""
        return int(self._index.d)

    def search(
        self, queries: npt.NDArray[np.float32], k: int, *, nprobe: int | None = None, rerank: int | None = None
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """(scores, positions), both (nq, k), best first, ties by position; padded with -inf and -1."""
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        positions = np.full((len(queries), k), -1, dtype=np.int64)
        wanted = min(k, len(self))
        if wanted == 0 or len(queries) == 0:
            return scores, positions
        if self.exact:
            found_scores, found = self._index.search(queries, wanted)
            order = np.lexsort((found, -found_scores), axis=1)
            scores[:, :wanted] = np.take_along_axis(found_scores, order, axis=1)
            positions[:, :wanted] = np.take_along_axis(found, order, axis=1)
            return scores, positions
        parameters = faiss.IVFRaBitQSearchParameters()
        parameters.nprobe = min(nprobe or NPROBE, self._index.nlist)
        n_candidates = min(max(rerank or RERANK, RERANK_PER_HIT * wanted), len(self))
        _, candidates = self._index.search(queries, n_candidates, params=parameters)
        for row, query in enumerate(queries):
            # In file order: one pass over the mapped pages.
            chosen = np.sort(candidates[row][candidates[row] >= 0])
            cosines = unit_rows(self._rows[chosen]) @ query
            best = np.lexsort((chosen, -cosines))[:wanted]
            scores[row, : len(best)] = cosines[best]
            positions[row, : len(best)] = chosen[best]
        return scores, positions
