import gzip
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout.content_coding import CodingError, decode_content

CODINGS: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": lambda body: pa.compress(body, codec="brotli", asbytes=True),
    "zstd": lambda body: pa.compress(body, codec="zstd", asbytes=True),
}


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


@given(st.sampled_from(sorted(CODINGS)), st.binary(min_size=1, max_size=5000))
def test_a_coding_is_undone(coding: str, body: bytes) -> None:
    assert decode_content(CODINGS[coding](body), coding.upper(), len(body)) == body
    with pytest.raises(CodingError) as refused:
        decode_content(CODINGS[coding](body), coding, len(body) - 1)
    assert refused.value.too_large


@given(st.binary(min_size=1, max_size=5000))
def test_deflate_without_its_header_and_layers_are_undone(body: bytes) -> None:
    assert decode_content(raw_deflate(body), "deflate", 5000) == body
    assert decode_content(gzip.compress(CODINGS["br"](body)), "br, gzip", 6000) == body
    assert decode_content(body, "identity", 5000) == body
    with pytest.raises(CodingError, match="3 times"):
        decode_content(body, "gzip, gzip, gzip", 5000)


def test_gzip_members_follow_each_other_and_what_follows_them_is_left_out() -> None:
    assert decode_content(gzip.compress(b"a" * 10) + gzip.compress(b"b"), "gzip", 100) == b"a" * 10 + b"b"
    assert decode_content(gzip.compress(b"a") + b"padding", "gzip", 100) == b"a"


@pytest.mark.parametrize("coding", sorted(CODINGS))
def test_what_is_cut_short_or_unknown_is_refused(coding: str) -> None:
    packed = CODINGS[coding](bytes(range(256)) * 20)
    for bad in (packed[:-1], packed[: len(packed) // 2], packed[:2], b"\xff" * 50):
        with pytest.raises(CodingError):
            decode_content(bad, coding, 100_000)
    with pytest.raises(CodingError, match="not asked for"):
        decode_content(packed, "compress", 100_000)


@given(st.sampled_from([*CODINGS, "br, zstd"]), st.binary(max_size=2000))
def test_any_bytes_are_decoded_or_refused(coding: str, body: bytes) -> None:
    with suppress(CodingError):
        assert len(decode_content(body, coding, 10_000)) <= 10_000
