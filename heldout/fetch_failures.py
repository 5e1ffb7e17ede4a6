"""What a fetch that failed is called, and what is said of it: without what is particular to one URL."""

import os
import ssl
from typing import Final

import aiohttp
from aiohttp.http_exceptions import PayloadEncodingError

from heldout.connections import RefusedAddressError
from heldout.fetch_limits import FetchLimits

NOT_PUBLIC: Final = "the host has an address that is not public"


def describe_failure(error: Exception, limits: FetchLimits) -> tuple[str, str]:
    """Status and reason of what aiohttp, the system or the clock raised."""
    if isinstance(error, TimeoutError):
        return "timeout", _which_time(error, limits)
    if isinstance(error, aiohttp.ClientConnectorError):
        return _no_connection(error)
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "reset", "the server closed the connection without an answer"
    if isinstance(error, aiohttp.ClientPayloadError) and isinstance(
        error.__cause__, PayloadEncodingError | OSError | None
    ):
        return "reset", "the answer broke off"
    if isinstance(error, OSError):
        return "reset", f"the connection broke ({error.strerror or type(error).__name__})"
    said = error.message.partition(":")[0] if isinstance(error, aiohttp.ClientResponseError) else type(error).__name__
    return "bad_response", f"the answer cannot be read ({printable(said)})"


def _which_time(error: TimeoutError, limits: FetchLimits) -> str:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return f"no connection in {limits.connect_s:g} s"
    if isinstance(error, aiohttp.SocketTimeoutError):
        return f"nothing came for {limits.read_s:g} s"
    return f"no whole answer in {limits.total_s:g} s"


def _no_connection(error: aiohttp.ClientConnectorError) -> tuple[str, str]:
    """Status and reason of a connection that was not made."""
    cause = error.os_error
    if isinstance(cause, RefusedAddressError):
        return "refused_address", NOT_PUBLIC
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "dns", f"the name has no address ({cause.strerror or cause})"
    if isinstance(cause, ssl.SSLCertVerificationError):
        said = cause.verify_message.partition(",")[0]
        return "tls", f"the server cannot prove who it is ({said})"
    if isinstance(cause, ssl.SSLError):
        return "tls", f"no secure connection ({cause.reason})"
    return "connect", f"no connection ({os.strerror(cause.errno) if cause.errno else type(cause).__name__})"


def printable(text: str) -> str:
    """In one line, without what a server may have hidden in it."""
    return "".join(char if char.isprintable() else "?" for char in " ".join(text.split())[:200])
