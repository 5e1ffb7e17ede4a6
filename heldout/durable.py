"""Files that are there whole or not at all: written beside, synced, renamed."""

import glob
import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedRandom
from pathlib import Path

from heldout.errors import ConflictError, UnavailableError

PART_SUFFIX = ".part"
PART_LIFE_S = 3600.0
"""A part untouched for so long has no writer any more: writing one takes far less."""


@contextmanager
def replacing(path: Path, *, mode: int | None = None) -> Iterator[BufferedRandom]:
    """A file to write; it takes `path`'s place when the block ends well, and leaves no trace when it does not.

    The folder must exist. After a crash a file `.<name>.<random>.part` may stay behind. `mode` is set before anything
    is in the file, so that whoever may not read it never can.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART_SUFFIX}")
    try:
        with temporary.open("x+b") as file:
            if mode is not None:
                temporary.chmod(mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_durably(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Write a small file, atomically."""
    with replacing(path, mode=mode) as file:
        file.write(data)


def remove_parts(path: Path) -> None:
    """Remove what writers of this file that were killed left behind. None may be at work."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.*{PART_SUFFIX}"):
        part.unlink(missing_ok=True)


def sweep_parts(folder: Path) -> int:
    """Remove what writers of any file below a folder left behind when they were killed; how many there were.

    Others may be at work: parts younger than `PART_LIFE_S` stay.
    """
    n_swept = 0
    for where, _, names in os.walk(folder):  # which, unlike `rglob`, bears folders that go meanwhile
        for part in (Path(where, name) for name in names if name.startswith(".") and name.endswith(PART_SUFFIX)):
            with suppress(FileNotFoundError):  # its writer finished, or another sweeps too
                if time.time() - part.stat().st_mtime > PART_LIFE_S:
                    part.unlink()
                    n_swept += 1
    return n_swept


def make_folders(folder: Path) -> None:
    """Make a folder and its parents, durable on return."""
    missing = [folder, *folder.parents]
    missing = missing[: next((i for i, path in enumerate(missing) if path.is_dir()), len(missing))]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


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
def locked(path: Path, *, wait: bool = False, shared: bool = False) -> Iterator[None]:
    """Hold a lock file for the length of the block, alone among processes and threads. A process that dies frees it.

    Args:
        path: its folder must exist; the file stays behind.
        wait: until whoever holds it lets go.
        shared: with others who share it, against those who want it alone.

    Raises:
        ConflictError: someone else holds it, and we do not wait.
        UnavailableError: the file cannot be made.
    """
    try:
        file = path.open("wb")
    except OSError as error:
        raise UnavailableError(f"{path} cannot be written ({error.strerror}): check the disk") from error
    with file:
        if sys.platform != "win32":
            import fcntl

            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            try:
                fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
            except OSError as error:
                raise ConflictError(f"another process is at work in {path.parent}: wait for it") from error
        yield
