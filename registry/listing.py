"""From the log's effective rows to the exclusion list's data files: pure and deterministic.

The same entries give the same bytes with one version of pyarrow, whose name and encodings a Parquet file holds.
Format: docs/formats/exclusion-list.md.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from heldout.manifest import MAX_PREFIX_BITS, ListFile, LogState, Manifest, PreviousVersion, format_manifest
from heldout.urls import CANONICALISATION
from registry.effective import EffectiveLog
from registry.standings import list_tables

KEYS_PER_FILE = 1_000_000
"""URL files are split by the key's first bits so that each has at most about this many rows."""
ROW_GROUP_SIZE = 131_072


@dataclass(frozen=True)
class DataFile:
    """A data file and what the manifest says of it."""

    data: bytes
    entry: ListFile


@dataclass(frozen=True)
class Version:
    """A version of the list, ready to be stored."""

    number: int
    manifest: bytes
    files: dict[str, DataFile]


def build_version(effective: EffectiveLog, log: LogState, previous: PreviousVersion | None) -> Version:
    """The version that a log of exactly these entries gives. Anyone with the log can make it and compare."""
    files, prefix_bits = build_files(effective.rows)
    n_images = files["images.parquet"].entry.count
    manifest = Manifest(
        version=previous.version + 1 if previous else 1,
        as_of=effective.as_of,
        canonicalisation=CANONICALISATION,
        log=log,
        prefix_bits=prefix_bits,
        files={name: file.entry for name, file in files.items()},
        counts={"url": sum(file.entry.count for file in files.values()) - n_images, "image": n_images},
        previous=previous,
    )
    return Version(manifest.version, format_manifest(manifest), files)


def build_files(rows: pa.Table) -> tuple[dict[str, DataFile], int]:
    """Data files by name, and the number of prefix bits of the URL files.

    Args:
        rows: of `registry.standings.SCHEMA`, in any order.
    """
    urls, images = list_tables(rows)
    prefix_bits = min(MAX_PREFIX_BITS, (len(urls) // KEYS_PER_FILE).bit_length())
    starts = np.arange((1 << prefix_bits) + 1, dtype=object) << (64 - prefix_bits)
    bounds = [*np.searchsorted(urls["key"].to_numpy(), starts[:-1].astype(np.uint64)), len(urls)]
    files = {
        f"urls/{prefix:03x}.parquet": _data_file(urls[bounds[prefix] : bounds[prefix + 1]], delta_key=True)
        for prefix in range(1 << prefix_bits)
    }
    return files | {"images.parquet": _data_file(images, delta_key=False)}, prefix_bits


def _data_file(table: pa.Table, *, delta_key: bool) -> DataFile:
    sink = pa.BufferOutputStream()
    rest = [name for name in table.column_names if name not in {"key", "pdq", "sha256"}]
    pq.write_table(
        table,
        sink,
        row_group_size=ROW_GROUP_SIZE,
        use_dictionary=rest,
        column_encoding={"key": "DELTA_BINARY_PACKED"} if delta_key else None,
        compression={name: "zstd" if name in rest else "none" for name in table.column_names},
        store_schema=True,
    )
    data = sink.getvalue().to_pybytes()
    return DataFile(data, ListFile(hashlib.sha256(data).digest(), len(data), table.num_rows))
