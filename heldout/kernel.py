"""Key digests of whole columns, their places in the exclusion list, and the hosts and folders that cover them.

Natively where built, else by the reference. `_kernel.c` takes the plain addresses and hands the rest back, so both
ways give the same answer for every address; ADR 0010 says why it is done so. Keys are the first 8 bytes of the SHA-256
of the canonical key, big-endian, as uint64: what `urls/*.parquet` of the exclusion list holds.
"""

import importlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from heldout import urls
from heldout.errors import InputError
from heldout.places import hosts_covering, prefixes_covering

INTERFACE: Final = 3
"""Of `_kernel.c` that this module knows."""

_kernel: ModuleType | None
try:
    _kernel = importlib.import_module("heldout._kernel")
except ImportError:  # no compiler at install time
    _kernel = None
else:
    if getattr(_kernel, "INTERFACE", 1) == INTERFACE:
        _kernel.set_tracking(tuple(sorted(urls.TRACKING_NAMES)), urls.TRACKING_PREFIXES)
    else:  # built from other sources, as when a checkout was updated but not installed again
        _kernel = None

IMPLEMENTATION: Final = "reference" if _kernel is None else "native"

_DONE = 0
_NEEDS_REFERENCE = 1
_NULL = 2
_NO_PLACES = (None, None, None)


def key_of(url: str) -> int:
    """The list's 64-bit key of an address.

    Raises:
        InputError: as `heldout.urls.canonical_key`.
    """
    return _digest_of(urls.canonical_key(url))


def keys_of(column: pa.Array | pa.ChunkedArray) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.bool_]]:
    """Keys of a column of addresses.

    Args:
        column: strings, n of them; nulls and unusable addresses are allowed.

    Returns:
        (n,) uint64 keys and (n,) bool: whether the row has one. A null or an address that `canonical_key` refuses
        has none.

    Raises:
        InputError: the column does not hold strings.
    """
    keys = np.zeros(len(column), dtype=np.uint64)
    status = np.zeros(len(column), dtype=np.uint8)
    for part, chunk in _parts(column):
        for row in _digest(chunk, keys[part], status[part], None):
            canonical = _canonical(chunk[int(row)])
            if canonical is not None:
                keys[part.start + row], status[part.start + row] = _digest_of(canonical), _DONE
    return keys, status == _DONE


def _parts(column: pa.Array | pa.ChunkedArray) -> Iterator[tuple[slice, pa.Array]]:
    """Its chunks as plain strings, and where each stands."""
    start = 0
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        yield slice(start, start + len(chunk)), _plain_strings(chunk)
        start += len(chunk)


def _plain_strings(chunk: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(chunk.type):
        chunk = chunk.dictionary_decode()
    if pa.types.is_string_view(chunk.type):
        chunk = chunk.cast(pa.large_string())
    if pa.types.is_null(chunk.type):
        chunk = chunk.cast(pa.string())
    if not (pa.types.is_string(chunk.type) or pa.types.is_large_string(chunk.type)):
        raise InputError(f"addresses must be strings, not {chunk.type}")
    return chunk


def _digest(
    chunk: pa.Array,
    keys: npt.NDArray[np.uint64],
    status: npt.NDArray[np.uint8],
    places: tuple[Any, npt.NDArray[np.int64], npt.NDArray[np.int64]] | None,
) -> npt.NDArray[np.int64]:
    """Fill them as far as the kernel can, and say which rows are left to the reference."""
    if len(chunk) == 0:
        return np.empty(0, np.int64)
    if _kernel is None:
        status[:] = np.where(chunk.is_valid().to_numpy(zero_copy_only=False), _NEEDS_REFERENCE, _NULL)
    else:
        validity, offsets, data = chunk.buffers()
        wide = pa.types.is_large_string(chunk.type)
        text = data if data is not None else b""
        _kernel.digest(offsets, wide, text, validity, chunk.offset, len(chunk), keys, status, *(places or _NO_PLACES))
    return np.flatnonzero(status == _NEEDS_REFERENCE)


def _canonical(value: pa.Scalar) -> str | None:
    """The canonical key of an address that is not null; None if it has none."""
    try:
        return urls.canonical_key(value.as_py())
    except (InputError, UnicodeDecodeError):
        return None


def _digest_of(canonical: str) -> int:
    return int.from_bytes(urls.key_digest(canonical)[:8])


_EDGES_AT_ONCE = 1 << 20


class KeyIndex:
    """Where a key stands in sorted keys, in a memory access or two per query."""

    def __init__(self, keys: npt.NDArray[np.uint64]) -> None:
        """Index (n,) uint64 `keys`, sorted and unique; they are not copied."""
        self._keys = np.ascontiguousarray(keys, dtype=np.uint64)
        # About four keys a bucket: SHA-256 spreads them evenly.
        self._bits = min(max(int(np.log2(max(len(keys), 1))) - 2, 1), 30)
        self._starts = np.zeros((1 << self._bits) + 1, np.int64)
        self._starts[-1] = len(keys)
        for first in range(1, 1 << self._bits, _EDGES_AT_ONCE):
            edges = np.arange(first, min(first + _EDGES_AT_ONCE, 1 << self._bits), dtype=np.uint64)
            self._starts[first : first + len(edges)] = np.searchsorted(self._keys, edges << np.uint64(64 - self._bits))

    def find(self, queries: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """(q,) int64 positions of (q,) uint64 queries; -1 where absent."""
        queries = np.ascontiguousarray(queries, dtype=np.uint64)
        if _kernel is not None:
            found = np.empty(len(queries), dtype=np.int64)
            _kernel.lookup(self._keys, self._starts, self._bits, queries, found)
            return found
        if len(self._keys) == 0:
            return np.full(len(queries), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self._keys, queries), len(self._keys) - 1)
        return np.where(self._keys[at] == queries, at, -1).astype(np.int64)


@dataclass(frozen=True)
class AddressRules:
    """Which rules cover each of n addresses: positions in the three tables, -1 where none does."""

    url: npt.NDArray[np.int64]
    """(n,)"""
    prefix: npt.NDArray[np.int64]
    """(n,)"""
    host: npt.NDArray[np.int64]
    """(n,)"""
    has_key: npt.NDArray[np.bool_]
    """(n,) False for nulls and for what has no canonical key."""


PlaceRules = tuple[pa.ChunkedArray, npt.NDArray[np.uint8]]
"""(n,) texts, unique, and (n,) ranks: of several rules that cover an address the one of highest rank is found, of
equal ones the nearest."""


class AddressIndex:
    """Rules about addresses, folders and hosts, all looked up in one pass over a column."""

    def __init__(self, keys: npt.NDArray[np.uint64], prefixes: PlaceRules, hosts: PlaceRules) -> None:
        """Index sorted and unique (n,) uint64 `keys`, `prefixes` that end in a slash, and `hosts`."""
        self._keys = KeyIndex(keys)
        self._places = PlaceIndex(prefixes, hosts)

    def find(self, column: pa.Array | pa.ChunkedArray) -> AddressRules:
        """The rules of n addresses.

        Raises:
            InputError: the column does not hold strings.
        """
        keys = np.zeros(len(column), np.uint64)
        status = np.zeros(len(column), np.uint8)
        prefix, host = np.full(len(column), -1, np.int64), np.full(len(column), -1, np.int64)
        for part, chunk in _parts(column):
            places = (self._places.native, prefix[part], host[part])
            left = _digest(chunk, keys[part], status[part], places if self._places.native else None)
            found = [(int(row), key) for row in left if (key := _canonical(chunk[int(row)])) is not None]
            if found:
                rows = part.start + np.array([row for row, _ in found])
                canonical = [key for _, key in found]
                status[rows] = _DONE
                keys[rows] = [_digest_of(key) for key in canonical]
                prefix[rows], host[rows] = self._places.find(canonical)
        has_key = status == _DONE
        return AddressRules(np.where(has_key, self._keys.find(keys), -1), prefix, host, has_key)


class PlaceIndex:
    """Which folders and hosts cover a canonical key. `heldout.places` says what that means."""

    def __init__(self, prefixes: PlaceRules, hosts: PlaceRules) -> None:
        """Index `prefixes` that end in a slash, and `hosts`."""
        self._rules = prefixes, hosts
        self.native: Any = None
        """For the kernel's `digest`; None if there are no rules, or no kernel."""
        self._prefixes: dict[str, tuple[int, int]] = {}
        self._hosts: dict[str, tuple[int, int]] = {}
        if len(prefixes[0]) == len(hosts[0]) == 0:
            return
        if _kernel is None:
            self._prefixes, self._hosts = _by_text(prefixes), _by_text(hosts)
        else:
            self.native = _kernel.index_places(os.urandom(16), *_texts(prefixes), *_texts(hosts))

    def __reduce__(self) -> tuple[type["PlaceIndex"], tuple[PlaceRules, PlaceRules]]:
        """Pickled as its rules: other processes index them anew (`heldout.filtering_shared`)."""
        return PlaceIndex, self._rules

    def find(self, keys: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(n,) prefix and (n,) host rules of n canonical keys; -1 where none covers it."""
        prefix, host = np.full(len(keys), -1, np.int64), np.full(len(keys), -1, np.int64)
        if self.native is not None and _kernel is not None:
            _, offsets, data = pa.array(keys, pa.large_string()).buffers()
            if len(keys):
                _kernel.match(self.native, offsets, data if data is not None else b"", len(keys), prefix, host)
        elif self._prefixes or self._hosts:
            prefix[:] = [_best(self._prefixes, prefixes_covering(key)[::-1]) for key in keys]
            host[:] = [_best(self._hosts, hosts_covering(key)) for key in keys]
        return prefix, host


def _texts(rules: PlaceRules) -> tuple[pa.Buffer, pa.Buffer | bytes, npt.NDArray[np.uint8]]:
    texts, ranks = rules
    whole = texts.cast(pa.large_string()).combine_chunks()
    if isinstance(whole, pa.ChunkedArray) or whole.offset:
        whole = pa.array(whole.to_pylist(), pa.large_string())
    _, offsets, data = whole.buffers()
    return offsets if offsets is not None else bytes(8), data if data is not None else b"", np.ascontiguousarray(ranks)


def _by_text(rules: PlaceRules) -> dict[str, tuple[int, int]]:
    texts, ranks = rules
    return {text: (place, int(ranks[place])) for place, text in enumerate(texts.to_pylist())}


def _best(rules: dict[str, tuple[int, int]], covering: list[str]) -> int:
    """Of the rules, nearest first, that of highest rank; -1 if none is there."""
    found = [rules[text] for text in covering if text in rules]
    return max(found, key=lambda rule: rule[1])[0] if found else -1
