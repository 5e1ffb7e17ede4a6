"""One Parquet shard minus the rows a list excludes.

Row group by row group, so that memory stays bounded by two, or three of the columns that are looked at where
nothing is written. One or two are read and looked up while the one before is used.
What is left keeps its order, schema, schema metadata, compression and row groups; a row group of which nothing is
left is not written.
"""

import os
from collections import deque
from collections.abc import Collection, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager
from functools import lru_cache
from io import BufferedRandom
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from heldout.errors import InputError
from heldout.exclusion import ExclusionList
from heldout.filtering_columns import Columns
from heldout.filtering_decision import Decision, Linked, Rule
from heldout.filtering_masks import MaskWriter
from heldout.filtering_observer import Observer
from heldout.filtering_tables import decide_rows, kept_rows, keys_of_rows, samples_of, typed_columns
from heldout.records import Assurance
from heldout.report import Tally

_BATCH_ROWS = 65_536
_FORMAT_VERSIONS = ("1.0", "2.4", "2.6")


def filter_parquet(
    source: Path,
    stream: BufferedRandom | None,
    exclusions: ExclusionList,
    *,
    url_column: str | None = None,
    opt_in: Assurance | None = None,
    also: Mapping[str, Rule] | None = None,
    observer: Observer | None = None,
    mask: MaskWriter | None = None,
) -> Tally:
    """Write what is kept of a shard to an open file.

    Args:
        source: Parquet file.
        stream: the output; None writes nothing, and reads only the columns that are looked at.
        exclusions: what to leave out.
        url_column: name of the URL column, if it is none of the known ones.
        opt_in: keep only what is granted, by an entry that is proved at least so well.
        also: rows to leave out besides, by their `key`.
        observer: told of every row.
        mask: told of every row group.

    Raises:
        InputError: not Parquet, damaged, or without a column of URLs.
    """
    tally = Tally()
    with _reading(source), pq.ParquetFile(source, page_checksum_verification=True) as shard, ExitStack() as stack:
        columns = typed_columns(shard.schema_arrow, source, url_column)
        names = None if stream is not None else _looked_at(columns, shard.schema_arrow, observer, has_keys=bool(also))
        writer: pq.ParquetWriter | None = None
        asks = None if observer is None else observer.asks
        question = _Question(source, exclusions, url_column, opt_in, also or {}, asks)
        for group in stack.enter_context(closing(_decided_ahead(shard, names, question))):
            if stream is not None and writer is None:  # not before a group was read: see `_shape`
                writer = stack.enter_context(pq.ParquetWriter(stream, shard.schema_arrow, **_shape(shard)))
            for batch in group.batches:
                tally.count(batch.decision)
                tally.n_unreadable_urls += batch.n_unreadable
                if observer is not None and batch.samples is not None:
                    observer.take(batch.samples, batch.decision)
            if mask is not None:
                mask.take_group(group.kept)
            if writer is not None and group.left.num_rows:
                writer.write_table(group.left, row_group_size=group.left.num_rows)
        if stream is not None and writer is None:
            stack.enter_context(pq.ParquetWriter(stream, shard.schema_arrow, **_shape(shard)))
    return tally


class _Question(NamedTuple):
    """What is asked about every row group."""

    source: Path
    exclusions: ExclusionList
    url_column: str | None
    opt_in: Assurance | None
    also: Mapping[str, Rule]
    asks: Collection[str] | None
    """What an observer wants to know of the rows; None if there is none."""


class _Batch(NamedTuple):
    """What was decided about some rows."""

    decision: Decision
    n_unreadable: int
    """How many of them have no URL that can be looked up."""
    samples: pa.Table | None
    """What they say of themselves, for an observer."""


class _Group(NamedTuple):
    """A row group, and what was decided about it."""

    batches: list[_Batch]
    """In order."""
    kept: npt.NDArray[np.bool_]
    """(n,)"""
    left: pa.Table
    """The rows that are kept; none if only some columns were read."""


_MOST_AHEAD = 2


@lru_cache(maxsize=1)
def _threads(process: int) -> ThreadPoolExecutor:
    """Those of this process, which stay for the next shard.

    A new thread has none of the memory that the last one used, and the system would clear as much again for it.
    """
    return ThreadPoolExecutor(_MOST_AHEAD, thread_name_prefix=f"filter-{process}")


def _decided_ahead(shard: pq.ParquetFile, names: list[str] | None, question: _Question) -> Generator[_Group]:
    """The row groups in order; others are being read and looked up while one is used.

    Arrow and the kernel work without the interpreter. Where all columns are wanted the caller writes them, which keeps
    one processor busy: one group is ahead then. Else there are two, on two processors if Arrow may use so many.
    """
    n_ahead = 1 if names is None else min(_MOST_AHEAD, pa.cpu_count())
    tasks: deque[Future[_Group]] = deque()
    with ExitStack() as stack:
        # Each by a reader of its own: nobody promises that one may be asked by two threads.
        readers = [shard] + [
            stack.enter_context(pq.ParquetFile(question.source, page_checksum_verification=True))
            for _ in range(n_ahead - 1)
        ]
        numbers = iter(range(shard.num_row_groups))

        def start(n: int) -> None:
            for number in islice(numbers, n):
                reader = readers[number % n_ahead]
                tasks.append(_threads(os.getpid()).submit(_decide_group, reader, number, names, question))

        try:
            start(n_ahead)
            while tasks:
                group = tasks.popleft().result()
                start(1)
                yield group
        finally:
            for task in tasks:
                task.cancel()
            wait(tasks)


def _decide_group(reader: pq.ParquetFile, number: int, names: list[str] | None, question: _Question) -> _Group:
    # By one thread, which also lets go of the rows: memory that another has to give back is not soon used again.
    rows = reader.read_row_group(number, columns=names, use_threads=False)
    columns = typed_columns(rows.schema, question.source, question.url_column)
    batches = []
    for start in range(0, rows.num_rows, _BATCH_ROWS):
        batch = rows.slice(start, _BATCH_ROWS)
        decision, unreadable = decide_rows(batch, columns, question.exclusions, question.opt_in)
        if question.also:
            decision = decision.or_else(keys_of_rows(batch.column(columns.ids["key"])), question.also)
        samples = None if question.asks is None else samples_of(batch, columns, question.asks)
        batches.append(_Batch(decision, int(unreadable.sum()), samples))
    kept = np.concatenate([np.zeros(0, np.bool_), *(batch.decision.kept for batch in batches)])
    return _Group(batches, kept, kept_rows(rows, kept) if names is None else rows.schema.empty_table())


def link_keys(
    source: Path, exclusions: ExclusionList, *, url_column: str | None = None, opt_in: Assurance | None = None
) -> Linked | None:
    """Which samples `filter_parquet` drops, by their `key`; None if there is no such column.

    Raises:
        InputError: as `filter_parquet`.
    """
    rules: dict[str, Rule] = {}
    keys: set[str] = set()
    with _reading(source), pq.ParquetFile(source, page_checksum_verification=True) as shard:
        columns = typed_columns(shard.schema_arrow, source, url_column)
        if "key" not in columns.ids:
            return None
        are_numbers = pa.types.is_integer(shard.schema_arrow.field(columns.ids["key"]).type)
        names = _looked_at(columns, shard.schema_arrow, None, has_keys=True)
        for batch in shard.iter_batches(_BATCH_ROWS, columns=names):
            table = pa.table(batch)
            columns = typed_columns(table.schema, source, url_column)
            decision, _ = decide_rows(table, columns, exclusions, opt_in)
            of_rows = keys_of_rows(table.column(columns.ids["key"]))
            rules |= decision.by_key(of_rows)
            keys.update(key for key in of_rows if key is not None)
    return Linked(rules, keys, are_numbers)


def _looked_at(columns: Columns, schema: pa.Schema, observer: Observer | None, *, has_keys: bool) -> list[str]:
    positions: set[int | None] = {*columns.urls, *columns.sha256}
    if has_keys:
        positions.add(columns.ids["key"])
    if observer is not None:
        about = {position for name, position in columns.about.items() if name in observer.asks}
        positions |= {*columns.ids.values(), columns.caption, *about}
    return [name for i, name in enumerate(schema.names) if i in positions]


def _shape(shard: pq.ParquetFile) -> dict[str, Any]:
    """Options that make the writer write as the shard was written.

    Asked about an encrypted column Arrow ends the process; reading that column is an error before.
    """
    metadata = shard.metadata
    chunks = [metadata.row_group(0).column(i) for i in range(metadata.num_columns)] if metadata.num_row_groups else []
    codecs = {chunk.path_in_schema: chunk.compression for chunk in chunks}
    return {
        "compression": {path: "NONE" if codec == "UNCOMPRESSED" else codec for path, codec in codecs.items()},
        "use_dictionary": [chunk.path_in_schema for chunk in chunks if chunk.has_dictionary_page],
        "write_statistics": [chunk.path_in_schema for chunk in chunks if chunk.is_stats_set],
        "write_page_index": any(chunk.has_column_index for chunk in chunks),
        "use_deprecated_int96_timestamps": any(chunk.physical_type == "INT96" for chunk in chunks),
        "use_compliant_nested_type": not any(".list.item" in path for path in codecs),
        "store_schema": b"ARROW:schema" in (metadata.metadata or {}),
        "version": metadata.format_version if metadata.format_version in _FORMAT_VERSIONS else "2.6",
    }


@contextmanager
def _reading(source: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, FileNotFoundError):
            raise  # the disk, not the file
        raise InputError(
            f"{source} cannot be read as Parquet ({str(error).splitlines()[0][:200]}): it is damaged, truncated or "
            "something else; get it again"
        ) from error
