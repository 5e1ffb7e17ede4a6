"""Making a version's data files out of an older one's and the deltas between, so that most of a list is not fetched.

Each manifest names the one before it by digest and the delta from it. From the new manifest, which is proved, the way
back to the version at hand is walked by these digests; it must arrive at the very manifest that is at hand. Every file
that is made must hold what the new manifest says. On any doubt the whole files are fetched instead.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from heldout.delta_files import ListDelta, parse_delta, rebuilt_files
from heldout.durable import write_durably
from heldout.errors import NotFoundError, VerificationError
from heldout.list_tables import format_table, table_of
from heldout.manifest import DeltaFile, Manifest, PreviousVersion, parse_manifest
from heldout.mirrors import Mirrors, Wanted, check_room
from heldout.stored import MANIFEST, ListFolder, LoggedManifest, check_content, read_data_file

MAX_STEPS: Final = 100
"""Versions that are gone through at most."""
MAX_SHARE: Final = 0.5
"""Of the bytes of the whole files: what deltas may have, to be worth it."""

ReadManifest = Callable[[str], bytes]
"""Content of a file below the site's address; NotFoundError if there is none."""


@dataclass
class Deltas:
    """The way from the version at hand to the new one."""

    folder: ListFolder
    held: LoggedManifest
    read: ReadManifest
    mirrors: Mirrors
    n_applied: int = field(default=0, init=False)
    """Deltas that the new files were made with."""
    doubt: str | None = field(default=None, init=False)
    """Why whole files had to be fetched after all, in words; None if there was no doubt."""

    def rebuild(self, new: Manifest, missing: int, told: Callable[[int], None]) -> None:
        """Make as many of the new version's files as can be, which need not be all.

        Args:
            new: the new version, proved.
            missing: bytes of the whole files that would have to be fetched.
            told: called with the size of each file that was made.

        Raises:
            UnavailableError: nobody answers, or the disk has no room.
            VerificationError: the new version comes from another history than the version at hand.
        """
        chain = self._chain(new, int(missing * MAX_SHARE))
        if not chain:
            return
        check_room(self.folder.files, [*(_wanted(delta) for _, delta in chain), Wanted("", b"", missing)])
        try:
            deltas = [self._fetch(base, delta) for base, delta in chain]
            for name, table in rebuilt_files(self.held.manifest, new, deltas, self._old_table):
                self._keep(name, table, new)
                told(new.files[name].size)
        except NotFoundError:  # no longer kept by anybody
            return
        except VerificationError as error:
            self.mirrors.ask_site_again()
            self.doubt = f"the changes since version {self.held.manifest.version} could not be used ({error})"
            return
        self.n_applied = len(chain)

    def _chain(self, new: Manifest, most: int) -> list[tuple[PreviousVersion, DeltaFile]]:
        """Deltas from the version at hand to the new one, each after its base; none if some lack or they are too large.

        Raises:
            VerificationError: the way back leads past the version at hand.
        """
        chain: list[tuple[PreviousVersion, DeltaFile]] = []
        version = new
        for _ in range(MAX_STEPS):
            previous = version.previous
            if previous is None or version.delta is None or _size(chain) > most:
                return []
            chain.insert(0, (previous, version.delta))
            if previous.version == self.held.manifest.version:
                if previous.sha256 != self.held.sha256:
                    raise VerificationError(
                        f"list version {new.version} descends from another version {previous.version} than the one at "
                        "hand: two lists were shown under one number; the list at hand was kept"
                    )
                return chain if _size(chain) <= most else []
            if previous.version < self.held.manifest.version:
                return []
            try:
                data = self.read(f"list/targets/{previous.sha256.hex()}.{MANIFEST}")
            except NotFoundError:
                return []
            if hashlib.sha256(data).digest() != previous.sha256:
                self.doubt = f"the manifest of version {previous.version} is served with another content"
                return []
            version = parse_manifest(data)
        return []

    def _fetch(self, base: PreviousVersion, file: DeltaFile) -> ListDelta:
        path = self.folder.files / f".{file.sha256.hex()}.delta"
        try:
            self.mirrors.fetch(_wanted(file), path)
            delta = parse_delta(path.read_bytes())
        finally:
            path.unlink(missing_ok=True)
        if delta.base != base:
            raise VerificationError(f"a delta is from version {delta.base.version}, not from {base.version}")
        return delta

    def _old_table(self, name: str) -> pa.Table:
        file = self.held.manifest.files[name]
        return read_data_file(self.folder.data_file(file), name, file)

    def _keep(self, name: str, table: pa.Table, new: Manifest) -> None:
        file = new.files[name]
        check_content(table, name, file, name)
        write_durably(self.folder.data_file(file), format_table(table, table_of(name)))


def _wanted(delta: DeltaFile) -> Wanted:
    return Wanted(f"list/files/{delta.sha256.hex()}.delta", delta.sha256, delta.size)


def _size(chain: list[tuple[PreviousVersion, DeltaFile]]) -> int:
    return sum(delta.size for _, delta in chain)
