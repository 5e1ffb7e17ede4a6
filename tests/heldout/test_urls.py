import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.errors import InputError
from heldout.urls import (
    CANONICALISATION,
    MAX_KEY_BYTES,
    MAX_URL_CHARS,
    TRACKING_NAMES,
    TRACKING_PREFIXES,
    canonical_key,
    host_of,
    key_digest,
    surt_key,
    surt_range,
)

FORMATS = Path(__file__).parents[2] / "docs" / "formats"
VECTORS = json.loads((FORMATS / "url-canonicalisation-vectors.json").read_text())

HOSTILE = st.lists(
    st.sampled_from(
        [
            *"aZ09-._~!*'()%/\\?&=#:@;+,|^[]`{}\"<> \t\n\x00é\ud800",
            "http://",
            "%2",
            "%41",
            "%2e",
            "%2F",
            "utm_x=1",
            "a.b",
        ]
    ),
    max_size=30,
).map("".join)


@pytest.mark.parametrize("vector", VECTORS["keys"], ids=lambda vector: ascii(vector["url"])[:60])
def test_key_is_that_of_the_vector(vector: dict[str, str]) -> None:
    key = canonical_key(vector["url"])
    assert key == vector["key"]
    assert key_digest(key).hex() == vector["sha256"]
    assert surt_key(key) == vector["surt"]
    assert canonical_key("https://" + key) == key


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: ascii(vector["url"])[:60])
def test_refused_url_is_an_input_error(vector: dict[str, str]) -> None:
    with pytest.raises(InputError) as caught:
        canonical_key(vector["url"])
    assert str(caught.value).isprintable()


def test_document_names_version_and_every_tracking_parameter() -> None:
    text = (FORMATS / "url-canonicalisation.md").read_text()
    assert VECTORS["canonicalisation"] == CANONICALISATION
    assert f'"{CANONICALISATION}"' in text
    listed = text.split("<!-- tracking -->")[1].replace("`", "").replace(",", " ").split()
    assert sorted(listed) == sorted([*TRACKING_NAMES, *(f"{prefix}*" for prefix in TRACKING_PREFIXES)])


@settings(deadline=None)
@given(
    st.one_of(st.text(), HOSTILE, HOSTILE.map(lambda tail: "http://a.example/" + tail), HOSTILE.map("https://".__add__))
)
def test_arbitrary_text_has_a_canonical_key_or_is_an_input_error(text: str) -> None:
    try:
        key = canonical_key(text)
    except InputError:
        return
    assert key.isascii()
    assert canonical_key("https://" + key) == key
    assert canonical_key("http://" + key) == key
    assert canonical_key("http://user:pw@" + key + "#fragment") == key
    host = host_of(key)
    low, high = surt_range(host)
    assert low <= surt_key(key) < high


@settings(deadline=None)
@given(st.binary(max_size=6))
def test_encoded_and_plain_octets_of_a_path_have_one_key(octets: bytes) -> None:
    upper = "".join(f"%{value:02X}" for value in octets)
    lower = "".join(f"%{value:02x}" for value in octets)
    assert canonical_key(f"http://a.example/x{upper}") == canonical_key(f"http://a.example/x{lower}")


@settings(deadline=None)
@given(st.lists(st.sampled_from("ab-.1"), min_size=1, max_size=8).map("".join), st.sampled_from(["", ":8080"]))
def test_surt_range_of_a_site_holds_its_hosts_and_no_other(label: str, port: str) -> None:
    try:
        key = canonical_key(f"https://{label}site.example{port}/p")
    except InputError:
        return
    low, high = surt_range("site.example")
    inside = host_of(key) == "site.example" or host_of(key).endswith(".site.example")
    assert (low <= surt_key(key) < high) == inside


def test_surt_range_of_a_folder_is_that_folder_on_that_host() -> None:
    low, high = surt_range("portfolio.example/jane")

    def inside(url: str) -> bool:
        return low <= surt_key(canonical_key(url)) < high

    assert inside("https://portfolio.example/jane/1.jpg")
    assert inside("http://portfolio.example/jane/a/b?c=d")
    assert not inside("https://portfolio.example/janet/1.jpg")
    assert not inside("https://www.portfolio.example/jane/1.jpg")
    assert not inside("https://portfolio.example:8080/jane/1.jpg")
    assert surt_range("HTTPS://portfolio.example/jane/") == (low, high)


def test_surt_range_of_a_query_takes_what_begins_like_it() -> None:
    low, high = surt_range("gallery.example/list?artist=jane")
    assert low <= surt_key(canonical_key("http://gallery.example/list?artist=jane&n=2")) < high


def test_surt_range_of_an_address_is_that_address() -> None:
    low, high = surt_range("192.0.2.1")
    assert low <= surt_key(canonical_key("http://192.0.2.1:81/x")) < high
    assert not low <= surt_key(canonical_key("http://192.0.2.10/x")) < high


def test_too_long_a_url_is_refused_and_the_longest_is_not() -> None:
    longest = "https://a.example/" + "x" * (MAX_URL_CHARS - 18)
    assert len(canonical_key(longest)) == MAX_KEY_BYTES
    with pytest.raises(InputError, match="limit"):
        canonical_key(longest + "x")
    with pytest.raises(InputError, match="limit"):
        canonical_key("https://a.example/" + "é" * 8000)


def test_digest_is_sha256_of_the_key() -> None:
    assert key_digest("a.example/") == hashlib.sha256(b"a.example/").digest()
