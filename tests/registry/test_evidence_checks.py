"""Looking for codes over real DNS and https: what is found, and what is said where it is not."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from heldout.errors import InputError
from registry.evidence_checks import Finding
from registry.evidence_targets import Method
from registry.resolvers import ResolverPanel
from tests.hostile import Answer, ok, redirect
from tests.registry.world import HOSTS, World, open_world, page
from tests.registry.zone import by_host

FILE = "/.well-known/heldout.txt"
TOKEN = "mzxw6ytboi2dcmrtgq2tmnzyha4tamjs"
NAME = "_heldout-challenge.jane.example"
GOOD = ok(f"token={TOKEN}\n".encode())


@pytest.fixture(scope="module")
def one_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with open_world(tmp_path_factory.mktemp("world")) as made:
        yield made


@pytest.fixture
def world(one_world: World) -> World:
    """Without records and pages."""
    for zone in one_world.zones:
        zone.names = {host: {"A": ["127.0.0.1"]} for host in HOSTS}
        zone.silent.clear()
    one_world.web.answers.clear()
    one_world.web.seen.requests.clear()
    return one_world


def look(world: World, method: Method, target: str) -> Finding:
    async def run() -> Finding:
        async with world.prober() as prober:
            return await prober.look(method, target, TOKEN)

    found = asyncio.run(run())
    assert found.is_found == (found.code == "found")
    assert found.words.isprintable()
    return found


def test_a_record_that_all_name_servers_see_is_found(world: World) -> None:
    world.put_txt("jane.example", "v=spf1 -all", f"token={TOKEN} expiry=never")
    assert look(world, "dns", "jane.example").is_found


@pytest.mark.parametrize(
    ("arrange", "code", "says"),
    [
        (lambda _: None, "no_such_name", "NXDOMAIN"),
        (lambda w: w.set_records(NAME, {"A": ["127.0.0.1"]}), "no_record", "no TXT"),
        (lambda w: w.put_txt("jane.example", "token=another"), "wrong_token", "says token=another"),
        (lambda w: w.put_txt("jane.example", TOKEN[:-1]), "wrong_token", "not the code"),
        (lambda w: w.put_txt("jane.example", f"x{TOKEN}"), "wrong_token", "not the code"),
        (lambda w: w.put_txt("jane.example", f"a=b token={TOKEN}"), "wrong_token", "not the code"),
        (lambda w: w.put_txt("jane.example", TOKEN, only=0), "resolvers_disagree", "disagree"),
        (lambda w: w.put_txt("jane.example", TOKEN, only=1), "resolvers_disagree", "disagree"),
        (lambda w: w.put_txt("www.jane.example", TOKEN), "no_such_name", "NXDOMAIN"),
        (lambda w: w.set_records("jane.example", {"TXT": [TOKEN]}), "no_such_name", "NXDOMAIN"),
        (lambda w: w.zones[1].silent.add(NAME), "dns_silent", "could not tell"),
    ],
)
def test_each_failure_of_dns_has_its_own_words(
    world: World, arrange: Callable[[World], None], code: str, says: str
) -> None:
    arrange(world)
    found = look(world, "dns", "jane.example")
    assert (found.code, says in found.words) == (code, True), found.words
    assert found.is_gone == (code not in {"resolvers_disagree", "dns_silent"})


def test_one_name_server_that_sees_it_and_one_that_is_silent_are_not_enough(world: World) -> None:
    world.put_txt("jane.example", TOKEN)
    world.zones[1].silent.add(NAME)
    assert look(world, "dns", "jane.example").code == "dns_silent"


def test_a_record_may_be_delegated_by_cname_and_split_into_strings(world: World) -> None:
    world.set_records(NAME, {"CNAME": ["jane.dcv.mallory.example"]})
    world.set_records("jane.dcv.mallory.example", {"TXT": [f'"token={TOKEN[:9]}" "{TOKEN[9:]} expiry=never"']})
    assert look(world, "dns", "jane.example").is_found


@pytest.mark.parametrize("servers", [[], ["127.0.0.1", "127.0.0.1"], ["dns.example"]])
def test_name_servers_are_addresses_each_named_once(servers: list[str]) -> None:
    with pytest.raises(InputError, match="name server"):
        ResolverPanel(servers)


@pytest.mark.parametrize("body", ["token={}", "\ufeff# heldout\r\n\r\ntoken=other\r\nTOKEN={} expiry=never\r\n"])
@pytest.mark.parametrize("kind", ["text/plain", "text/html", "application/octet-stream"])
def test_a_file_is_found_whatever_its_type(world: World, body: str, kind: str) -> None:
    text = body.format(TOKEN).encode()
    world.web.answers[FILE] = by_host({"jane.example": ok(text, f"Content-Type: {kind}\r\n")})
    assert look(world, "well-known", "jane.example").is_found


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        (ok(b"", status="404 Not Found"), "http_404", "404"),
        (ok(b"", status="500 Oops"), "http_500", "500"),
        (ok(b"token=other\n"), "wrong_token", "another code, other"),
        (ok(b"\n# nothing\n"), "no_token", "no line"),
        (ok(TOKEN.encode()), "no_token", "no line"),
        (ok(f"<!doctype html><p>Not found, but 200</p>\ntoken={TOKEN}\n".encode()), "bad_file", "web page"),
        (ok(f"token={TOKEN}\n\0".encode()), "bad_file", "plain text"),
        (ok(f"token={TOKEN}\n".encode() + b"#" * 20_000), "bad_file", "bytes"),
        (ok(f"token={TOKEN}\n".encode() + b"#" * 2_000_000), "too_large", "limit"),
        (redirect(f"https://mallory.example{FILE}"), "redirect_away", "mallory.example"),
        (redirect(f"https://shop.jane.example{FILE}"), "redirect_away", "shop.jane.example"),
        (redirect("/user/mallory/heldout.txt"), "redirect_away", "user/mallory"),
        (redirect(f"http://jane.example{FILE}"), "redirect_away", "http://"),
        (redirect(f"//jane.example:8443{FILE}"), "redirect_away", ":8443/"),
        (redirect(f"//jane.example:22{FILE}"), "refused_port", "port 22"),
        (redirect(FILE), "too_many_redirects", "without end"),
    ],
)
def test_each_failure_of_a_file_has_its_own_words(world: World, answer: Answer, code: str, says: str) -> None:
    world.web.answers["/user/mallory/heldout.txt"] = GOOD
    world.web.answers[FILE] = by_host({"jane.example": answer, "mallory.example": GOOD, "shop.jane.example": GOOD})
    found = look(world, "well-known", "jane.example")
    assert (found.code, says in found.words) == (code, True), found.words
    assert len(world.web.seen.requests) <= 5


def test_a_site_may_lead_from_its_bare_name_to_www(world: World) -> None:
    to_www = redirect(f"https://www.jane.example:{world.web.port}{FILE}")
    world.web.answers[FILE] = by_host({"jane.example": to_www, "www.jane.example": GOOD})
    assert look(world, "well-known", "jane.example").is_found


def test_a_server_that_cannot_prove_its_name_proves_nothing(world: World) -> None:
    world.set_records("unknown.example", {"A": ["127.0.0.1"]})
    world.web.answers[FILE] = GOOD
    found = look(world, "well-known", "unknown.example")
    assert (found.code, found.is_gone) == ("tls", False)


@pytest.mark.parametrize("address", ["127.0.0.2", "10.0.0.1", "169.254.169.254"])
def test_a_private_address_is_never_asked(world: World, address: str) -> None:
    world.set_records("jane.example", {"A": [address]})
    assert look(world, "well-known", "jane.example").code == "refused_address"
    world.set_records("jane.example", {"A": ["127.0.0.1", address]})
    assert look(world, "meta", "https://jane.example/").code == "refused_address"
    assert world.web.seen.requests == []


def tag(token: str = TOKEN) -> str:
    return f'<meta name="heldout-site-verification" content="{token}">'


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (page(tag()), "found"),
        (page(tag().replace("><", ">\n<").upper()), "found"),
        (tag().encode(), "found"),
        (b"<html><head><script>if (1 < 2) { a = '</p>' }</script>" + tag().encode() + b"</head>", "found"),
        (page(body=tag()), "code_elsewhere"),
        (page(body=f"<p>{tag()}</p>").replace(b"</head>", b"").replace(b"<body>", b""), "code_elsewhere"),
        (b"Hello " + page(tag()), "code_elsewhere"),
        (page(f"<!-- {tag()} -->"), "code_elsewhere"),
        (page(f"<script>{tag()}</script>"), "code_elsewhere"),
        (page(f"<title>{tag()}</title>"), "code_elsewhere"),
        (page(tag("other")), "wrong_token"),
        (page(tag().replace("heldout-site", "google-site")), "code_elsewhere"),
        (page(), "no_token"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "no_token"),
    ],
)
def test_a_tag_counts_in_a_pages_head_alone(world: World, body: bytes, code: str) -> None:
    world.web.answers["/"] = ok(body)
    assert look(world, "meta", "https://jane.example/").code == code


@pytest.mark.parametrize(
    ("head", "body", "code"),
    [
        ("", f'<a rel="me nofollow" href="https://heldout.example/#{TOKEN}">me</a>', "found"),
        (f'<meta name="description" content="{TOKEN}">', "", "found"),
        (f'<meta property="og:description" content="I paint ({TOKEN.upper()})">', "", "found"),
        ("", f'<p class="comment">{TOKEN}</p>', "code_elsewhere"),
        ("", f'<a rel="nofollow ugc" href="https://heldout.example/#{TOKEN}">hi</a>', "code_elsewhere"),
        ("", f'<a rel="me ugc" href="https://heldout.example/#{TOKEN}">hi</a>', "code_elsewhere"),
        ("", f'<link rel="me" href="https://heldout.example/#{TOKEN}">', "code_elsewhere"),
        ("", f'<meta name="description" content="{TOKEN}">', "code_elsewhere"),
        (f'<meta name="description" content="x{TOKEN}">', "", "code_elsewhere"),
        ("", "", "no_token"),
    ],
)
def test_a_visitors_comment_on_a_profile_proves_nothing(world: World, head: str, body: str, code: str) -> None:
    world.web.answers["/jane"] = ok(page(head, body))
    world.web.answers["/jane/"] = redirect("/jane")
    assert look(world, "account", "https://art.example/jane/").code == code


def test_a_profile_that_leads_to_another_is_not_read(world: World) -> None:
    world.web.answers["/jane/"] = redirect("/mallory/")
    world.web.answers["/mallory/"] = ok(page(f'<meta name="description" content="{TOKEN}">'))
    assert look(world, "account", "https://art.example/jane/").code == "redirect_away"


def test_what_a_page_links_is_told(world: World) -> None:
    head = f'<meta name="description" content="{TOKEN}">'
    links = '<img srcset="1.jpg 1x, /2.jpg 2x" src="//cdn.art.example/3.jpg#x"><a href="javascript:alert(1)">x</a>'
    world.web.answers["/jane/"] = ok(page(head, f"{links}<a href='https://[bad'>y</a>"))
    found = look(world, "account", "https://art.example/jane/")
    assert found.links == {"art.example/jane/1.jpg", "art.example/2.jpg", "cdn.art.example/3.jpg"}
