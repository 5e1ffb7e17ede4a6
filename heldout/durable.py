"""Files that are there whole or not at all: written beside, synced, renamed."""

import glob
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path

from heldout.errors import ConflictError

PART_SUFFIX = ".part"


@contextmanager
def replacing(path: Path) -> Iterator[BufferedRandom]:
    """A file to write; it takes `path`'s place when the block ends well, and leaves no trace when it does not.

    The folder must exist. After a crash a file `.<name>.<random>.part` may stay behind.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART_SUFFIX}")
    try:
        with temporary.open("x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_durably(path: Path, data: bytes) -> None:
    """Write a small file, atomically."""
    with replacing(path) as file:
        file.write(data)


def remove_parts(path: Path) -> None:
    """Remove what writers of this file that were killed left behind. None may be at work."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.*{PART_SUFFIX}"):
        part.unlink(missing_ok=True)


def sync_folder(path: Path) -> None:
    """Make renames in a folder survive a power failure, where the platform can."""
    if sys.platform == "win32":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file for the length of the block.

    Raises:
        ConflictError: another process holds it.
    """
    with path.open("wb") as file:
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise ConflictError(f"another process is at work in {path.parent}: wait for it") from error
        yield
