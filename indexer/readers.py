"""Shards of the field's own layouts, read as batches: img2dataset's webdataset tars and parquet files.

A tar's members are found by one pass over its headers; the pictures are then read where they lie, in row order, so
that memory holds one batch of them. A parquet file of the same stem beside a tar is img2dataset's list of all its
samples, those that failed included; it then gives the rows and their order.
"""

import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, Protocol

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

PICTURE_BATCH: Final = 128
"""Rows of a batch that holds pictures, at most."""
BATCH_BYTES: Final = 32 * 1024 * 1024
"""A batch from a tar ends at so many bytes of pictures, or with the first one that goes beyond."""
TABLE_BATCH: Final = 32_768
"""Rows of a batch that holds none."""
PICTURE_SUFFIXES: Final = frozenset({"jpg", "jpeg", "png", "webp", "gif", "avif", "bmp", "tif", "tiff", "jfif"})
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


@dataclass
class _Member:
    """One sample of a tar: where its files lie."""

    key: str
    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Suffix -> (offset, size)."""

    @property
    def picture(self) -> tuple[int, int] | None:
        return next((place for suffix, place in self.files.items() if suffix in PICTURE_SUFFIXES), None)


class TarReader:
    """Samples of a webdataset tar: members `KEY.jpg`, `KEY.txt`, `KEY.json`, and the parquet file beside it, if any."""

    def __init__(self, path: Path, *, overrides: Mapping[str, str] | None = None) -> None:
        self._path = path
        members = _index_tar(path)
        sibling = path.with_suffix(".parquet")
        self._members: Sequence[_Member | None]
        if sibling.is_file():
            table, self._members = _join(_open_parquet(sibling).read(), members, overrides, sibling)
            source = sibling
        else:
            table, self._members = _metadata_of(members, path), members
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
                n_bytes = 0
                for member in self._members[start : start + PICTURE_BATCH]:
                    place = None if member is None else member.picture
                    pictures.append(None if place is None else _read(file, place))
                    n_bytes += 0 if place is None else place[1]
                    if n_bytes >= BATCH_BYTES:
                        break
                table, row = self._table.slice(start, len(pictures)), start
                start += len(pictures)  # before the yield: the consumer lets go of the pictures
                yield _batch(table, self.mapping, pictures, row=row, missing=STATUS_NO_PICTURE, shard=self._path.stem)


def _open_parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is not a parquet file, or is truncated ({error}): get it again") from error


def _read(file: BinaryIO, place: tuple[int, int]) -> bytes:
    file.seek(place[0])
    return file.read(place[1])


def _index_tar(path: Path) -> list[_Member]:
    """Members of a tar grouped by key, adjacent ones together, as webdataset groups them."""
    size = path.stat().st_size
    members: list[_Member] = []
    try:
        with tarfile.open(path, "r:") as tar:
            for entry in tar:
                folder, _, name = entry.name.rpartition("/")
                stem, _, suffix = name.partition(".")
                if not entry.isfile() or not stem:
                    continue
                if entry.offset_data + entry.size > size:
                    raise InputError(f"{path} is truncated inside {entry.name}: get it again")
                key, suffix = f"{folder}/{stem}" if folder else stem, suffix.lower()
                if not members or members[-1].key != key or suffix in members[-1].files:
                    members.append(_Member(key))
                members[-1].files[suffix] = (entry.offset_data, entry.size)
            # A whole archive ends in two blocks of zeros, which reading stops before.
            if tar.offset + tarfile.BLOCKSIZE > size:
                raise InputError(f"{path} is truncated after {len(members)} samples: get it again")
    except (tarfile.TarError, EOFError) as error:
        raise InputError(f"{path} is not an uncompressed tar, or is truncated ({error}): get it again") from error
    return members


def _metadata_of(members: list[_Member], path: Path) -> pa.Table:
    """Table of the tar's own `.json` and `.txt` files."""
    rows: list[dict[str, object]] = []
    with path.open("rb") as file:
        for member in members:
            row: dict[str, object] = {"key": member.key}
            if "txt" in member.files:
                row["caption"] = _read(file, member.files["txt"]).decode("utf-8", "replace")
            if "json" in member.files:
                try:
                    said = json.loads(_read(file, member.files["json"]))
                except ValueError:
                    said = None
                if isinstance(said, dict):
                    row.update({str(name): value for name, value in said.items()})
                else:
                    row["error_message"] = f"{path.name}: {member.key}.json is not a JSON object"
            rows.append(row)
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def _column(values: list[object]) -> pa.Array:
    """JSON values as one Arrow column; as JSON text where they are objects or of different types."""
    values = [_whole_text(value) if isinstance(value, str) else value for value in values]
    if not any(isinstance(value, dict) for value in values):
        try:
            return pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
            pass  # written out below
    return pa.array([None if value is None else json.dumps(value) for value in values], pa.string())


def _whole_text(text: str) -> str:
    """JSON may hold half of a surrogate pair, which no UTF-8 can."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def _join(
    table: pa.Table, members: list[_Member], overrides: Mapping[str, str] | None, sibling: Path
) -> tuple[pa.Table, list[_Member | None]]:
    """The parquet's rows with the tar's members, then the members it does not list."""
    mapping = map_columns(table.column_names, overrides=overrides, source=str(sibling))
    column = mapping.roles.get("key")
    if column is None:
        raise InputError(
            f"{sibling} has no key column, so its rows cannot be found in the tar: "
            f"name it with --columns key=COLUMN, or move the file away"
        )
    by_key: dict[str, _Member] = {}
    for member in members:
        by_key.setdefault(member.key, member)
    keys = text_column(table[column]).to_pylist()
    joined: list[_Member | None] = [by_key.pop(key, None) for key in keys]
    if by_key:
        extra = pa.table({column: pa.array(list(by_key), pa.string()).cast(table.schema.field(column).type)})
        table = pa.concat_tables([table, extra], promote_options="default")
        joined.extend(by_key.values())
    return table, joined


def _batch(
    source: pa.Table,
    mapping: ColumnMapping,
    pictures: list[bytes | None],
    *,
    row: int,
    missing: str,
    shard: str,
) -> Batch:
    """Rows of a source as `Batch`: roles filled, kept columns behind them."""
    n, roles = len(source), mapping.roles

    def text(role: str) -> list[str | None]:
        if role not in roles:
            return [None] * n
        values: list[str | None] = text_column(source[roles[role]]).to_pylist()
        return values

    keys = [f"{shard}:{row + i}" if key is None else key for i, key in enumerate(text("key"))]
    statuses, reasons = _statuses(text("status"), text("reason"), pictures, missing)
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
    said: list[str | None], reasons: list[str | None], pictures: list[bytes | None], missing: str
) -> tuple[list[str], list[str | None]]:
    """Status and reason of each row before its picture is looked at; drops what claims success without a picture."""
    statuses: list[str] = []
    for i, (status, picture) in enumerate(zip(said, pictures, strict=True)):
        failed = status is not None and status not in _SUCCESS
        if failed:
            statuses.append(str(status))
            pictures[i] = None
        elif picture is None:
            statuses.append(missing)
        elif not picture:
            statuses.append(STATUS_CORRUPT)
            reasons[i] = "the picture is empty (0 bytes)"
            pictures[i] = None
        else:
            statuses.append(STATUS_OK)
    return statuses, reasons
