"""Shards of the field's own layouts, read as batches; `open_shard` chooses the reader by the shard's kind.

A tar's members are found by one pass over its headers; the pictures are then read where they lie, in row order, so
that memory holds one batch of them. A parquet file of the same stem beside a tar or folder is img2dataset's list of all
its samples, those that failed included; it then gives the rows and their order.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Protocol

import pyarrow as pa

from heldout.errors import InputError
from indexer.batches import Batch, make_batch
from indexer.parquet_rows import iter_tables, open_parquet, read_whole
from indexer.planning import Kind, RowPart, Shard
from indexer.repeats import Repeats
from indexer.samples import (
    NEEDED,
    STATUS_NO_PICTURE,
    STATUS_NOT_FETCHED,
    ColumnMapping,
    binary_columns,
    map_columns,
    picture_bytes,
    text_column,
    with_column,
)
from indexer.tar_members import MAX_PICTURE_BYTES, Member, Read, index_tar, metadata_of, read_tar

PICTURE_BATCH: Final = 128
"""Rows of a batch that holds pictures, at most."""
BATCH_BYTES: Final = 32 * 1024 * 1024
"""A batch ends at so many bytes of pictures, or with the first one that goes beyond."""


class ShardReader(Protocol):
    """A shard opened for reading; opening has checked that it is whole and has the columns."""

    n_rows: int
    mapping: ColumnMapping
    d: int | None
    """Length of the embeddings that the source brings; None if it brings none."""
    notes: Counter[str]
    """What was odd -> in how many rows; complete when the batches are."""

    def batches(self) -> Iterator[Batch]:
        """All rows once, in row order.

        Raises:
            InputError: a file turns out to be damaged.
        """
        ...


def open_shard(shard: Shard, *, overrides: Mapping[str, str] | None = None) -> ShardReader:
    """Open a shard whose files are here.

    Raises:
        InputError: a file is no such shard, is truncated, or lacks a needed column; says what to do.
    """
    if shard.kind is Kind.TAR:
        return open_tar(shard, overrides)
    if shard.kind is Kind.PICTURES:
        from indexer.folders import open_pictures

        return open_pictures(shard, overrides)
    if shard.kind is Kind.EMBEDDINGS:
        from indexer.embeddings_source import EmbeddingsReader

        return EmbeddingsReader(shard, overrides)
    if shard.kind is Kind.INDEX:
        from indexer.import_index import IndexReader

        return IndexReader(shard, overrides)
    return ParquetReader(shard.paths[0], overrides, part=shard.part if isinstance(shard.part, RowPart) else None)


class ParquetReader:
    """Samples of a parquet file; a column of bytes named like a picture (`jpg`, `png`, ...) holds them."""

    d: int | None = None

    def __init__(self, path: Path, overrides: Mapping[str, str] | None = None, *, part: RowPart | None = None) -> None:
        """`part`: the rows to read; all where it is not given. Rows are numbered as in the file."""
        self._path = path
        self._file = open_parquet(path)
        schema = self._file.schema_arrow
        total: int = self._file.metadata.num_rows
        if part is not None and part.total != total:
            raise InputError(f"{path} had {part.total:,} rows and has {total:,}: run again when it is whole")
        self._first = 0 if part is None else part.first_row
        self.n_rows = total if part is None else part.n
        self.mapping = map_columns(schema.names, overrides=overrides, binary=binary_columns(schema), source=str(path))
        self.notes: Counter[str] = Counter()

    def batches(self) -> Iterator[Batch]:
        """As `ShardReader.batches`."""
        picture = self.mapping.roles.get("picture")
        repeats = Repeats(self.notes)
        row = self._first
        for table in iter_tables(
            self._file, self._path, max_rows=PICTURE_BATCH if picture else None, first=row, n=self.n_rows
        ):
            data: list[bytes | None] = picture_bytes(table[picture]) if picture else [None] * len(table)
            refused = {}
            for i, cell in enumerate(data):
                if cell is not None and len(cell) > MAX_PICTURE_BYTES:
                    refused[i], data[i] = _too_large(len(cell)), None
            yield repeats.watch(
                make_batch(
                    table,
                    self.mapping,
                    data,
                    row=row,
                    missing=STATUS_NO_PICTURE if picture else STATUS_NOT_FETCHED,
                    shard=self._path.stem,
                    notes=self.notes,
                    refused=refused,
                )
            )
            row += len(table)
        repeats.close()


class MembersReader:
    """Samples whose pictures lie one by one, in a tar or a folder, with the table of what is said of them."""

    d: int | None = None

    def __init__(
        self,
        name: str,
        members: Sequence[Member | None],
        table: pa.Table,
        mapping: ColumnMapping,
        opened: Callable[[], AbstractContextManager[Read]],
    ) -> None:
        """`members`: one a row of `table`, None where nothing lies; `opened`: gives the function that reads them."""
        self._name = name
        self._members = members
        self._opened = opened
        self.table = table
        self.n_rows = len(table)
        self.mapping = mapping
        self.notes: Counter[str] = Counter()

    def batches(self) -> Iterator[Batch]:
        """As `ShardReader.batches`."""
        start = 0
        repeats = Repeats(self.notes)
        with self._opened() as read:
            while start < self.n_rows:
                pictures: list[bytes | None] = []
                refused: dict[int, str] = {}
                n_bytes = 0
                for member in self._members[start : start + PICTURE_BATCH]:
                    place = None if member is None else member.picture
                    if place is not None and place[1] > MAX_PICTURE_BYTES:
                        refused[len(pictures)] = _too_large(place[1])
                        place = None
                    pictures.append(None if place is None else read(place))
                    n_bytes += 0 if place is None else place[1]
                    if n_bytes >= BATCH_BYTES:
                        break
                table, row = self.table.slice(start, len(pictures)), start
                start += len(pictures)  # before the yield: the consumer lets go of the pictures
                yield repeats.watch(
                    make_batch(
                        table,
                        self.mapping,
                        pictures,
                        row=row,
                        missing=STATUS_NO_PICTURE,
                        shard=self._name,
                        notes=self.notes,
                        refused=refused,
                    )
                )
        repeats.close()


def open_tar(shard: Shard, overrides: Mapping[str, str] | None = None) -> MembersReader:
    """Samples of a webdataset tar: members `KEY.jpg`, `KEY.txt`, `KEY.json`, and the parquet file beside it, if any.

    Raises:
        InputError: as `open_shard`.
    """
    path = shard.paths[0]
    members = index_tar(path)
    needed = () if any(member.picture for member in members) else NEEDED
    if len(shard.paths) > 1:
        table, joined, mapping = join_list(shard.paths[1], members, overrides, needed)
        return MembersReader(path.stem, joined, table, mapping, lambda: read_tar(path))
    with read_tar(path) as read:
        table = metadata_of(members, read, str(path))
    mapping = map_columns(table.column_names, overrides=overrides, needed=needed, source=str(path))
    return MembersReader(path.stem, members, table, mapping, lambda: read_tar(path))


def join_list(
    path: Path, members: list[Member], overrides: Mapping[str, str] | None, needed: Sequence[str]
) -> tuple[pa.Table, list[Member | None], ColumnMapping]:
    """The rows of img2dataset's list of samples with their members, then the members that it does not list.

    Raises:
        InputError: the list is damaged, or has no key column.
    """
    table = read_whole(path)
    mapping = map_columns(table.column_names, overrides=overrides, needed=needed, source=str(path))
    column = mapping.roles.get("key")
    if column is None:
        raise InputError(
            f"{path} has no key column, so its rows cannot be found in the files beside it: "
            f"name it with --columns key=COLUMN, or move the file away"
        )
    # A list that was written by way of numbers has lost the zeros that the files' names begin with.
    numbers = not pa.types.is_string(table[column].type) and not pa.types.is_large_string(table[column].type)
    by_key: dict[str, deque[Member]] = {}
    for member in members:
        by_key.setdefault(_plain(member.key) if numbers else member.key, deque()).append(member)
    keys: list[str | None] = text_column(table[column]).to_pylist()
    joined: list[Member | None] = []
    for row, key in enumerate(keys):
        found = by_key.get(_plain(key) if numbers and key is not None else key or "")
        joined.append(found.popleft() if found else None)
        keys[row] = _found_key(joined[-1], key)
    table = with_column(table, column, pa.array(keys, pa.string()))
    unlisted = [member for group in by_key.values() for member in group]
    if unlisted:
        extra = pa.table({column: pa.array([member.key for member in unlisted], pa.string())})
        table = pa.concat_tables([table, extra], promote_options="default")
        joined.extend(unlisted)
    return table, joined, mapping


def _found_key(member: Member | None, key: str | None) -> str | None:
    """The key as the files have it, where there are any."""
    return key if member is None else member.key


def _plain(key: str) -> str:
    """A whole number without what writers of tables change in it: `000042` and `42.0` are both 42."""
    digits = key.removesuffix(".0")
    return str(int(digits)) if digits.isascii() and digits.isdigit() and len(digits) < 40 else key


def _too_large(size: int) -> str:
    return f"the picture has {size:,} bytes, over the limit of {MAX_PICTURE_BYTES:,}"
