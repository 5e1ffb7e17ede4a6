"""Key digests of whole columns, and their places in the exclusion list: natively where built, else by the reference.

`_kernel.c` takes the plain addresses and hands the rest back, so both ways give the same answer for every address;
ADR 0010 says why it is done so. Keys are the first 8 bytes of the SHA-256 of the canonical key, big-endian, as uint64:
what `urls/*.parquet` of the exclusion list holds.
"""

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from heldout import urls
from heldout.errors import InputError
from heldout.places import hosts_covering, prefixes_covering

_kernel: ModuleType | None
try:
    _kernel = importlib.import_module("heldout._kernel")
except ImportError:  # no compiler at install time
    _kernel = None
else:
    _kernel.set_tracking(tuple(sorted(urls.TRACKING_NAMES)), urls.TRACKING_PREFIXES)

IMPLEMENTATION: Final = "reference" if _kernel is None else "native"

_NULL = 2
_NEEDS_REFERENCE = 1


def key_of(url: str) -> int:
    """The list's 64-bit key of an address.

    Raises:
        InputError: as `heldout.urls.canonical_key`.
    """
    return int.from_bytes(urls.key_digest(urls.canonical_key(url))[:8])


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
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    keys = np.zeros(len(column), dtype=np.uint64)
    status = np.zeros(len(column), dtype=np.uint8)
    start = 0
    for chunk in chunks:
        part = slice(start, start + len(chunk))
        _digest(_plain_strings(chunk), keys[part], status[part])
        start += len(chunk)
    return keys, status == 0


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


def _digest(chunk: pa.Array, keys: npt.NDArray[np.uint64], status: npt.NDArray[np.uint8]) -> None:
    """Fill both; status 0 where there is a key."""
    if len(chunk) == 0:
        return
    if _kernel is None:
        rows = np.arange(len(chunk))
    else:
        validity, offsets, data = chunk.buffers()
        wide = pa.types.is_large_string(chunk.type)
        _kernel.digest(
            offsets, wide, data if data is not None else b"", validity, chunk.offset, len(chunk), keys, status
        )
        rows = np.flatnonzero(status == _NEEDS_REFERENCE)
    for row in rows:
        keys[row], status[row] = _reference(chunk[int(row)])


def _reference(value: pa.Scalar) -> tuple[int, int]:
    try:
        text = value.as_py()
        return (0, _NULL) if text is None else (key_of(text), 0)
    except (InputError, UnicodeDecodeError):
        return 0, _NEEDS_REFERENCE


class KeyIndex:
    """Where a key stands in sorted keys, in a memory access or two per query."""

    def __init__(self, keys: npt.NDArray[np.uint64]) -> None:
        """Index (n,) uint64 `keys`, sorted and unique; they are not copied."""
        self._keys = np.ascontiguousarray(keys, dtype=np.uint64)
        # About four keys a bucket: SHA-256 spreads them evenly.
        self._bits = min(max(int(np.log2(max(len(keys), 1))) - 2, 1), 30)
        edges = np.arange(1, 1 << self._bits, dtype=np.uint64) << np.uint64(64 - self._bits)
        inner = np.searchsorted(self._keys, edges)
        self._starts = np.concatenate(([0], inner, [len(keys)])).astype(np.int64)

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
    """Rules about addresses, host names and folders, all looked up in one pass over a column."""

    def __init__(self, keys: npt.NDArray[np.uint64], prefixes: PlaceRules, hosts: PlaceRules) -> None:
        """Index sorted and unique (n,) uint64 `keys`, `prefixes` that end in a slash, and `hosts`."""
        self._keys = KeyIndex(keys)
        self._prefixes = _place_ranks(prefixes)
        self._hosts = _place_ranks(hosts)

    def find(self, column: pa.Array | pa.ChunkedArray) -> AddressRules:
        """The rules of n addresses.

        Raises:
            InputError: the column does not hold strings.
        """
        keys, has_key = keys_of(column)
        url = np.where(has_key, self._keys.find(keys), -1)
        prefix, host = np.full(len(column), -1, np.int64), np.full(len(column), -1, np.int64)
        if self._prefixes or self._hosts:
            for row in np.flatnonzero(has_key):
                key = urls.canonical_key(column[int(row)].as_py())
                prefix[row] = _best(self._prefixes, prefixes_covering(key)[::-1])
                host[row] = _best(self._hosts, hosts_covering(key))
        return AddressRules(url, prefix, host, has_key)


def _place_ranks(rules: PlaceRules) -> dict[str, tuple[int, int]]:
    texts, ranks = rules
    return {text: (place, int(ranks[place])) for place, text in enumerate(texts.to_pylist())}


def _best(rules: dict[str, tuple[int, int]], covering: list[str]) -> int:
    """Of the rules, nearest first, that of highest rank; -1 if none is there."""
    found = [rules[text] for text in covering if text in rules]
    return max(found, key=lambda rule: rule[1])[0] if found else -1
