"""Writes one shard of a release: samples, embeddings, thumbnails, marker last. Equal input gives equal bytes."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from heldout.errors import InputError
from indexer.samples import FIXED_SCHEMA
from indexer.shards import (
    DONE_FILE,
    EMBEDDINGS_FILE,
    SAMPLES_FILE,
    SHARD_FORMAT,
    THUMBNAILS_FILE,
    format_json,
)

ROW_GROUP: Final = 32_768
"""Rows of a row group of `samples.parquet`."""

THUMBNAIL_SCHEMA: Final = pa.schema([pa.field("webp", pa.binary())])


class ShardWriter:
    """Appends batches in row order; `finish` makes the shard whole."""

    def __init__(self, folder: Path, d: int) -> None:
        self._folder = folder
        self.d = d
        self._samples: pq.ParquetWriter | None = None
        self._buffer: list[pa.Table] = []
        self._schema: pa.Schema | None = None
        self._embeddings = (folder / EMBEDDINGS_FILE).open("w+b")
        self._header_size = self._write_header(0)
        self._thumbnail_file = pa.OSFile(str(folder / THUMBNAILS_FILE), "wb")
        self._thumbnails = pa.ipc.new_file(self._thumbnail_file, THUMBNAIL_SCHEMA)
        self._finished = False
        self.n_samples = 0
        self.n_embeddings = 0
        self.counts: Counter[str] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._finished:
            self._close()

    def append(self, table: pa.Table, embeddings: npt.NDArray[np.float32], thumbnails: list[bytes | None]) -> None:
        """Add samples (fixed columns first, then kept ones), one thumbnail each, and rows of those with a picture."""
        if self._schema is None:
            kept = [field for field in table.schema if field.name not in FIXED_SCHEMA.names]
            self._schema = pa.schema([*FIXED_SCHEMA, *kept])
        self._buffer.append(table.select(self._schema.names).cast(self._schema))
        self._embeddings.write(np.ascontiguousarray(embeddings, dtype=np.float16).tobytes())
        self._thumbnails.write_batch(pa.record_batch([pa.array(thumbnails, pa.binary())], schema=THUMBNAIL_SCHEMA))
        self.n_samples += len(table)
        self.n_embeddings += len(embeddings)
        self.counts.update(table["status"].to_pylist())
        if sum(map(len, self._buffer)) >= ROW_GROUP:
            self._flush()

    def finish(self, description: dict[str, Any]) -> None:
        """Complete the files and write the marker with counts and digests beside `description`."""
        self._flush()
        self._embeddings.seek(0)
        if self._write_header(self.n_embeddings) != self._header_size:
            raise AssertionError("numpy changed the size of its header")
        self._close()
        self._finished = True
        done = {
            "format": SHARD_FORMAT,
            **description,
            "n_samples": self.n_samples,
            "n_embeddings": self.n_embeddings,
            "statuses": dict(self.counts),
            "files": {name: describe(self._folder / name) for name in (SAMPLES_FILE, EMBEDDINGS_FILE, THUMBNAILS_FILE)},
        }
        (self._folder / DONE_FILE).write_text(format_json(done), encoding="utf-8")

    def _close(self) -> None:
        if self._samples is not None:
            self._samples.close()
        self._thumbnails.close()
        self._thumbnail_file.close()
        self._embeddings.close()

    def _flush(self) -> None:
        if self._samples is None:
            schema = self._schema or FIXED_SCHEMA
            self._samples = pq.ParquetWriter(self._folder / SAMPLES_FILE, schema, compression="zstd")
        if self._buffer:
            table = pa.concat_tables(self._buffer)
            self._samples.write_table(table, row_group_size=ROW_GROUP)
            self._buffer.clear()

    def _write_header(self, n: int) -> int:
        header = {"descr": "<f2", "fortran_order": False, "shape": (n, self.d)}
        np.lib.format.write_array_header_1_0(self._embeddings, header)
        return self._embeddings.tell()


def describe(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file, for markers and manifests."""
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size": path.stat().st_size}


def check_written(folder: Path, done: Mapping[str, Any]) -> None:
    """That a done shard's files have the bytes that its marker says. Reads them all.

    Raises:
        InputError: one has not; says what to do.
    """
    for name, promised in done["files"].items():
        path = folder / name
        if not path.is_file() or describe(path) != promised:
            raise InputError(
                f"{path} is damaged: its size or digest is not what its marker says; "
                f"remove {folder} and ingest it again"
            )
