"""Rows of parquet files from strangers, in tables of bounded size, whatever the file's row groups are.

LAION's files have row groups of a million rows, others hold gigabytes of pictures in one. Pages are read as they are
needed; a table ends at `TABLE_ROWS` rows or `TABLE_BYTES`, or with the step of rows that goes beyond. What must be held
besides is a page, and a dictionary: pyarrow writes pages of up to 1,024 cells however large these are.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from heldout.errors import InputError

TABLE_ROWS: Final = 32_768
"""Rows of a table, at most."""
TABLE_BYTES: Final = 32 * 1024 * 1024
"""A table ends with the step that reaches so many bytes."""
STEP_ROWS: Final = 2_048
"""Rows read at once, at most: fewer where a row group's rows are large. What a dictionary packs counts as packed: so as
many copies of its largest text may be held at once."""
_STEP_BYTES: Final = 8 * 1024 * 1024
MAX_LIST_BYTES: Final = 2 * 1024 * 1024 * 1024
"""Bytes of a file that is read whole, unpacked; img2dataset's list of 10,000 samples has a few million."""
_PAGE_BUFFER: Final = 1024 * 1024
_DAMAGE: Final = (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError)
"""What pyarrow raises on damaged files."""


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a file and read its schema.

    Raises:
        InputError: it is no parquet file, or is truncated.
    """
    try:
        # With a buffer, a column is read page by page instead of all of a row group's at once.
        file = pq.ParquetFile(path, buffer_size=_PAGE_BUFFER, pre_buffer=False)
        file.schema_arrow.names  # noqa: B018 - a damaged schema shows here
    except _DAMAGE as error:
        raise InputError(f"{path} is not a parquet file, or is truncated ({error}): get it again") from error
    return file


def iter_tables(
    file: pq.ParquetFile, path: Path, *, max_rows: int | None = None, first: int = 0, n: int | None = None
) -> Iterator[pa.Table]:
    """`n` rows from row `first` on, or all, in order, as tables of at most `max_rows` rows.

    Rows of a row group before the first one are read and dropped.

    Raises:
        InputError: the file is damaged; says after which row.
    """
    max_rows = max_rows or TABLE_ROWS
    stop = file.metadata.num_rows if n is None else first + n
    row = end = 0
    parts: list[pa.RecordBatch] = []
    try:
        for group in range(file.num_row_groups):
            said = file.metadata.row_group(group)
            row, end = end, end + said.num_rows
            if end <= first or row >= stop:
                continue
            per_row = max(1, said.total_byte_size // max(1, said.num_rows))
            step = max(1, min(max_rows, STEP_ROWS, _STEP_BYTES // per_row))
            for read in file.iter_batches(batch_size=step, row_groups=[group], use_threads=False):
                part = read[max(0, first - row) : max(0, stop - row)]
                row += len(read)
                if not len(part):
                    if row >= stop:
                        break
                    continue
                if parts and sum(map(len, parts)) + len(part) > max_rows:
                    yield pa.Table.from_batches(parts)
                    parts = []
                parts.append(part)
                if sum(map(len, parts)) >= max_rows or sum(one.nbytes for one in parts) >= TABLE_BYTES:
                    yield pa.Table.from_batches(parts)
                    parts = []
    except _DAMAGE as error:
        raise InputError(f"{path} is damaged after row {row} ({error}): get it again") from error
    if parts:
        yield pa.Table.from_batches(parts)


def read_whole(path: Path) -> pa.Table:
    """All rows of a small file.

    Raises:
        InputError: it is damaged, or too large for memory.
    """
    with open_parquet(path) as file:
        n_bytes = sum(file.metadata.row_group(number).total_byte_size for number in range(file.num_row_groups))
        if n_bytes > MAX_LIST_BYTES:
            raise InputError(
                f"{path} holds {n_bytes:,} bytes, over the limit of {MAX_LIST_BYTES:,} for a list of samples beside "
                f"their files: move it away"
            )
        try:
            return file.read()
        except _DAMAGE as error:
            raise InputError(f"{path} is damaged ({error}): get it again, or move it away") from error
