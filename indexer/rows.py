"""Rows of a batch with what was found in their pictures: the columns that reading alone could not fill."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from indexer.batches import Batch
from indexer.fingerprint import Looked
from indexer.samples import FIXED_SCHEMA, STATUS_CORRUPT, STATUS_OK, with_column


def fill_rows(
    batch: Batch, looked: Mapping[int, Looked], embedded: Sequence[int], first_embedding: int
) -> tuple[pa.Table, list[bytes | None]]:
    """Table with all fixed columns, and a thumbnail or None for each sample.

    Args:
        batch: As read.
        looked: Row -> what was found in its picture.
        embedded: Rows that have an embedding, ascending.
        first_embedding: Row of the first of them among the shard's.
    """
    table = batch.table
    columns = {name: table[name].to_pylist() for name in ("width", "height", "status", "reason", "sha256")}
    n = len(table)
    pdq: list[bytes | None] = [None] * n
    quality: list[int | None] = [None] * n
    iscc: list[str | None] = [None] * n
    embedding_row: list[int | None] = [None] * n
    thumbnails: list[bytes | None] = [None] * n
    for at, row in enumerate(embedded, first_embedding):
        embedding_row[row] = at
    for row, one in looked.items():
        # The source's own digest is of the file as published, before a downloader resized it: it stays.
        columns["sha256"][row] = columns["sha256"][row] or one.sha256
        if one.reason is not None:
            columns["status"][row], columns["reason"][row] = STATUS_CORRUPT, one.reason
            continue
        columns["status"][row] = STATUS_OK
        columns["width"][row] = columns["width"][row] or one.width
        columns["height"][row] = columns["height"][row] or one.height
        pdq[row], quality[row], iscc[row], thumbnails[row] = one.pdq, one.quality, one.iscc, one.thumbnail
    filled = {
        **{field.name: pa.nulls(n, field.type) for field in FIXED_SCHEMA if field.name not in table.column_names},
        **{name: pa.array(columns[name], pa.int32()) for name in ("width", "height")},
        **{name: pa.array(columns[name], pa.string()) for name in ("status", "reason")},
        "sha256": pa.array(columns["sha256"], pa.binary(32)),
        "pdq": pa.array(pdq, pa.binary(32)),
        "pdq_quality": pa.array(quality, pa.uint8()),
        "iscc": pa.array(iscc, pa.string()),
        "embedding_row": pa.array(embedding_row, pa.int32()),
    }
    for name, values in filled.items():
        table = with_column(table, name, values)
    return table, thumbnails
