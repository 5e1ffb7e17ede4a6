"""Shards of the field's own layouts, read as batches: img2dataset's webdataset tars and parquet files.

A tar's members are found by one pass over its headers; the pictures are then read where they lie, in row order, so
that memory holds one batch of them. A parquet file of the same stem beside a tar is img2dataset's list of all its
samples, those that failed included; it then gives the rows and their order.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from heldout.errors import InputError
from indexer.samples import (
    STATUS_CORRUPT,
    STATUS_NO_PICTURE,
    STATUS_NOT_FETCHED,
    STATUS_OK,
    ColumnMapping,
    binary_columns,
    kept_name,
    map_columns,
    sha256_column,
    size_column,
    text_column,
    unsafe_column,
)
from indexer.shards import sibling_of
from indexer.tar_members import MAX_PICTURE_BYTES, Member, index_tar, metadata_of, read_at

PICTURE_BATCH: Final = 128
"""Rows of a batch that holds pictures, at most."""
BATCH_BYTES: Final = 32 * 1024 * 1024
"""A batch from a tar ends at so many bytes of pictures, or with the first one that goes beyond."""
TABLE_BATCH: Final = 32_768
"""Rows of a batch that holds none."""
_SUCCESS: Final = frozenset({"success", "ok", ""})


@dataclass(frozen=True)
class Batch:
    """Rows of a shard, in order.

    `table` holds the fixed columns that need no picture, then the kept ones; `pictures` the files' bytes, None where
    `status` says why.
    """

    table: pa.Table
    pictures: list[bytes | None]
    kept: tuple[str, ...]


class ShardReader(Protocol):
    """A shard opened for reading; opening has checked that it is whole and has the columns."""

    n_rows: int
    mapping: ColumnMapping

    def batches(self) -> Iterator[Batch]:
        """All rows once, in row order.

        Raises:
            InputError: the file turns out to be damaged.
        """
        ...


def open_shard(path: Path, *, overrides: Mapping[str, str] | None = None) -> ShardReader:
    """Open a `.tar` or `.parquet` shard.

    Raises:
        InputError: not a shard, truncated, or without a URL or caption column; says what to do.
    """
    if path.suffix == ".tar":
        return TarReader(path, overrides=overrides)
    return ParquetReader(path, overrides=overrides)


class ParquetReader:
    """Samples of a parquet file; a column of bytes named like a picture (`jpg`, `png`, ...) holds them."""

    def __init__(self, path: Path, *, overrides: Mapping[str, str] | None = None) -> None:
        self._path = path
        self._file = _open_parquet(path)
        schema = self._file.schema_arrow
        self.n_rows: int = self._file.metadata.num_rows
        self.mapping = map_columns(schema.names, overrides=overrides, binary=binary_columns(schema), source=str(path))

    def batches(self) -> Iterator[Batch]:
        """As `ShardReader.batches`."""
        picture = self.mapping.roles.get("picture")
        size = PICTURE_BATCH if picture else TABLE_BATCH
        row = 0
        try:
            for record_batch in self._file.iter_batches(batch_size=size):
                table = pa.Table.from_batches([record_batch])
                data = table[picture].to_pylist() if picture else [None] * len(table)
                missing = STATUS_NO_PICTURE if picture else STATUS_NOT_FETCHED
                yield _batch(table, self.mapping, data, row=row, missing=missing, shard=self._path.stem)
                row += len(table)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{self._path} is damaged after row {row} ({error}): get it again") from error


class TarReader:
    """Samples of a webdataset tar: members `KEY.jpg`, `KEY.txt`, `KEY.json`, and the parquet file beside it, if any."""

    def __init__(self, path: Path, *, overrides: Mapping[str, str] | None = None) -> None:
        self._path = path
        members = index_tar(path)
        sibling = sibling_of(path)
        self._members: Sequence[Member | None]
        if sibling is not None:
            table, self._members = _join(_read_parquet(sibling), members, overrides, sibling)
            source = sibling
        else:
            table, self._members = metadata_of(members, path), members
            source = path
        self._table = table
        self.n_rows = len(table)
        self.mapping = map_columns(table.column_names, overrides=overrides, source=str(source))

    def batches(self) -> Iterator[Batch]:
        """As `ShardReader.batches`."""
        start = 0
        with self._path.open("rb") as file:
            while start < self.n_rows:
                pictures: list[bytes | None] = []
                refused: dict[int, str] = {}
                n_bytes = 0
                for member in self._members[start : start + PICTURE_BATCH]:
                    place = None if member is None else member.picture
                    if place is not None and place[1] > MAX_PICTURE_BYTES:
                        refused[len(pictures)] = (
                            f"the picture has {place[1]:,} bytes, over the limit of {MAX_PICTURE_BYTES:,}"
                        )
                        place = None
                    pictures.append(None if place is None else read_at(file, place))
                    n_bytes += 0 if place is None else place[1]
                    if n_bytes >= BATCH_BYTES:
                        break
                table, row = self._table.slice(start, len(pictures)), start
                start += len(pictures)  # before the yield: the consumer lets go of the pictures
                yield _batch(
                    table,
                    self.mapping,
                    pictures,
                    row=row,
                    missing=STATUS_NO_PICTURE,
                    shard=self._path.stem,
                    refused=refused,
                )


def _open_parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is not a parquet file, or is truncated ({error}): get it again") from error


def _read_parquet(path: Path) -> pa.Table:
    with _open_parquet(path) as file:
        try:
            return file.read()
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path} is damaged ({error}): get it again, or move it away") from error


def _join(
    table: pa.Table, members: list[Member], overrides: Mapping[str, str] | None, sibling: Path
) -> tuple[pa.Table, list[Member | None]]:
    """The parquet's rows with the tar's members, then the members it does not list."""
    mapping = map_columns(table.column_names, overrides=overrides, source=str(sibling))
    column = mapping.roles.get("key")
    if column is None:
        raise InputError(
            f"{sibling} has no key column, so its rows cannot be found in the tar: "
            f"name it with --columns key=COLUMN, or move the file away"
        )
    by_key: dict[str, deque[Member]] = {}
    for member in members:
        by_key.setdefault(member.key, deque()).append(member)
    keys = text_column(table[column])
    joined: list[Member | None] = [by_key[key].popleft() if by_key.get(key) else None for key in keys.to_pylist()]
    unlisted = [member for group in by_key.values() for member in group]
    if unlisted:
        # The key column may be of a type that does not hold the tar's names.
        table = table.set_column(table.schema.get_field_index(column), column, keys)
        extra = pa.table({column: pa.array([member.key for member in unlisted], pa.string())})
        table = pa.concat_tables([table, extra], promote_options="default")
        joined.extend(unlisted)
    return table, joined


def _batch(
    source: pa.Table,
    mapping: ColumnMapping,
    pictures: list[bytes | None],
    *,
    row: int,
    missing: str,
    shard: str,
    refused: Mapping[int, str] = MappingProxyType({}),
) -> Batch:
    """Rows of a source as a batch: roles filled, kept columns behind them. `refused`: row -> why its picture was."""
    n, roles = len(source), mapping.roles

    def text(role: str) -> list[str | None]:
        if role not in roles:
            return [None] * n
        values: list[str | None] = text_column(source[roles[role]]).to_pylist()
        return values

    keys = [f"{shard}:{row + i}" if key is None else key for i, key in enumerate(text("key"))]
    statuses, reasons = _statuses(text("status"), text("reason"), pictures, missing, refused)
    none = pa.nulls(n, pa.int32())
    columns: dict[str, pa.Array | pa.ChunkedArray] = {
        "key": pa.array(keys, pa.string()),
        "shard": pa.array([shard] * n, pa.string()),
        "row": pa.array(range(row, row + n), pa.int32()),
        "url": pa.array(text("url"), pa.string()),
        "caption": pa.array(text("caption"), pa.string()),
        "width": size_column(source[roles["width"]]) if "width" in roles else none,
        "height": size_column(source[roles["height"]]) if "height" in roles else none,
        "status": pa.array(statuses, pa.string()),
        "reason": pa.array(reasons, pa.string()),
        "sha256": sha256_column(source[roles["sha256"]]) if "sha256" in roles else pa.nulls(n, pa.binary(32)),
        "unsafe": unsafe_column(source),
    }
    for name in mapping.kept:
        columns[kept_name(name)] = source[name]
    return Batch(pa.table(columns), pictures, tuple(kept_name(name) for name in mapping.kept))


def _statuses(
    said: list[str | None],
    reasons: list[str | None],
    pictures: list[bytes | None],
    missing: str,
    refused: Mapping[int, str],
) -> tuple[list[str], list[str | None]]:
    """Status and reason of each row before its picture is looked at; drops what claims success without a picture."""
    statuses: list[str] = []
    for i, (status, picture) in enumerate(zip(said, pictures, strict=True)):
        failed = status is not None and status not in _SUCCESS
        if failed:
            statuses.append(str(status))
            pictures[i] = None
        elif i in refused:
            statuses.append(STATUS_CORRUPT)
            reasons[i] = refused[i]
        elif picture is None:
            statuses.append(missing)
        elif not picture:
            statuses.append(STATUS_CORRUPT)
            reasons[i] = "the picture is empty (0 bytes)"
            pictures[i] = None
        else:
            statuses.append(STATUS_OK)
    return statuses, reasons
