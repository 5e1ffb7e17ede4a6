"""Facts of the list that is published now, and of those before, read from static files as anybody could."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from tuf.api.metadata import Metadata, Root

from heldout.checkpoint import to_base64
from heldout.errors import NotFoundError, VerificationError
from heldout.leaves import parse_canonical_json
from heldout.manifest import Manifest, parse_manifest
from heldout.stored import verify_published
from registry.service import Registry
from registry.versions import LoggedVersion
from web.lab_contexts import ListFacts, RoleFacts, VersionLine

TRUSTED_ROOT = "metadata/1.root.json"
"""Below `/list/`. The first root: later ones are signed by it, and are found from it."""

_ROLES: Final = (Root.type, "targets", "snapshot", "timestamp")
_MAX_DELTA_HEADER: Final = 4_096


def current_list(list_dir: Path) -> ListFacts | None:
    """The version that `timestamp.json` leads to; None before the first one.

    Raises:
        VerificationError: something of it is missing or damaged.
    """
    try:
        stored = verify_published(list_dir)
    except NotFoundError:
        return None
    if stored.proved is None:
        raise VerificationError("the published list has no proof: publish it again")
    manifest, counts = stored.manifest, stored.manifest.counts
    return ListFacts(
        version=manifest.version,
        as_of=manifest.as_of,
        n_addresses=counts["url"],
        n_pictures=counts["image"],
        n_hosts=counts["host"],
        n_prefixes=counts["prefix"],
        size_bytes=_size(manifest),
        n_files=len(manifest.files),
        manifest_sha256=stored.manifest_sha256.hex(),
        manifest_href=_manifest_href(stored.manifest_sha256),
        log_size=manifest.log.size,
        root_hash=to_base64(manifest.log.root),
        canonicalisation=manifest.canonicalisation,
        fresh_until=stored.proved.trusted.expires_at,
        roles=_roles(list_dir / "metadata" / "root.json"),
    )


def trusted_root_sha256(list_dir: Path) -> str | None:
    """Digest of the root that labs start from; None before there is one."""
    try:
        return hashlib.sha256((list_dir / TRUSTED_ROOT).read_bytes()).hexdigest()
    except FileNotFoundError:
        return None


def published_versions(
    registry: Registry, *, limit: int, newest: int | None = None
) -> tuple[list[VersionLine], int | None]:
    """Published versions, newest first, and the next older one if there is one.

    Args:
        registry: whose list it is.
        limit: how many.
        newest: begin with this version; with the current one if left out.
    """
    list_dir = registry.public_dir / "list"
    try:
        current = verify_published(list_dir).manifest.version
    except NotFoundError:
        return [], None
    found = registry.list_versions(newest=current if newest is None else min(newest, current), limit=limit + 1)
    older = found[limit].version if len(found) > limit else None
    return [_line(registry, list_dir, each) for each in found[:limit]], older


@dataclass(frozen=True)
class _Manifested:
    """What a manifest and its delta say of a version."""

    log_size: int
    counts: dict[str, int]
    size_bytes: int
    delta_bytes: int | None
    n_added: int | None
    n_removed: int | None


def _line(registry: Registry, list_dir: Path, logged: LoggedVersion) -> VersionLine:
    try:
        said = _manifested(list_dir, logged.manifest_sha256)
    except FileNotFoundError:
        said = None
    index = None if said is None else registry.log_index_of_list(said.log_size)
    return VersionLine(
        version=logged.version,
        at=logged.at,
        manifest_sha256=logged.manifest_sha256.hex(),
        manifest_href=None if said is None else _manifest_href(logged.manifest_sha256),
        entry_href=None if index is None else f"/explore/entries/{index}",
        log_index=index,
        log_size=None if said is None else said.log_size,
        n_addresses=None if said is None else said.counts["url"],
        n_pictures=None if said is None else said.counts["image"],
        n_places=None if said is None else said.counts["host"] + said.counts["prefix"],
        size_bytes=None if said is None else said.size_bytes,
        delta_bytes=None if said is None else said.delta_bytes,
        n_added=None if said is None else said.n_added,
        n_removed=None if said is None else said.n_removed,
    )


@lru_cache(maxsize=1_000)
def _manifested(list_dir: Path, sha256: bytes) -> _Manifested:
    """Raises FileNotFoundError: the manifest was removed; that is not remembered."""
    manifest = parse_manifest((list_dir / "targets" / f"{sha256.hex()}.manifest.json").read_bytes())
    added, removed = _changes(list_dir, manifest)
    return _Manifested(
        log_size=manifest.log.size,
        counts=manifest.counts,
        size_bytes=_size(manifest),
        delta_bytes=None if manifest.delta is None else manifest.delta.size,
        n_added=added,
        n_removed=removed,
    )


def _changes(list_dir: Path, manifest: Manifest) -> tuple[int | None, int | None]:
    """Entries that came and went, by the head of the delta; of the first version all came."""
    if manifest.previous is None:
        return sum(manifest.counts.values()), 0
    if manifest.delta is None:
        return None, None
    try:
        with (list_dir / "files" / f"{manifest.delta.sha256.hex()}.delta").open("rb") as stream:
            line = stream.read(_MAX_DELTA_HEADER).partition(b"\n")[0]
        tables = parse_canonical_json(line, "list's delta")["tables"].values()
        return sum(table["added"] for table in tables), sum(table["removed"] for table in tables)
    except (OSError, KeyError, TypeError, AttributeError, VerificationError):
        return None, None


def _roles(path: Path) -> list[RoleFacts]:
    root = Metadata[Root].from_bytes(path.read_bytes()).signed
    return [RoleFacts(name, root.roles[name].threshold, list(root.roles[name].keyids)) for name in _ROLES]


def _size(manifest: Manifest) -> int:
    return sum(file.size for file in manifest.files.values())


def _manifest_href(sha256: bytes) -> str:
    return f"/list/targets/{sha256.hex()}.manifest.json"
