"""Where data files are taken from: mirrors in the order given, then the site itself. None of them is trusted.

A file's digest is known before it is fetched. A mirror that does not answer, or whose bytes are other ones, is told of
and not asked again in this pull. What a broken connection or a killed program left of a file is gone on with, from
whichever mirror: if the whole then has the wrong digest it is fetched anew before anybody is blamed.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path
from typing import Final

from heldout.download import Downloads
from heldout.durable import sync_folder
from heldout.errors import HeldoutError, NotFoundError, UnavailableError, VerificationError

PARTIAL_SUFFIX: Final = ".partial"
SPARE_BYTES: Final = 4 * 1024 * 1024
"""Room on the disk for what is not data: metadata, manifest, proof."""


@dataclass(frozen=True)
class Wanted:
    """A file whose digest is known."""

    path: str
    """Below a mirror's base address."""
    sha256: bytes
    size: int
    """Bytes."""


class Mirrors:
    """The places to take files from, for one pull."""

    def __init__(self, downloads: Downloads, bases: Sequence[str]) -> None:
        """Know the places.

        Args:
            downloads: the way to fetch.
            bases: base addresses in the order to ask them, the site's own last.
        """
        self._downloads = downloads
        self._bases = list(bases)
        self.n_bytes = 0
        """Fetched so far, by files that arrived."""
        self.refused: dict[str, HeldoutError] = {}
        """Places that failed, and why; they are not asked again."""

    def fetch(self, wanted: Wanted, target: Path, told: Callable[[int], None] = lambda _: None) -> None:
        """Bring a file to `target`, whole and proved, or not at all.

        Args:
            wanted: the file.
            target: takes its place in one step; its folder must exist.
            told: called with the bytes there are, from time to time.

        Raises:
            VerificationError: nobody has it, and somebody has another under its name.
            NotFoundError: all answer, and nobody has it.
            UnavailableError: of those that answer nobody has it.
            OSError: the disk failed.
        """
        errors: list[HeldoutError] = []
        for base in [base for base in self._bases if base not in self.refused]:
            try:
                self._fetch_from(f"{base}/{wanted.path}", wanted, target, told)
            except NotFoundError as error:  # a mirror may be behind, and have the other files
                errors.append(error)
            except (UnavailableError, VerificationError) as error:
                errors.append(error)
                self.refused[base] = error
            else:
                self.n_bytes += wanted.size
                return
        is_nowhere = bool(errors) and all(isinstance(error, NotFoundError) for error in errors)
        errors = errors or list(self.refused.values())
        text = "; ".join(str(error) for error in errors)
        if is_nowhere and not self.refused:
            raise NotFoundError(text)
        if any(isinstance(error, VerificationError) for error in errors):
            raise VerificationError(text)
        raise UnavailableError(text)

    def ask_site_again(self) -> None:
        """Give the site another chance, though it failed with one file: others may be whole."""
        self.refused.pop(self._bases[-1], None)

    def _fetch_from(self, url: str, wanted: Wanted, target: Path, told: Callable[[int], None]) -> None:
        partial = partial_path(target.parent, wanted)
        with partial.open("a+b") as stream:
            had = stream.seek(0, os.SEEK_END)
            self._complete(url, wanted, stream, told)
            if not _is_it(stream, wanted):
                _empty(stream)  # what is known to be wrong is not gone on with
                if had:
                    self._complete(url, wanted, stream, told)
                if not had or not _is_it(stream, wanted):
                    _empty(stream)
                    raise VerificationError(f"{url} is not the file that was signed for: it was changed")
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(target)
        sync_folder(target.parent)

    def _complete(self, url: str, wanted: Wanted, stream: BufferedRandom, told: Callable[[int], None]) -> None:
        try:
            self._downloads.complete(url, wanted.size, stream, told)
        except VerificationError:  # it has another length
            _empty(stream)
            raise


def partial_path(folder: Path, wanted: Wanted) -> Path:
    """Where a file is kept until all of it is there: of the same name whichever version of the list asks for it."""
    return folder / f".{wanted.sha256.hex()}{PARTIAL_SUFFIX}"


def check_room(folder: Path, files: Iterable[Wanted]) -> None:
    """See that the disk has room for files that are to be fetched into a folder, before anything is fetched.

    Raises:
        UnavailableError: it has not.
    """
    needed = SPARE_BYTES
    for wanted in files:
        had = 0
        with suppress(FileNotFoundError):
            had = partial_path(folder, wanted).stat().st_size
        needed += max(0, wanted.size - had)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UnavailableError(
            f"the disk of {folder} has {free:,} bytes free, the new list needs {needed:,} beside the old one: make "
            "room and pull again; the list at hand was kept"
        )


def _is_it(stream: BufferedRandom, wanted: Wanted) -> bool:
    stream.flush()
    stream.seek(0)
    return hashlib.file_digest(stream, hashlib.sha256).digest() == wanted.sha256 and stream.tell() == wanted.size


def _empty(stream: BufferedRandom) -> None:
    stream.seek(0)
    stream.truncate()
