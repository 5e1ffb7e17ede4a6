"""Old generations: kept while somebody has them open or may go back to them, removed when an index is built after that.

A reader holds a shared lock on a generation's manifest for as long as it has the generation open, on this machine or on
another that shares the file system's locks; what is locked is never removed. (On Linux a mapped file would outlive its
name, but not on every file system, and a page that is opened later would be missing.)
"""

import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from heldout.errors import NotFoundError
from indexer.manifest import MANIFEST_FILE

log = logging.getLogger(__name__)

KEEP: Final = 2
"""Generations kept: the current one, and the one before for visitors who are turning its pages."""
_REMOVED: Final = ".removed"


class Hold:
    """A reader's hold on a generation's folder, until `release`.

    A file system without locks gives none: prune by hand there.
    """

    def __init__(self, folder: Path) -> None:
        """Take hold.

        Raises:
            NotFoundError: the generation is being removed at this moment.
        """
        self._descriptor: int | None = os.open(folder / MANIFEST_FILE, os.O_RDONLY)
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError as error:
                self.release()
                raise NotFoundError(f"{folder} is being removed: open the current generation") from error
            except OSError:
                log.warning("generation_not_held", extra={"folder": str(folder)})

    def release(self) -> None:
        """Let go; once is enough."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def __del__(self) -> None:
        self.release()


def prune(folder: Path, current: int, *, keep: int = KEEP) -> list[int]:
    """Remove generations below `folder` but the `keep` newest, the current one and those held; their numbers.

    Only one process may prune at a time: the one that builds.
    """
    for left in folder.glob(f".*{_REMOVED}"):  # of a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    numbers = sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())
    removed = []
    for number in numbers[: max(0, len(numbers) - max(keep, 1))]:
        path = folder / str(number)
        if number == current:
            continue
        with _claimed(path) as is_free:
            if not is_free:
                continue
            hidden = folder / f".{number}{_REMOVED}"
            path.rename(hidden)
        shutil.rmtree(hidden)
        removed.append(number)
    return removed


@contextmanager
def _claimed(folder: Path) -> Iterator[bool]:
    """Whether nobody reads it, and nobody can begin to inside the block.

    A folder without a manifest cannot be opened by anyone.
    """
    if sys.platform == "win32" or not (folder / MANIFEST_FILE).is_file():
        yield True
        return
    import fcntl

    descriptor = os.open(folder / MANIFEST_FILE, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            is_free = False
        else:
            is_free = True
        yield is_free
    finally:
        os.close(descriptor)
