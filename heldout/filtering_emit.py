"""Files a filter run writes besides the shards: a removal list, a URL list for img2dataset, DataComp's allowed uids.

    OUT/removal/<shard>.parquet      the samples dropped, for copies that were already downloaded
    OUT/url-list/<shard>.parquet     url and caption of the samples kept
    OUT/datacomp-uids.npy            uids of the samples kept, of all shards together

<shard> is the shard's name with `%` and `/` percent-encoded, so that a tool that lists one folder sees all. Columns:
docs/formats/filter-report.md.
"""

from collections.abc import Collection, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from heldout.durable import replacing
from heldout.errors import InputError
from heldout.filtering_columns import ID_NAMES
from heldout.filtering_decision import NOT_GRANTED, Decision
from heldout.filtering_options import Emit
from heldout.records import ASSURANCES

SAID: Final = (*ID_NAMES, "url", "caption")
"""What shards say of their samples, as far as they do: columns of strings."""
STATE: Final = ".heldout"
"""Folder below OUT of what is kept for resuming."""
UIDS_NAME: Final = "datacomp-uids.npy"
UID_DTYPE: Final = np.dtype("u8,u8")
"""DataComp's: the first and the last 16 hexadecimal digits."""

_REMOVAL = pa.schema(
    [
        ("shard", pa.string()),
        ("row", pa.int64()),
        *((name, pa.string()) for name in ID_NAMES),
        ("kind", pa.string()),
        ("assurance", pa.string()),
        ("since", pa.date32()),
    ]
)
_URL_LIST = pa.schema([("url", pa.string()), ("caption", pa.string())])
_UID_PATTERN = "^[0-9a-fA-F]{32}$"
_BUCKET_UIDS = 1 << 22


def flat_name(shard: str) -> str:
    """A shard's name as one file's."""
    return shard.replace("%", "%25").replace("/", "%2F")


def emitted_names(shard: str, emits: Collection[Emit]) -> dict[Emit, str]:
    """Paths below OUT of what one shard adds. The uids are a part of the whole, which `merge_uids` makes."""
    flat = flat_name(shard)
    names: dict[Emit, str] = {
        "removal": f"removal/{flat}.parquet",
        "url-list": f"url-list/{flat}.parquet",
        "datacomp-uids": f"{STATE}/{flat}.uids.npy",
    }
    return {emit: name for emit, name in names.items() if emit in emits}


class Emitter:
    """Writes what one shard adds to the emitted files. The files take their places when the block ends well."""

    def __init__(self, out: Path, shard: str, emits: Collection[Emit]) -> None:
        """Below `out`, for the shard of this name."""
        self._out = out
        self._shard = shard
        self.names = emitted_names(shard, emits)
        self.asks = frozenset({"caption"} if "url-list" in emits else ())
        self._stack = ExitStack()
        self._writers: dict[Emit, pq.ParquetWriter] = {}
        self._uids: list[npt.NDArray[np.void]] = []
        self._uid_stream: BinaryIO | None = None
        self._row = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for emit, name in self.names.items():
                path = self._out / name
                path.parent.mkdir(parents=True, exist_ok=True)
                stream = stack.enter_context(replacing(path))
                if emit == "datacomp-uids":
                    self._uid_stream = cast("BinaryIO", stream)
                    stack.push(self._save_uids)
                else:
                    schema = _REMOVAL if emit == "removal" else _URL_LIST
                    self._writers[emit] = stack.enter_context(pq.ParquetWriter(stream, schema, compression="zstd"))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def take(self, samples: pa.Table, decision: Decision) -> None:
        """Take the next batch of the shard's samples: columns out of `SAID`.

        Raises:
            InputError: uids are asked for, and a sample has none.
        """
        first, self._row = self._row, self._row + len(decision.kept)
        if "removal" in self._writers:
            self._writers["removal"].write_table(self._removal(samples, decision, first))
        if "url-list" in self._writers and "url" in samples.column_names:
            kept = samples.filter(pa.array(decision.kept))
            captions = kept["caption"] if "caption" in kept.column_names else pa.nulls(kept.num_rows, pa.string())
            table = pa.table([kept["url"], captions], schema=_URL_LIST)
            self._writers["url-list"].write_table(table.filter(table["url"].is_valid()))
        if "datacomp-uids" in self.names:
            self._uids.append(self._parse_uids(samples, decision, first))

    def _removal(self, samples: pa.Table, decision: Decision, first: int) -> pa.Table:
        n = len(decision.rows)
        has_no_rule = np.equal(decision.kind, NOT_GRANTED)
        dropped = samples.take(pa.array(decision.rows))
        ids = [dropped[name] if name in dropped.column_names else pa.nulls(n, pa.string()) for name in ID_NAMES]
        return pa.table(
            [
                pa.array([self._shard] * n, pa.string()),
                pa.array(decision.rows + first, pa.int64()),
                *ids,
                pa.array([rule.kind for rule in decision.rules], pa.string()),
                pa.array([ASSURANCES[rule.assurance] for rule in decision.rules], pa.string(), mask=has_no_rule),
                pa.array([rule.since for rule in decision.rules], pa.int32(), mask=has_no_rule).cast(pa.date32()),
            ],
            schema=_REMOVAL,
        )

    def _parse_uids(self, samples: pa.Table, decision: Decision, first: int) -> npt.NDArray[np.void]:
        if "uid" not in samples.column_names:
            raise InputError(
                f"{self._shard} has no column uid, which --emit datacomp-uids needs: leave that option out"
            )
        is_uid = pc.match_substring_regex(samples["uid"], _UID_PATTERN).fill_null(fill_value=False)
        if not pc.all(is_uid).as_py() and len(is_uid):
            row = first + pc.index(is_uid, value=False).as_py()
            raise InputError(
                f"{self._shard}: row {row} has no uid of 32 hexadecimal digits, which --emit datacomp-uids needs: "
                "leave that option out"
            )
        kept = samples["uid"].filter(pa.array(decision.kept))
        words = np.frombuffer(bytes.fromhex("".join(kept.to_pylist())), ">u8").reshape(-1, 2)
        return as_uids(words.astype(np.uint64))

    def _save_uids(self, kind: type[BaseException] | None, *_: object) -> None:
        """If all went well."""
        if kind is None and self._uid_stream is not None:
            np.save(self._uid_stream, sorted_uids(np.concatenate([np.empty(0, UID_DTYPE), *self._uids])))


def as_uids(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.void]:
    """(n, 2) words as (n,) uids."""
    return np.ascontiguousarray(words).view(UID_DTYPE).reshape(-1)


def sorted_uids(uids: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """Ascending, each once."""
    uids = uids[np.lexsort((uids["f1"], uids["f0"]))]
    is_new = np.ones(len(uids), np.bool_)
    is_new[1:] = uids[1:] != uids[:-1]
    return uids[is_new]


def merge_uids(parts: Collection[Path], target: Path, *, bucket_uids: int = _BUCKET_UIDS) -> None:
    """Write one sorted file out of sorted ones, atomically. Memory holds a bucket of about `bucket_uids`.

    Uids are digests, spread evenly: equal ranges of their first word hold about as many.
    """
    n_buckets = max(1, sum(np.load(part, mmap_mode="r").shape[0] for part in parts) // bucket_uids)
    edges = [(number << 64) // n_buckets for number in range(n_buckets + 1)]
    n_written = 0
    with replacing(target) as stream:
        _write_header(stream, 0)
        start = stream.tell()
        for low, high in pairwise(edges):
            merged = sorted_uids(np.concatenate([np.empty(0, UID_DTYPE), *_slices(parts, low, high)]))
            stream.write(merged.tobytes())
            n_written += len(merged)
        stream.seek(0)
        _write_header(stream, n_written)
        if stream.tell() != start:
            raise RuntimeError("numpy made the header of another length")
        stream.seek(0, 2)


def _slices(parts: Collection[Path], low: int, high: int) -> Iterator[npt.NDArray[np.void]]:
    for part in parts:
        uids = np.load(part, mmap_mode="r")
        yield np.array(uids[_bisect(uids, low) : _bisect(uids, high)])


def _bisect(uids: npt.NDArray[np.void], edge: int) -> int:
    """Where the first word reaches the edge; reads a few pages."""
    low, high = 0, len(uids)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if int(uids[middle]["f0"]) < edge else (low, middle)
    return low


def _write_header(stream: object, n: int) -> None:
    fields = {"descr": np.lib.format.dtype_to_descr(UID_DTYPE), "fortran_order": False, "shape": (n,)}
    np.lib.format.write_array_header_1_0(stream, fields)  # type: ignore[arg-type]
