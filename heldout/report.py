"""What a filter run did, as an in-toto Statement v1 that anyone holding the same shards and list can make again.

    subject     the output shards and what was emitted besides, by SHA-256
    predicate   which list (manifest digest, version, log), which inputs (by SHA-256), what was dropped by which rule

No clock, no machine, no absolute path is in it: the same inputs, list and versions give the same bytes.
Source: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md. Fields: docs/formats/filter-report.md.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from heldout import __version__
from heldout.checkpoint import to_base64
from heldout.exclusion import ExclusionList, Kind
from heldout.filtering_decision import KINDS, NOT_GRANTED, Decision
from heldout.filtering_options import FilterOptions
from heldout.leaves import format_at
from heldout.manifest import Manifest
from heldout.records import ASSURANCES
from heldout.stored import StoredVersion

REPORT_NAME: Final = "report.json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "heldout:filter-report/1"


@dataclass
class Tally:
    """Counts of one shard. Picklable, since shards are filtered in other processes."""

    n_in: int = 0
    n_kept: int = 0
    dropped: Counter[tuple[Kind, int]] = field(default_factory=Counter)
    """By rule kind and assurance code; a sample that several rules name counts for the first of `KINDS`."""
    n_not_granted: int = 0
    """Opt-in only: samples that no rule excludes, and no entry grants."""
    n_unreadable_urls: int = 0
    """Samples with no URL, or one without a canonical key: not looked up by URL."""
    n_unreadable_pictures: int = 0
    """Samples of a tar whose picture could not be decoded, or that have none by their names: looked up by URL and
    SHA-256 alone. None are counted where the list has no picture to compare."""

    def count(self, decision: Decision) -> None:
        """Count a batch of samples."""
        counts = np.bincount(decision.kind * np.int64(len(ASSURANCES)) + decision.assurance)
        for pair in np.flatnonzero(counts).tolist():
            (kind, assurance), n = divmod(pair, len(ASSURANCES)), int(counts[pair])
            if kind == NOT_GRANTED:
                self.n_not_granted += n
            else:
                self.dropped[KINDS[kind], assurance] += n
        self.n_in += len(decision.kept)
        self.n_kept += len(decision.kept) - len(decision.rows)

    def add(self, other: "Tally") -> None:
        """Add another shard's counts."""
        self.n_in += other.n_in
        self.n_kept += other.n_kept
        self.dropped.update(other.dropped)
        self.n_not_granted += other.n_not_granted
        self.n_unreadable_urls += other.n_unreadable_urls
        self.n_unreadable_pictures += other.n_unreadable_pictures

    def is_blind(self, shard: str) -> bool:
        """Whether no sample of this shard was looked up by address; of a tar the pictures are."""
        return self.n_unreadable_urls == self.n_in > 0 and not shard.endswith(".tar")

    def to_json(self) -> dict[str, Any]:
        """As the report holds it."""
        dropped: dict[str, dict[str, int]] = {}
        for (kind, code), n in self.dropped.items():
            dropped.setdefault(kind, {})[ASSURANCES[code]] = n
        return {
            "n_in": self.n_in,
            "n_kept": self.n_kept,
            "n_dropped": self.n_in - self.n_kept,
            "dropped": dropped,
            "n_not_granted": self.n_not_granted,
            "n_unreadable_urls": self.n_unreadable_urls,
            "n_unreadable_pictures": self.n_unreadable_pictures,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Tally":
        """The inverse of `to_json`."""
        dropped = Counter(
            {
                (kind, ASSURANCES.index(name)): n
                for kind, by_assurance in value["dropped"].items()
                for name, n in by_assurance.items()
            }
        )
        counts = (value[name] for name in ("n_not_granted", "n_unreadable_urls", "n_unreadable_pictures"))
        return cls(value["n_in"], value["n_kept"], dropped, *counts)


@dataclass(frozen=True)
class FilteredShard:
    """One shard that went through."""

    name: str
    """Path below the output folder, with slashes."""
    input_sha256: str
    output_sha256: str | None
    """None if no shards were to be written."""
    tally: Tally
    emitted: dict[str, str] = field(default_factory=dict)
    """SHA-256 of what else was written of it, by path below the output folder."""
    sibling: str | None = None
    """Name of the shard that holds the same samples in the other form."""


def tell_blind(shards: Sequence[str]) -> str:
    """What to say of shards that are `Tally.is_blind`."""
    return (
        f"of {len(shards)} shards ({some(shards)}) no sample had an address that can be looked up: "
        "see whether --url-column names the right column"
    )


def some(names: Sequence[str]) -> str:
    """The first of many names."""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def build_report(
    exclusions: ExclusionList,
    shards: list[FilteredShard],
    failed: list[str],
    options: FilterOptions,
    emitted: Mapping[str, str],
) -> bytes:
    """The statement's one encoding; `emitted` is SHA-256 of what was written besides shards, by path."""
    shards = sorted(shards, key=lambda shard: shard.name)
    total = Tally()
    for shard in shards:
        total.add(shard.tally)
    predicate = {
        "tool": {"heldout": __version__, "pyarrow": pa.__version__},
        "list": {**describe_list(exclusions.version), "is_verified": not exclusions.doubts},
        "options": {
            "preference": options.preference,
            "min_assurance": exclusions.min_assurance,
            "min_grant_assurance": options.opt_in,
            "as_of": None if exclusions.as_of is None else exclusions.as_of.isoformat(),
            "url_column": options.url_column,
            "emit": sorted(options.emit),
            "writes": options.writes,
            "dry_run": options.dry_run,
        },
        "shards": [
            {
                "name": shard.name,
                "input": {"sha256": shard.input_sha256},
                "sibling": shard.sibling,
                **shard.tally.to_json(),
            }
            for shard in shards
        ],
        "emitted": sorted(emitted),
        "failed": sorted(failed),
        "total": total.to_json(),
    }
    written = {shard.name: shard.output_sha256 for shard in shards if shard.output_sha256 is not None} | dict(emitted)
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(written.items())],
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate,
    }
    return json.dumps(statement, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def describe_list(version: StoredVersion) -> dict[str, Any]:
    """A list as reports name it."""
    list_index = None if version.proved is None else version.proved.logged.index
    return describe_manifest(version.manifest, version.manifest_sha256, list_index)


def describe_manifest(manifest: Manifest, sha256: bytes, list_index: int | None) -> dict[str, Any]:
    """As `describe_list`, of a manifest with this digest, which is this entry of the log."""
    return {
        "manifest_sha256": sha256.hex(),
        "version": manifest.version,
        "as_of": None if manifest.as_of is None else format_at(manifest.as_of),
        "canonicalisation": manifest.canonicalisation,
        "log": {
            "origin": manifest.log.origin,
            "vkey": manifest.log.vkey,
            "size": manifest.log.size,
            "root": to_base64(manifest.log.root),
            "list_index": list_index,
        },
    }


def sha256_file(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, hashlib.sha256).hexdigest()
