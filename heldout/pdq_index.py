"""Exact lookup of near PDQ hashes without comparing all of them: multi-index hashing.

256 bits are cut into words. Two hashes that differ in at most 31 bits have a word that differs in at most one bit when
there are 16 of them (16 words of two make 32), or in at most two when there are 11 (11 of three make 33). So it is
enough to compare a query with the hashes that share one of its words, or a word that near, in the same place: a few in
ten thousand with 16 words, a few in a million with 11, which pay with tables of a gigabyte. The idea is Norouzi,
Punjani and Fleet's (2012).
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
import numpy.typing as npt

from heldout.fingerprints import MATCH_DISTANCE, PDQ_BYTES, distances

BRUTE_FORCE_BELOW: Final = 20_000
"""Hashes up to which comparing all of them takes no longer, a millisecond per picture."""
FEW_WORDS_FROM: Final = 20_000_000
"""Hashes from which 11 words are the better cut."""

_BITS: Final = 8 * PDQ_BYTES
_FAR: Final = 257


@dataclass(frozen=True)
class Cut:
    """How hashes are cut into `n_words`, and how many bits of a word may differ. `n_words * (n_flips + 1) >= 32`."""

    n_words: int
    n_flips: int

    @property
    def widths(self) -> list[int]:
        """Bits of each word."""
        short, n_long = divmod(_BITS, self.n_words)
        return [short + 1] * n_long + [short] * (self.n_words - n_long)

    def words(self, hashes: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        """(n_words, n) int64 of (n, 32) uint8."""
        columns = np.ascontiguousarray(hashes).view(np.uint64)
        out = np.empty((self.n_words, len(hashes)), np.int64)
        start = 0
        for place, width in enumerate(self.widths):
            column, shift = divmod(start, 64)
            word = columns[:, column] >> np.uint64(shift)
            if shift + width > 64:
                word |= columns[:, column + 1] << np.uint64(64 - shift)
            out[place] = word & np.uint64((1 << width) - 1)
            start += width
        return out


MANY_WORDS: Final = Cut(16, 1)
FEW_WORDS: Final = Cut(11, 2)


@dataclass(frozen=True)
class Tables:
    """Which hashes have which word, for every place and word: `rows[starts[i] : starts[i + 1]]`.

    Words of one place follow each other, and so do places, each with one entry more than it has words.
    """

    cut: Cut
    rows: npt.NDArray[np.int32]
    """(n_words * n,)."""
    starts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, hashes: npt.NDArray[np.uint8], cut: Cut) -> "Tables":
        """Tables of (n, 32) uint8 hashes; 4 bytes a word and hash, and 8 a possible word."""
        n = len(hashes)
        rows = np.empty(cut.n_words * n, np.int32)
        starts = []
        for place, (column, width) in enumerate(zip(cut.words(hashes), cut.widths, strict=True)):
            rows[place * n : (place + 1) * n] = np.argsort(column.astype(np.uint32), kind="stable")
            counts = np.bincount(column, minlength=1 << width)
            starts.append(place * n + np.concatenate(([0], np.cumsum(counts))))
        return cls(cut, rows, np.concatenate(starts))


class Probes:
    """Looks for near hashes through their tables, all of which may be mapped files."""

    def __init__(self, hashes: npt.NDArray[np.uint8], tables: Tables) -> None:
        self._hashes = hashes.view(np.uint64)
        self._rows, self._starts, self._cut = tables.rows, tables.starts, tables.cut
        places, masks, bases = [], [], []
        base = 0
        for place, width in enumerate(tables.cut.widths):
            flipped = [
                sum(1 << bit for bit in bits)
                for n_bits in range(tables.cut.n_flips + 1)
                for bits in combinations(range(width), n_bits)
            ]
            places += [place] * len(flipped)
            bases += [base] * len(flipped)
            masks += flipped
            base += (1 << width) + 1
        self._places = np.array(places)
        self._masks, self._bases = np.array(masks), np.array(bases)

    @property
    def work(self) -> float:
        """Places looked at for one query, about: words, and the hashes that have them."""
        shares = sum(2.0**-width for width in self._cut.widths) / self._cut.n_words
        return len(self._masks) * (1 + len(self._hashes) * shares)

    def near(
        self, queries: npt.NDArray[np.uint8], radius: int = MATCH_DISTANCE
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint16]]:
        """(query, row, distance) of all pairs within `radius`, at most 31 for none to be missed; some repeatedly."""
        words = self._cut.words(queries).T
        places = (words[:, self._places] ^ self._masks) + self._bases
        starts = self._starts[places].ravel()
        counts = self._starts[places + 1].ravel() - starts
        # Every bucket's positions in one array: its start, then one more for each of its rows.
        ends = np.cumsum(counts)
        positions = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + counts, counts)
        rows = self._rows[positions].astype(np.int64)
        owners = np.repeat(np.arange(len(queries)).repeat(len(self._masks)), counts)
        asked = np.ascontiguousarray(queries).view(np.uint64)
        far = np.zeros(len(rows), np.uint16)
        for word in range(PDQ_BYTES // 8):
            far += np.bitwise_count(self._hashes[rows, word] ^ asked[owners, word])
        near = far <= radius
        return owners[near], rows[near], far[near]


class PdqIndex:
    """Hashes that can be asked for the best within `MATCH_DISTANCE`."""

    def __init__(
        self,
        hashes: npt.NDArray[np.uint8],
        rank: npt.NDArray[np.uint8] | None = None,
        *,
        brute_force_below: int = BRUTE_FORCE_BELOW,
    ) -> None:
        """Index hashes; memory is 64 bytes a hash besides them, none for few.

        Args:
            hashes: (n, 32) uint8.
            rank: (n,) uint8, how good each is, 0 best, however far; all alike if left out.
            brute_force_below: number of hashes up to which all are compared.
        """
        self._hashes = np.ascontiguousarray(hashes)
        self._rank = np.zeros(len(hashes), np.uint8) if rank is None else rank
        is_small = len(hashes) < brute_force_below
        self._probes = None if is_small else Probes(self._hashes, Tables.of(self._hashes, MANY_WORDS))

    def best(self, candidates: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint16]]:
        """Of the hashes within `MATCH_DISTANCE` of a candidate in some orientation: the best, then nearest, then first.

        Args:
            candidates: (n, 8, 32) uint8; fewer orientations will do.

        Returns:
            (n,) int64 positions and (n,) uint16 distances; -1 and 257 where there is none.
        """
        index = np.full(len(candidates), -1, np.int64)
        distance = np.full(len(candidates), _FAR, np.uint16)
        for number, orientations in enumerate(candidates):
            rows, far = self._near(orientations)
            if len(rows):
                first = np.lexsort((rows, far, self._rank[rows]))[0]
                index[number], distance[number] = rows[first], far[first]
        return index, distance

    def _near(self, orientations: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint16]]:
        """Rows within `MATCH_DISTANCE` of a candidate, and how far they are; some repeatedly."""
        if self._probes is not None:
            _, rows, far = self._probes.near(orientations)
            return rows, far
        if not len(self._hashes):
            return np.empty(0, np.int64), np.empty(0, np.uint16)
        all_far = distances(orientations, self._hashes).min(axis=0)
        rows = np.flatnonzero(all_far <= MATCH_DISTANCE)
        return rows, all_far[rows].astype(np.uint16)
