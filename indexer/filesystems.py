"""Source files that lie elsewhere: any fsspec file system (`s3://`, `gs://`, `https://`, ...), listed and brought here.

A shard's bytes are all needed, and tars and parquet files are read in more than one pass, so a remote file is brought
whole to local disk, once, before it is read (`docs/adr/0012-sources.md`). Blocks are asked for by range: memory holds
one of them, and a connection that breaks goes on where it broke. Credentials and end points are the file system's own
business: its environment variables and configuration files.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypeVar

from heldout.errors import InputError, UnavailableError
from heldout.object_stores import open_file_system

log = logging.getLogger(__name__)

BLOCK: Final = 16 * 1024 * 1024
"""Bytes asked for at once."""
ATTEMPTS: Final = 5
"""Tries in a row that bring nothing new before a file system is given up."""
FIRST_PAUSE_S: Final = 0.5
"""Before the second try; doubled for each further one."""
_MARKS: Final = ("ETag", "etag", "md5Hash", "content_md5", "LastModified", "last_modified", "mtime", "updated")
"""What file systems call a file's version or time."""
_REFUSALS: Final = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError", "ProfileNotFound"}
)
"""Errors of botocore that no second try can mend."""

T = TypeVar("T")


@dataclass(frozen=True, order=True)
class RemoteFile:
    """A file on an fsspec file system, as it was listed."""

    url: str
    size: int | None = field(compare=False)
    mark: str | None = field(compare=False)
    """Its ETag or time, as the file system says; changes when the file does."""

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """Last part of the path."""
        return PurePosixPath(self.url).name


Place = Path | RemoteFile
"""A source file, here or elsewhere."""


def is_remote(source: str | Path) -> bool:
    """Whether a source is an fsspec URL rather than a local path."""
    return isinstance(source, str) and "://" in source and not source.startswith("file://")


def plain_url(url: str) -> str:
    """A URL as its file system writes it, without a slash at the end: `s3a://b/x/` is `s3://b/x`.

    Raises:
        InputError: its file system is not installed.
    """
    file_system, path = open_file_system(url)
    return str(file_system.unstrip_protocol(path)).rstrip("/")


def list_files(url: str) -> list[RemoteFile]:
    """All files below a URL, or the one that it names, in order of their URLs.

    Raises:
        InputError: nothing is there, access is refused, or its file system is not installed.
        UnavailableError: the file system does not answer.
    """
    file_system, path = open_file_system(url)

    def find() -> list[RemoteFile]:
        file_system.invalidate_cache()
        if _protocol(url) in {"http", "https"}:  # which have no listings: only the file itself
            return [_remote_file(file_system, path, file_system.info(path))]
        found = file_system.find(path, detail=True)
        if not found:
            raise FileNotFoundError(path)
        return [_remote_file(file_system, name, said) for name, said in found.items() if said.get("type") == "file"]

    return sorted(_retry(find, url))


def find_file(url: str) -> RemoteFile | None:
    """The file that a URL names, or None.

    Raises:
        InputError: access is refused.
        UnavailableError: the file system does not answer.
    """
    try:
        return next((file for file in list_files(url) if file.url == url), None)
    except InputError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


def look_again(file: RemoteFile) -> RemoteFile:
    """The file as it is now.

    Raises:
        InputError: it is gone, or access is refused.
        UnavailableError: the file system does not answer.
    """
    file_system, path = open_file_system(file.url)

    def ask() -> RemoteFile:
        file_system.invalidate_cache()
        return _remote_file(file_system, path, file_system.info(path))

    return _retry(ask, file.url)


def bring(file: RemoteFile, target: Path) -> None:
    """Copy a remote file to `target`, going on where a connection breaks.

    Raises:
        InputError: it is gone, or access is refused.
        UnavailableError: its file system gave up `ATTEMPTS` times at one place.
    """
    file_system, path = open_file_system(file.url)
    with target.open("wb") as out:
        if file.size is not None and file.size <= BLOCK:  # one request instead of three

            def read() -> bytes:
                data: bytes = file_system.cat_file(path)
                if len(data) != file.size:
                    raise OSError(f"{len(data):,} bytes came, {file.size:,} were listed")
                return data

            out.write(_retry(read, file.url))
            return
        failures, reached = 0, 0
        while True:
            try:
                _copy(file_system, path, out, file.size)
            except Exception as error:  # noqa: BLE001 - every file system raises its own
                failures = 0 if out.tell() > reached else failures
                reached = max(reached, out.tell())
                failures = _pause(error, file.url, failures)
            else:
                return


def _copy(file_system: Any, path: str, out: Any, size: int | None) -> None:  # noqa: ANN401 - fsspec and a file
    """Copy from where `out` stands to the end."""
    with file_system.open(path, "rb", block_size=BLOCK, cache_type="readahead") as source:
        if out.tell():
            try:
                source.seek(out.tell())
            except (ValueError, OSError):  # a server that sends files whole or not at all
                out.seek(0)
                out.truncate()
        while block := source.read(BLOCK):
            out.write(block)
    if size is not None and out.tell() != size:
        raise OSError(f"{out.tell():,} bytes came, {size:,} were listed")


def _retry(act: Callable[[], T], url: str) -> T:
    failures = 0
    while True:
        try:
            return act()
        except Exception as error:  # noqa: BLE001 - every file system raises its own
            failures = _pause(error, url, failures)


def _pause(error: Exception, url: str, failures: int) -> int:
    """Wait before another try, and count it.

    Raises:
        InputError: another try cannot help.
        UnavailableError: there were enough.
    """
    if isinstance(error, FileNotFoundError):
        raise InputError(f"{url} does not exist: give shard files or folders of them") from error
    if isinstance(error, PermissionError) or type(error).__name__ in _REFUSALS:
        raise InputError(f"{url} refuses access ({error}): check the credentials of its file system") from error
    failures += 1
    if failures >= ATTEMPTS:
        raise UnavailableError(
            f"{url} could not be read in {ATTEMPTS} tries ({type(error).__name__}: {error}): check the network and "
            f"run again; finished shards are kept"
        ) from error
    log.warning("remote_read_failed", extra={"url": url, "error": str(error), "failures": failures})
    time.sleep(FIRST_PAUSE_S * 2 ** (failures - 1))
    return failures


def _protocol(url: str) -> str:
    return url.partition("://")[0]


def _remote_file(file_system: Any, path: str, said: dict[str, Any]) -> RemoteFile:  # noqa: ANN401 - fsspec
    mark = next((said[name] for name in _MARKS if said.get(name) is not None), None)
    return RemoteFile(file_system.unstrip_protocol(path), said.get("size"), None if mark is None else str(mark))
