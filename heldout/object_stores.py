"""Files on an object store or any other fsspec file system (`s3://`, `gs://`, ...): found, and read from some byte on.

Credentials and end points are the file system's own business: its environment variables and configuration files.
Needs the extra heldout[remote].
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from heldout.errors import InputError, NotFoundError, UnavailableError

BLOCK: Final = 8 * 1024 * 1024
"""Bytes asked for at once, and held."""
_REFUSALS: Final = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError", "ProfileNotFound"}
)
"""Errors of botocore that another try cannot mend."""


@dataclass(frozen=True)
class Object:
    """A file there, of the size it had when it was found."""

    url: str
    size: int
    _file_system: Any
    _path: str

    @classmethod
    def find(cls, url: str) -> "Object":
        """The file at a URL.

        Raises:
            InputError: its file system is not installed, or has no credentials.
            NotFoundError: there is none, or it may not be read.
            UnavailableError: the file system does not answer.
        """
        file_system, path = open_file_system(url)
        try:
            said = file_system.info(path)
        except Exception as error:
            raise _told(error, url) from error
        if said.get("type") != "file":
            raise NotFoundError(f"{url} is a folder: give the address of a site or mirror, which has list/ and log/")
        return cls(url, int(said["size"]), file_system, path)

    def read(self, start: int = 0) -> Iterator[bytes]:
        """Its bytes from this one on, block by block.

        Raises:
            NotFoundError: it went.
            UnavailableError: the file system does not answer, or not with all of them.
        """
        while start < self.size:
            try:
                end = min(start + BLOCK, self.size)
                block: bytes = self._file_system.cat_file(self._path, start=start, end=end)
            except Exception as error:
                raise _told(error, self.url) from error
            if not block:
                raise UnavailableError(f"{self.url} ended at {start} of {self.size} bytes: try again")
            yield block
            start += len(block)


def open_file_system(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it.

    Raises:
        InputError: it is not installed.
    """
    try:
        import fsspec
    except ImportError as error:
        raise InputError(f"{url} needs fsspec: install heldout[remote]") from error
    try:
        file_system, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:  # no such protocol, or its package is missing
        raise InputError(f"{url} cannot be opened ({error}): install the file system's package") from error
    except OSError as error:  # some connect at once
        raise UnavailableError(f"{url} cannot be reached ({error}): check the address and the connection") from error
    return file_system, path


def _told(error: Exception, url: str) -> Exception:
    """Every file system raises its own."""
    if isinstance(error, FileNotFoundError | PermissionError):  # without the right to list, S3 says it is forbidden
        return NotFoundError(f"{url} does not exist, or may not be read ({error}): check address and credentials")
    if type(error).__name__ in _REFUSALS:
        return InputError(f"{url} refuses access ({error}): check the credentials of its file system")
    return UnavailableError(f"{url} could not be read ({type(error).__name__}: {error}): check the connection")
