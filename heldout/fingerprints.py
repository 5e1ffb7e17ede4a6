"""Comparing PDQ fingerprints: the one rule that says two pictures are copies. Numpy only; making them needs Pillow.

PDQ is compared by Hamming distance (Davis & Rosen 2019): at most 31 of 256 bits apart, and both pictures busy enough
for their hash to mean something. A rotated or mirrored copy is found by comparing all 8 orientations of one of the
two (here the candidate's) with the upright hash of the other.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

MATCH_DISTANCE: Final = 31
"""Largest Hamming distance, of 256 bits, between copies."""

MIN_QUALITY: Final = 50
"""Smallest PDQ quality, 0-100, of a picture that may match: below, flat pictures collide."""

PDQ_BYTES: Final = 32
N_ORIENTATIONS: Final = 8

_CHUNK_BYTES = 32 * 1024 * 1024  # of one temporary array


def distances(queries: npt.NDArray[np.uint8], hashes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint16]:
    """Hamming distances of every query to every hash.

    Args:
        queries: (q, 32) uint8.
        hashes: (n, 32) uint8.

    Returns:
        (q, n) uint16, 0-256. Temporary memory is bounded besides the result.
    """
    left, right = _words(queries), _words(hashes)
    out = np.empty((len(left), len(right)), dtype=np.uint16)
    step = max(1, _CHUNK_BYTES // right.itemsize)
    for row, query in enumerate(left):
        for start in range(0, len(right), step):
            part = slice(start, start + step)
            total = np.bitwise_count(right[part, 0] ^ query[0]).astype(np.uint16)
            for word in range(1, 4):
                total += np.bitwise_count(right[part, word] ^ query[word])
            out[row, part] = total
    return out


def is_match(distance: int, quality: int, other_quality: int) -> bool:
    """Whether pictures at this distance and of these qualities are copies."""
    return distance <= MATCH_DISTANCE and quality >= MIN_QUALITY and other_quality >= MIN_QUALITY


def nearest(
    candidates: npt.NDArray[np.uint8], hashes: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint16]]:
    """The nearest hash to each candidate over its orientations; the first of equally near ones.

    Args:
        candidates: (n, 8, 32) uint8, as `heldout.pictures.Fingerprint.pdq`; fewer orientations will do.
        hashes: (m, 32) uint8, upright.

    Returns:
        (n,) int64 positions in `hashes` and (n,) uint16 distances; -1 and 257 when there are no hashes.
    """
    index = np.full(len(candidates), -1, dtype=np.int64)
    distance = np.full(len(candidates), 257, dtype=np.uint16)
    if len(hashes) == 0:
        return index, distance
    for row, orientations in enumerate(candidates):
        best = distances(orientations, hashes).min(axis=0)
        index[row] = best.argmin()
        distance[row] = best[index[row]]
    return index, distance


def _words(hashes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """(n, 32) uint8 as (n, 4) uint64, by view where the memory allows it."""
    if hashes.ndim != 2 or hashes.shape[1] != PDQ_BYTES or hashes.dtype != np.uint8:
        raise ValueError(f"PDQ hashes are (n, 32) uint8, not {hashes.shape} {hashes.dtype}")
    return np.ascontiguousarray(hashes).view(np.uint64)
