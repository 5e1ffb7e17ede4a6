"""Bounded downloads, and python-tuf's fetcher made of them: over HTTP (httpx), from a folder, from an object store.

The URL's scheme says which: `http`, `https`; `file`; any other is a file system's (`heldout.object_stores`). What
arrives is untrusted: the callers check it. Here it is only kept from being endless or hanging. The HTTP transport can
be given, as tests do.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import urlsplit
from urllib.request import url2pathname

import httpx
from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.ngclient.fetcher import FetcherInterface

from heldout import __version__
from heldout.errors import InputError, NotFoundError, UnavailableError, VerificationError
from heldout.object_stores import Object

TIMEOUT_S = 30.0
"""For connecting, and between two bytes."""

_CHUNK_BYTES = 1024 * 1024
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-", re.ASCII)


@dataclass(frozen=True)
class Arriving:
    """A file's bytes, on their way."""

    start: int
    """Where in the file they begin: where they were asked for, or 0 if the server does not serve parts."""
    chunks: Iterator[bytes]


class Downloads:
    """One HTTP client for one pull."""

    def __init__(self, transport: httpx.BaseTransport | None = None) -> None:
        self._client = httpx.Client(
            transport=transport,
            timeout=TIMEOUT_S,
            follow_redirects=True,
            headers={"User-Agent": f"heldout/{__version__}", "Accept-Encoding": "identity"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close()

    def stream(self, url: str, start: int = 0) -> AbstractContextManager[Arriving]:
        """What is at a URL, from this byte on if the server can.

        Raises:
            InputError: not a URL that can be asked; an extra is missing.
            NotFoundError: there is nothing, or the server does not show it (404, 403, 410).
            UnavailableError: no answer, a broken one, or another status.
        """
        scheme = url.partition("://")[0].lower()
        if scheme == "file":
            return _stream_file(url, start)
        if scheme in {"http", "https", url.lower()}:
            return self._stream_http(url, start)
        return _stream_object(url, start)

    def read(self, url: str, max_bytes: int) -> bytes:
        """All of a small file.

        Raises:
            VerificationError: it is longer than `max_bytes`.
            InputError, NotFoundError, UnavailableError: as `stream`.
        """
        data = bytearray()
        with self.stream(url) as arriving:
            for chunk in arriving.chunks:
                data += chunk
                if len(data) > max_bytes:
                    raise VerificationError(f"{url} is longer than the {max_bytes} bytes it may have")
        return bytes(data)

    def complete(self, url: str, size: int, file: IO[bytes], told: Callable[[int], None] = lambda _: None) -> None:
        """The rest of a large file of known size, after what `file` has of it already.

        Where the connection breaks it goes on, as long as each try brings something. If the server does not serve
        parts, it begins again. What is in the file stays there on failure, for the next time.

        Args:
            url: where it is.
            size: bytes it must have in the end.
            file: open for reading and writing.
            told: called with the bytes there are, from time to time.

        Raises:
            VerificationError: it is longer or shorter.
            InputError, NotFoundError, UnavailableError: as `stream`.
        """
        while True:
            start = file.seek(0, os.SEEK_END)
            if start > size:
                start = 0
                _begin_again(file)
            if start == size:
                return
            try:
                with self.stream(url, start) as arriving:
                    if arriving.start != start:
                        _begin_again(file)
                    _append(arriving.chunks, url, size, file, told)
            except UnavailableError:
                if file.tell() <= start:
                    raise
            else:
                if file.tell() < size:
                    raise VerificationError(f"{url} has {file.tell()} bytes instead of {size}")

    @contextmanager
    def _stream_http(self, url: str, start: int) -> Iterator[Arriving]:
        headers = {"Range": f"bytes={start}-"} if start else {}
        try:
            with self._client.stream("GET", url, headers=headers) as response:
                is_part = response.status_code == 206
                is_other = (is_part and _start_of(response) != start) or (start > 0 and response.status_code == 416)
                if not is_other:
                    _check_status(url, response.status_code)
                    # As they come: what httpx gathered into larger chunks would be lost when a connection breaks.
                    yield Arriving(start if is_part else 0, response.iter_bytes())
                    return
            with self._client.stream(
                "GET", url
            ) as response:  # it is shorter than what there is of it, or another part came
                _check_status(url, response.status_code)
                yield Arriving(0, response.iter_bytes())
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise InputError(
                f"{url} cannot be fetched ({error}): give http or https, an object store's s3://... or a folder"
            ) from error
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise UnavailableError(
                f"{url} could not be fetched ({reason}): check the connection and try again"
            ) from error


class TufFetcher(FetcherInterface):
    """python-tuf's view of `Downloads`."""

    def __init__(self, downloads: Downloads) -> None:
        self._downloads = downloads

    def _fetch(self, url: str) -> Iterator[bytes]:
        # A generator: what goes wrong while reading has to be translated too, not only while connecting.
        try:
            with self._downloads.stream(url) as arriving:
                yield from arriving.chunks
        except NotFoundError as error:
            raise DownloadHTTPError(str(error), 404) from error
        except (InputError, UnavailableError) as error:
            raise DownloadError(str(error)) from error


def base_url(place: str) -> str:
    """A site's or mirror's base address, as given: a URL, or a folder of this machine. Without a slash at the end.

    Raises:
        InputError: it is neither.
    """
    if "://" in place:
        return place.rstrip("/")
    if Path(place).is_dir():
        return Path(place).absolute().as_uri().rstrip("/")
    raise InputError(f"{place} is neither a URL with http:// or https:// nor a folder: give the address of the site")


def _begin_again(file: IO[bytes]) -> None:
    file.seek(0)
    file.truncate()


def _append(chunks: Iterator[bytes], url: str, size: int, file: IO[bytes], told: Callable[[int], None]) -> None:
    for chunk in chunks:
        if file.tell() + len(chunk) > size:
            raise VerificationError(f"{url} is longer than the {size} bytes it may have")
        file.write(chunk)
        told(file.tell())


def _start_of(response: httpx.Response) -> int | None:
    match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _check_status(url: str, status: int) -> None:
    if status in {403, 404, 410}:
        raise NotFoundError(f"{url} does not exist (status {status}): check the address")
    if status not in {200, 206}:
        raise UnavailableError(f"{url} answered with status {status}: try again later")


@contextmanager
def _stream_file(url: str, start: int) -> Iterator[Arriving]:
    path = Path(url2pathname(urlsplit(url).path))
    try:
        file = path.open("rb")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise NotFoundError(f"{path} does not exist: check the address") from error
    except (OSError, ValueError) as error:
        raise UnavailableError(f"{path} cannot be read ({error}): check the disk") from error
    with file:
        file.seek(start)
        yield Arriving(start, _reading(path, file))


def _reading(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    try:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
    except OSError as error:
        raise UnavailableError(f"{path} cannot be read ({error}): check the disk") from error


@contextmanager
def _stream_object(url: str, start: int) -> Iterator[Arriving]:
    yield Arriving(start, Object.find(url).read(start))
