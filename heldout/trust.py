"""Whether TUF metadata stored on disk still proves what it proved when it was pulled. No network, no state.

Follows the client workflow of the TUF specification (https://theupdateframework.github.io/specification/latest/,
§5.3-5.6) over files at hand, with python-tuf's metadata classes; fetching new metadata is `heldout.pull`'s.

The rules:
 * root: from the trusted root, each next version signed by a threshold of the one before and of itself;
 * timestamp, snapshot and targets: each signed by a threshold of the final root's keys for that role;
 * timestamp names the snapshot, snapshot names the targets: version, and length and hashes where given, agree;
 * nothing has expired at the time asked about.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, TargetFile, Targets, Timestamp

from heldout.errors import VerificationError

ROOT_HISTORY = "root_history"
"""Folder, beside the other metadata, of every root version accepted: `<n>.root.json`. The name is python-tuf's."""

MAX_ROOT_ROTATIONS = 256

_S = TypeVar("_S", Root, Timestamp, Snapshot, Targets)


@dataclass(frozen=True)
class TrustedSet:
    """What a verified chain of metadata says."""

    root_version: int
    timestamp_version: int
    expires_at: datetime
    """The first of the four roles' expiry times."""
    targets: Mapping[str, TargetFile]

    def check_target(self, name: str, data: bytes) -> None:
        """Check a target file's length and hashes.

        Raises:
            VerificationError: they differ, or there is no such target.
        """
        target = self.targets.get(name)
        if target is None:
            raise VerificationError(f"the signed metadata does not name {name}: the list is incomplete, pull it again")
        try:
            target.verify_length_and_hashes(data)
        except RepositoryError as error:
            raise VerificationError(f"{name} is not the file that was signed ({error}): pull the list again") from error


def check_root(data: bytes, *, name: str) -> None:
    """Check that these bytes are root metadata that is signed by its own keys: fit to be trusted, if one trusts it.

    Raises:
        VerificationError: they are not.
    """
    _load_root(data, None, name)


def verify_metadata(trusted_root: bytes, folder: Path, *, now: datetime | None) -> TrustedSet:
    """Verify the metadata in a folder: `root_history/`, `timestamp.json`, `snapshot.json`, `targets.json`.

    Args:
        trusted_root: root metadata trusted for reasons of its own: it came with a contract, a package, a colleague.
        folder: as python-tuf's client leaves it.
        now: check freshness at this time; None leaves freshness out, for proofs about the past.

    Raises:
        VerificationError: a file is missing or damaged, a signature, version, length or hash is wrong, or the
            metadata has expired.
    """
    root = _load_root(trusted_root, None, "the trusted root")
    for version in range(root.version + 1, root.version + 1 + MAX_ROOT_ROTATIONS):
        path = folder / ROOT_HISTORY / f"{version}.root.json"
        if not path.exists():
            break
        root = _load_root(_read(path), root, path.name)
    timestamp = _load(Timestamp, _read(folder / "timestamp.json"), root)
    snapshot_data = _read(folder / "snapshot.json")
    _check_file(timestamp.snapshot_meta, snapshot_data, "snapshot.json")
    snapshot = _load(Snapshot, snapshot_data, root)
    _check_version(timestamp.snapshot_meta, snapshot)
    targets_meta = snapshot.meta.get("targets.json")
    if targets_meta is None:
        raise VerificationError("snapshot.json does not name targets.json: pull the list again")
    targets_data = _read(folder / "targets.json")
    _check_file(targets_meta, targets_data, "targets.json")
    targets = _load(Targets, targets_data, root)
    _check_version(targets_meta, targets)
    if now is not None:
        for signed in (root, timestamp, snapshot, targets):
            _check_fresh(signed, now)
    expires_at = min(signed.expires for signed in (root, timestamp, snapshot, targets))
    return TrustedSet(root.version, timestamp.version, expires_at, targets.targets)


def read_published(folder: Path) -> TrustedSet:
    """What the metadata of a publisher's own folder says, `timestamp.json` last written. Signatures are not checked.

    Raises:
        VerificationError: a file is missing or damaged.
    """
    root = _parse(Root, _read(folder / "root.json"), "root.json").signed
    timestamp = _parse(Timestamp, _read(folder / "timestamp.json"), "timestamp.json").signed
    number = timestamp.snapshot_meta.version
    snapshot = _parse(Snapshot, _read(folder / f"{number}.snapshot.json"), "snapshot.json").signed
    meta = snapshot.meta.get("targets.json")
    if meta is None:
        raise VerificationError("snapshot.json does not name targets.json: publish the list again")
    targets = _parse(Targets, _read(folder / f"{meta.version}.targets.json"), "targets.json").signed
    expires_at = min(signed.expires for signed in (root, timestamp, snapshot, targets))
    return TrustedSet(root.version, timestamp.version, expires_at, targets.targets)


def _load_root(data: bytes, previous: Root | None, name: str) -> Root:
    metadata = _parse(Root, data, name)
    root = metadata.signed
    if previous is not None and root.version != previous.version + 1:
        raise VerificationError(f"{name} holds version {root.version}, expected {previous.version + 1}")
    try:
        result = root.get_root_verification_result(previous, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError) as error:  # what it says cannot be brought into the form that is signed
        raise VerificationError(f"{name} is not root metadata that can be signed: it is damaged") from error
    if not result:
        raise VerificationError(f"{name} (root version {root.version}) lacks signatures: it is damaged or forged")
    return root


def _load(role: type[_S], data: bytes, root: Root) -> _S:
    name = f"{role.type}.json"
    metadata = _parse(role, data, name)
    try:
        root.verify_delegate(role.type, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError) as error:
        raise VerificationError(f"{name} is not signed by the keys of the root ({error})") from error
    return metadata.signed


def _parse(role: type[_S], data: bytes, name: str) -> Metadata[_S]:
    try:
        metadata = Metadata[_S].from_bytes(data)
    except RepositoryError as error:
        raise VerificationError(f"{name} is not TUF metadata ({error.__cause__ or error}): it is damaged") from error
    if not isinstance(metadata.signed, role):
        raise VerificationError(f"{name} holds {metadata.signed.type} metadata, expected {role.type}")
    return metadata


def _check_file(meta: MetaFile, data: bytes, name: str) -> None:
    try:
        meta.verify_length_and_hashes(data)
    except RepositoryError as error:
        raise VerificationError(f"{name} is not the file that was signed for ({error})") from error


def _check_version(meta: MetaFile, signed: Signed) -> None:
    if signed.version != meta.version:
        raise VerificationError(f"{signed.type}.json holds version {signed.version}, expected {meta.version}")


def _check_fresh(signed: Signed, now: datetime) -> None:
    if signed.is_expired(now):
        raise VerificationError(
            f"the list is stale: its {signed.type} metadata expired at {signed.expires:%Y-%m-%dT%H:%M:%SZ}; "
            "run heldout pull to fetch what is in force now"
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise VerificationError(f"{path} cannot be read ({error.strerror}): pull the list again") from error
