"""The index over PDQ hashes: all hashes within a Hamming radius, none missed, mapped from disk.

Few hashes are all compared; more are looked up by words of their bits (`heldout.pdq_index`), which misses nothing up to
distance 31, the rule for copies. A wider radius, where candidates are sought that something else must prove, compares
all: 1 ms a million hashes and orientation, on one core.
"""

from itertools import pairwise
from pathlib import Path
from typing import Final

import faiss
import numpy as np
import numpy.typing as npt

from heldout.fingerprints import MATCH_DISTANCE
from heldout.pdq_index import FEW_WORDS, FEW_WORDS_FROM, MANY_WORDS, Cut, Probes, Tables

FLAT_UP_TO: Final = 50_000
"""Hashes up to which comparing all of them, in 8 orientations, is as fast: 0.4 ms."""
HASHES_FILE, ROWS_FILE, STARTS_FILE = "pdq.npy", "pdq_rows.npy", "pdq_starts.npy"
_AT_ONCE: Final = 256
_WORK: Final = 4_000_000
"""Places looked at for as many queries: some 40 bytes each, for a moment."""

Found = tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]


def build_pdq_index(folder: Path, *, flat_up_to: int = FLAT_UP_TO, cut: Cut | None = None) -> str:
    """Write the tables of the hashes in `folder` beside them, where they are many; what the index is called."""
    hashes = np.load(folder / HASHES_FILE, mmap_mode="r")
    if len(hashes) <= flat_up_to:
        return "flat"
    cut = cut or (MANY_WORDS if len(hashes) < FEW_WORDS_FROM else FEW_WORDS)
    tables = Tables.of(hashes, cut)
    np.save(folder / ROWS_FILE, tables.rows)
    np.save(folder / STARTS_FILE, tables.starts)
    return f"multi-hash {cut.n_words}/{cut.n_flips}"


class PdqIndex:
    """A built index opened for searching. `kind` is what `build_pdq_index` called it."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._hashes = np.load(folder / HASHES_FILE, mmap_mode="r")
        self._probes: Probes | None = None
        if kind != "flat":
            n_words, n_flips = map(int, kind.rpartition(" ")[2].split("/"))
            rows, starts = (np.load(folder / name, mmap_mode="r") for name in (ROWS_FILE, STARTS_FILE))
            self._probes = Probes(self._hashes, Tables(Cut(n_words, n_flips), rows, starts))

    def __len__(self) -> int:
        return len(self._hashes)

    def hashes(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """The hashes in some rows."""
        return np.asarray(self._hashes[rows])

    @property
    def n_at_once(self) -> int:
        """Queries whose candidates lie side by side in memory without taking much of it."""
        return 8 * _AT_ONCE if self._probes is None else max(8, int(_WORK / self._probes.work))

    def search(self, queries: npt.NDArray[np.uint8], radius: int) -> list[Found]:
        """For each of (q, 32) uint8: (positions, distances) within `radius`, nearest first, ties by position."""
        owners, found, near = self.pairs(queries, radius)
        order = np.lexsort((found, near, owners))
        owners, found, near = owners[order], found[order], near[order]
        fresh = np.ones(len(order), dtype=bool)  # several words may lead to one hash
        fresh[1:] = (owners[1:] != owners[:-1]) | (found[1:] != found[:-1])
        owners, found, near = owners[fresh], found[fresh], near[fresh]
        limits = np.searchsorted(owners, np.arange(len(queries) + 1))
        return [(found[start:stop], near[start:stop].astype(np.int32)) for start, stop in pairwise(limits.tolist())]

    def pairs(
        self, queries: npt.NDArray[np.uint8], radius: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint16]]:
        """(query, position, distance) within `radius`, unordered, a pair perhaps repeatedly."""
        if len(queries) == 0 or len(self) == 0:
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint16)
        step = self.n_at_once
        parts = [self._pairs(queries[start : start + step], radius) for start in range(0, len(queries), step)]
        owners = [owner + number * step for number, (owner, _, _) in enumerate(parts)]
        return (
            np.concatenate(owners),
            np.concatenate([found for _, found, _ in parts]),
            np.concatenate([near for _, _, near in parts]),
        )

    def _pairs(
        self, queries: npt.NDArray[np.uint8], radius: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint16]]:
        if self._probes is not None and radius <= MATCH_DISTANCE:
            return self._probes.near(queries, radius)
        queries = np.ascontiguousarray(queries)
        result = faiss.RangeSearchResult(len(queries))
        # faiss's radius is exclusive. The function reads the mapped file where it lies.
        faiss.hamming_range_search(  # type: ignore[attr-defined] # SWIG
            faiss.swig_ptr(queries),
            faiss.swig_ptr(self._hashes),
            len(queries),
            len(self),
            radius + 1,
            queries.shape[1],
            result,
        )
        limits = faiss.rev_swig_ptr(result.lims, len(queries) + 1).astype(np.int64)
        found = faiss.rev_swig_ptr(result.labels, int(limits[-1])).copy()
        near = faiss.rev_swig_ptr(result.distances, int(limits[-1])).astype(np.uint16)
        return np.repeat(np.arange(len(queries)), np.diff(limits)), found, near
