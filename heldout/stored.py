"""The folder a list is pulled into, and whether one version in it proves itself offline.

    LIST/root.json                  the root metadata that is trusted
    LIST/UNVERIFIED                 there if that root was taken from the server itself, on first use
    LIST/versions/<name>/           metadata/, manifest.json, manifest.tlog-proof; never changed once there
    LIST/files/<content>.parquet    data files, shared between versions, by the digests of their content
    LIST/CURRENT                    name of the version in force; replaced last, in one step

Reads only; `heldout.pull` writes. What a version must prove: the TUF chain from the trusted root to the manifest and
its log proof (`heldout.trust`); the manifest's digest is a `list` entry of the log it names; each data file has the
content the manifest gives.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

import pyarrow as pa

from heldout.checkpoint import Checkpoint, Verifier
from heldout.errors import InputError, NotFoundError, VerificationError
from heldout.leaves import ListLeaf, parse_leaf
from heldout.list_tables import content_digest, read_table, table_of
from heldout.manifest import ListFile, Manifest, manifest_sha256, parse_manifest
from heldout.receipts import TlogProof, parse_tlog_proof, verify_tlog_proof
from heldout.trust import TrustedSet, read_published, verify_metadata
from heldout.urls import CANONICALISATION

MANIFEST: Final = "manifest.json"
PROOF: Final = "manifest.tlog-proof"

_T = TypeVar("_T")


@dataclass(frozen=True)
class ListFolder:
    """Paths of a pulled list."""

    path: Path

    @property
    def root(self) -> Path:
        """The trusted root."""
        return self.path / "root.json"

    @property
    def unverified(self) -> Path:
        """Marker: nobody vouched for the root but the server."""
        return self.path / "UNVERIFIED"

    @property
    def current(self) -> Path:
        """File that names the version in force."""
        return self.path / "CURRENT"

    @property
    def versions(self) -> Path:
        """Folder of versions."""
        return self.path / "versions"

    @property
    def files(self) -> Path:
        """Folder of data files."""
        return self.path / "files"

    def data_file(self, file: ListFile) -> Path:
        """Where a data file is kept."""
        return self.files / f"{file.content.hex()}.parquet"

    def current_name(self) -> str:
        """Name of the version in force.

        Raises:
            NotFoundError: nothing was pulled here.
        """
        try:
            name = self.current.read_text(encoding="utf-8").strip()
        except FileNotFoundError as error:
            raise NotFoundError(f"{self.path} holds no exclusion list: run heldout pull URL -o {self.path}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{self.current} cannot be read ({error})") from error
        if not name or name.startswith(".") or not name.replace("-", "").isalnum():
            raise VerificationError(f"{self.current} does not name a version: pull the list again")
        return name


@dataclass(frozen=True)
class PublishedFolder(ListFolder):
    """Paths of what a registry publishes, as far as a reader of one version needs them."""

    def data_file(self, file: ListFile) -> Path:
        """Where a data file is served."""
        return self.files / f"{file.sha256.hex()}.parquet"


@dataclass(frozen=True)
class LoggedManifest:
    """A manifest, and the log entry that commits to it."""

    manifest: Manifest
    sha256: bytes
    leaf: ListLeaf
    index: int
    """Of the entry in the log."""
    checkpoint: Checkpoint


@dataclass(frozen=True)
class ProvedVersion:
    """What a version that proves itself says."""

    name: str
    trusted: TrustedSet
    logged: LoggedManifest


@dataclass(frozen=True)
class StoredVersion:
    """One version on disk, fit to be read."""

    folder: ListFolder
    name: str
    manifest: Manifest
    manifest_sha256: bytes
    proved: ProvedVersion | None
    """None only if there are doubts."""
    doubts: tuple[str, ...]
    """Why it should not be trusted; empty unless that was allowed."""


def verify_logged(manifest: bytes, proof: bytes) -> LoggedManifest:
    """Check that a manifest's digest is a `list` entry of the log that the manifest names.

    The log's key is taken from the manifest, which is to be a verified TUF target.

    Raises:
        VerificationError: malformed, not in the log, or an entry about another manifest.
    """
    parsed = parse_manifest(manifest)
    tlog_proof = parse_tlog_proof(proof)
    leaf, leaf_data = _list_leaf(tlog_proof)
    digest = manifest_sha256(manifest)
    if leaf.manifest_sha256 != digest or leaf.version != parsed.version:
        raise VerificationError(
            f"the log entry is about version {leaf.version} with digest {leaf.manifest_sha256.hex()}, the manifest is "
            f"version {parsed.version} with {digest.hex()}: the proof belongs to another list"
        )
    try:
        verifier = Verifier.parse(parsed.log.vkey)
    except InputError as error:
        raise VerificationError(f"the list's manifest names an unusable log key: {error}") from error
    if parsed.log.origin != verifier.name:
        raise VerificationError(f"the list was made from {parsed.log.origin!r}, its log key is of {verifier.name!r}")
    checkpoint = verify_tlog_proof(tlog_proof, leaf_data, verifier)
    if parsed.log.size > tlog_proof.index:
        raise VerificationError(
            f"the list claims {parsed.log.size} log entries, but was itself logged as entry {tlog_proof.index}"
        )
    return LoggedManifest(parsed, digest, leaf, tlog_proof.index, checkpoint)


def check_canonicalisation(manifest: Manifest) -> None:
    """Refuse a list whose URL rules this program does not know: it would silently miss entries.

    Raises:
        InputError: it is of another version.
    """
    if manifest.canonicalisation != CANONICALISATION:
        raise InputError(
            f"the list uses {manifest.canonicalisation}, this program knows {CANONICALISATION}: update heldout"
        )


def check_content(table: pa.Table, name: str, file: ListFile, shown: str) -> None:
    """Check that a data file's table says what was signed for.

    Args:
        table: as `heldout.list_tables.read_table` gives it.
        name: of the file in the manifest.
        file: what the manifest says of it.
        shown: for messages.

    Raises:
        VerificationError: it does not.
    """
    if table.num_rows != file.count:
        raise VerificationError(f"{shown} has {table.num_rows} entries instead of {file.count}: pull the list again")
    if content_digest(table, table_of(name)) != file.content:
        raise VerificationError(f"{shown} does not hold the entries that were signed for: pull the list again")


def read_data_file(path: Path, name: str, file: ListFile) -> pa.Table:
    """The table of a data file, by its name in the manifest and what that says of it.

    Raises:
        VerificationError: it cannot be read, or does not say what was signed for.
    """
    shown = f"{path} ({name})"
    table = read_table(path, table_of(name), shown)
    check_content(table, name, file, shown)
    return table


def verify_version(folder: ListFolder, name: str, *, trusted_root: bytes, now: datetime | None) -> ProvedVersion:
    """Verify all of a version but its data files.

    Args:
        folder: the list's folder.
        name: of the version.
        trusted_root: root metadata.
        now: time at which it is to be fresh; None leaves freshness out.

    Raises:
        VerificationError: something is missing, damaged, forged or stale.
    """
    version = folder.versions / name
    manifest, proof = _read(version / MANIFEST), _read(version / PROOF)
    trusted = verify_metadata(trusted_root, version / "metadata", now=now)
    trusted.check_target(MANIFEST, manifest)
    trusted.check_target(PROOF, proof)
    return ProvedVersion(name, trusted, verify_logged(manifest, proof))


def verify_current(
    path: Path, *, now: datetime | None, allow_unverified: bool = False, name: str | None = None
) -> StoredVersion:
    """Verify the version in force, or the one named, of a pulled list; its data files are left to their reader.

    Raises:
        NotFoundError: nothing was pulled here.
        VerificationError: something is missing, damaged, forged or stale, or nobody vouched for the root; with
            `allow_unverified` these become the result's `doubts`, as far as there is a manifest to read at all.
    """
    folder = ListFolder(path)
    name = name or folder.current_name()
    doubts = Doubts(allowed=allow_unverified)
    doubts.check(lambda: _check_vouched(folder))
    proved = doubts.check(lambda: verify_version(folder, name, trusted_root=_read(folder.root), now=now))
    data = _read(folder.versions / name / MANIFEST)
    manifest = parse_manifest(data)
    check_canonicalisation(manifest)
    return StoredVersion(folder, name, manifest, manifest_sha256(data), proved, tuple(doubts.reasons))


def verify_published(folder: Path) -> StoredVersion:
    """The version that a registry published last, from the folder it serves as `/list`.

    Digests and the log's proof are checked, signatures and freshness are not: the files are this machine's own.

    Raises:
        NotFoundError: nothing was published there.
        VerificationError: something is missing or damaged.
    """
    if not (folder / "metadata" / "timestamp.json").exists():
        raise NotFoundError(f"{folder} holds no published list: run python -m registry publish")
    trusted = read_published(folder / "metadata")
    data = {}
    for name in (MANIFEST, PROOF):
        target = trusted.targets.get(name)
        if target is None:
            raise VerificationError(f"the metadata in {folder} does not name {name}: publish again")
        data[name] = _read(folder / "targets" / f"{target.hashes['sha256']}.{name}")
        trusted.check_target(name, data[name])
    logged = verify_logged(data[MANIFEST], data[PROOF])
    check_canonicalisation(logged.manifest)
    name = f"{logged.manifest.version}-{trusted.timestamp_version}"
    proved = ProvedVersion(name, trusted, logged)
    return StoredVersion(PublishedFolder(folder), name, logged.manifest, logged.sha256, proved, ())


class Doubts:
    """Failures of verification: raised, unless they are allowed, then kept."""

    def __init__(self, *, allowed: bool = False) -> None:
        self._allowed = allowed
        self.reasons: list[str] = []

    def check(self, step: Callable[[], _T]) -> _T | None:
        """What the step returns, or None if it failed and that is allowed.

        Raises:
            VerificationError: as the step does, if that is not allowed.
        """
        try:
            return step()
        except VerificationError as error:
            if not self._allowed:
                raise
            self.reasons.append(str(error))
            return None


def _check_vouched(folder: ListFolder) -> None:
    if folder.unverified.exists():
        raise VerificationError(
            f"{folder.path} was pulled without a trusted root: pull it again with --root FILE, a root.json you have "
            "from elsewhere than the server, or accept it with --allow-unverified"
        )


def _list_leaf(proof: TlogProof) -> tuple[ListLeaf, bytes]:
    if proof.extra is None:
        raise VerificationError("the tlog-proof does not carry its log entry: pull the list again")
    leaf = parse_leaf(proof.extra)
    if not isinstance(leaf, ListLeaf):
        raise VerificationError("the tlog-proof is of a log entry that is not about a list: pull the list again")
    return leaf, proof.extra


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise VerificationError(f"{path} cannot be read ({error.strerror}): pull the list again") from error
