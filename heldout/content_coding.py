"""Undo `Content-Encoding` (RFC 9110 §8.4.1) without letting a small body become an endless one."""

import zlib
from typing import Final

import pyarrow as pa

_MAX_LAYERS: Final = 2
_ZLIB_OR_GZIP: Final = 32 + zlib.MAX_WBITS
_ARROW: Final = {"br": "brotli", "zstd": "zstd"}


class CodingError(Exception):
    """The coding is unknown, damaged, or its content too large (`too_large`)."""

    def __init__(self, reason: str, *, too_large: bool = False) -> None:
        super().__init__(reason)
        self.too_large = too_large


def decode_content(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """The body as it was before its codings, at most `max_bytes`; memory stays near that.

    Raises:
        CodingError: see there.
    """
    codings = [name for part in encoding.split(",") if (name := part.strip().lower()) not in {"", "identity"}]
    if len(codings) > _MAX_LAYERS:
        raise CodingError(f"the body is encoded {len(codings)} times")
    for coding in reversed(codings):
        if not body:
            break
        body = _decode(body, coding, max_bytes)
        if len(body) > max_bytes:
            raise CodingError(f"more than {max_bytes:,} bytes when decoded ({coding})", too_large=True)
    return body


def _decode(body: bytes, coding: str, max_bytes: int) -> bytes:
    try:
        if coding in {"gzip", "x-gzip"}:
            return _inflate(body, _ZLIB_OR_GZIP, max_bytes)
        if coding == "deflate":  # means zlib; some servers send it without header
            wrapped = len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
            return _inflate(body, zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS, max_bytes)
        if coding in _ARROW:
            with pa.CompressedInputStream(pa.BufferReader(body), _ARROW[coding]) as stream:
                return bytes(stream.read(max_bytes + 1))
    except (zlib.error, OSError, EOFError) as error:
        raise CodingError(f"the body is no {coding} ({error})") from error
    raise CodingError(f"the body is encoded as {coding[:50]!a}, which was not asked for")


def _inflate(body: bytes, window: int, max_bytes: int) -> bytes:
    """One or more gzip members, or a zlib stream; what follows them is left out."""
    out = bytearray()
    while body:
        inflater = zlib.decompressobj(window)
        try:
            out += inflater.decompress(body, max_bytes + 1 - len(out))
        except zlib.error:
            if out:  # no further member
                break
            raise
        if len(out) > max_bytes:
            break
        if not inflater.eof:
            raise zlib.error("it ends too early")
        body = inflater.unused_data
    return bytes(out)
