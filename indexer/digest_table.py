"""Digests of a release by their first eight bytes: sorted outside memory, mapped for reading.

SHA-256 is even, so that cutting by the first bits makes parts of equal size, of which one at a time is sorted.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

PART: Final = 8_000_000
"""Digests sorted in memory at once, about: 16 bytes each, and as much again meanwhile."""
_MAX_PARTS: Final = 512  # open files


class DigestSorter:
    """Takes digests of `n` samples at most, in any order; `finish` writes them sorted."""

    def __init__(self, folder: Path, n: int, *, part: int = PART) -> None:
        self._bits = min(max(0, (n // part).bit_length()), _MAX_PARTS.bit_length() - 1)
        self._paths = [folder / f"digests-{number}.part" for number in range(1 << self._bits)]
        self._files = [path.open("wb") for path in self._paths]

    def append(self, digests: Sequence[bytes | None], first_id: int) -> None:
        """Add the 32-byte digests of consecutive samples, where they have one."""
        rows = [row for row, digest in enumerate(digests) if digest is not None]
        prefixes = np.frombuffer(b"".join((digests[row] or b"")[:8] for row in rows), dtype=">u8").astype(np.uint64)
        pairs = np.stack([prefixes, np.array(rows, dtype=np.uint64) + np.uint64(first_id)], axis=1)
        if self._bits == 0:
            self._files[0].write(pairs.tobytes())
            return
        places = prefixes >> np.uint64(64 - self._bits)
        for place in np.unique(places):
            self._files[int(place)].write(pairs[places == place].tobytes())

    def close(self) -> None:
        """Let go of the files; nothing can be added any more."""
        for file in self._files:
            file.close()

    def finish(self, path: Path) -> int:
        """Write them as one (2, m) uint64 array, prefixes and ids, in order; how many."""
        self.close()
        n = sum(part.stat().st_size for part in self._paths) // 16
        out = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint64, shape=(2, n)) if n else np.empty((2, 0))
        at = 0
        for part in self._paths:
            pairs = np.fromfile(part, dtype=np.uint64).reshape(-1, 2)
            order = np.lexsort((pairs[:, 1], pairs[:, 0]))
            out[:, at : at + len(pairs)] = pairs[order].T
            at += len(pairs)
            part.unlink()
        if n == 0:
            np.save(path, np.empty((2, 0), np.uint64))
        return n


class DigestTable:
    """`sha256.npy`, mapped. A prefix may be shared: the caller compares whole digests."""

    def __init__(self, path: Path) -> None:
        self._prefixes, self._ids = np.load(path, mmap_mode="r")

    def candidates(self, digest: bytes) -> list[int]:
        """Ids whose digest begins with the same eight bytes, ascending."""
        prefix = np.uint64(int.from_bytes(digest[:8], "big"))
        left, right = (int(np.searchsorted(self._prefixes, prefix, side)) for side in ("left", "right"))
        return [int(sample_id) for sample_id in self._ids[left:right]]

    def repeated(self) -> npt.NDArray[np.int64]:
        """(m, 2) ids of neighbours in the table with the same eight bytes."""
        same = np.flatnonzero(self._prefixes[1:] == self._prefixes[:-1])
        return np.stack([self._ids[same], self._ids[same + 1]], axis=1).astype(np.int64)
