"""The generation's table of samples by id: an Arrow file of batches of equal length, mapped.

An id is a division away from its row. What filters ask of every sample lies in plain arrays beside it (`columns`).
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from heldout.errors import InputError, NotFoundError
from heldout.records import Sample
from heldout.urls import canonical_key, host_of

BATCH: Final = 32_768
"""Rows of a batch of `samples.arrow`."""

SAMPLE_SCHEMA: Final = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("caption", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("sha256", pa.binary(32)),
        pa.field("pdq", pa.binary(32)),
        pa.field("pdq_quality", pa.uint8()),
        pa.field("unsafe", pa.bool_(), nullable=False),
        pa.field("signals", pa.list_(pa.string())),
    ]
)
_SIGNALS: Final = "signals"


def iter_samples(shards: Sequence[Path], *, extra: Sequence[str] = ()) -> Iterator[pa.Table]:
    """`SAMPLE_SCHEMA` and `extra` columns of shards' `samples.parquet` files, in order, by row groups."""
    columns = [*SAMPLE_SCHEMA.names, *extra]
    for path in shards:
        with pq.ParquetFile(path) as file:
            for number in range(file.num_row_groups):
                table = file.read_row_group(number, columns=columns)
                if _SIGNALS not in table.column_names:  # of a shard written before anything was fetched
                    table = table.append_column(_SIGNALS, pa.nulls(len(table), SAMPLE_SCHEMA.field(_SIGNALS).type))
                yield table.select(columns)


class SampleWriter:
    """Writes `samples.arrow` in batches of `BATCH` rows."""

    def __init__(self, path: Path) -> None:
        self._file = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._file, SAMPLE_SCHEMA)
        self._rest = SAMPLE_SCHEMA.empty_table()

    def append(self, table: pa.Table) -> None:
        """Add samples, in id order."""
        self._rest = pa.concat_tables([self._rest, table.select(SAMPLE_SCHEMA.names).cast(SAMPLE_SCHEMA)])
        while len(self._rest) >= BATCH:
            self._write(self._rest.slice(0, BATCH))
            self._rest = self._rest.slice(BATCH)

    def close(self) -> None:
        """Write what is left and end the file."""
        if len(self._rest):
            self._write(self._rest)
        self._writer.close()
        self._file.close()

    def _write(self, table: pa.Table) -> None:
        for batch in table.combine_chunks().to_batches():
            self._writer.write_batch(batch)


class SampleTable:
    """`samples.arrow`, mapped."""

    def __init__(self, path: Path, dataset: str) -> None:
        self._dataset = dataset
        self._reader = pa.ipc.open_file(pa.memory_map(str(path)))
        self._batches: dict[int, list[Any]] = {}
        n_batches = self._reader.num_record_batches
        self.n = 0 if n_batches == 0 else (n_batches - 1) * BATCH + len(self._reader.get_batch(n_batches - 1))

    def sample(self, sample_id: int) -> Sample:
        """The sample of an id.

        Raises:
            NotFoundError: no such id.
        """
        columns, row = self._locate(sample_id)
        key, url, caption, width, height, status, sha256, pdq, quality, unsafe, signals = (
            column[row].as_py() for column in columns
        )
        return Sample(
            dataset=self._dataset,
            id=sample_id,
            key=key,
            url=url,
            host=_host(url),
            caption=caption,
            width=width,
            height=height,
            status=status,
            sha256=None if sha256 is None else sha256.hex(),
            pdq=None if pdq is None else pdq.hex(),
            pdq_quality=quality,
            unsafe=unsafe,
            signals=tuple(signals or ()),
        )

    def value(self, sample_id: int, name: str) -> Any:  # noqa: ANN401 - the column says
        """One column of a sample."""
        columns, row = self._locate(sample_id)
        return columns[SAMPLE_SCHEMA.get_field_index(name)][row].as_py()

    def values(self, ids: npt.NDArray[np.int64], name: str) -> pa.Array:
        """One column of many samples, in the order of `ids`."""
        order = np.argsort(ids, kind="stable")
        numbers, rows = np.divmod(ids[order], BATCH)
        place = SAMPLE_SCHEMA.get_field_index(name)
        limits = np.concatenate(([0], np.flatnonzero(np.diff(numbers)) + 1, [len(ids)]))
        parts = [
            self._reader.get_batch(int(numbers[start])).column(place).take(pa.array(rows[start:stop]))
            for start, stop in pairwise(limits.tolist())
            if stop > start
        ]
        places = np.empty(len(ids), dtype=np.int64)
        places[order] = np.arange(len(ids))
        found = pa.concat_arrays(parts) if parts else pa.array([], SAMPLE_SCHEMA.field(name).type)
        return found.take(pa.array(places))

    def _locate(self, sample_id: int) -> tuple[list[Any], int]:
        if not 0 <= sample_id < self.n:
            raise NotFoundError(f"{self._dataset} has no sample {sample_id}: ids go from 0 to {self.n - 1}")
        number, row = divmod(sample_id, BATCH)
        columns = self._batches.get(number)
        if columns is None:
            columns = self._batches[number] = self._reader.get_batch(number).columns
        return columns, row


def _host(url: str | None) -> str | None:
    if url is None:
        return None
    try:
        return host_of(canonical_key(url))
    except InputError:
        return None
