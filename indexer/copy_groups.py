"""Copies of one picture as one group, worked out when the index is built: connected components over proved copies.

A proof is the same SHA-256, or PDQ in any orientation by the rule of `heldout.fingerprints`; never what a model finds
alike. A group's number is the smallest id in it. `groups.npy` holds each sample's group, `grouped.npy` (group, id) of
the samples that have copies, sorted.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import faiss
import numpy as np
import numpy.typing as npt

from heldout.fingerprints import MATCH_DISTANCE, MIN_QUALITY
from indexer.copies import PdqIndex
from indexer.orientations import N_ORIENTATIONS, orientations

_AHEAD: Final = 64
"""Turns given to a thread before their answers are taken."""

Numbers = npt.NDArray[np.int32] | npt.NDArray[np.int64]


def group_type(n: int) -> type[np.signedinteger]:
    """The smallest type that numbers `n` samples."""
    return np.int32 if n < 2**31 else np.int64


def unite(groups: Numbers, left: npt.NDArray[np.int64], right: npt.NDArray[np.int64]) -> None:
    """Put left[i] and right[i] in one group. `groups` is a forest in which parents are smaller."""
    while True:
        ones, others = _roots(groups, left), _roots(groups, right)
        apart = ones != others
        if not apart.any():
            return
        ones, others, left, right = ones[apart], others[apart], left[apart], right[apart]
        np.minimum.at(groups, np.maximum(ones, others), np.minimum(ones, others).astype(groups.dtype))


def _roots(groups: Numbers, nodes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    while True:
        above = groups[nodes].astype(np.int64)
        if (above == nodes).all():
            return nodes
        nodes = above


def unite_same_hashes(
    groups: Numbers, index: PdqIndex, rows: npt.NDArray[np.int64], ids: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Unite samples of one hash among `rows` of the index; one row for each different hash."""
    words = index.hashes(rows).view(np.uint64)
    order = np.lexsort(tuple(words.T))
    words, rows = words[order], rows[order]
    same = (words[1:] == words[:-1]).all(axis=1)
    unite(groups, ids[rows[:-1][same]], ids[rows[1:][same]])
    return np.sort(rows[np.concatenate(([True], ~same))]) if len(rows) else rows


def unite_near_hashes(
    groups: Numbers,
    index: PdqIndex,
    rows: npt.NDArray[np.int64],
    ids: npt.NDArray[np.int64],
    quality: npt.NDArray[np.uint8],
    *,
    workers: int = 1,
) -> None:
    """Unite the samples in `rows` of the index with all whose hash is near in some orientation.

    Args:
        groups: By sample.
        index: Over all hashes.
        rows: Those to look up; each must be of sufficient quality.
        ids: Sample of each row of the index.
        quality: PDQ quality of each row of the index.
        workers: Threads.
    """
    step = max(1, index.n_at_once // N_ORIENTATIONS)

    def near(start: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        faiss.omp_set_num_threads(1)
        part = rows[start : start + step]
        owners, found, _ = index.pairs(orientations(index.hashes(part)).reshape(-1, 32), MATCH_DISTANCE)
        asked = part[owners // N_ORIENTATIONS]
        linked = (found != asked) & (quality[found] >= MIN_QUALITY)
        return ids[asked[linked]], ids[found[linked]]

    with ThreadPoolExecutor(workers) as pool:
        starts = range(0, len(rows), step)
        for at in range(0, len(starts), _AHEAD * workers):
            for left, right in pool.map(near, starts[at : at + _AHEAD * workers]):
                unite(groups, left, right)


def write_groups(groups: Numbers, groups_file: Path, grouped_file: Path) -> int:
    """Flatten the forest and write both files; how many groups have more than one sample."""
    while True:
        above = groups[groups]
        if (above == groups).all():
            break
        groups = above
    np.save(groups_file, groups)
    counts = np.bincount(groups, minlength=len(groups)) if len(groups) else np.empty(0, np.int64)
    shared = np.flatnonzero(counts[groups] > 1)
    order = np.lexsort((shared, groups[shared]))
    np.save(grouped_file, np.stack([groups[shared][order].astype(np.int64), shared[order]]))
    return int((counts > 1).sum())


class GroupTable:
    """`groups.npy` and `grouped.npy`, mapped."""

    def __init__(self, groups_file: Path, grouped_file: Path) -> None:
        self.groups: Numbers = np.load(groups_file, mmap_mode="r")
        self._groups, self._ids = np.load(grouped_file, mmap_mode="r")

    def members(self, group: int) -> npt.NDArray[np.int64]:
        """Ids of a group, ascending; a sample without copies is a group of its own."""
        left, right = (int(np.searchsorted(self._groups, group, side)) for side in ("left", "right"))
        return np.array(self._ids[left:right], dtype=np.int64) if right > left else np.array([group], dtype=np.int64)
