"""One pass over a release's shards that writes every table of a generation but the vectors.

Memory holds a row group, a run of addresses being sorted, a part of the digests, and 4 bytes a sample while copies are
grouped; all else goes to files as it comes.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from heldout.fingerprints import MIN_QUALITY, PDQ_BYTES
from indexer import copies
from indexer.address_table import AddressSorter
from indexer.captions import build_caption_index
from indexer.copies import PdqIndex, build_pdq_index
from indexer.copy_groups import group_type, unite, unite_near_hashes, unite_same_hashes, write_groups
from indexer.digest_table import DigestSorter, DigestTable
from indexer.tables import SampleTable, SampleWriter, iter_samples

SAMPLES_FILE, ADDRESSES_FILE, HOSTS_FILE, DIGESTS_FILE = "samples.arrow", "urls.arrow", "hosts.arrow", "sha256.npy"
PDQ_IDS_FILE: Final = "pdq_ids.npy"
PARTS_FOLDER: Final = "parts"
"""Holds the same two files and their index again, for the parts of pictures."""
GROUPS_FILE, GROUPED_FILE = "groups.npy", "grouped.npy"
CAPTIONS_FOLDER: Final = "captions"
COLUMNS: Final = {
    "width": np.int32,
    "height": np.int32,
    "unsafe": np.bool_,
    "pdq_quality": np.uint8,
    "host_ids": np.int32,
}
"""Plain arrays over all samples, for filters: name -> type. 0 where a size is unknown or there is no hash, -1 where
there is no host."""

_CHUNK: Final = 1_000_000


def column_file(name: str) -> str:
    """File of a column."""
    return f"column_{name}.npy"


@dataclass(frozen=True)
class Counts:
    """What the tables hold."""

    urls: int
    hosts: int
    captions: int
    pdq: int
    groups: int
    pdq_index: str


@dataclass(frozen=True)
class Known:
    """What a generation of some of these samples has worked out already."""

    ids: npt.NDArray[np.int64]
    """Id here of each of its samples, ascending."""
    groups: npt.NDArray[Any]
    """The group there of each of its samples."""


def write_tables(
    shards: Sequence[Path], n: int, work: Path, *, flat_up_to: int, known: Known | None = None, workers: int = 1
) -> Counts:
    """Write the tables of `n` samples in shards' `samples.parquet` files into `work`."""
    samples = SampleWriter(work / SAMPLES_FILE)
    addresses = AddressSorter(work)
    columns = {name: _new_array(work / column_file(name), kind, n) for name, kind in COLUMNS.items()}
    columns["host_ids"][:] = -1
    with HashWriter(work) as hashes, closing(DigestSorter(work, n)) as digests:

        def captions() -> Iterator[tuple[int, str]]:
            """Feeds the caption index, and everything else on the way."""
            first_id = 0
            for table in iter_samples(shards):
                samples.append(table)
                addresses.append(table["url"].to_pylist(), first_id)
                digests.append(table["sha256"].to_pylist(), first_id)
                hashes.append(table["pdq"].to_pylist(), first_id)
                rows = slice(first_id, first_id + len(table))
                for name in ("width", "height", "unsafe", "pdq_quality"):
                    columns[name][rows] = table[name].fill_null(0 if name != "unsafe" else pa.scalar(value=False))
                for row, caption in enumerate(table["caption"].to_pylist()):
                    if caption:
                        yield first_id + row, caption
                first_id += len(table)

        n_captions = build_caption_index(captions(), work / CAPTIONS_FOLDER)
    samples.close()
    digests.finish(work / DIGESTS_FILE)
    n_urls, n_hosts = addresses.finish(work / ADDRESSES_FILE, work / HOSTS_FILE, columns["host_ids"])
    pdq_index = build_pdq_index(work, flat_up_to=flat_up_to)
    index = PdqIndex(work, pdq_index)
    n_groups = _group(work, index, columns["pdq_quality"], known, workers)
    for column in columns.values():
        column.flush()
    return Counts(n_urls, n_hosts, n_captions, hashes.n, n_groups, pdq_index)


def _group(work: Path, index: PdqIndex, qualities: npt.NDArray[np.uint8], known: Known | None, workers: int) -> int:
    groups = np.arange(len(qualities), dtype=group_type(len(qualities)))
    fresh = np.ones(len(qualities), dtype=bool)
    if known is not None:
        groups[known.ids] = known.ids[known.groups]
        fresh[known.ids] = False
    repeated = DigestTable(work / DIGESTS_FILE).repeated()
    samples = SampleTable(work / SAMPLES_FILE, "")
    for start in range(0, len(repeated), _CHUNK):
        left, right = repeated[start : start + _CHUNK].T
        same = pc.equal(samples.values(left, "sha256"), samples.values(right, "sha256")).to_numpy(zero_copy_only=False)
        unite(groups, left[same], right[same])
    ids = np.load(work / PDQ_IDS_FILE, mmap_mode="r")
    if len(ids):
        quality = qualities[ids]
        rows = np.flatnonzero(quality >= MIN_QUALITY)
        rows = unite_same_hashes(groups, index, rows, ids)
        unite_near_hashes(groups, index, rows[fresh[ids[rows]]], ids, quality, workers=workers)
    return write_groups(groups, work / GROUPS_FILE, work / GROUPED_FILE)


def _new_array(path: Path, kind: type[np.generic], n: int) -> Any:  # noqa: ANN401 - a numpy.memmap
    return np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=(n,))


class HashWriter:
    """Appends PDQ hashes and their ids to two arrays on disk, whose length is known at the end."""

    def __init__(self, folder: Path) -> None:
        self._files = [(folder / name).open("w+b") for name in (copies.HASHES_FILE, PDQ_IDS_FILE)]
        self.n = 0
        self._write_headers()

    def append(self, hashes: Sequence[bytes | None], first_id: int) -> None:
        """Add the hashes of consecutive samples, where they have one."""
        rows = [row for row, value in enumerate(hashes) if value is not None]
        joined = b"".join(hashes[row] or b"" for row in rows)
        self.add(np.frombuffer(joined, np.uint8).reshape(-1, PDQ_BYTES), np.array(rows, dtype=np.int64) + first_id)

    def add(self, hashes: npt.NDArray[np.uint8], ids: npt.NDArray[np.int64]) -> None:
        """Add (m, 32) hashes of the samples `ids`."""
        self._files[0].write(np.ascontiguousarray(hashes).tobytes())
        self._files[1].write(np.ascontiguousarray(ids, dtype=np.int64).tobytes())
        self.n += len(ids)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.seek(0)
        self._write_headers()
        for file in self._files:
            file.close()

    def _write_headers(self) -> None:
        for file, header in zip(
            self._files,
            ({"descr": "|u1", "shape": (self.n, PDQ_BYTES)}, {"descr": "<i8", "shape": (self.n,)}),
            strict=True,
        ):
            np.lib.format.write_array_header_1_0(file, {**header, "fortran_order": False})
