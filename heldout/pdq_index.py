"""Exact lookup of near PDQ hashes without comparing all of them: multi-index hashing.

256 bits are cut into 16 words of 16 bits. Two hashes that differ in at most 31 bits have a word that differs in at most
one, since 16 words of two make 32. So it is enough to compare a query with the hashes that share one of its words or
one of that word's 16 neighbours, in the same place: a few in ten thousand. The idea is Norouzi, Punjani and Fleet's
(2012).
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from heldout.fingerprints import MATCH_DISTANCE, PDQ_BYTES, nearest

N_WORDS: Final = 16
BRUTE_FORCE_BELOW: Final = 20_000
"""Hashes up to which comparing all of them takes no longer, a millisecond per picture."""

_FLIPS = np.concatenate(([0], 1 << np.arange(16))).astype(np.int64)
_FAR = 257


class PdqIndex:
    """Hashes that can be asked for the nearest within `MATCH_DISTANCE`."""

    def __init__(self, hashes: npt.NDArray[np.uint8], *, brute_force_below: int = BRUTE_FORCE_BELOW) -> None:
        """Index (n, 32) uint8 `hashes`; memory is 64 bytes a hash besides them, none for few."""
        self._hashes = np.ascontiguousarray(hashes)
        self._is_small = len(hashes) < brute_force_below
        if self._is_small:
            return
        self._words = self._hashes.view(np.uint64)
        columns = self._hashes.view(np.uint16).T
        self._rows = np.empty((N_WORDS, len(hashes)), np.int32)
        self._starts = np.empty((N_WORDS, (1 << 16) + 1), np.int64)
        for place, column in enumerate(columns):
            self._rows[place] = np.argsort(column, kind="stable")
            counts = np.bincount(column, minlength=1 << 16)
            self._starts[place] = np.concatenate(([0], np.cumsum(counts)))

    def nearest(self, candidates: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint16]]:
        """As `fingerprints.nearest`, but for candidates without a hash within `MATCH_DISTANCE`: -1 and 257.

        Args:
            candidates: (n, 8, 32) uint8; fewer orientations will do.
        """
        if self._is_small:
            index, distance = nearest(candidates, self._hashes)
            far = distance > MATCH_DISTANCE
            index[far], distance[far] = -1, _FAR
            return index, distance
        index = np.full(len(candidates), -1, np.int64)
        distance = np.full(len(candidates), _FAR, np.uint16)
        for number, orientations in enumerate(candidates):
            rows, distances = self._near(np.ascontiguousarray(orientations))
            if len(rows):
                best = np.lexsort((rows, distances))[0]
                index[number], distance[number] = rows[best], distances[best]
        return index, distance

    def _near(self, orientations: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint16]]:
        """Rows within the distance of some orientation, perhaps repeated, and their distances."""
        values = orientations.view(np.uint16).astype(np.int64)[:, :, np.newaxis] ^ _FLIPS  # (o, 16, 17)
        places = np.arange(N_WORDS)[np.newaxis, :, np.newaxis]
        starts = self._starts[places, values].ravel()
        counts = self._starts[places, values + 1].ravel() - starts
        # Every bucket's positions in one array: its start, then one more for each of its rows.
        ends = np.cumsum(counts)
        positions = np.arange(ends[-1]) + np.repeat(starts - ends + counts, counts)
        place = np.repeat(np.broadcast_to(places, values.shape).ravel(), counts)
        rows = self._rows[place, positions].astype(np.int64)
        owner = np.repeat(np.arange(len(orientations)).repeat(N_WORDS * len(_FLIPS)), counts)
        queries = orientations.view(np.uint64)
        distances = np.zeros(len(rows), np.uint16)
        for word in range(PDQ_BYTES // 8):
            distances += np.bitwise_count(self._words[rows, word] ^ queries[owner, word])
        near = distances <= MATCH_DISTANCE
        return rows[near], distances[near]
