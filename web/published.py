"""Facts of the list that is published now, read from its own static files as anybody could."""

import hashlib
import json
from pathlib import Path
from typing import Any

from heldout.checkpoint import to_base64
from heldout.leaves import format_at
from heldout.manifest import parse_manifest
from web.contexts import ListFacts

TRUSTED_ROOT = "metadata/1.root.json"
"""Below `/list/`. The first root: later ones are signed by it, and are found from it."""


def current_list(list_dir: Path) -> ListFacts | None:
    """The version that `timestamp.json` leads to; None before the first one.

    Raises:
        VerificationError: the manifest is not one.
    """
    try:
        timestamp = _signed(list_dir / "metadata" / "timestamp.json")
    except FileNotFoundError:
        return None
    snapshot = _signed(list_dir / "metadata" / f"{timestamp['meta']['snapshot.json']['version']}.snapshot.json")
    targets = _signed(list_dir / "metadata" / f"{snapshot['meta']['targets.json']['version']}.targets.json")
    sha256 = targets["targets"]["manifest.json"]["hashes"]["sha256"]
    manifest = parse_manifest((list_dir / "targets" / f"{sha256}.manifest.json").read_bytes())
    return ListFacts(
        version=manifest.version,
        as_of="" if manifest.as_of is None else format_at(manifest.as_of),
        n_addresses=manifest.counts["url"],
        n_pictures=manifest.counts["image"],
        size_bytes=sum(file.size for file in manifest.files.values()),
        manifest_sha256=sha256,
        manifest_href=f"/list/targets/{sha256}.manifest.json",
        log_size=manifest.log.size,
        root_hash=to_base64(manifest.log.root),
        canonicalisation=manifest.canonicalisation,
    )


def trusted_root_sha256(list_dir: Path) -> str | None:
    """Digest of the root that labs start from; None before there is one."""
    try:
        return hashlib.sha256((list_dir / TRUSTED_ROOT).read_bytes()).hexdigest()
    except FileNotFoundError:
        return None


def _signed(path: Path) -> dict[str, Any]:
    signed: dict[str, Any] = json.loads(path.read_bytes())["signed"]
    return signed
