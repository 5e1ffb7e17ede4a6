import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout.errors import InputError
from heldout.targets import RefusedPortError, Target, parse_location, parse_target

HERE = parse_target("https://art.example/gallery/a.jpg?size=2")


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://Art.Example/a b.jpg#top", Target("https://art.example/a%20b.jpg", "art.example", 443)),
        ("http://art.example.:80/", Target("http://art.example/", "art.example", 80)),
        ("http://art.example:8080/?q", Target("http://art.example:8080/?q", "art.example", 8080)),
        ("http://bücher.example/é", Target("http://xn--bcher-kva.example/%C3%A9", "xn--bcher-kva.example", 80)),
        ("http://0x7f.1/", Target("http://127.0.0.1/", "127.0.0.1", 80)),
        ("http://[2001:DB8::0:1]:81/", None),
        ("https://[2001:DB8::0:1]/", Target("https://[2001:db8::1]/", "2001:db8::1", 443)),
        (" \thttps://art.example\\a\n", Target("https://art.example/a", "art.example", 443)),
    ],
)
def test_an_address_is_read_as_browsers_read_it(url: str, target: Target | None) -> None:
    if target is None:
        with pytest.raises(RefusedPortError):
            parse_target(url)
    else:
        assert parse_target(url) == target
        assert parse_target(target.url) == target


@pytest.mark.parametrize(("host", "is_address"), [("127.1", True), ("[::1]", True), ("1e.example", False)])
def test_an_address_in_place_of_a_name_is_known(host: str, *, is_address: bool) -> None:
    assert (parse_target(f"http://{host}/").address is not None) == is_address


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/b.jpg", "https://art.example/b.jpg"),
        ("b.jpg", "https://art.example/gallery/b.jpg"),
        ("?size=3", "https://art.example/gallery/a.jpg?size=3"),
        ("//cdn.example/b.jpg", "https://cdn.example/b.jpg"),
        ("http://cdn.example/b.jpg#x", "http://cdn.example/b.jpg"),
        (" /b.jpg ", "https://art.example/b.jpg"),
        ("/b\udcc3\udca9.jpg", "https://art.example/b%C3%A9.jpg"),  # bytes that are UTF-8
        ("/b\udce9.jpg", "https://art.example/b%EF%BF%BD.jpg"),  # and some that are not
    ],
)
def test_a_redirect_leads_from_where_it_stands(location: str, url: str) -> None:
    assert parse_location(location, HERE).url == url


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "javascript:alert(1)", "https://a:b@c.example/", "http://[::1", "ftp://c.example/"],
)
def test_a_redirect_leads_to_websites_only(location: str) -> None:
    with pytest.raises(InputError):
        parse_location(location, HERE)


pieces = st.sampled_from(
    ["http:", "https:", "/", "//", "@", ":", "[", "]", "%", "..", "\\", "\udce9", "a.example", "80", "\t"]
)


@given(st.one_of(st.text(), st.lists(pieces, max_size=12).map("".join)))
def test_any_text_is_a_target_or_refused(text: str) -> None:
    for read in (parse_target, lambda text: parse_location(text, HERE)):
        try:
            target = read(text)
        except InputError:
            continue
        assert target.url.isascii()
        assert target.url.isprintable()
        assert "@" not in target.url.split("/")[2]
        assert parse_target(target.url) == target


@given(st.integers(0, 65535))
def test_ports_are_the_webs_or_free_ones(port: int) -> None:
    try:
        parse_target(f"http://art.example:{port}/")
    except RefusedPortError:
        assert port not in {80, 443, 8000, 8080, 8443}
    else:
        assert port in {80, 443} or port >= 1024
        assert port not in {3306, 5432, 6379, 6667, 11211}
