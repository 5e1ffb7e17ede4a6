"""One Parquet shard minus the rows a list excludes. Row group by row group, so that memory stays bounded by one.

What is left keeps its order, schema, schema metadata, compression and row groups; a row group of which nothing is
left is not written.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from heldout.errors import InputError
from heldout.exclusion import ExclusionList, Kind, Matches, sha256_of
from heldout.report import Tally

URL_NAME: Final = "url"
SHA256_NAME: Final = "sha256"
"""Column names, in lower case: LAION, Re-LAION, DataComp, COYO, PD12M and img2dataset differ in case alone."""

_BATCH_ROWS = 65_536
_FORMAT_VERSIONS = ("1.0", "2.4", "2.6")


def filter_parquet(
    source: Path, stream: BufferedRandom, exclusions: ExclusionList, *, url_column: str | None = None
) -> Tally:
    """Write what is kept of a shard to an open file.

    Args:
        source: Parquet file.
        stream: the output.
        exclusions: what to leave out.
        url_column: name of the URL column, if it is none of the known ones.

    Raises:
        InputError: not Parquet, damaged, or without a column of URLs.
    """
    tally = Tally()
    with _reading(source), pq.ParquetFile(source, page_checksum_verification=True) as shard:
        url_columns, sha256_columns = _find_columns(shard.schema_arrow, source, url_column)
        with pq.ParquetWriter(stream, shard.schema_arrow, **_shape(shard)) as writer:
            for number in range(shard.num_row_groups):
                group = shard.read_row_group(number)
                kept = _kept(group, url_columns, sha256_columns, exclusions, tally)
                if kept.any():
                    left = group if kept.all() else group.filter(pa.array(kept))
                    writer.write_table(left, row_group_size=left.num_rows)
    return tally


def _kept(
    group: pa.Table, url_columns: list[str], sha256_columns: list[str], exclusions: ExclusionList, tally: Tally
) -> npt.NDArray[np.bool_]:
    parts = [np.zeros(0, dtype=np.bool_)]
    for start in range(0, group.num_rows, _BATCH_ROWS):
        batch = group.slice(start, _BATCH_ROWS)
        answers: dict[Kind, Matches] = {}
        for name in url_columns:
            matches = exclusions.lookup_urls(_urls(batch[name]))
            answers["url"] = answers["url"].or_else(matches) if "url" in answers else matches
        for name in sha256_columns:
            matches = exclusions.lookup_sha256(_digests(batch[name]))
            answers["sha256"] = answers["sha256"].or_else(matches) if "sha256" in answers else matches
        tally.n_unreadable_urls += int(answers["url"].unreadable.sum())
        parts.append(tally.count(answers))
    return np.concatenate(parts)


def _find_columns(schema: pa.Schema, source: Path, url_column: str | None) -> tuple[list[str], list[str]]:
    """Columns of URLs (at least one) and of SHA-256 digests."""
    if url_column is not None:
        urls = [name for name in schema.names if name == url_column]
    else:
        urls = [name for name in schema.names if name.lower() == URL_NAME]
    if not urls:
        wanted = f"column {url_column!r}" if url_column is not None else "column named url or URL"
        raise InputError(
            f"{source} has no {wanted}, so its samples cannot be checked by URL; its columns are "
            f"{', '.join(schema.names)[:500]}: name the right one with --url-column"
        )
    for name in urls:
        kind = schema.field(name).type
        if not _is_text(kind.value_type if pa.types.is_dictionary(kind) else kind):
            raise InputError(f"{source}: column {name!r} holds {kind}, not text: name the URLs with --url-column")
    digests = [name for name in schema.names if name.lower() == SHA256_NAME]
    return urls, [name for name in digests if _is_text(schema.field(name).type)]


def _is_text(kind: pa.DataType) -> bool:
    checks = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view", "fixed_size_binary")
    return any(getattr(pa.types, f"is_{check}")(kind) for check in checks)


def _urls(column: pa.ChunkedArray) -> pa.ChunkedArray | list[str | None]:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return column
    return [None if value is None else value.decode(errors="replace") for value in column.to_pylist()]


def _digests(column: pa.ChunkedArray) -> list[bytes | None]:
    try:
        values = column.to_pylist()
    except UnicodeDecodeError:  # a text column may hold other bytes: Parquet does not check
        values = column.cast(pa.large_binary()).to_pylist()
    return [sha256_of(value) for value in values]


def _shape(shard: pq.ParquetFile) -> dict[str, Any]:
    """Options that make the writer write as the shard was written."""
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
