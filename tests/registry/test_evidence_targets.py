"""What each proof binds, and where codes may stand: the pure parts."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout.errors import InputError
from heldout.urls import key_digest
from registry.evidence_checks import stays
from registry.evidence_reading import codes_in_file, codes_in_record, read_page
from registry.evidence_targets import (
    METHODS,
    Method,
    SubjectFacts,
    bound_by,
    gives,
    owner_of,
    parse_method,
    parse_target,
    targets_for,
)
from registry.page_tags import iter_tags

PDQ = bytes(range(32))


def place(kind: str, rule: str) -> SubjectFacts:
    return SubjectFacts(0, kind, b"", None, rule, None)


def address(key: str) -> SubjectFacts:
    return SubjectFacts(0, "url", key_digest(key), key, None, None)


@pytest.mark.parametrize(
    ("method", "target", "subject", "is_bound"),
    [
        ("dns", "jane.example", place("host", "jane.example"), True),
        ("dns", "jane.example", place("host", "shop.jane.example"), True),
        ("dns", "jane.example", place("host", "notjane.example"), False),
        ("dns", "shop.jane.example", place("host", "jane.example"), False),
        ("dns", "amazonaws.com", place("host", "jane.s3.amazonaws.com"), False),
        ("dns", "alice.github.io", place("host", "alice.github.io"), True),
        ("dns", "alice.github.io", place("host", "bob.github.io"), False),
        ("dns", "jane.example", place("prefix", "shop.jane.example:8443/a/"), True),
        ("dns", "jane.example", address("www.jane.example/a.jpg?b=c"), True),
        ("well-known", "jane.example", place("host", "jane.example"), True),
        ("well-known", "jane.example", place("host", "shop.jane.example"), False),
        ("well-known", "jane.example", place("prefix", "jane.example/a/"), True),
        ("well-known", "jane.example", place("prefix", "jane.example:8443/a/"), False),
        ("well-known", "jane.example", address("www.jane.example/a.jpg"), False),
        ("meta", "https://jane.example/", place("host", "jane.example"), True),
        ("meta", "https://jane.example/", place("host", "shop.jane.example"), False),
        ("meta", "https://art.example/jane/", place("prefix", "art.example/jane/"), True),
        ("meta", "https://art.example/jane", place("prefix", "art.example/jane/works/"), True),
        ("meta", "https://art.example/jane/", place("prefix", "art.example/janet/"), False),
        ("meta", "https://art.example/jane/works/", place("prefix", "art.example/jane/"), False),
        ("meta", "https://art.example/jane/", place("host", "art.example"), False),
        ("account", "https://art.example/jane/", place("prefix", "art.example/jane/"), True),
        ("account", "https://art.example/jane/", address("art.example/jane?page=2"), True),
        ("account", "https://art.example/jane/", address("art.example/janet"), False),
        ("account", "https://art.example/jane/", place("host", "art.example"), False),
        ("credential", PDQ.hex(), SubjectFacts(0, "image", None, None, None, PDQ), True),
        ("credential", PDQ.hex(), SubjectFacts(0, "image", None, None, None, bytes(32)), False),
        ("dns", "jane.example", SubjectFacts(0, "image", None, None, None, PDQ), False),
        ("dns", "jane.example", SubjectFacts(0, "url", b"d", None, None, None), False),
    ],
)
def test_what_a_proof_binds(method: Method, target: str, subject: SubjectFacts, is_bound: bool) -> None:
    assert bound_by(method, target, [subject]) == ([0] if is_bound else [])


def test_a_page_binds_works_that_it_links_on_its_own_platform_but_grants_nothing_by_them() -> None:
    mine, others = address("cdn.art.example/1.jpg"), address("bob.github.io/1.jpg")
    links = {"cdn.art.example/1.jpg", "bob.github.io/1.jpg"}
    page = "https://art.example/jane/"
    assert bound_by("account", page, [mine], links=links) == [0]
    assert bound_by("account", page, [others], links=links) == []
    assert bound_by("account", page, [mine], links=links, is_grant=True) == []
    assert bound_by("meta", page, [mine], links=links) == []
    assert bound_by("account", "https://alice.github.io/me/", [others], links=links) == []


@pytest.mark.parametrize(
    ("method", "target", "level"),
    [
        ("dns", "jane.example", "host"),
        ("well-known", "jane.example", "host"),
        ("meta", "https://jane.example/", "host"),
        ("meta", "https://art.example/jane/", "account"),
        ("account", "https://art.example/jane/", "account"),
        ("credential", PDQ.hex(), "credential"),
    ],
)
def test_what_a_proof_gives(method: Method, target: str, level: str) -> None:
    assert gives(method, target) == level


@pytest.mark.parametrize(
    ("method", "text", "target"),
    [
        ("dns", "*.Jane.Example", "jane.example"),
        ("dns", "b\u00fccher.example", "xn--bcher-kva.example"),
        ("well-known", "https://jane.example/", "jane.example"),
        ("meta", "http://Jane.Example", "https://jane.example/"),
        ("meta", "https://art.example/jane?utm_source=x#top", "https://art.example/jane"),
        ("credential", PDQ.hex().upper(), PDQ.hex()),
    ],
)
def test_targets_have_one_spelling(method: Method, text: str, target: str) -> None:
    assert parse_target(method, text).text == target
    assert parse_target(method, target).text == target


@pytest.mark.parametrize(
    "host", ["github.io", "co.uk", "com", "example", "s3.amazonaws.com", "blogspot.com", "127.0.0.1"]
)
def test_a_public_suffix_is_nobodys_to_prove(host: str) -> None:
    for method in ("dns", "well-known", "meta"):
        with pytest.raises(InputError):
            parse_target(method, f"https://{host}/")


def test_a_method_has_a_name() -> None:
    assert [parse_method(each) for each in METHODS] == list(METHODS)
    with pytest.raises(InputError, match="no way"):
        parse_method("e-mail")


def test_what_is_suggested_binds_what_it_is_suggested_for() -> None:
    for subject in (
        place("host", "jane.example"),
        place("host", "a.b.shop.jane.example"),
        place("host", "alice.github.io"),
        place("prefix", "art.example/jane/"),
    ):
        ways = targets_for(subject)
        assert ways
        for method, target in ways:
            assert parse_target(method, target.text) == target
            assert bound_by(method, target.text, [subject]) == [0]
    assert owner_of("a.b.shop.jane.example") == "jane.example"


@pytest.mark.parametrize(
    ("old", "new", "is_same"),
    [
        ("https://jane.example/a", "https://www.jane.example/a", True),
        ("https://www.jane.example/a", "https://jane.example/a/", True),
        ("https://jane.example/a", "https://jane.example/b", False),
        ("https://jane.example/", "https://jane.example/en/", False),
        ("https://jane.example/a", "http://jane.example/a", False),
        ("https://jane.example/a", "https://evil.example/a", False),
        ("https://jane.example/a", "https://jane.example.evil.example/a", False),
        ("https://jane.example/a", "https://jane.example:444/a", False),
        ("https://jane.example/a", "https://u@evil.example/a", False),
        ("https://jane.example/a", "javascript:alert(1)", False),
        ("https://jane.example/a", "", False),
    ],
)
def test_which_redirects_stay(old: str, new: str, is_same: bool) -> None:
    assert stays(old, new) == is_same


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("token=abc", "abc"),
        ("Token=ABC expiry=never", "abc"),
        (" token=abc expiry=2027-01-01 x", "abc"),
        ("abc", "abc"),
        ("abc==", "abc=="),
        ("expiry=never token=abc", "expiry=never token=abc"),
        ("token=", None),
        ("", None),
    ],
)
def test_a_record_is_read_as_the_draft_says(text: str, code: str | None) -> None:
    assert codes_in_record(text) == code


@given(st.binary(max_size=400))
def test_no_file_breaks_the_reading(body: bytes) -> None:
    with suppress(InputError):
        assert all(code == code.lower() for code in codes_in_file(body))


@given(st.text(alphabet="<>!-/\"'= \nabmetahedscriptl[]&;#x", max_size=200), st.sampled_from(["utf-8", "latin-1", "x"]))
def test_no_page_breaks_the_reading(text: str, encoding: str) -> None:
    reading = read_page(text.encode(), encoding)
    reading.link_keys("https://jane.example/")
    assert not reading.says("mzxw6ytboi2dcmrtgq2tmnzyha4tamjs")


@given(st.text(max_size=60), st.text(max_size=60))
def test_a_tag_after_anything_that_begins_the_body_does_not_count(before: str, after: str) -> None:
    tag = '<meta name="heldout-site-verification" content="abc">'
    assert read_page(f"<p>{before}</p>{tag}{after}".encode()).metas == []


HOSTILE = [
    "<",
    "<!",
    "<!-- ",
    "<a ",
    "<a x='",
    "<a a=b ",
    "</",
    "</a ",
    "<![CDATA[",
    "<?",
    "<title>",
    "<script ",
    "< /a>",
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_page_made_to_keep_a_parser_busy_is_read_at_once(piece: str) -> None:
    # Not timed: at a megabyte, a parser that goes back takes minutes.
    assert read_page((piece * (1_000_000 // len(piece))).encode()).metas == []


@pytest.mark.parametrize(
    ("page", "tags"),
    [
        ("<p class=a CLASS=b id='x>y'>t</P>", [("p", {"class": "a", "id": "x>y"}), ("/p", {})]),
        ('<img/src="a&amp;b"alt>', [("img", {"src": "a&b", "alt": ""})]),
        ("<script>if (a</b) '<p>'</script><i>", [("script", {}), ("/script", {}), ("i", {})]),
        ("<title><p></title >", [("title", {}), ("/title", {})]),
        ("<!-- <p> --><b>", [("b", {})]),
        ("<!doctype html>1 < 2 <b>", [("b", {})]),
        ("<p><a href='x", [("p", {})]),
        ("<a\nhref = x\t>", [("a", {"href": "x"})]),
    ],
)
def test_tags_are_read_as_browsers_read_them(page: str, tags: list[tuple[str, dict[str, str]]]) -> None:
    assert [(tag.name, tag.attributes) for tag in iter_tags(page)] == tags
