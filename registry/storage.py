"""Where the log and the list lie: an object store for immutable files, and a checkpoint that moves by compare-and-swap.

`FileStore` keeps both in a folder that any web server can serve. Whatever the protocols say is durable on return is
so after a power cut: temporary file, fsync, rename, fsync of the folder.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from heldout.errors import ConflictError, InputError, NotFoundError, UnavailableError
from heldout.layout import CHECKPOINT_PATH

TEMPORARY_PREFIX = ".tmp-"


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
        """Remove a file if it is there."""


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
            raise NotFoundError(f"there is no {path} in {self.root}") from error
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
            raise ConflictError(f"{path} in {self.root} is there with another content: immutable files never change")

    def replace(self, path: str, data: bytes) -> None:
        """As `ObjectStore.replace`."""
        target = self._resolve(path)
        temporary = target.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")
        try:
            _make_folders(target.parent)
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
            _sync_folder(target.parent)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise UnavailableError(f"{path} cannot be written to {self.root} ({error}): check the disk") from error

    def discard(self, path: str) -> None:
        """As `ObjectStore.discard`; removes folders that become empty."""
        target = self._resolve(path)
        target.unlink(missing_ok=True)
        with suppress(OSError):  # not empty
            target.parent.rmdir()

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
        with file_lock(self._lock_path):
            if self.load() != old:
                raise ConflictError("the checkpoint was moved by another sequencer: read it again")
            self._store.replace(CHECKPOINT_PATH, new)


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock among the processes and threads of this machine; freed when a process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make_folders(folder: Path) -> None:
    """Make a folder and its parents, durable on return."""
    missing = [folder, *folder.parents]
    missing = missing[: next((i for i, path in enumerate(missing) if path.is_dir()), len(missing))]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
