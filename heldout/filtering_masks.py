"""Keep-masks: which samples of a shard are kept, without writing the shard again.

`OUT/masks/<shard>.parquet` has one row per sample, in the shard's order: `keep`, a boolean, and for a tar `key`, the
sample's name. Of a Parquet shard it has the row groups too, so that both can be read side by side. The footer names the
shard by its SHA-256, and the list. Parquet, since every engine reads it; docs/formats/filter-report.md says how.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from heldout.durable import replacing
from heldout.filtering_emit import flat_name

FORMAT: Final = "heldout-keep-mask/1"
_GROUP_SAMPLES: Final = 1_048_576


def mask_name(shard: str) -> str:
    """Path below OUT of a shard's mask."""
    return f"masks/{flat_name(shard)}.parquet"


class MaskWriter:
    """Takes what becomes of a shard's samples, in order."""

    def __init__(self, writer: pq.ParquetWriter) -> None:
        """Use `writing_mask`."""
        self._writer = writer
        self._waiting: list[npt.NDArray[np.bool_]] = []
        self._n_waiting = 0

    def take_group(self, kept: npt.NDArray[np.bool_], keys: Sequence[str] | None = None) -> None:
        """Take (n,) bool of the next samples: a row group."""
        columns: list[pa.Array] = [pa.array(kept)]
        if keys is not None:
            columns.append(pa.array([key.encode(errors="replace").decode() for key in keys], pa.string()))
        table = pa.table(columns, schema=self._writer.schema)
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))

    def take(self, kept: npt.NDArray[np.bool_]) -> None:
        """Take (n,) bool of the next samples of a shard without groups; `finish` when there are no more."""
        self._waiting.append(kept)
        self._n_waiting += len(kept)
        if self._n_waiting >= _GROUP_SAMPLES:
            self.finish()

    def finish(self) -> None:
        """Write what waits."""
        if self._n_waiting:
            self.take_group(np.concatenate(self._waiting))
            self._waiting.clear()
            self._n_waiting = 0


@contextmanager
def writing_mask(path: Path, *, has_keys: bool, shard_sha256: str, manifest_sha256: str) -> Iterator[MaskWriter]:
    """Write a mask for the length of the block; it takes its place when that ends well. The folder must exist."""
    fields = [pa.field("keep", pa.bool_(), nullable=False)]
    if has_keys:
        fields.append(pa.field("key", pa.string(), nullable=False))
    metadata = {"format": FORMAT, "shard_sha256": shard_sha256, "list_manifest_sha256": manifest_sha256}
    schema = pa.schema(fields, {f"heldout.{name}": value for name, value in metadata.items()})
    with replacing(path) as stream, pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        mask = MaskWriter(writer)
        yield mask
        mask.finish()
