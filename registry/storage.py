"""Where the log and the list lie: an object store for immutable files, and a checkpoint that moves by compare-and-swap.

`FileStore` keeps both in a folder that any web server can serve. Whatever the protocols say is durable on return is
so after a power cut (`heldout.durable`). Messages name files as the protocols do, never a folder of the machine, but
for failures of the disk.
"""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from heldout.durable import locked, make_folders, sweep_parts, write_durably
from heldout.errors import ConflictError, InputError, NotFoundError, UnavailableError
from heldout.layout import CHECKPOINT_PATH


class ObjectStore(Protocol):
    """Files by relative path, as `tile/0/000`."""

    def read(self, path: str) -> bytes:
        """Content. Raises NotFoundError if there is none."""

    def write(self, path: str, data: bytes) -> None:
        """Create an immutable file, durable on return. Writing the same again changes nothing.

        Raises:
            ConflictError: there is another content under this path.
            UnavailableError: the disk failed; nothing or all of it is there.
        """

    def replace(self, path: str, data: bytes) -> None:
        """Create or replace a file, at once and durable on return. Raises UnavailableError as `write`."""

    def discard(self, path: str) -> None:
        """Remove a file if it is there. Raises UnavailableError: the disk failed."""

    def iter_files(self, folder: str) -> Iterator[tuple[str, datetime]]:
        """Path and time of writing of every file right in a folder. Raises UnavailableError: the disk failed."""


class CheckpointStore(Protocol):
    """The one place where the log's newest checkpoint is."""

    def load(self) -> bytes | None:
        """The signed note, or None before the first."""

    def compare_and_swap(self, old: bytes | None, new: bytes) -> None:
        """Move from `old` to `new`, durable on return.

        Raises:
            ConflictError: it is not `old` any more; another sequencer moved it.
            UnavailableError: the disk failed; it is `old` or `new`.
        """


class FileStore:
    """An object store in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, path: str) -> bytes:
        """As `ObjectStore.read`."""
        try:
            return self._resolve(path).read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFoundError(f"there is no {path}") from error
        except OSError as error:
            raise UnavailableError(f"{path} in {self.root} cannot be read ({error}): check the disk") from error

    def write(self, path: str, data: bytes) -> None:
        """As `ObjectStore.write`."""
        try:
            existing = self.read(path)
        except NotFoundError:
            self.replace(path, data)
            return
        if existing != data:
            raise ConflictError(f"{path} is there with another content: immutable files never change")

    def replace(self, path: str, data: bytes) -> None:
        """As `ObjectStore.replace`."""
        target = self._resolve(path)
        try:
            make_folders(target.parent)
            write_durably(target, data)
        except OSError as error:
            raise UnavailableError(f"{path} cannot be written to {self.root} ({error}): check the disk") from error

    def discard(self, path: str) -> None:
        """As `ObjectStore.discard`; removes folders that become empty."""
        target = self._resolve(path)
        try:
            target.unlink(missing_ok=True)
        except NotADirectoryError:
            return
        except OSError as error:
            raise UnavailableError(f"{path} cannot be removed from {self.root} ({error}): check the disk") from error
        with suppress(OSError):  # not empty
            target.parent.rmdir()

    def iter_files(self, folder: str) -> Iterator[tuple[str, datetime]]:
        """As `ObjectStore.iter_files`, without what is being written."""
        try:
            for path in sorted(self._resolve(folder).iterdir()):
                if path.is_file() and not path.name.startswith("."):
                    yield f"{folder}/{path.name}", datetime.fromtimestamp(path.stat().st_mtime, UTC)
        except FileNotFoundError:
            return
        except OSError as error:
            raise UnavailableError(f"{folder} in {self.root} cannot be read ({error}): check the disk") from error

    def sweep(self) -> int:
        """Remove what writes left behind that a power cut ended; how many there were. Others may be at work."""
        try:
            return sweep_parts(self.root)
        except OSError as error:
            raise UnavailableError(f"{self.root} cannot be swept ({error}): check the disk") from error

    def _resolve(self, path: str) -> Path:
        parts = path.split("/")
        if not all(parts) or any(part.startswith(".") for part in parts):
            raise InputError(f"{path!r} is not a path inside a store: give a relative path without dots")
        return self.root.joinpath(*parts)


class FileCheckpointStore:
    """The checkpoint as a file; compare-and-swap under a lock file that other processes on this machine honour."""

    def __init__(self, root: Path, lock_path: Path) -> None:
        self._store = FileStore(root)
        self._lock_path = lock_path

    def load(self) -> bytes | None:
        """As `CheckpointStore.load`."""
        try:
            return self._store.read(CHECKPOINT_PATH)
        except NotFoundError:
            return None

    def compare_and_swap(self, old: bytes | None, new: bytes) -> None:
        """As `CheckpointStore.compare_and_swap`."""
        with locked(self._lock_path, wait=True):
            if self.load() != old:
                raise ConflictError("the checkpoint was moved by another sequencer: read it again")
            self._store.replace(CHECKPOINT_PATH, new)
