"""An index made by clip-retrieval (`image.index` and its metadata), as shards: for whoever has no embeddings any more.

The vectors are asked back from the index. One that keeps them whole (Flat, HNSW, IVF-Flat) gives them exactly; one that
quantises (`OPQ..,IVF..,PQ..`, autofaiss's choice for large sets) gives what it stores, and that is what it would have
scored by, so nothing is lost against searching it. From then on they are embeddings like any others.

Metadata is what clip-retrieval's back end reads: `metadata/*.parquet`, `metadata/**` of Arrow files, `metadata.hdf5`,
or `metadata_reordered.hdf5` with `ivf_old_to_new_mapping.npy`. Row numbers over the files in order of name are ids.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from heldout.errors import InputError
from indexer.batches import Batch
from indexer.embeddings_source import embedded_batches
from indexer.parquet_rows import TABLE_ROWS, iter_tables, open_parquet
from indexer.planning import IndexPart, Kind, Shard, plan_shards
from indexer.precomputed import bring_embeddings
from indexer.samples import map_columns, text_column

ROWS_PER_SHARD: Final = 1_000_000
"""Of an Arrow or HDF5 file; a parquet file of an index is one shard."""
QUANTISED: Final = "embedding as a quantised index keeps it"
_WHOLE: Final = frozenset({"IndexFlat", "IndexFlatIP", "IndexFlatL2", "IndexHNSWFlat", "IndexIVFFlat"})
_HDF5, _REORDERED, _MAPPING = "metadata.hdf5", "metadata_reordered.hdf5", "ivf_old_to_new_mapping.npy"
_ARROW_DAMAGE: Final = (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError)
_opening = threading.Lock()


def plan_index(folder: Path, *, prefix: str) -> list[Shard]:
    """Shards of an index folder.

    Args:
        folder: Holds `image.index` and the metadata.
        prefix: Begins the shards' names; empty for none.

    Raises:
        InputError: the metadata is missing, or cannot be read.
    """
    index = folder / "image.index"
    populated = index / "populated.index"  # beside the lists that it maps
    if index.is_dir():
        index_files = (populated, *sorted(path for path in index.iterdir() if path.is_file() and path != populated))
    else:
        index_files = (index,)
    metadata, beside = _metadata_files(folder)
    tables = [_open_table(path) for path in metadata]
    total = sum(table.n_rows for table in tables)
    shards: list[Shard] = []
    first_id = 0
    for path, table in zip(metadata, tables, strict=True):
        step = table.n_rows if path.suffix == ".parquet" else ROWS_PER_SHARD
        for first_row in range(0, table.n_rows, max(1, step)):
            n = min(step, table.n_rows - first_row)
            name = f"{prefix}__{len(shards):05d}" if prefix else f"{len(shards):05d}"
            part = IndexPart(first_id, first_row, n, total)
            files = (index_files[0], path, *index_files[1:], *beside)
            shards.append(Shard(name, Kind.INDEX, str(folder), files, part))
            first_id += n
    return shards


def find_embeddings(folder: str | Path) -> str | Path:
    """What to ingest of a folder: its embeddings, those beside its index, or else the index.

    Raises:
        InputError: it holds neither, or lists and pictures, which are for `ingest`.
        UnavailableError: a remote file system does not answer.
    """
    shards = plan_shards([folder])
    if not bring_embeddings(shards):
        raise InputError(f"{folder} holds shards without embeddings: use `python -m indexer ingest`")
    if any(shard.kind is Kind.INDEX for shard in shards):
        here = Path(folder).resolve()
        for beside in (here.parent, here.parent / "embeddings"):
            if any((beside / "img_emb").glob("*.npy")) and (beside / "metadata").is_dir():
                return beside
    return folder


def _metadata_files(folder: Path) -> tuple[list[Path], tuple[Path, ...]]:
    """The files whose rows, one after the other, are the samples; and what else is needed to read them."""
    inside = sorted(path for path in (folder / "metadata").rglob("*") if path.is_file() and path.name[0] != ".")
    parquet = [path for path in inside if path.suffix == ".parquet"]
    if parquet:
        return parquet, ()
    if inside:
        return inside, ()
    if (folder / _HDF5).is_file():
        return [folder / _HDF5], ()
    if (folder / _REORDERED).is_file():
        if not (folder / _MAPPING).is_file():
            raise InputError(f"{folder} has {_REORDERED} and no {_MAPPING}: get that, too")
        return [folder / _REORDERED], (folder / _MAPPING,)
    raise InputError(f"{folder} has an index and no metadata: get its metadata folder, too")


class IndexReader:
    """Samples with the vectors that an index keeps of them."""

    def __init__(self, shard: Shard, overrides: Mapping[str, str] | None = None) -> None:
        index, self._path, *beside = shard.paths
        if not isinstance(shard.part, IndexPart):
            raise AssertionError("a part of an index is planned as one")  # noqa: TRY004 - no caller's fault
        self._part = shard.part
        mapping = next((path for path in beside if path.name == _MAPPING), None)
        self._vectors = _open_vectors(index, mapping)
        if self._vectors.n != self._part.total:
            raise InputError(
                f"{index} has {self._vectors.n:,} vectors and its metadata {self._part.total:,} rows: "
                f"they do not belong together, or files are missing"
            )
        self._table = _open_table(self._path)
        self.n_rows = self._part.n
        self.d: int | None = self._vectors.d
        self.mapping = map_columns(self._table.names, overrides=overrides, needed=(), source=str(self._path))
        self.notes: Counter[str] = Counter()
        self._name = shard.name

    def batches(self) -> Iterator[Batch]:
        """As `ShardReader.batches`."""
        tables = self._table.read(self._part.first_row, self._part.n)
        yield from embedded_batches(self, tables, self._read, shard=self._name, path=self._path)

    def _read(self, row: int, n: int) -> npt.NDArray[np.float32]:
        if self._vectors.quantised:
            self.notes[QUANTISED] += n
        return self._vectors.read(self._part.first_id + row, n)


@dataclass(frozen=True)
class _Vectors:
    """An index's vectors by the number of their metadata row."""

    path: Path
    index: Any
    old_ids: npt.NDArray[np.int64] | None
    """Metadata row -> id in the index, where they differ."""

    @property
    def n(self) -> int:
        return int(self.index.ntotal)

    @property
    def d(self) -> int:
        return int(self.index.d)

    @property
    def quantised(self) -> bool:
        import faiss

        return type(faiss.downcast_index(self.index)).__name__ not in _WHOLE

    def read(self, first: int, n: int) -> npt.NDArray[np.float32]:
        ids = np.arange(first, first + n, dtype=np.int64)
        if self.old_ids is not None:
            ids = self.old_ids[ids]
        try:
            rows: npt.NDArray[np.float32] = self.index.reconstruct_batch(ids)
        except RuntimeError as error:
            raise InputError(
                f"{self.path} does not give its vectors back ({str(error).splitlines()[0]}): "
                f"import the embeddings that it was made of (img_emb) instead"
            ) from error
        return rows


def _open_vectors(path: Path, mapping: Path | None) -> _Vectors:
    with _opening:  # an index is part of many shards, two of which may be under way
        return _open_once(path, mapping, path.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _open_once(path: Path, mapping: Path | None, mtime_ns: int) -> _Vectors:  # noqa: ARG001 - what makes it the same
    import faiss

    flags = faiss.IO_FLAG_ONDISK_SAME_DIR if path.name == "populated.index" else faiss.IO_FLAG_MMAP
    try:
        index = faiss.read_index(str(path), flags | faiss.IO_FLAG_READ_ONLY)
        ivf = faiss.try_extract_index_ivf(index)
        if ivf is not None:
            ivf.make_direct_map()
    except (RuntimeError, MemoryError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} is not a FAISS index that can be read, or is truncated ({said})") from error
    if mapping is None:
        return _Vectors(path, index, None)
    new_ids = np.fromfile(mapping, dtype=np.int64)  # bare numbers, whatever the name says
    if len(new_ids) != index.ntotal or not np.array_equal(np.sort(new_ids), np.arange(len(new_ids))):
        raise InputError(f"{mapping} is no order of the {index.ntotal:,} rows of {path.name}: make it again")
    old_ids = np.empty_like(new_ids)
    old_ids[new_ids] = np.arange(len(new_ids))
    return _Vectors(path, index, old_ids)


class _Parquet:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = open_parquet(path)
        self.n_rows = int(self._file.metadata.num_rows)
        self.names: list[str] = self._file.schema_arrow.names

    def read(self, first: int, n: int) -> Iterator[pa.Table]:
        if (first, n) != (0, self.n_rows):
            raise AssertionError("a parquet file is one shard")
        return iter_tables(self._file, self._path)


class _Arrow:
    """Tables by `parquet_to_arrow`: the Arrow file format, mapped."""

    def __init__(self, path: Path) -> None:
        try:
            self._reader = pa.ipc.open_file(pa.memory_map(str(path)))
            batches = range(self._reader.num_record_batches)
            lengths = np.array([self._reader.get_batch(number).num_rows for number in batches], dtype=np.int64)
            if lengths.min(initial=0) < 0:
                raise ValueError("a batch has fewer than no rows")
            self._ends = np.cumsum(lengths)
            self.names: list[str] = self._reader.schema.names
        except _ARROW_DAMAGE as error:
            raise InputError(f"{path} is not an Arrow file, or is truncated ({error}): get it again") from error
        self._path = path
        self.n_rows = int(self._ends[-1]) if len(self._ends) else 0

    def read(self, first: int, n: int) -> Iterator[pa.Table]:
        start, end = first, first + n
        while start < end:
            number = int(np.searchsorted(self._ends, start, side="right"))
            try:
                batch = _checked(self._reader.get_batch(number))
            except _ARROW_DAMAGE as error:
                raise InputError(f"{self._path} is damaged near row {start} ({error}): get it again") from error
            offset = start - (int(self._ends[number]) - batch.num_rows)
            part = batch.slice(offset, min(end - start, TABLE_ROWS))
            yield pa.Table.from_batches([part])
            start += part.num_rows


def _checked(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A mapped batch whose offsets lead nowhere else. Texts may still be no UTF-8, which `text_column` mends.

    Raises:
        pa.ArrowInvalid: it is damaged.
    """
    plain = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}
    batch.validate()
    for column in batch.columns:
        (column.view(plain[column.type]) if column.type in plain else column).validate(full=True)
    return batch


class _Hdf5:
    """Tables by `parquet_to_hdf5`: one data set a column, in the group `dataset`."""

    def __init__(self, path: Path) -> None:
        try:
            import h5py
        except ImportError as error:
            raise InputError(f"{path} needs h5py: install it, or give the metadata as parquet") from error
        self._path = path
        try:
            self._columns: Any = h5py.File(path, "r")["dataset"]
            self.names = sorted(self._columns)
            lengths = {name: len(self._columns[name]) for name in self.names}
        except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
            raise InputError(f"{path} holds no table of clip-retrieval, or is truncated ({error})") from error
        if len(set(lengths.values())) != 1:
            raise InputError(f"{path} has columns of different lengths ({lengths}): make it again")
        self.n_rows = lengths[self.names[0]]

    def read(self, first: int, n: int) -> Iterator[pa.Table]:
        for start in range(first, first + n, TABLE_ROWS):
            stop = min(start + TABLE_ROWS, first + n)
            try:
                columns = {name: self._columns[name][start:stop] for name in self.names}
            except (OSError, RuntimeError) as error:
                raise InputError(f"{self._path} is damaged near row {start} ({error}): get it again") from error
            yield pa.table({name: _as_arrow(values) for name, values in columns.items()})


def _as_arrow(values: npt.NDArray[Any]) -> pa.Array:
    """HDF5 has no nulls: clip-retrieval writes the empty text for them."""
    if values.dtype.kind in "OS":
        return text_column(pa.chunked_array([pa.array([value or None for value in values.tolist()], pa.binary())]))
    return pa.array(values)


def _open_table(path: Path) -> _Parquet | _Arrow | _Hdf5:
    if path.suffix == ".parquet":
        return _Parquet(path)
    return _Hdf5(path) if path.suffix == ".hdf5" else _Arrow(path)
