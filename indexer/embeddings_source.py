"""Precomputed embeddings in clip-retrieval's and LAION's layout: `img_emb_N.npy` and `metadata_N.parquet`, row by row.

Nothing is encoded again, and no model is loaded: whoever ingests them says which one they came from. Rows are brought
to length one; a row that has none (zeros, or not finite) is a sample without an embedding.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tokenize import TokenError
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from heldout.errors import InputError
from indexer.batches import Batch, make_batch
from indexer.parquet_rows import iter_tables, open_parquet
from indexer.planning import Shard
from indexer.repeats import Repeats
from indexer.samples import STATUS_NOT_FETCHED, ColumnMapping, add_reason, map_columns, with_column

NO_DIRECTION = "embedding of zeros, or not finite"
_DAMAGE = (OSError, EOFError, ValueError, TypeError, ArithmeticError, SyntaxError, TokenError, LookupError, MemoryError)
"""What numpy's reader of headers raises on damaged ones."""
_SHORTEST = 1e-6
"""Length below which a row says nothing; rows of any model are of about one to some tens."""


class EmbeddingsReader:
    """Samples with the embeddings of their pictures."""

    def __init__(self, shard: Shard, overrides: Mapping[str, str] | None = None) -> None:
        path = shard.paths[0]
        if len(shard.paths) > 2:
            raise InputError(
                f"{path} has {len(shard.paths) - 1} metadata files of its number: move the wrong ones away"
            )
        if len(shard.paths) < 2:
            other = "metadata/metadata_N.parquet" if path.suffix == ".npy" else "img_emb/img_emb_N.npy"
            raise InputError(f"{path} has no {other} of its number beside it: get that, too")
        embeddings, self._path = shard.paths
        self._embeddings = load_embeddings(embeddings)
        self._file = open_parquet(self._path)
        self.n_rows: int = self._file.metadata.num_rows
        if len(self._embeddings) != self.n_rows:
            raise InputError(
                f"{embeddings} has {len(self._embeddings):,} rows and {self._path.name} {self.n_rows:,}: "
                f"they do not belong together, or one is truncated; get both again"
            )
        self.d: int | None = self._embeddings.shape[1]
        self.mapping = map_columns(
            self._file.schema_arrow.names, overrides=overrides, needed=(), source=str(self._path)
        )
        self.notes: Counter[str] = Counter()

    def batches(self) -> Iterator[Batch]:
        """As `ShardReader.batches`."""
        tables = iter_tables(self._file, self._path)
        yield from embedded_batches(self, tables, self._read, shard=self._path.stem, path=self._path)

    def _read(self, row: int, n: int) -> npt.NDArray[Any]:
        return self._embeddings[row : row + n]


class Described(Protocol):
    """What `embedded_batches` needs to know of a reader."""

    n_rows: int
    mapping: ColumnMapping
    notes: Counter[str]


def embedded_batches(
    reader: Described,
    tables: Iterable[pa.Table],
    read: Callable[[int, int], npt.NDArray[Any]],
    *,
    shard: str,
    path: Path,
) -> Iterator[Batch]:
    """Batches of tables of metadata with the rows that `read` gives from a row on.

    Raises:
        InputError: `path`, which holds the tables, has another number of rows than it said.
    """
    repeats = Repeats(reader.notes)
    row = 0
    for table in tables:
        batch = make_batch(
            table,
            reader.mapping,
            [None] * len(table),
            row=row,
            missing=STATUS_NOT_FETCHED,
            shard=shard,
            notes=reader.notes,
        )
        yield repeats.watch(with_embeddings(batch, read(row, len(table)), reader.notes))
        row += len(table)
    if row != reader.n_rows:
        raise InputError(f"{path} is damaged: it has {row:,} rows and says {reader.n_rows:,}; get it again")
    repeats.close()


def with_embeddings(batch: Batch, rows: npt.NDArray[Any], notes: Counter[str]) -> Batch:
    """The batch with its samples' embeddings ((n, d) of any float type and length)."""
    wide = np.asarray(rows, dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.linalg.norm(wide, axis=1)
    embedded = np.flatnonzero(np.isfinite(lengths) & (lengths > _SHORTEST))
    if len(embedded) < len(wide):
        notes[NO_DIRECTION] += len(wide) - len(embedded)
        reasons = batch.table["reason"].to_pylist()
        for row in set(range(len(wide))) - set(embedded.tolist()):
            reasons[row] = add_reason(reasons[row], NO_DIRECTION)
        batch = replace(batch, table=with_column(batch.table, "reason", pa.array(reasons, pa.string())))
    units = (wide[embedded] / lengths[embedded, None]).astype(np.float16)
    return replace(batch, embeddings=units, embedded=embedded)


def load_embeddings(path: Path) -> npt.NDArray[Any]:
    """An `.npy` file of (n, d) floats, mapped.

    Raises:
        InputError: it is no such file, or is truncated.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(len(np.lib.format.MAGIC_PREFIX))
        if magic != np.lib.format.MAGIC_PREFIX:
            raise ValueError("it does not begin as one")
        rows = _load(path)
    except _DAMAGE as error:
        raise InputError(f"{path} is not an .npy file, or is truncated ({error}): get it again") from error
    if rows.ndim != 2 or rows.dtype.kind != "f" or not rows.shape[1]:
        raise InputError(
            f"{path} holds {rows.dtype} of shape {rows.shape}: embeddings are float16 or float32 of shape (samples, d)"
        )
    return rows


def _load(path: Path) -> npt.NDArray[Any]:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except ValueError:
        rows: npt.NDArray[Any] = np.load(path, allow_pickle=False)  # one without rows, which cannot be mapped
        if rows.size:
            raise
        return rows
