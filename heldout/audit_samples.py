"""What an audit notes of every sample: a row of `SAMPLE_SCHEMA`, from what the filter's observers are told.

Neither URL nor caption is in it: a URL's key is what the exclusion list holds of it, and a row leads back to the shard.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from heldout.audit_captions import scripts_of
from heldout.errors import InputError, UnavailableError
from heldout.filtering_columns import ABOUT_NAMES
from heldout.filtering_decision import KINDS, Decision
from heldout.filtering_tables import texts_of
from heldout.kernel import keys_of
from heldout.records import ASSURANCES
from heldout.urls import canonical_key, host_of

SAMPLE_SCHEMA: Final = pa.schema(
    [
        ("shard", pa.int32()),  # its number in the table of shards
        ("row", pa.int64()),  # its place among the shard's samples, from 0
        ("key", pa.uint64()),  # of its URL, as the exclusion list has it; null where no URL can be read
        ("host", pa.string()),
        ("kind", pa.string()),  # why it is opted out; null where it is not
        ("assurance", pa.string()),
        ("since", pa.date32()),
        ("width", pa.int32()),  # in pixels, of the original where the data set tells; null where unknown
        ("height", pa.int32()),
        ("script", pa.string()),  # of its caption, ISO 15924; null where there is none
        ("language", pa.string()),  # as the data set has it
        ("status", pa.string()),  # as the data set has it
        ("signals", pa.list_(pa.string())),  # as the data set has them
    ]
)

MAX_WORD_CHARS: Final = 200
"""Of a language, status or signal: strangers wrote them."""
_PLAIN: Final = r"^[Hh][Tt][Tt][Pp][Ss]?://(?P<host>[A-Za-z0-9.-]+)(?:[/?#]|$)"
_WHOLE_NUMBER: Final = r"^\s*\+?[0-9]{1,9}(\.0*)?\s*$"
_MAX_HOSTS: Final = 1_000_000
"""Spellings of hosts remembered: some 200 MB."""


class SampleNotes:
    """Writes the notes on one shard's samples, as an observer of its filtering."""

    asks: Final = frozenset({"caption", *ABOUT_NAMES})

    def __init__(self, path: Path, shard: int, hosts: "Hosts") -> None:
        """To `path`, on the shard of this number; `hosts` may be shared among shards."""
        self._path = path
        self._shard = shard
        self._hosts = hosts
        self._n = 0
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        self._writer = pq.ParquetWriter(self._path, SAMPLE_SCHEMA, compression="zstd")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()
        if kind is not None:
            self._path.unlink(missing_ok=True)

    def take(self, samples: pa.Table, decision: Decision) -> None:
        """Note the next batch.

        Raises:
            UnavailableError: the notes cannot be written.
        """
        if self._writer is None:
            raise RuntimeError("not opened")
        table = note(samples, decision, self._hosts)
        n = len(decision.kept)
        rows = pa.array(np.arange(self._n, self._n + n))
        shard = pa.array(np.full(n, self._shard, np.int32))
        self._n += n
        columns = {"shard": shard, "row": rows} | table
        noted = pa.table([columns[field.name].cast(field.type) for field in SAMPLE_SCHEMA], schema=SAMPLE_SCHEMA)
        try:
            self._writer.write_table(noted)
        except OSError as error:
            raise UnavailableError(f"{self._path.parent} cannot be written ({error}): check the disk") from error


def note(samples: pa.Table, decision: Decision, hosts: "Hosts") -> dict[str, pa.Array]:
    """Columns of `SAMPLE_SCHEMA` on n samples, but for their place.

    Args:
        samples: as `heldout.filtering_observer.Observer.take`.
        decision: about them.
        hosts: what is known of hosts.
    """
    columns = {name: _array(samples[name]) for name in samples.column_names}
    keys, has_key = keys_of(columns["url"])
    words = {name: _word(columns[name]) for name in ("language", "status") if name in columns}
    n = len(decision.kept)
    return {
        "key": pa.array(keys, mask=~has_key),
        "host": hosts.of(columns["url"], has_key),
        **_why(decision),
        "width": _pixels(columns, "width", n),
        "height": _pixels(columns, "height", n),
        "script": scripts_of(columns["caption"]) if "caption" in columns else pa.nulls(n, pa.string()),
        "language": words.get("language", pa.nulls(n, pa.string())),
        "status": words.get("status", pa.nulls(n, pa.string())),
        "signals": _signals(columns["signals"]) if "signals" in columns else pa.nulls(n, pa.list_(pa.string())),
    }


class Hosts:
    """The hosts of URLs, each spelling worked out once."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def of(self, urls: pa.Array, has_key: npt.NDArray[np.bool_]) -> pa.Array:
        """(n,) dictionary of strings: the host of each URL's canonical key; null where it has none."""
        readable = urls.filter(pa.array(has_key))
        plain = pc.struct_field(pc.extract_regex(readable, _PLAIN), "host").dictionary_encode()
        names = pa.array([self._plain(name) for name in plain.dictionary.to_pylist()], pa.string())
        hosts = names.take(plain.indices)
        missing = np.flatnonzero(hosts.is_null().to_numpy(zero_copy_only=False))
        if len(missing):  # ports, credentials, names in other letters: as slow as the reference
            others = readable.take(pa.array(missing)).to_pylist()
            found = hosts.to_numpy(zero_copy_only=False).astype(object)
            found[missing] = [host_of(canonical_key(url)) for url in others]
            hosts = pa.array(found, pa.string())
        places = np.cumsum(has_key) - 1
        return hosts.take(pa.array(np.where(has_key, places, 0), mask=~has_key)).dictionary_encode()

    def _plain(self, name: str) -> str | None:
        found = self._known.get(name)
        if found is None:
            try:
                found = host_of(canonical_key(f"https://{name}/"))
            except InputError:  # its URL has a key, so the whole of it says more than this
                return None
            if len(self._known) >= _MAX_HOSTS:
                self._known.clear()
            self._known[name] = found
        return found


def _why(decision: Decision) -> dict[str, pa.Array]:
    n = len(decision.kept)
    is_out = ~decision.kept
    kind, assurance, since = np.zeros(n, np.int8), np.zeros(n, np.int8), np.zeros(n, np.int32)
    kind[decision.rows], assurance[decision.rows], since[decision.rows] = (
        decision.kind,
        decision.assurance,
        decision.since,
    )
    return {
        "kind": pa.DictionaryArray.from_arrays(pa.array(kind, mask=~is_out), pa.array(KINDS)),
        "assurance": pa.DictionaryArray.from_arrays(pa.array(assurance, mask=~is_out), pa.array(ASSURANCES)),
        "since": pa.array(since, mask=~is_out).cast(pa.date32()),
    }


def _pixels(columns: Mapping[str, pa.Array], name: str, n: int) -> pa.Array:
    """Of the original, else of the picture at hand; null where that is no positive number."""
    found = [_whole_numbers(columns[each]) for each in (f"original_{name}", name) if each in columns]
    return pc.coalesce(*found) if found else pa.nulls(n, pa.int32())


def _whole_numbers(column: pa.Array) -> pa.Array:
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        texts = texts_of(pa.chunked_array([column])).combine_chunks()
        is_number = pc.match_substring_regex(texts, _WHOLE_NUMBER)
        column = pc.if_else(is_number, pc.utf8_trim_whitespace(texts), None)
    numbers = column.cast(pa.float64(), safe=False)  # large integers are rounded, and no sizes
    is_size = pc.and_(pc.greater_equal(numbers, 1), pc.less(numbers, 2**31))
    return pc.if_else(is_size, numbers, None).cast(pa.int32(), safe=False)


def _word(column: pa.Array) -> pa.Array:
    """A column of few different texts."""
    texts = texts_of(pa.chunked_array([column])).combine_chunks()
    encoded = texts.dictionary_encode()
    words = [_cut(value) for value in encoded.dictionary.cast(pa.binary()).to_pylist()]
    return pa.array(words, pa.string()).take(encoded.indices).dictionary_encode()


def _signals(column: pa.Array) -> pa.Array:
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        column = pc.split_pattern(texts_of(pa.chunked_array([column])).combine_chunks(), "\n")
    lists = column.cast(pa.list_(column.type.value_type))
    offsets = pa.array(np.asarray(lists.offsets), mask=np.append(lists.is_null().to_numpy(zero_copy_only=False), False))
    return pa.ListArray.from_arrays(offsets, _word(lists.values).dictionary_decode())


def _cut(value: bytes | None) -> str | None:
    text = (value or b"").decode("utf-8", "replace")
    return re.sub(r"\s+", " ", text).strip()[:MAX_WORD_CHARS] or None


def _array(column: pa.ChunkedArray) -> pa.Array:
    found = column.combine_chunks()
    return pa.concat_arrays(found.chunks) if isinstance(found, pa.ChunkedArray) else found
