"""From the log's effective rows to the exclusion list's data files: pure and deterministic.

The same entries give the same bytes with one version of pyarrow, whose name and encodings a Parquet file holds.
Format: docs/formats/exclusion-list.md.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from heldout.delta_files import format_delta, make_delta
from heldout.list_tables import TableName, content_digest, format_table
from heldout.manifest import MAX_PREFIX_BITS, DeltaFile, ListFile, LogState, Manifest, PreviousVersion, format_manifest
from heldout.urls import CANONICALISATION
from registry.effective import EffectiveLog
from registry.standings import list_tables

KEYS_PER_FILE = 1_000_000
"""URL files are split by the key's first bits so that each has at most about this many rows."""


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
    delta: bytes | None
    """From the version before."""


@dataclass(frozen=True)
class Before:
    """The version before."""

    version: PreviousVersion
    tables: Mapping[TableName, pa.Table] | None
    """None if they are lost: the next version then has no delta."""
    content: frozenset[bytes]
    """Content digests of its data files."""


def build_version(effective: EffectiveLog, log: LogState, before: Before | None) -> Version:
    """The version that a log of exactly these entries gives. Anyone with the log can make it and compare."""
    tables = list_tables(effective.rows)
    files, prefix_bits = build_files(tables)
    delta = _worthy_delta(before, tables, files) if before else None
    previous = before.version if before else None
    manifest = Manifest(
        version=previous.version + 1 if previous else 1,
        as_of=effective.as_of,
        canonicalisation=CANONICALISATION,
        log=log,
        prefix_bits=prefix_bits,
        files={name: file.entry for name, file in files.items()},
        counts={name: table.num_rows for name, table in tables.items()},
        previous=previous,
        delta=DeltaFile(hashlib.sha256(delta).digest(), len(delta)) if delta is not None else None,
    )
    return Version(manifest.version, format_manifest(manifest), files, delta)


def _worthy_delta(before: Before, tables: Mapping[TableName, pa.Table], files: Mapping[str, DataFile]) -> bytes | None:
    """What changed, unless it takes more than half of the bytes of the files that changed."""
    if before.tables is None:
        return None
    n_bytes = sum(file.entry.size for file in files.values() if file.entry.content not in before.content)
    delta = format_delta(make_delta(before.version, before.tables, tables))
    return delta if 2 * len(delta) <= n_bytes else None


def build_files(tables: Mapping[TableName, pa.Table]) -> tuple[dict[str, DataFile], int]:
    """Data files by name, and the number of prefix bits of the URL files.

    Args:
        tables: of the list, sorted.
    """
    prefix_bits = min(MAX_PREFIX_BITS, (len(tables["url"]) // KEYS_PER_FILE).bit_length())
    starts = np.arange(1, 1 << prefix_bits, dtype=np.uint64) << np.uint64(64 - prefix_bits)
    bounds = [0, *np.searchsorted(tables["url"]["key"].to_numpy(), starts), len(tables["url"])]
    files = {
        f"urls/{number:03x}.parquet": data_file(tables["url"][start:end], "url")
        for number, (start, end) in enumerate(pairwise(bounds))
    }
    files["prefixes.parquet"] = data_file(tables["prefix"], "prefix")
    files["hosts.parquet"] = data_file(tables["host"], "host")
    files["images.parquet"] = data_file(tables["image"], "image")
    return files, prefix_bits


def data_file(table: pa.Table, name: TableName) -> DataFile:
    """A table as a data file."""
    data = format_table(table, name)
    entry = ListFile(hashlib.sha256(data).digest(), len(data), table.num_rows, content_digest(table, name))
    return DataFile(data, entry)
