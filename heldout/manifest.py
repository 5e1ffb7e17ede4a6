"""The exclusion list's manifest: what a version holds, made from which log, after which version. Parse and format.

Canonical JSON (`heldout.leaves.canonical_json`), with no wall clock in it: the same log size gives the same bytes.
Its SHA-256 is a log entry. Normative description: docs/formats/exclusion-list.md.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from heldout.checkpoint import from_base64, to_base64
from heldout.errors import VerificationError
from heldout.leaves import canonical_json, format_at, parse_at, parse_canonical_json
from heldout.list_tables import OTHER_FILES, SCHEMAS, table_of, url_file
from heldout.merkle import HASH_SIZE

MANIFEST_FORMAT = "heldout-exclusion-list/2"
_HEX256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
MAX_PREFIX_BITS = 12


@dataclass(frozen=True)
class ListFile:
    """A data file. Servers have it under the digest of its bytes, a pulled list under that of its content."""

    sha256: bytes
    size: int
    """Bytes."""
    count: int
    """Rows."""
    content: bytes
    """SHA-256 of what its table says (`heldout.list_tables.content_digest`)."""


@dataclass(frozen=True)
class DeltaFile:
    """What changed since the version before (`heldout.delta_files`), stored under its digest."""

    sha256: bytes
    size: int
    """Bytes."""


@dataclass(frozen=True)
class LogState:
    """The log the version was made from."""

    origin: str
    vkey: str
    size: int
    root: bytes


@dataclass(frozen=True)
class PreviousVersion:
    """The version before this one."""

    version: int
    sha256: bytes
    """Of its manifest."""


@dataclass(frozen=True)
class Manifest:
    """One version of the exclusion list."""

    version: int
    as_of: datetime | None
    """Time of the last log entry included; None if the log was empty."""
    canonicalisation: str
    """Version of the URL canonicalisation, as `heldout-url/1`."""
    log: LogState
    prefix_bits: int
    """URL files are split by this many first bits of the key."""
    files: dict[str, ListFile]
    """By name: `urls/<3 hex>.parquet`, `prefixes.parquet`, `hosts.parquet`, `images.parquet`."""
    counts: dict[str, int]
    """Entries by subject kind: `url`, `prefix`, `host`, `image`."""
    previous: PreviousVersion | None
    delta: DeltaFile | None
    """From the version before; None where there is none, or it would not be worth its bytes."""


def format_manifest(manifest: Manifest) -> bytes:
    """The one encoding of a manifest."""
    return canonical_json(
        {
            "format": MANIFEST_FORMAT,
            "version": manifest.version,
            "as_of": None if manifest.as_of is None else format_at(manifest.as_of),
            "canonicalisation": manifest.canonicalisation,
            "log": {
                "origin": manifest.log.origin,
                "vkey": manifest.log.vkey,
                "size": manifest.log.size,
                "root": to_base64(manifest.log.root),
            },
            "prefix_bits": manifest.prefix_bits,
            "files": {
                name: {
                    "sha256": file.sha256.hex(),
                    "size": file.size,
                    "count": file.count,
                    "content": file.content.hex(),
                }
                for name, file in manifest.files.items()
            },
            "counts": manifest.counts,
            "delta": None
            if manifest.delta is None
            else {"sha256": manifest.delta.sha256.hex(), "size": manifest.delta.size},
            "previous": None
            if manifest.previous is None
            else {"version": manifest.previous.version, "sha256": manifest.previous.sha256.hex()},
        }
    )


def parse_manifest(data: bytes) -> Manifest:
    """Inverse of `format_manifest`. Counts are checked against the files' counts.

    Raises:
        VerificationError: not a manifest of this format, or not in its one encoding.
    """
    fields = parse_canonical_json(data, "list's manifest")
    if fields.get("format") != MANIFEST_FORMAT:
        raise VerificationError(
            f"the list's format is {fields.get('format')!r:.60}, this program reads {MANIFEST_FORMAT}: update heldout"
        )
    try:
        manifest = _from_json(fields)
        is_exact = format_manifest(manifest) == data
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise VerificationError(f"the list's manifest lacks a field or has a wrong one ({error!r:.100})") from error
    if not is_exact:
        raise VerificationError("the list's manifest has fields that this format does not have: it was changed")
    _check_counts(manifest)
    return manifest


def manifest_sha256(data: bytes) -> bytes:
    """Digest that the log's `list` entry holds."""
    return hashlib.sha256(data).digest()


def _from_json(fields: dict[str, Any]) -> Manifest:
    log, previous, delta = fields["log"], fields["previous"], fields["delta"]
    root = from_base64(log["root"])
    if len(root) != HASH_SIZE:
        raise VerificationError(f"the list's manifest has a log root of {len(root)} bytes: expected {HASH_SIZE}")
    return Manifest(
        version=_natural(fields["version"], 1),
        as_of=None if fields["as_of"] is None else parse_at(fields["as_of"]),
        canonicalisation=_text(fields["canonicalisation"]),
        log=LogState(_text(log["origin"]), _text(log["vkey"]), _natural(log["size"]), root),
        prefix_bits=_natural(fields["prefix_bits"]),
        files={
            name: ListFile(
                _digest(file["sha256"]), _natural(file["size"]), _natural(file["count"]), _digest(file["content"])
            )
            for name, file in fields["files"].items()
        },
        counts={_text(kind): _natural(count) for kind, count in fields["counts"].items()},
        previous=None
        if previous is None
        else PreviousVersion(_natural(previous["version"], 1), _digest(previous["sha256"])),
        delta=None if delta is None else DeltaFile(_digest(delta["sha256"]), _natural(delta["size"])),
    )


def _check_counts(manifest: Manifest) -> None:
    if manifest.prefix_bits > MAX_PREFIX_BITS:
        raise VerificationError(
            f"the list's manifest has {manifest.prefix_bits} prefix bits: at most {MAX_PREFIX_BITS}"
        )
    names = {url_file(number) for number in range(1 << manifest.prefix_bits)} | OTHER_FILES.keys()
    unknown, missing = sorted(manifest.files.keys() - names), sorted(names - manifest.files.keys())
    if unknown or missing:
        raise VerificationError(
            f"the list's manifest names the files {unknown[:3]!r:.120} too many and {missing[:3]!r:.120} too few: what "
            "is not named would be missed"
        )
    counts: dict[str, int] = dict.fromkeys(SCHEMAS, 0)
    for name, file in manifest.files.items():
        counts[table_of(name)] += file.count
    if manifest.counts != counts:
        raise VerificationError(f"the list's manifest counts {manifest.counts}, its files hold {counts}")
    if manifest.delta is not None and manifest.previous is None:
        raise VerificationError("the list's manifest has a delta from no version before: it was changed")


def _natural(value: object, low: int = 0) -> int:
    if type(value) is not int or value < low:
        raise ValueError(f"{value!r:.40} is not a whole number from {low}")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is not text")
    return value


def _digest(value: object) -> bytes:
    if not isinstance(value, str) or not _HEX256.fullmatch(value):
        raise ValueError(f"{value!r:.80} is not a SHA-256")
    return bytes.fromhex(value)
