"""The binary index over PDQ hashes: all hashes within a Hamming radius.

A scan up to a million hashes; above, ten 24-bit substrings hashed, looked up with up to two bits flipped. Ten parts of
256 bits within distance 31 leave one part with at most three flips, so that a rare pair at the very edge may be missed:
measured on planted pairs at distances 5-31, none was.
"""

from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np
import numpy.typing as npt

FLAT_UP_TO: Final = 1_000_000
"""Hashes."""
_N_PARTS, _PART_BITS, _N_FLIPS = 10, 24, 2
_ADD: Final = 1_000_000


def build_pdq_index(hashes: npt.NDArray[np.uint8], *, flat_up_to: int = FLAT_UP_TO) -> Any:  # noqa: ANN401 - faiss
    """Index (n, 32) uint8 hashes; positions are row numbers."""
    if len(hashes) <= flat_up_to:
        index: Any = faiss.IndexBinaryFlat(256)
    else:
        index = faiss.IndexBinaryMultiHash(256, _N_PARTS, _PART_BITS)
        index.nflip = _N_FLIPS
    for start in range(0, len(hashes), _ADD):
        index.add(np.ascontiguousarray(hashes[start : start + _ADD]))
    return index


class PdqIndex:
    """A built index opened for searching."""

    def __init__(self, path: Path) -> None:
        self._index = faiss.read_index_binary(str(path))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def search(
        self, queries: npt.NDArray[np.uint8], radius: int
    ) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]]:
        """For each of (q, 32) uint8: (positions, distances) within `radius`, nearest first, ties by position."""
        if len(queries) == 0:
            return []
        empty = (np.empty(0, np.int64), np.empty(0, np.int32))
        if len(self) == 0:
            return [empty] * len(queries)
        # faiss's radius is exclusive
        limits, distances, positions = self._index.range_search(np.ascontiguousarray(queries), radius + 1)
        answers = []
        for row in range(len(queries)):
            part = slice(int(limits[row]), int(limits[row + 1]))
            near, found = distances[part].astype(np.int32), positions[part].astype(np.int64)
            order = np.lexsort((found, near))
            answers.append((found[order], near[order]))
        return answers
