"""What there is besides a report and a receipt to tell whether an opt-out was applied: the list itself, and the log.

A version of the list is known by its manifest's digest, a data file by the manifest, the log by its signed checkpoint:
wherever these come from, a pulled list, a mirror or a stranger's disk, they prove themselves here.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from heldout.checkpoint import MAX_NOTE_SIZE, Checkpoint, Verifier, open_checkpoint
from heldout.download import Downloads
from heldout.errors import NotFoundError, VerificationError
from heldout.layout import TILE_WIDTH
from heldout.leaves import HostRule, ImageDigest, LoggedSubject, PrefixRule, UrlDigest, parse_leaf
from heldout.list_tables import read_table, table_of, url_file
from heldout.manifest import ListFile, Manifest, parse_manifest
from heldout.merkle import leaf_hash, verify_consistency, verify_inclusion
from heldout.mirrors import Mirrors, Wanted
from heldout.pull import MAX_TARGET_BYTES
from heldout.records import ASSURANCES, Assurance, Preference
from heldout.stored import MANIFEST, ListFolder, StoredVersion, check_content
from heldout.tiles import MAX_ENTRY_SIZE, TileReader

_PREFERENCES: Final[tuple[Preference, ...]] = ("train-ai=n", "train-ai=y")
_MAX_BUNDLE: Final = TILE_WIDTH * (2 + MAX_ENTRY_SIZE)


@dataclass(frozen=True)
class Standing:
    """What a list says of one subject."""

    preference: Preference
    assurance: Assurance
    since: date


class ListAtHand:
    """One version of a list, of which files are read as they are needed."""

    def __init__(
        self, manifest: Manifest, sha256: bytes, bring: Callable[[ListFile], Path], list_index: int | None = None
    ) -> None:
        """Use `of_folder` or `of_site`."""
        self.manifest = manifest
        self.sha256 = sha256
        self.list_index = list_index
        """Of the manifest's entry in the log, by the list's own proof; None if it has none, and anybody may have made
        it."""
        self._bring = bring
        self._tables: dict[str, pa.Table] = {}

    @classmethod
    def of_folder(cls, stored: StoredVersion) -> "ListAtHand":
        """A pulled list's version."""
        index = None if stored.proved is None else stored.proved.logged.index
        return cls(stored.manifest, stored.manifest_sha256, stored.folder.data_file, index)

    @classmethod
    def of_site(cls, downloads: Downloads, base: str, sha256: bytes, scratch: Path) -> "ListAtHand":
        """The version with this manifest, as a site or mirror serves it.

        Args:
            downloads: the way to it.
            base: its address, with `list/` below it.
            sha256: of the manifest.
            scratch: folder for files; the caller removes it.

        Raises:
            NotFoundError: it is not there, or not any more.
            UnavailableError: no answer.
            VerificationError: another manifest is there in its place.
        """
        data = downloads.read(f"{base}/list/targets/{sha256.hex()}.{MANIFEST}", MAX_TARGET_BYTES)
        if hashlib.sha256(data).digest() != sha256:
            raise VerificationError(f"{base} does not serve the manifest {sha256.hex()}, but another under its name")
        mirrors = Mirrors(downloads, [base])

        def bring(file: ListFile) -> Path:
            path = scratch / f"{file.sha256.hex()}.parquet"
            mirrors.fetch(Wanted(f"list/files/{path.name}", file.sha256, file.size), path)
            return path

        return cls(parse_manifest(data), sha256, bring)

    def standing(self, subject: LoggedSubject) -> Standing | None:
        """What the list says of a subject; None if it does not name it.

        Raises:
            VerificationError: its file is damaged.
            UnavailableError: its file cannot be fetched.
        """
        match subject:
            case UrlDigest():
                key = int.from_bytes(subject.key[:8])
                bits = self.manifest.prefix_bits
                table = self._table(url_file(key >> (64 - bits) if bits else 0))
                rows = None if table is None else pc.equal(table["key"], pa.scalar(key, pa.uint64()))
            case PrefixRule():
                table = self._table("prefixes.parquet")
                rows = None if table is None else pc.equal(table["prefix"], subject.prefix)
            case HostRule():
                table = self._table("hosts.parquet")
                rows = None if table is None else pc.equal(table["host"], subject.host)
            case ImageDigest():
                table = self._table("images.parquet")
                rows = None if table is None else _image_rows(table, subject)
        found = table.filter(rows) if table is not None else None
        if found is None or not found.num_rows:
            return None
        row = found.slice(0, 1).to_pylist()[0]
        return Standing(_PREFERENCES[row["preference"]], ASSURANCES[row["assurance"]], row["since"])

    def _table(self, name: str) -> pa.Table | None:
        file = self.manifest.files.get(name)
        if file is None:
            return None
        if name not in self._tables:
            table = read_table(self._bring(file), table_of(name), name)
            check_content(table, name, file, name)
            self._tables = {name: table}  # one at a time: a claim's subjects of one file mostly come together
        return self._tables[name]


class LogAtHand:
    """The log as a site, a mirror or a copy on disk has it, under the newest checkpoint there."""

    def __init__(self, read: Callable[[str, int], bytes], verifier: Verifier) -> None:
        """Read and check the checkpoint.

        Args:
            read: (path below `log/`, most bytes) -> content; NotFoundError if there is none.
            verifier: the log's key.

        Raises:
            VerificationError: it is not signed by this key.
            HeldoutError: as `read`.
        """
        self.checkpoint: Checkpoint = open_checkpoint(read("checkpoint", MAX_NOTE_SIZE), verifier)
        self._tree = TileReader(lambda path: read(path, _MAX_BUNDLE), self.checkpoint.size)

    @classmethod
    def of_site(cls, downloads: Downloads, base: str, verifier: Verifier) -> "LogAtHand":
        """The log below `log/` of a site or mirror."""
        return cls(lambda path, limit: downloads.read(f"{base}/log/{path}", limit), verifier)

    def covers(self, size: int) -> bool:
        """Whether a tree of this size can be compared."""
        return size <= self.checkpoint.size

    def check_grew_from(self, size: int, root: bytes, whose: str) -> None:
        """Check that a tree is the beginning of this log.

        Raises:
            VerificationError: it is not: the log has shown two histories, or somebody made one up.
        """
        try:
            proof = self._tree.consistency_proof(size)
            verify_consistency(size, root, self.checkpoint.size, self.checkpoint.root, proof)
        except (VerificationError, NotFoundError) as error:
            raise VerificationError(
                f"{whose} is not a beginning of the log that {self.checkpoint.origin} shows now ({error}): keep every "
                "file; two checkpoints that contradict each other prove that the log was rewritten"
            ) from error

    def leaf(self, index: int) -> object:
        """The entry at an index, proved to be in the log. Raises VerificationError."""
        if index >= self.checkpoint.size:
            raise VerificationError(f"the log has no entry {index}: it has {self.checkpoint.size}")
        entry = self._tree.entries(index // TILE_WIDTH)[index % TILE_WIDTH]
        proof = self._tree.inclusion_proof(index)
        verify_inclusion(leaf_hash(entry), index, self.checkpoint.size, proof, self.checkpoint.root)
        return parse_leaf(entry)


def find_version(path: Path, manifest_sha256: str) -> str | None:
    """Name of the version of a pulled list that has this manifest; None if it holds none."""
    folder = ListFolder(path)
    current = folder.current_name()
    names = sorted(child.name for child in folder.versions.iterdir() if not child.name.startswith("."))
    for name in [current, *names]:
        file = folder.versions / name / MANIFEST
        if file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == manifest_sha256:
            return name
    return None


def _image_rows(table: pa.Table, subject: ImageDigest) -> pa.ChunkedArray:
    same = pc.equal(table["pdq"], pa.scalar(subject.pdq, table["pdq"].type))
    column = table["sha256"]
    if subject.sha256 is None:
        return pc.and_(same, pc.is_null(column))
    return pc.and_(same, pc.fill_null(pc.equal(column, pa.scalar(subject.sha256, column.type)), False))  # noqa: FBT003
