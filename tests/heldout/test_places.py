"""What a host and a prefix cover, exactly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout.errors import InputError
from heldout.leaves import HostRule, OptOutLeaf, PrefixRule, format_leaf, parse_at
from heldout.places import MAX_PREFIX_SEGMENTS, host_rule, hosts_covering, prefix_rule, prefixes_covering
from heldout.urls import canonical_key


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("jane.example", "jane.example"),
        ("  Jane.Example. ", "jane.example"),
        ("*.jane.example", "jane.example"),
        ("https://jane.example/", "jane.example"),
        ("http://jane.example:80", "jane.example"),
        ("münchen.example", "xn--mnchen-3ya.example"),
        ("a.b.c.jane.example", "a.b.c.jane.example"),
    ],
)
def test_a_host_is_read_as_people_write_it(text: str, host: str) -> None:
    assert host_rule(text) == HostRule(host)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("jane.example/art", "claim it as a prefix"),
        ("https://jane.example/?q=1", "more than a host"),
        ("jane.example:8080", "more than a host"),
        ("127.0.0.1", "IP address"),
        ("0x7f.1", "IP address"),
        ("[::1]", "IP address"),
        ("localhost", "not the name of a host"),
        ("a" * 64 + ".example", "not the name of a host"),
        (".".join(["a" * 60] * 5), "not the name of a host"),
        ("jane example", "not an absolute URL"),
        ("", "not an absolute URL"),
        ("ftp://jane.example", "not http"),
    ],
)
def test_what_is_no_host_is_refused(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        host_rule(text)


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("https://art.example/jane", "art.example/jane/"),
        ("art.example/jane/", "art.example/jane/"),
        ("HTTP://Art.Example:80/x/../jane//#top", "art.example/jane/"),
        ("https://art.example:8080/%7ejane", "art.example:8080/~jane/"),
        ("https://art.example/j a", "art.example/j%20a/"),
        ("https://127.0.0.1/jane", "127.0.0.1/jane/"),
    ],
)
def test_a_prefix_is_read_as_people_write_it(text: str, prefix: str) -> None:
    assert prefix_rule(text) == PrefixRule(prefix)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("https://art.example/", "claim it as a host"),
        ("art.example//", "claim it as a host"),
        ("https://art.example/jane?tab=art", "has a query"),
        ("https://art.example/" + "a" * 2_000, "too long"),
        ("https://art.example" + "/a" * (MAX_PREFIX_SEGMENTS + 1), "too deep"),
        ("javascript:alert(1)", "is not"),
    ],
)
def test_what_is_no_prefix_is_refused(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        prefix_rule(text)


@pytest.mark.parametrize(
    ("url", "is_covered"),
    [
        ("https://art.example/jane", True),
        ("https://art.example/jane/", True),
        ("https://art.example/jane?page=2", True),
        ("http://art.example:443/jane/a/b.jpg?w=1", True),
        ("https://art.example/x/../jane/a.jpg", True),
        ("https://art.example/janet", False),
        ("https://art.example/janet/a.jpg", False),
        ("https://art.example/Jane/a.jpg", False),
        ("https://www.art.example/jane/a.jpg", False),
        ("https://art.example:8080/jane/a.jpg", False),
        ("https://art.example/x/jane/a.jpg", False),
        ("https://art.example/?/jane/", False),
        ("https://art.example/jane%2Fa.jpg", False),
    ],
)
def test_a_prefix_covers_its_folder_and_nothing_beside_it(url: str, is_covered: bool) -> None:
    rule = prefix_rule("https://art.example/jane")
    assert (rule.prefix in prefixes_covering(canonical_key(url))) == is_covered


@pytest.mark.parametrize(
    ("url", "is_covered"),
    [
        ("https://jane.example/a.jpg", True),
        ("https://JANE.example:8080/", True),
        ("https://www.jane.example/a.jpg", True),
        ("https://a.b.jane.example/a.jpg", True),
        ("https://notjane.example/a.jpg", False),
        ("https://example/a.jpg", False),
        ("https://jane.example.evil.example/a.jpg", False),
        ("https://evil.example/jane.example", False),
    ],
)
def test_a_host_covers_itself_and_what_is_below_it(url: str, is_covered: bool) -> None:
    assert (host_rule("jane.example").host in hosts_covering(canonical_key(url))) == is_covered


def test_an_ip_address_has_no_host_above_it() -> None:
    assert hosts_covering("10.1.2.3/a") == hosts_covering("[::1]/a") == []


SEGMENTS = st.lists(st.text("abc/%20.~", max_size=6), min_size=1, max_size=40)


def covers(prefix: str, key: str) -> bool:
    """The definition, read from the document: the folder itself, or below it; a query does not matter."""
    path = key.partition("?")[0]
    return path == prefix[:-1] or path.startswith(prefix)


@given(SEGMENTS, SEGMENTS, st.booleans())
def test_looking_up_prefixes_finds_what_the_definition_covers(
    folder: list[str], rest: list[str], is_below: bool
) -> None:
    try:
        rule = prefix_rule("https://art.example/" + "/".join(folder))
        key = canonical_key("https://art.example/" + "/".join([*(folder if is_below else []), *rest]))
    except InputError:
        return
    assert (rule.prefix in prefixes_covering(key)) == covers(rule.prefix, key)
    format_leaf(OptOutLeaf(parse_at("2026-11-22T00:00:00Z"), "claim0001", "declared", "train-ai=n", (rule,)))


def test_an_address_of_many_folders_costs_few_looks() -> None:
    assert len(prefixes_covering(canonical_key("https://art.example" + "/a" * 8_000))) == MAX_PREFIX_SEGMENTS
    assert prefixes_covering(canonical_key("https://art.example/" + "a" * 15_000)) == []
