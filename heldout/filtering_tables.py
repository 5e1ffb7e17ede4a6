"""Arrow tables of samples: decide about their rows, and read what they say as text."""

from collections.abc import Collection
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from heldout.errors import InputError
from heldout.exclusion import ExclusionList, Kind, Matches, sha256_of
from heldout.filtering_columns import Columns, find_columns
from heldout.filtering_decision import Decision, decide
from heldout.filtering_evidence import is_granted
from heldout.records import Assurance


def typed_columns(schema: pa.Schema, source: Path | str, url_column: str | None) -> Columns:
    """The columns that are looked at.

    Raises:
        InputError: no column of URLs, or one of URLs or digests that does not hold text.
    """
    columns = find_columns(schema.names, source, url_column)
    for position in columns.urls:
        field = schema.field(position)
        if not _is_text(_value_type(field.type)):
            raise InputError(
                f"{source}: column {field.name!r} holds {field.type}, not text: name the URLs with --url-column"
            )
    for position in columns.sha256:
        field = schema.field(position)
        if not _is_text(_value_type(field.type)):
            raise InputError(
                f"{source}: column {field.name!r} holds {field.type}, not digests as text or bytes, so that no picture "
                "would be met by its bytes: cast or rename it"
            )
    return columns


def decide_rows(
    batch: pa.Table, columns: Columns, exclusions: ExclusionList, opt_in: Assurance | None = None
) -> tuple[Decision, npt.NDArray[np.bool_]]:
    """Decide about n rows, and say (n,) which have no URL that could be looked up.

    With `opt_in`, only those are kept whose every address is granted, by an entry that is proved at least so well.
    """
    answers: dict[Kind, Matches] = {}
    has_url = np.zeros(batch.num_rows, dtype=np.bool_)
    for position in columns.urls:
        column = batch.column(position)
        found = exclusions.lookup_urls(_urls(column))
        has_url |= column.is_valid().to_numpy() & ~found["url"].unreadable
        answers |= {
            kind: answers[kind].or_else(matches) if kind in answers else matches for kind, matches in found.items()
        }
    for position in columns.sha256:
        matches = exclusions.lookup_sha256(_digests(batch.column(position)))
        answers["sha256"] = answers["sha256"].or_else(matches) if "sha256" in answers else matches
    granted = None
    if opt_in is not None:
        granted = has_url
        for position in columns.urls:
            column = batch.column(position)
            granted = granted & (column.is_null().to_numpy() | is_granted(exclusions, _urls(column), opt_in))
    return decide(answers, batch.num_rows, granted), ~has_url


def samples_of(batch: pa.Table, columns: Columns, asks: Collection[str]) -> pa.Table:
    """What the rows say of themselves, for an observer that asks for this."""
    positions = {**columns.ids, "url": columns.urls[0]}
    if columns.caption is not None:
        positions["caption"] = columns.caption
    samples = {name: texts_of(batch.column(position)) for name, position in positions.items()}
    about = {name: batch.column(position) for name, position in columns.about.items() if name in asks}
    return pa.table(samples | about)


def texts_of(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column as strings; null where that makes no sense."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return pa.chunked_array([pa.array(_decoded(column), pa.string())])
    try:
        return column.cast(pa.string())
    except pa.ArrowException:  # lists and the like
        return pa.chunked_array([pa.nulls(len(column), pa.string())])


def kept_rows(table: pa.Table, kept: npt.NDArray[np.bool_]) -> pa.Table:
    """The rows of a table that are kept, of the same schema."""
    if kept.all():
        return table
    plain = pa.schema([field.with_type(_without_views(field.type)) for field in table.schema], table.schema.metadata)
    mask = pa.array(kept)
    if plain == table.schema:
        return table.filter(mask)
    return table.cast(plain).filter(mask).cast(table.schema)


def keys_of_rows(column: pa.ChunkedArray) -> list[str | None]:
    """A column of keys as Python strings."""
    texts = texts_of(column)
    try:
        return cast("list[str | None]", texts.to_pylist())
    except UnicodeDecodeError:  # a text column may hold other bytes: Parquet does not check
        return _decoded(texts.cast(pa.large_binary()))


def _decoded(column: pa.ChunkedArray) -> list[str | None]:
    return [None if value is None else value.decode(errors="replace") for value in column.to_pylist()]


def _without_views(kind: pa.DataType) -> pa.DataType:
    """The type that says the same and that Arrow can filter: views it cannot, which Polars and DuckDB write."""
    if pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_binary_view(kind):
        return pa.large_binary()
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_without_views(kind.value_type)))
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_without_views(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_without_views(field.type)) for field in kind])
    return kind


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_text(kind: pa.DataType) -> bool:
    checks = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view", "fixed_size_binary")
    return any(getattr(pa.types, f"is_{check}")(kind) for check in checks)


def _urls(column: pa.ChunkedArray) -> pa.ChunkedArray | list[str | None]:
    kind = _value_type(column.type)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return column
    return _decoded(column)


def _digests(column: pa.ChunkedArray) -> list[bytes | None]:
    try:
        values = column.to_pylist()
    except UnicodeDecodeError:
        values = column.cast(pa.large_binary()).to_pylist()
    return [sha256_of(value) for value in values]
