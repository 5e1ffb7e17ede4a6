"""Bounded downloads over httpx, and python-tuf's fetcher made of them. The transport can be given, as tests do.

What arrives is untrusted: the callers check it. Here it is only kept from being endless or hanging.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import IO, Self

import httpx
from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.ngclient.fetcher import FetcherInterface

from heldout import __version__
from heldout.errors import InputError, NotFoundError, UnavailableError, VerificationError

TIMEOUT_S = 30.0
"""For connecting, and between two bytes."""

_CHUNK_BYTES = 1024 * 1024


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

    @contextmanager
    def stream(self, url: str) -> Iterator[Iterator[bytes]]:
        """Chunks of what is at a URL.

        Raises:
            InputError: not a URL that can be asked.
            NotFoundError: the server says there is nothing (404, 403, 410).
            UnavailableError: no answer, a broken one, or another status.
        """
        try:
            with self._client.stream("GET", url) as response:
                if response.status_code in {403, 404, 410}:
                    raise NotFoundError(f"{url} does not exist (status {response.status_code}): check the address")
                if response.status_code != 200:
                    raise UnavailableError(f"{url} answered with status {response.status_code}: try again later")
                yield response.iter_bytes(_CHUNK_BYTES)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise InputError(f"{url} cannot be fetched ({error}): give an http or https URL") from error
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise UnavailableError(
                f"{url} could not be fetched ({reason}): check the connection and try again"
            ) from error

    def read(self, url: str, max_bytes: int) -> bytes:
        """All of a small file.

        Raises:
            VerificationError: it is longer than `max_bytes`.
            InputError, NotFoundError, UnavailableError: as `stream`.
        """
        data = bytearray()
        with self.stream(url) as chunks:
            for chunk in chunks:
                data += chunk
                if len(data) > max_bytes:
                    raise VerificationError(f"{url} is longer than the {max_bytes} bytes it may have")
        return bytes(data)

    def copy(self, url: str, max_bytes: int, file: IO[bytes]) -> None:
        """A large file's bytes into an open file.

        Raises:
            VerificationError: it is longer than `max_bytes`.
            InputError, NotFoundError, UnavailableError: as `stream`.
        """
        n_bytes = 0
        with self.stream(url) as chunks:
            for chunk in chunks:
                n_bytes += len(chunk)
                if n_bytes > max_bytes:
                    raise VerificationError(f"{url} is longer than the {max_bytes} bytes it may have")
                file.write(chunk)


class TufFetcher(FetcherInterface):
    """python-tuf's view of `Downloads`."""

    def __init__(self, downloads: Downloads) -> None:
        self._downloads = downloads

    def _fetch(self, url: str) -> Iterator[bytes]:
        # A generator: what goes wrong while reading has to be translated too, not only while connecting.
        try:
            with self._downloads.stream(url) as chunks:
                yield from chunks
        except NotFoundError as error:
            raise DownloadHTTPError(str(error), 404) from error
        except (InputError, UnavailableError) as error:
            raise DownloadError(str(error)) from error
