"""Private lookups by range: all entries whose digest begins as the one asked about, the same number of lines always.

Whoever asks names the first few digits of a digest and compares the rest at home; the server learns only that one of
all the addresses in the world with these digits was asked about. The prefix is as short as a sensible answer allows, so
it grows with the list. Padding makes every answer of a list equally long, so that its size, which a listener sees
through encryption, tells nothing. The idea is that of Have I Been Pwned's range search. ADR 0025, docs/online.md.

Lines are `SUFFIX:CODE:SINCE`; `heldout.lookup_records` has the codes.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from heldout.errors import InputError
from heldout.lookup_records import OPTED_OUT, PADDING

MEAN_ENTRIES: Final = 256
"""Entries of an answer, on average, beyond which one more digit is asked for: it then has 16."""
MIN_LINES: Final = 64
LINES_STEP: Final = 32
"""Answers have a multiple of these lines, so that their number seldom changes from one version to the next."""
MAX_PREFIX_CHARS: Final = 15

_HEX = re.compile(r"[0-9a-f]+", re.ASCII)
_PADDING_DAY: Final = "1970-01-01"


@dataclass(frozen=True)
class RangeShape:
    """How to ask, and what comes back."""

    prefix_chars: int
    """Hexadecimal digits to ask with. One fewer will do as well, so that nobody is refused while they grow."""
    suffix_chars: int
    """Digits of each line after a prefix of `prefix_chars`."""
    n_lines: int


class RangeSpace:
    """The entries of one kind that exclude something, by their digests."""

    def __init__(
        self,
        name: str,
        first: npt.NDArray[np.uint64],
        codes: npt.NDArray[np.uint8],
        since: npt.NDArray[np.int32],
        digests: npt.NDArray[np.uint8] | None = None,
    ) -> None:
        """Index n entries; nothing is copied.

        Args:
            name: part of what padding is made from.
            first: (n,) the first 64 bits of the digests, ascending.
            codes: (n,) what is told of each, never 0.
            since: (n,) days since 1970-01-01.
            digests: (n, w) whole digests, each once; None where `first` is all there is.
        """
        self._name = name
        self._first, self._codes, self._since, self._digests = first, codes, since, digests
        n_chars = 16 if digests is None else 2 * digests.shape[1]
        chars = 1
        while len(first) / 16**chars > MEAN_ENTRIES and chars < MAX_PREFIX_CHARS:
            chars += 1
        self.shape = RangeShape(chars, n_chars - chars, self._lines_for(chars))
        self._n_lines = {chars: self.shape.n_lines}
        if chars > 1:
            self._n_lines[chars - 1] = self._lines_for(chars - 1)

    @classmethod
    def of_digests(
        cls,
        name: str,
        digests: npt.NDArray[np.uint8],
        codes: npt.NDArray[np.uint8],
        since: npt.NDArray[np.int32],
    ) -> Self:
        """Index entries in any order; of those with one digest an opt-out is told, the best proved, the earliest.

        Args:
            name: part of what padding is made from.
            digests: (n, w) uint8, w a multiple of 8.
            codes: (n,).
            since: (n,).
        """
        words = np.ascontiguousarray(digests).view(">u8").astype(np.uint64)
        order = np.lexsort((since, -codes.astype(np.int16), codes > OPTED_OUT[-1], *words.T[::-1]))
        words = words[order]
        is_first = np.concatenate(([True], (words[1:] != words[:-1]).any(axis=1)))[: len(order)]
        order = order[is_first]
        return cls(name, words[is_first, 0], codes[order], since[order], digests[order])

    def answer(self, prefix: str) -> bytes:
        """Lines of all entries that begin so, in order, and of padding.

        Raises:
            InputError: not hexadecimal, or of another length than is asked for now.
        """
        prefix = prefix.lower()
        n_lines = self._n_lines.get(len(prefix))
        if n_lines is None or not _HEX.fullmatch(prefix):
            raise InputError(
                f"give the first {self.shape.prefix_chars} hexadecimal digits of the digest: this list is asked with "
                "so many now, as /v1/range says"
            )
        rest = 64 - 4 * len(prefix)
        low = int(prefix, 16) << rest
        bounds = np.array([low, low + (1 << rest) - 1], np.uint64)
        start = int(np.searchsorted(self._first, bounds[0], side="left"))
        end = int(np.searchsorted(self._first, bounds[1], side="right"))
        part = slice(start, end)
        days = self._since[part].astype("datetime64[D]").astype(str).tolist()
        told = zip(self._hex(part), self._codes[part].tolist(), days, strict=True)
        lines = {digest[len(prefix) :]: f"{code:x}:{day}" for digest, code, day in told}
        counter, suffix_chars = 0, self.shape.prefix_chars + self.shape.suffix_chars - len(prefix)
        while len(lines) < n_lines:
            made = hashlib.sha256(f"{self._name}/{prefix}/{counter}".encode()).hexdigest()
            lines.setdefault(made[-suffix_chars:], f"{PADDING}:{_PADDING_DAY}")
            counter += 1
        return "".join(f"{suffix}:{lines[suffix]}\n" for suffix in sorted(lines)).encode()

    def _hex(self, part: slice) -> list[str]:
        if self._digests is None:
            return [f"{key:016x}" for key in self._first[part].tolist()]
        return [digest.tobytes().hex() for digest in self._digests[part]]

    def _lines_for(self, chars: int) -> int:
        """As many lines as the fullest answer has entries, rounded up."""
        buckets = self._first >> np.uint64(64 - 4 * chars)
        edges = np.flatnonzero(np.concatenate(([True], buckets[1:] != buckets[:-1], [True])))
        most = int(np.diff(edges).max()) if len(buckets) else 0
        return max(MIN_LINES, -(-most // LINES_STEP) * LINES_STEP)
