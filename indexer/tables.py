"""The generation's look-up tables: samples by id, ids by address, ids by digest. Memory-mapped Arrow and numpy files.

Samples lie in batches of equal length, so that an id is a division away from its row. Addresses lie in one batch
sorted by SURT key; digests are looked up by their first eight bytes.
"""

import bisect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from heldout.errors import InputError, NotFoundError
from heldout.records import Sample
from heldout.urls import canonical_key, host_of, surt_key

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
    ]
)
ADDRESS_SCHEMA: Final = pa.schema([pa.field("surt", pa.large_string()), pa.field("id", pa.int64())])


def iter_samples(shards: Sequence[Path], *, extra: Sequence[str] = ()) -> Iterator[pa.Table]:
    """`SAMPLE_SCHEMA` and `extra` columns of shards' `samples.parquet` files, in order, by row groups."""
    columns = [*SAMPLE_SCHEMA.names, *extra]
    for path in shards:
        with pq.ParquetFile(path) as file:
            for number in range(file.num_row_groups):
                yield file.read_row_group(number, columns=columns).select(columns)


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
        key, url, caption, width, height, status, sha256, pdq, quality, unsafe = (
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
        )

    def value(self, sample_id: int, name: str) -> Any:  # noqa: ANN401 - the column says
        """One column of a sample."""
        columns, row = self._locate(sample_id)
        return columns[SAMPLE_SCHEMA.get_field_index(name)][row].as_py()

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


def address_rows(urls: Sequence[str | None], first_id: int) -> tuple[list[str], list[int]]:
    """SURT keys and ids of the addresses that have one."""
    keys, ids = [], []
    for sample_id, url in enumerate(urls, start=first_id):
        if url is None:
            continue
        try:
            keys.append(surt_key(canonical_key(url)))
        except InputError:
            continue
        ids.append(sample_id)
    return keys, ids


def write_addresses(parts: Sequence[pa.Table], path: Path) -> int:
    """Sort parts of `ADDRESS_SCHEMA` and write them as one batch; how many."""
    table = pa.concat_tables([ADDRESS_SCHEMA.empty_table(), *parts])
    table = table.sort_by([("surt", "ascending"), ("id", "ascending")]).combine_chunks()
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, ADDRESS_SCHEMA) as writer:
        writer.write_table(table)
    return len(table)


class AddressTable:
    """`urls.arrow`, mapped."""

    def __init__(self, path: Path) -> None:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        batch = batches[0] if batches else pa.RecordBatch.from_pylist([], schema=ADDRESS_SCHEMA)
        self._keys = batch.column(0)
        self._ids = batch.column(1).to_numpy()

    def __len__(self) -> int:
        return len(self._ids)

    def range(self, low: str, high: str, *, limit: int, after: tuple[str, int] | None) -> npt.NDArray[np.int64]:
        """Ids with a key in [low, high), in order; `after` (key, id) starts behind that row."""
        start = self._position(low)
        if after is not None:
            start = max(start, self._position(after[0]))
            while start < len(self) and (self._key(start), int(self._ids[start])) <= after:
                start += 1
        stop = min(self._position(high), start + limit)
        return np.array(self._ids[start : max(start, stop)], dtype=np.int64)

    def _key(self, row: int) -> str:
        return str(self._keys[row].as_py())

    def _position(self, key: str) -> int:
        return bisect.bisect_left(range(len(self)), key, key=self._key)


def digest_rows(digests: Sequence[bytes | None], first_id: int) -> npt.NDArray[np.uint64]:
    """(2, m) uint64: the first eight bytes of those 32-byte digests that are there, and their ids."""
    rows = [row for row, digest in enumerate(digests) if digest is not None]
    prefixes = np.frombuffer(b"".join((digests[row] or b"")[:8] for row in rows), dtype=">u8").astype(np.uint64)
    return np.stack([prefixes, np.array(rows, dtype=np.uint64) + np.uint64(first_id)])


def write_digests(parts: Sequence[npt.NDArray[np.uint64]], path: Path) -> None:
    """Sort parts of `digest_rows` by prefix, then id, and write them."""
    prefixes, ids = np.concatenate([np.empty((2, 0), np.uint64), *parts], axis=1)
    order = np.lexsort((ids, prefixes))
    np.save(path, np.stack([prefixes[order], ids[order]]))


class DigestTable:
    """`sha256.npy`, mapped. A prefix may be shared: the caller compares whole digests."""

    def __init__(self, path: Path) -> None:
        self._prefixes, self._ids = np.load(path, mmap_mode="r")

    def candidates(self, digest: bytes) -> list[int]:
        """Ids whose digest begins with the same eight bytes, ascending."""
        prefix = np.uint64(int.from_bytes(digest[:8], "big"))
        left, right = (int(np.searchsorted(self._prefixes, prefix, side)) for side in ("left", "right"))
        return [int(sample_id) for sample_id in self._ids[left:right]]
