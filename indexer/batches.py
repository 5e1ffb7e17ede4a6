"""Rows of a source as a batch: roles filled, statuses told, kept columns behind them. What is odd is counted."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from indexer.samples import (
    STATUS_CORRUPT,
    STATUS_OK,
    ColumnMapping,
    add_reason,
    kept_column,
    kept_names,
    key_column,
    sha256_column,
    size_column,
    text_column,
    unsafe_column,
)

MAX_TEXT_BYTES: Final = 4 * 1024 * 1024
"""Bytes of a caption, URL or sidecar file. DataComp has captions of a million characters, of up to 4 bytes each."""
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
    embeddings: npt.NDArray[np.float16] | None = None
    """(m, d) unit rows that the source brings, of the rows that `embedded` names; None where it brings none."""
    embedded: npt.NDArray[np.int64] | None = None
    """Rows of the batch that have one, ascending."""


def make_batch(
    source: pa.Table,
    mapping: ColumnMapping,
    pictures: list[bytes | None],
    *,
    row: int,
    missing: str,
    shard: str,
    notes: Counter[str],
    refused: Mapping[int, str] = MappingProxyType({}),
) -> Batch:
    """Make a batch of rows of a source.

    Args:
        source: The rows.
        mapping: Which of its columns is what.
        pictures: One a row; those of rows that failed are dropped from the list.
        row: Number of the first row in its shard.
        missing: Status of a row without a picture.
        shard: Name of the shard's file, for keys.
        notes: What was odd -> in how many rows: added to.
        refused: Row -> why its picture was not read.
    """
    n, roles = len(source), mapping.roles
    texts = {role: text_column(source[roles[role]]) if role in roles else pa.nulls(n, pa.string()) for role in _TEXTS}
    if "key" in roles:
        texts["key"] = key_column(source[roles["key"]])
    reasons: list[str | None] = texts["reason"].to_pylist()
    for role in ("url", "caption"):
        texts[role] = _bounded(texts[role], role, reasons, notes)
        if role in roles:
            _count_bad_bytes(source[roles[role]], texts[role], role, notes)
    own = pa.array([f"{shard}:{row + i}" for i in range(n)], pa.string())
    statuses = _statuses(texts["status"].to_pylist(), reasons, pictures, missing, refused)
    none = pa.nulls(n, pa.int32())
    columns: dict[str, pa.Array | pa.ChunkedArray] = {
        "key": pc.fill_null(texts["key"], own) if n else own,
        "shard": pa.array([shard] * n, pa.string()),
        "row": pa.array(np.arange(row, row + n, dtype=np.int32)),
        "url": texts["url"],
        "caption": texts["caption"],
        "width": size_column(source[roles["width"]]) if "width" in roles else none,
        "height": size_column(source[roles["height"]]) if "height" in roles else none,
        "status": pa.array(statuses, pa.string()),
        "reason": pa.array(reasons, pa.string()),
        "sha256": sha256_column(source[roles["sha256"]]) if "sha256" in roles else pa.nulls(n, pa.binary(32)),
        "unsafe": unsafe_column(source),
        "signals": pa.nulls(n, pa.list_(pa.string())),
    }
    for role in ("url", "caption"):
        if role in roles and columns[role].null_count:
            notes[f"no {role}"] += columns[role].null_count
    kept = kept_names(mapping.kept)
    columns.update((new, kept_column(source[name])) for name, new in kept.items())
    return Batch(pa.table(columns), pictures, tuple(kept.values()))


_TEXTS: Final = ("key", "url", "caption", "status", "reason")


def _bounded(text: pa.Array, role: str, reasons: list[str | None], notes: Counter[str]) -> pa.Array:
    """The column without texts beyond `MAX_TEXT_BYTES`; the row's reason says so."""
    sizes = pc.binary_length(text)
    if (pc.max(sizes).as_py() or 0) <= MAX_TEXT_BYTES:
        return text
    for i, size in enumerate(sizes.to_pylist()):
        if size is not None and size > MAX_TEXT_BYTES:
            said = f"the {role} has {size:,} bytes, over the limit of {MAX_TEXT_BYTES:,}"
            reasons[i] = add_reason(reasons[i], said)
            notes[f"{role} left out: too long"] += 1
    return pc.if_else(pc.greater(sizes, MAX_TEXT_BYTES), pa.scalar(None, pa.string()), text)


def _count_bad_bytes(column: pa.ChunkedArray, text: pa.Array, role: str, notes: Counter[str]) -> None:
    """Texts with the replacement character: seldom in the source itself."""
    n = pc.sum(pc.match_substring(text, "\ufffd")).as_py()
    if n and not pa.types.is_nested(column.type):
        notes[f"{role} with bytes that are no UTF-8"] += n


def _statuses(
    said: list[str | None],
    reasons: list[str | None],
    pictures: list[bytes | None],
    missing: str,
    refused: Mapping[int, str],
) -> list[str]:
    """Status of each row before its picture is looked at; drops what claims success without a picture."""
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
    return statuses
