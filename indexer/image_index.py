"""A built image index opened for searching: candidates from codes, ranked again by their true cosines."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import faiss
import numpy as np
import numpy.typing as npt

from indexer.vectors import Rows, read_image_index, widen

Kind = Literal["image", "text"]
"""What a query is the embedding of: texts lie off the pictures' distribution and need a wider search."""

RERANK_PER_HIT: Final = 4
_QUERY_BITS: Final = 4
"""Of a query's dimension as it meets the codes: 8 find as much, 3 a little less."""
_GATHERED: Final = 32 * 1024 * 1024
"""Bytes of rows gathered at once."""


@dataclass(frozen=True)
class Width:
    """How widely a large index is searched."""

    nprobe: int
    """Lists looked into."""
    rerank: int
    """Candidates ranked again, at least."""


DEFAULT_WIDTHS: Final[Mapping[Kind, Width]] = {"image": Width(64, 320), "text": Width(128, 1280)}
"""Where a build measured none."""


def read_widths(said: Mapping[str, Mapping[str, int]]) -> dict[Kind, Width]:
    """Widths as a manifest says them; the default ones of kinds that it does not name."""
    return {kind: Width(**said[kind]) if kind in said else width for kind, width in DEFAULT_WIDTHS.items()}


class ImageIndex:
    """A built index opened for searching."""

    def __init__(self, folder: Path, rows: Rows, widths: Mapping[Kind, Width] = DEFAULT_WIDTHS) -> None:
        """Open the index in `folder` over (n, d) float16 `rows`, mapped or not."""
        self._index = read_image_index(folder)
        self._rows = rows.view(np.ndarray)  # a memmap's own indexing costs as much as the reading
        self._widths = widths
        self.exact = not isinstance(self._index, faiss.IndexIVF)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def d(self) -> int:
        """Length of a vector."""
        return int(self._index.d)

    @property
    def n_lists(self) -> int:
        """Inverted lists; 1 of an exact index."""
        return 1 if self.exact else int(self._index.nlist)

    def centroids_of(self, queries: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The centroid nearest to each query, of an index that has lists."""
        nearest = self._index.quantizer.assign(queries, 1)[:, 0]
        return np.stack([self._index.quantizer.reconstruct(int(number)) for number in nearest])

    def search(
        self,
        queries: npt.NDArray[np.float32],
        k: int,
        *,
        kind: Kind = "image",
        nprobe: int | None = None,
        rerank: int | None = None,
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
        width = self._widths[kind]
        n_candidates = max(rerank or width.rerank, RERANK_PER_HIT * wanted)
        candidates = self._enough(queries, n_candidates, wanted, nprobe or width.nprobe)
        for row, query in enumerate(queries):
            cosines, best = self._rank(query, candidates[row], wanted)
            scores[row, : len(best)] = cosines
            positions[row, : len(best)] = best
        return scores, positions

    def _enough(self, queries: npt.NDArray[np.float32], n: int, wanted: int, nprobe: int) -> npt.NDArray[np.int64]:
        """Candidates, as many as `wanted` at least: of more and more lists, where they are many."""
        while True:
            found = self.candidates(queries, n, nprobe=nprobe)
            if nprobe >= self.n_lists or (found[:, wanted - 1] >= 0).all():
                return found
            nprobe *= 2

    def candidates(self, queries: npt.NDArray[np.float32], n: int, *, nprobe: int) -> npt.NDArray[np.int64]:
        """(nq, n) positions by the codes alone, best first, padded with -1."""
        parameters = faiss.IVFRaBitQSearchParameters()
        parameters.nprobe = min(nprobe, self._index.nlist)
        parameters.qb = _QUERY_BITS
        if isinstance(self._index.quantizer, faiss.IndexHNSW):
            graph = faiss.SearchParametersHNSW()  # type: ignore[attr-defined] # SWIG
            graph.efSearch = 2 * parameters.nprobe
            parameters.quantizer_params = graph
        found: npt.NDArray[np.int64] = self._index.search(queries, min(n, len(self)), params=parameters)[1]
        return found

    def _rank(
        self, query: npt.NDArray[np.float32], candidates: npt.NDArray[np.int64], wanted: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """The `wanted` best of the candidates and their cosines."""
        chosen = np.sort(candidates[candidates >= 0])  # in file order: one pass over the mapped pages
        step = max(1, _GATHERED // (2 * self.d))
        if len(chosen) <= step:
            cosines = self._cosines(query, chosen)
        else:
            starts = range(0, len(chosen), step)
            cosines = np.concatenate([self._cosines(query, chosen[start : start + step]) for start in starts])
        best = np.lexsort((chosen, -cosines))[:wanted]
        return cosines[best], chosen[best]

    def _cosines(self, query: npt.NDArray[np.float32], positions: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        rows = widen(self._rows.take(positions, axis=0))
        lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))  # near 1, but rounding must not rank
        return np.asarray(rows @ query / np.maximum(lengths, np.float32(1e-12)), dtype=np.float32)
