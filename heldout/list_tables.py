"""The four tables of an exclusion list: their columns, order and content digests, and reading one from Parquet.

A content digest is over what a table says, not over the bytes of one program's Parquet writer: so a file that was
rebuilt from a delta proves itself as well as one that was fetched whole. Normative: docs/formats/exclusion-list.md §3.
"""

import hashlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from heldout.errors import VerificationError
from heldout.fingerprints import PDQ_BYTES

TableName = Literal["url", "prefix", "host", "image"]
"""What the entries of a table are about; the manifest counts by it."""

STANDING: Final = {"preference": pa.uint8(), "assurance": pa.uint8(), "since": pa.date32()}
"""What every entry carries."""

URL_COLUMNS: Final = {"key": pa.uint64(), **STANDING}
PREFIX_COLUMNS: Final = {"prefix": pa.string(), **STANDING}
HOST_COLUMNS: Final = {"host": pa.string(), **STANDING}
IMAGE_COLUMNS: Final = {"pdq": pa.binary(PDQ_BYTES), "quality": pa.uint8(), "sha256": pa.binary(32), **STANDING}

SCHEMAS: Final[Mapping[TableName, pa.Schema]] = {
    "url": pa.schema(URL_COLUMNS.items()),
    "prefix": pa.schema(PREFIX_COLUMNS.items()),
    "host": pa.schema(HOST_COLUMNS.items()),
    "image": pa.schema(IMAGE_COLUMNS.items()),
}
"""In the order in which the formats name them."""

ROWS_AT_ONCE: Final = 1_000_000
"""Rows digested at a time."""

ROW_GROUP_SIZE: Final = 131_072
_RANDOM: Final = frozenset({"key", "pdq", "sha256"})
"""Columns of digests: no compression makes them smaller."""
_ENCODINGS: Final[Mapping[TableName, dict[str, str]]] = {
    "url": {"key": "DELTA_BINARY_PACKED"},
    "prefix": {"prefix": "DELTA_BYTE_ARRAY"},
    "host": {"host": "DELTA_BYTE_ARRAY"},
    "image": {},
}
"""Of the columns that are ascending."""


OTHER_FILES: Final[Mapping[str, TableName]] = {
    "prefixes.parquet": "prefix",
    "hosts.parquet": "host",
    "images.parquet": "image",
}
"""Data files that hold a whole table. The URL entries' are many: `url_file`."""


def url_file(number: int) -> str:
    """The data file of the URL entries whose keys begin with this number, in the manifest's `prefix_bits`."""
    return f"urls/{number:03x}.parquet"


def table_of(name: str) -> TableName:
    """The table that a data file of this name belongs to."""
    return OTHER_FILES.get(name, "url")


def content_digest(table: pa.Table, name: TableName) -> bytes:
    """SHA-256 of what the table says, column after column; 32 bytes."""
    digest = hashlib.sha256(f"{name} {table.num_rows}\n".encode())
    for column in SCHEMAS[name].names:
        for octets in _octets(table[column], is_nullable=column == "sha256"):
            digest.update(octets)
    return digest.digest()


def format_table(table: pa.Table, name: TableName) -> bytes:
    """A table as the bytes of a data file: the same with the same version of pyarrow."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        row_group_size=ROW_GROUP_SIZE,
        use_dictionary=[column for column in table.column_names if column in STANDING or column == "quality"],
        column_encoding=_ENCODINGS[name] or None,
        compression={column: "none" if column in _RANDOM else "zstd" for column in table.column_names},
        store_schema=True,
    )
    return bytes(sink.getvalue().to_pybytes())


def read_table(source: Path | bytes, name: TableName, shown: str) -> pa.Table:
    """A data file's table, its columns as the format has them.

    Args:
        source: the file, or its bytes.
        name: of the table.
        shown: the file's name for messages.

    Raises:
        VerificationError: it cannot be read, is no Parquet, or has other columns or values than the format's.
    """
    schema = SCHEMAS[name]
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as stream:
            table = pq.ParquetFile(stream).read(columns=schema.names)
        table.validate(full=True)
    except (OSError, ValueError, pa.ArrowException) as error:  # ValueError: a column's name is no UTF-8
        raise VerificationError(f"{shown} cannot be read ({error}): pull the list again") from error
    if not table.schema.equals(schema):
        raise VerificationError(f"{shown} does not have the columns of its format, but {table.schema.names}")
    if any(table[column].null_count for column in schema.names if column != "sha256"):
        raise VerificationError(f"{shown} has entries without a value: pull the list again")
    return table


def check_sorted(table: pa.Table, name: TableName) -> None:
    """Check that the table is in the order of its format, each entry once: lookups would else miss some.

    Raises:
        VerificationError: it is not.
    """
    if name == "image":
        return
    column = table[SCHEMAS[name].names[0]].combine_chunks()
    if not pc.all(pc.less(column[:-1], column[1:]), min_count=0).as_py():
        raise VerificationError(
            f"the list's {name} entries are not in order, so that lookups would miss some: pull it again"
        )


def in_order(table: pa.Table, name: TableName) -> pa.Table:
    """The rows in the order of their format."""
    subject = SCHEMAS[name].names[0]
    if name == "url":
        order = np.argsort(table[subject].to_numpy(), kind="stable")  # in linear time for two runs
    elif name == "image":
        numbered = table.append_column("has_file", pc.cast(pc.is_valid(table["sha256"]), pa.uint8()))
        keys = [(subject, "ascending"), ("has_file", "ascending"), ("sha256", "ascending")]
        order = pc.sort_indices(numbered, sort_keys=keys).to_numpy()
    else:
        order = pc.sort_indices(table, sort_keys=[(subject, "ascending")]).to_numpy()
    return table.take(pa.array(order))


def fixed_bytes(column: pa.ChunkedArray | pa.Array, width: int) -> npt.NDArray[np.uint8]:
    """(n, width) uint8 of a fixed_size_binary column without nulls."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = [
        np.frombuffer(chunk.buffers()[1], np.uint8)[chunk.offset * width : (chunk.offset + len(chunk)) * width]
        for chunk in chunks
        if len(chunk)
    ]
    data = np.concatenate(parts) if parts else np.empty(0, np.uint8)
    return data.reshape(-1, width)


def _octets(column: pa.ChunkedArray, *, is_nullable: bool) -> Iterator[bytes | memoryview]:
    """A column as its digest sees it."""
    if is_nullable:
        yield column.is_valid().to_numpy().astype(np.uint8).data
        column = column.drop_null()
    for start in range(0, len(column), ROWS_AT_ONCE):
        part = column.slice(start, ROWS_AT_ONCE)
        kind = part.type
        if pa.types.is_string(kind):
            yield b"".join(f"{text}\n".encode() for text in part.to_pylist())
        elif pa.types.is_fixed_size_binary(kind):
            yield fixed_bytes(part, kind.byte_width).tobytes()
        elif pa.types.is_date32(kind):
            yield part.cast(pa.int32()).to_numpy().astype("<i4").tobytes()
        else:
            width = np.dtype(kind.to_pandas_dtype()).newbyteorder("<")
            yield part.to_numpy().astype(width).tobytes()
