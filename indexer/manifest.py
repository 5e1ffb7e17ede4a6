"""What a generation was made of. Written last, checked on every open: what does not fit is refused.

Small files are checked by SHA-256, large ones by size: reading terabytes at every start would serve nobody.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from heldout.errors import VerificationError
from indexer.shards import DONE_FILE, format_json
from indexer.writer import describe

INDEX_FORMAT: Final = "heldout-index/3"
MANIFEST_FILE: Final = "manifest.json"
DIGEST_UP_TO: Final = 16 * 1024 * 1024
"""Bytes of a file that is checked by digest."""


@dataclass(frozen=True)
class ShardEntry:
    """A shard's part of the ids: `first_id` .. `first_id + n_samples - 1`."""

    name: str
    first_id: int
    n_samples: int
    n_embeddings: int
    done_sha256: str
    """SHA-256 of the shard's `done.json`, which holds the digests of its files."""


@dataclass(frozen=True)
class Manifest:
    """The manifest of a generation."""

    dataset: str
    number: int
    model_tag: str
    d: int
    metric: str
    n_samples: int
    n_embeddings: int
    n_pdq: int
    n_urls: int
    n_hosts: int
    n_captions: int
    n_groups: int
    """Groups of proved copies, of more than one sample."""
    image_index: str
    """faiss factory string."""
    image_widths: dict[str, dict[str, int]]
    """Kind of query -> `nprobe` and `rerank` of `indexer.image_index.Width`; empty where the index is exact."""
    image_recall: dict[str, float]
    """What those found when they were measured: see `indexer.tuning`."""
    trained_for: int
    """Embeddings there were when the centroids were trained; 0 where there are none."""
    pdq_index: str
    n_parts: int
    """Pictures within pictures that were found, and have a hash."""
    parts_index: str
    shards: tuple[ShardEntry, ...]
    files: dict[str, dict[str, Any]]
    """Path in the folder -> `size`, and `sha256` of a small file."""
    libraries: dict[str, str]
    """Library -> version that wrote the files."""


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Size of every file below `folder`, with the digest of small ones."""
    return {
        path.relative_to(folder).as_posix(): _describe(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST_FILE and path.suffix != ".lock"
    }


def _describe(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    return describe(path) if size <= DIGEST_UP_TO else {"size": size}


def save_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json`."""
    (folder / MANIFEST_FILE).write_text(format_json({"format": INDEX_FORMAT, **asdict(manifest)}), encoding="utf-8")


def load_manifest(folder: Path) -> Manifest:
    """Read `manifest.json`, unchecked against the files.

    Raises:
        VerificationError: it is missing, damaged or of another format.
    """
    path = folder / MANIFEST_FILE
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        if said.pop("format", None) != INDEX_FORMAT:
            raise VerificationError(f"{path} is not of format {INDEX_FORMAT}: build the index again")
        said["shards"] = tuple(ShardEntry(**entry) for entry in said["shards"])
        return Manifest(**said)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise VerificationError(f"{path} cannot be read ({error}): build the index again") from error


def verify_files(folder: Path, manifest: Manifest, shards: Path | None) -> None:
    """Check every file that the manifest names, and that `shards`, if given, are the ones it was built from.

    Raises:
        VerificationError: a file is missing, has another size or digest, or a shard was ingested again.
    """
    for name, promised in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise VerificationError(f"{folder} lacks {name}: build the index again")
        size = path.stat().st_size
        if size != promised["size"]:
            raise VerificationError(f"{path} has {size:,} bytes, the manifest says {promised['size']:,}: build again")
        if "sha256" in promised and describe(path)["sha256"] != promised["sha256"]:
            raise VerificationError(f"{path} does not have the digest that the manifest says: build the index again")
    for shard in manifest.shards:
        marker = None if shards is None else shards / shard.name / DONE_FILE
        if marker is not None and not (marker.is_file() and describe(marker)["sha256"] == shard.done_sha256):
            raise VerificationError(f"shard {marker.parent} is not the one indexed: build the index again")
    expected = sum(shard.n_samples for shard in manifest.shards)
    if expected != manifest.n_samples:
        raise VerificationError(f"{folder}: shards hold {expected:,} samples, the manifest says {manifest.n_samples:,}")
