"""From the log's entries to the exclusion list's data files: pure and deterministic.

The same entries give the same bytes with one version of pyarrow, whose name and encodings a Parquet file holds.
Format: docs/formats/exclusion-list.md.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from heldout.exclusion import IMAGE_COLUMNS, URL_COLUMNS
from heldout.leaves import PREFERENCES, ImageDigest, LoggedSubject, UrlDigest, parse_leaf
from heldout.manifest import MAX_PREFIX_BITS, ListFile, LogState, Manifest, PreviousVersion, format_manifest
from heldout.records import ASSURANCES
from heldout.replay import LoggedClaim, replay
from heldout.urls import CANONICALISATION

KEYS_PER_FILE = 1_000_000
"""URL files are split by the key's first bits so that each has at most about this many rows."""
ROW_GROUP_SIZE = 131_072
_EPOCH = date(1970, 1, 1).toordinal()


@dataclass(frozen=True)
class Standing:
    """What the claims about one subject amount to."""

    preference: int
    """Position in `leaves.PREFERENCES`."""
    assurance: int
    """Position in `records.ASSURANCES`: the best of the claims of this preference."""
    since: int
    """Days since 1970-01-01: the earliest of the claims of this preference."""


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


def build_version(entries: Sequence[bytes], log: LogState, previous: PreviousVersion | None) -> Version:
    """The version that a log of exactly these entries gives. Anyone with the log can make it and compare.

    Raises:
        VerificationError: an entry is no leaf, or the entries make no history.
    """
    leaves = [parse_leaf(entry) for entry in entries]
    files, prefix_bits = build_files(standings(replay(leaves).claims.values()))
    n_images = files["images.parquet"].entry.count
    manifest = Manifest(
        version=previous.version + 1 if previous else 1,
        as_of=leaves[-1].at if leaves else None,
        canonicalisation=CANONICALISATION,
        log=log,
        prefix_bits=prefix_bits,
        files={name: file.entry for name, file in files.items()},
        counts={"url": sum(file.entry.count for file in files.values()) - n_images, "image": n_images},
        previous=previous,
    )
    return Version(manifest.version, format_manifest(manifest), files)


def standings(claims: Iterable[LoggedClaim]) -> dict[LoggedSubject, Standing]:
    """What holds for each subject that counts, places too (which the data files have no room for yet).

    `train-ai=n` holds unless a `train-ai=y` was declared at a strictly higher assurance: a claim that nobody proved
    cannot lift another's. A picture that claims measured differently is one subject, of the highest quality.
    """
    held_by = [(claim, list(claim.effective())) for claim in claims]
    quality: dict[tuple[bytes, bytes | None], int] = defaultdict(int)
    for image in (s for _, subjects in held_by for s, _ in subjects if isinstance(s, ImageDigest)):
        quality[image.pdq, image.sha256] = max(quality[image.pdq, image.sha256], image.quality)
    by_subject: dict[LoggedSubject, dict[int, Standing]] = defaultdict(dict)
    for claim, subjects in held_by:
        preference = PREFERENCES.index(claim.preference)
        since = claim.received_at.date().toordinal() - _EPOCH
        for subject, assurance in subjects:
            key: LoggedSubject = subject
            if isinstance(subject, ImageDigest):
                key = replace(subject, quality=quality[subject.pdq, subject.sha256])
            new = Standing(preference, ASSURANCES.index(assurance), since)
            held = by_subject[key].get(preference, new)
            by_subject[key][preference] = Standing(
                preference, max(held.assurance, new.assurance), min(held.since, new.since)
            )
    return {subject: resolve(held.values()) for subject, held in by_subject.items()}


def resolve(held: Iterable[Standing]) -> Standing:
    """The one of several standings about one subject that holds: highest assurance, `train-ai=n` among equals."""
    return max(held, key=lambda standing: (standing.assurance, -standing.preference))


def build_files(standing: Mapping[LoggedSubject, Standing]) -> tuple[dict[str, DataFile], int]:
    """Data files by name, and the number of prefix bits of the URL files. Of addresses and pictures alone."""
    urls = _url_table({subject: held for subject, held in standing.items() if isinstance(subject, UrlDigest)})
    images = _image_table({subject: held for subject, held in standing.items() if isinstance(subject, ImageDigest)})
    prefix_bits = min(MAX_PREFIX_BITS, (len(urls) // KEYS_PER_FILE).bit_length())
    starts = np.arange((1 << prefix_bits) + 1, dtype=object) << (64 - prefix_bits)
    bounds = [*np.searchsorted(urls["key"].to_numpy(), starts[:-1].astype(np.uint64)), len(urls)]
    files = {
        f"urls/{prefix:03x}.parquet": _data_file(urls[bounds[prefix] : bounds[prefix + 1]], delta_key=True)
        for prefix in range(1 << prefix_bits)
    }
    return files | {"images.parquet": _data_file(images, delta_key=False)}, prefix_bits


def _url_table(standing: Mapping[UrlDigest, Standing]) -> pa.Table:
    by_key: dict[int, Standing] = {}
    for subject, held in standing.items():
        key = int.from_bytes(subject.key[:8], "big")
        # Two URLs of one 64-bit key: exclude if either is.
        by_key[key] = min(held, by_key.get(key, held), key=lambda s: (s.preference, -s.assurance, s.since))
    keys = sorted(by_key)
    columns = {"key": np.array(keys, dtype=np.uint64), **_standing_columns([by_key[key] for key in keys])}
    return pa.table(columns, schema=pa.schema(URL_COLUMNS.items()))


def _image_table(standing: Mapping[ImageDigest, Standing]) -> pa.Table:
    images = sorted(standing, key=lambda image: (image.pdq, image.sha256 is not None, image.sha256 or b""))
    columns = {
        "pdq": [image.pdq for image in images],
        "quality": np.array([image.quality for image in images], dtype=np.uint8),
        "sha256": [image.sha256 for image in images],
        **_standing_columns([standing[image] for image in images]),
    }
    return pa.table(columns, schema=pa.schema(IMAGE_COLUMNS.items()))


def _standing_columns(held: list[Standing]) -> dict[str, npt.NDArray[np.generic] | pa.Array]:
    return {
        "preference": np.array([standing.preference for standing in held], dtype=np.uint8),
        "assurance": np.array([standing.assurance for standing in held], dtype=np.uint8),
        "since": pa.array([standing.since for standing in held], type=pa.int32()).cast(pa.date32()),
    }


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
