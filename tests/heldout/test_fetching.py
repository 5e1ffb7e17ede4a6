import asyncio
import gzip
import resource
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout.addresses import AddressGuard
from heldout.errors import InputError
from heldout.fetching import PAGES, Fetched, Fetcher, FetchLimits, parse_retry_after
from heldout.resolving import NameServerResolver
from tests.hostile import (
    ALLOWED,
    TRAP,
    Answer,
    HostileServer,
    after,
    bomb,
    break_off,
    dripping,
    flooding,
    http_date,
    in_turns,
    make_authority,
    name_server,
    ok,
    png,
    raw,
    redirect,
    stall,
)

PICTURE = png()
TYPE = "Content-Type: image/png\r\n"
LIMITS: Mapping[str, Any] = {
    "max_bytes": 200_000,
    "connect_s": 2.0,
    "read_s": 1.5,
    "total_s": 3.0,
    "min_host_interval_s": 0.0,
    "backoff_s": 0.01,
    "max_wait_s": 1.5,
    "max_failures": 1000,
}
LIMITS_PER_HOST = FetchLimits().per_host
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"
ANSWERS: Mapping[str, Answer] = {
    "/picture": ok(PICTURE, TYPE),
    "/plain": ok(PICTURE, "Content-Type: text/html\r\n"),
    "/signals": ok(PICTURE, "X-Robots-Tag: noai, noimageai\r\nTDM-Reservation: 1\r\nContent-Usage: train-ai=n\r\n"),
    "/reserved": ok(b"", "Location: /picture\r\nX-Robots-Tag: noai\r\n", status="301 Moved"),
    "/slow-headers": dripping(HEAD + b"X-Slow: ", b"x"),
    "/slow-body": dripping(HEAD + b"Content-Length: 100000\r\n\r\n", b"x"),
    "/stalled-body": raw(HEAD + b"Content-Length: 100000\r\n\r\nxxx", close=False),
    "/stall": stall,
    "/endless-chunks": flooding(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"4000\r\n" + b"x" * 0x4000 + b"\r\n"),
    "/endless-body": flooding(HEAD + b"\r\n", b"x" * 16384),
    "/claims-more": raw(HEAD + b"Content-Length: 1000000000000\r\n\r\n", close=False),
    "/short": raw(HEAD + b"Content-Length: 1000\r\n\r\n" + b"x" * 10),
    "/two-lengths": raw(HEAD + b"Content-Length: 5\r\nContent-Length: 7\r\n\r\nxxxxx"),
    "/negative-length": raw(HEAD + b"Content-Length: -5\r\n\r\nxxxxx"),
    "/chunk-garbage": raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nxxxx\r\n0\r\n\r\n"),
    "/chunk-short": raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n64\r\nxxxx"),
    "/endless-trailers": flooding(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", b"X-Trailer: x\r\n"),
    "/many-headers": flooding(HEAD, b"X-Header: x\r\n"),
    "/long-header": flooding(HEAD + b"X-Long: ", b"x" * 16384),
    "/endless-interim": flooding(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "/not-http": raw(b"220 mail.example ESMTP\r\n"),
    "/nothing": raw(b""),
    "/break-off": break_off,
    "/empty": ok(b"", TYPE),
    "/page": ok(b"  <!doctype html><title>Log in</title>", TYPE),
    "/json": ok(b'{"error": "gone"}', "Content-Type: application/json\r\n"),
    "/gone": ok(b"gone", status="410 Gone"),
    "/error": ok(b"x" * 1_000_000, status="500 Oops"),
    "/loop": redirect("/loop"),
    "/ping": redirect("/pong"),
    "/pong": redirect("/ping"),
    "/nowhere": redirect("http://[zz"),
    "/file": redirect("file:///etc/passwd"),
    "/gopher": redirect("gopher://127.0.0.1:6379/_x"),
    "/metadata": redirect("http://169.254.169.254/latest/meta-data/"),
    "/metadata-6": redirect("http://[fd00:ec2::254]/latest/meta-data/"),
    "/mail": redirect("http://127.0.0.1:25/"),
    "/password": redirect("http://user:secret@127.0.0.1/"),
    "/no-location": ok(b"", status="302 Found"),
    "/bytes": raw("HTTP/1.1 302 Found\r\nLocation: /pict\xfcre\r\nContent-Length: 0\r\n\r\n".encode("latin-1")),
    "/gzip": ok(gzip.compress(PICTURE), TYPE + "Content-Encoding: gzip\r\n"),
    "/gzip-bomb": bomb("gzip"),
    "/br-bomb": bomb("br"),
    "/zstd-bomb": bomb("zstd"),
    "/not-gzip": ok(PICTURE, TYPE + "Content-Encoding: gzip\r\n"),
    "/rot13": ok(PICTURE, TYPE + "Content-Encoding: rot13\r\n"),
    "/gzip-page": ok(gzip.compress(b"<html>"), TYPE + "Content-Encoding: gzip\r\n"),
    **{f"/chain/{n}": redirect(f"/chain/{n - 1}") for n in range(1, 30)},
    "/chain/0": ok(PICTURE, TYPE),
}
EXPECTED: Mapping[str, str] = {
    "/picture": "ok",
    "/plain": "ok",
    "/gzip": "ok",
    "/chain/5": "ok",
    "/slow-headers": "timeout",
    "/slow-body": "timeout",
    "/stalled-body": "timeout",
    "/stall": "timeout",
    "/endless-chunks": "too_large",
    "/endless-body": "too_large",
    "/claims-more": "too_large",
    "/short": "reset",
    "/two-lengths": "bad_response",
    "/negative-length": "bad_response",
    "/chunk-garbage": "bad_response",
    "/chunk-short": "reset",
    "/endless-trailers": "bad_response",
    "/many-headers": "bad_response",
    "/long-header": "bad_response",
    "/endless-interim": "bad_response",
    "/not-http": "bad_response",
    "/nothing": "reset",
    "/break-off": "reset",
    "/empty": "empty",
    "/page": "not_a_picture",
    "/json": "not_a_picture",
    "/gzip-page": "not_a_picture",
    "/gone": "http_410",
    "/error": "http_500",
    "/missing": "http_404",
    "/loop": "too_many_redirects",
    "/ping": "too_many_redirects",
    "/chain/6": "too_many_redirects",
    "/chain/29": "too_many_redirects",
    "/no-location": "http_302",
    "/bytes": "http_404",
    "/nowhere": "bad_redirect",
    "/file": "bad_redirect",
    "/gopher": "bad_redirect",
    "/password": "bad_redirect",
    "/mail": "refused_port",
    "/metadata": "refused_address",
    "/metadata-6": "refused_address",
    "/gzip-bomb": "too_large",
    "/br-bomb": "too_large",
    "/zstd-bomb": "too_large",
    "/not-gzip": "bad_encoding",
    "/rot13": "bad_encoding",
}
FLOODS = ("/endless-chunks", "/endless-body", "/endless-trailers", "/many-headers", "/long-header", "/endless-interim")
"""They keep a processor busy: one after the other."""


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    with HostileServer(ANSWERS) as server:
        yield server


def fetch(url: str, *, accept: str | None = None, **options: Any) -> Fetched:
    limits = FetchLimits(**{**LIMITS, **options.pop("limits", {})})

    async def run() -> Fetched:
        async with Fetcher(guard=AddressGuard(allow=[ALLOWED]), limits=limits, **options) as fetcher:
            return await (fetcher.get(url) if accept is None else fetcher.get(url, accept=accept))

    return asyncio.run(run())


def fetch_all(urls: list[str], **limits: Any) -> list[Fetched]:
    async def run() -> list[Fetched]:
        chosen = FetchLimits(**{**LIMITS, **limits})
        async with Fetcher(guard=AddressGuard(allow=[ALLOWED]), limits=chosen) as fetcher:
            return await asyncio.gather(*(fetcher.get(url) for url in urls))

    return asyncio.run(run())


@pytest.fixture(scope="module")
def fetched(server: HostileServer) -> dict[str, Fetched]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    calm = [path for path in EXPECTED if path not in FLOODS]
    found = dict(zip(calm, fetch_all([server.url + path for path in calm], per_host=100), strict=True))
    found |= {path: fetch(server.url + path) for path in FLOODS}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB; the bombs are of 64 MB each
    return found


@pytest.mark.parametrize("path", EXPECTED)
def test_every_answer_has_its_status(fetched: dict[str, Fetched], path: str) -> None:
    one = fetched[path]
    assert one.status == EXPECTED[path], one.reason
    assert one.ok == (one.status == "ok") == (one.body == PICTURE) == (one.reason is None)
    assert (one.reason or "").isprintable()


def test_signals_of_every_answer_on_the_way_are_kept(server: HostileServer, fetched: dict[str, Fetched]) -> None:
    direct = fetch(server.url + "/signals")
    assert direct.signals == (
        "x-robots-tag: noai",
        "x-robots-tag: noimageai",
        "tdm-reservation: 1",
        "content-usage: train-ai=n",
    )
    moved = fetch(server.url + "/reserved")
    assert (moved.status, moved.signals, moved.final_url) == ("ok", ("x-robots-tag: noai",), server.url + "/picture")
    assert fetched["/picture"].signals == ()


def test_a_page_is_fetched_where_a_page_is_asked_for(server: HostileServer) -> None:
    page = fetch(server.url + "/page", accept=PAGES)
    assert page.ok
    assert b"<title>" in page.body


def test_a_request_names_its_sender_and_nothing_else(server: HostileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with HostileServer({}, host=TRAP) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        agent = "gallery-index/1.0 (+https://gallery.example/bot)"
        assert fetch(server.url + "/picture#fragment", user_agent=agent).ok
        assert proxy.seen.connections == 0
    request = server.seen.requests[-1]
    assert request.path == "/picture"
    assert request.headers == {
        "host": server.url.removeprefix("http://"),
        "user-agent": agent,
        "accept": "image/*,*/*;q=0.8",
        "accept-encoding": "identity",
    }
    for bad in ("", "a\r\nX-Evil: 1", "ünï"):
        with pytest.raises(InputError, match="user agent"):
            Fetcher(user_agent=bad)


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("", "bad_url"),
        ("/picture", "bad_url"),
        ("ftp://pictures.example/a.jpg", "bad_url"),
        ("file:///etc/passwd", "bad_url"),
        ("data:image/png;base64,AAAA", "bad_url"),
        ("http://", "bad_url"),
        ("http://[fe80::1%25eth0]/", "bad_url"),
        ("http://jane:secret@pictures.example/a.jpg", "bad_url"),
        ("http://pictures.example/\ud800", "bad_url"),
        ("http://pictures.example/" + "a" * 20_000, "bad_url"),
        ("http://pictures.example:22/a.jpg", "refused_port"),
        ("http://pictures.example:0/a.jpg", "refused_port"),
        ("http://pictures.example:6379/a.jpg", "refused_port"),
        ("http://nowhere.invalid/a.jpg", "dns"),
        ("http://" + ".".join(["a" * 63] * 5) + "/", "dns"),
    ],
)
def test_addresses_that_cannot_be_asked_are_data(url: str, status: str) -> None:
    with name_server({}) as names:
        assert fetch(url, resolver=NameServerResolver(names.address)).status == status


TRAPS = [
    "127.0.0.2",
    "127.0.0.2.",
    "2130706434",
    "0x7f000002",
    "0x7f.0.0.2",
    "0177.0.0.2",
    "017700000002",
    "127.2",
    "127.0.2",
    "%31%32%37.0.0.2",
    "\uff11\uff12\uff17.\uff10.\uff10.\uff12",  # full-width digits
    "127\u30020\u30020\u30022",  # ideographic full stops
    "[::ffff:127.0.0.2]",
    "[::ffff:7f00:2]",
    "[0:0:0:0:0:ffff:127.0.0.2]",
    "[::127.0.0.2]",
    "[64:ff9b::127.0.0.2]",
    "[64:ff9b:1::127.0.0.2]",
    "[2002:7f00:2::]",
    "[::1]",
    "0",
    "0.0.0.0",
    "[::]",
    "trap.example",
    "trap6.example",
    "mapped.example",
    "mixed.example",
    "changing.example",
]


@pytest.fixture(scope="module")
def trap() -> Iterator[HostileServer]:
    with HostileServer({}, host=TRAP) as trap:
        yield trap
        assert trap.seen.connections == 0


@pytest.mark.parametrize("host", TRAPS)
@pytest.mark.parametrize("way", ["asked", "redirected"])
def test_no_connection_is_made_to_an_address_that_is_not_public(trap: HostileServer, host: str, way: str) -> None:
    url = f"http://{host}:{trap.port}/secret"
    names = {
        "trap.example": [[TRAP]],
        "trap6.example": [["::1"]],
        "mapped.example": [["::ffff:127.0.0.2"]],
        "mixed.example": [["127.0.0.1", TRAP]],
        "changing.example": [["10.1.2.3"], [TRAP], ["127.0.0.1", TRAP]],
    }
    encoded = "".join(char if char.isascii() else "".join(f"%{byte:02X}" for byte in char.encode()) for char in url)
    with name_server(names) as server, HostileServer({"/there": redirect(encoded)}) as door:
        start = url if way == "asked" else door.url + "/there"
        for _ in range(3):
            found = fetch(start, resolver=NameServerResolver(server.address))
            assert found.status == "refused_address", found
    assert trap.seen.connections == 0


def test_without_being_told_nothing_on_this_machine_is_asked(server: HostileServer) -> None:
    async def run() -> set[str]:
        async with Fetcher() as fetcher:
            hosts = ("localhost", "LOCALHOST.", "127.0.0.1", "[::ffff:127.0.0.1]", socket.gethostname())
            return {(await fetcher.get(f"http://{host}:{server.port}/picture")).status for host in hosts}

    before = server.seen.connections
    assert asyncio.run(run()) <= {"refused_address", "dns"}
    assert server.seen.connections == before


def test_a_name_is_judged_at_every_connection() -> None:
    """DNS rebinding: harmless when first asked, private when asked again."""
    names = {"rebound.example": [["127.0.0.1"], [TRAP]]}
    with name_server(names) as names_, HostileServer({"/a": ok(PICTURE, "Connection: close\r\n")}) as server:
        url = f"http://rebound.example:{server.port}/a"

        async def run() -> tuple[str, str, str]:
            resolver = NameServerResolver(names_.address)
            guard = AddressGuard(allow=[ALLOWED])
            async with Fetcher(guard=guard, limits=FetchLimits(**LIMITS), resolver=resolver) as fetcher:
                first, again = await fetcher.get(url), await fetcher.get(url)
            async with Fetcher(guard=guard, limits=FetchLimits(**LIMITS), resolver=resolver) as fetcher:
                later = await fetcher.get(url)
            return first.status, again.status, later.status

        # the first answer serves both connections of one fetcher; the next fetcher asks, and is told another
        assert asyncio.run(run()) == ("ok", "ok", "refused_address")
        assert names_.asked["rebound.example"] == 2
        assert server.seen.requests[0].headers["host"] == f"rebound.example:{server.port}"


def test_tls_goes_by_name_though_the_connection_goes_by_address(tmp_path: Path) -> None:
    server_tls, client_tls = make_authority(tmp_path, "right.example")
    names = {name: [["127.0.0.1"]] for name in ("right.example", "wrong.example")}
    with name_server(names) as names_, HostileServer({"/a": ok(PICTURE)}, tls=server_tls) as server:

        def ask(host: str, tls: ssl.SSLContext | None) -> str:
            resolver = NameServerResolver(names_.address)
            return fetch(f"https://{host}:{server.port}/a", resolver=resolver, tls=tls).status

        assert ask("right.example", client_tls) == "ok"
        assert ask("right.example.", client_tls) == "ok"
        assert ask("wrong.example", client_tls) == "tls"
        assert ask("right.example", None) == "tls"
        assert len(server.seen.requests) == 2


def test_not_now_is_asked_again_when_the_server_says() -> None:
    not_now = "429 Too Many Requests"
    answers = {
        "/seconds": in_turns(ok(b"", "Retry-After: 1\r\n", status=not_now), ok(PICTURE)),
        "/busy": in_turns(ok(b"", status="503 Busy"), ok(PICTURE)),
        "/tomorrow": ok(b"", f"Retry-After: {http_date(86_400)}\r\n", status=not_now),
    }
    with HostileServer(answers) as server:
        began = time.monotonic()
        assert fetch(server.url + "/seconds").ok
        assert time.monotonic() - began >= 1
        assert fetch(server.url + "/busy").ok

        async def run() -> list[Fetched]:
            guard = AddressGuard(allow=[ALLOWED])
            async with Fetcher(guard=guard, limits=FetchLimits(**LIMITS)) as fetcher:
                return [await fetcher.get(server.url + path) for path in ("/tomorrow", "/busy")]

        refused, resting = asyncio.run(run())
        assert (refused.status, resting.status) == ("http_429", "host_resting")
        assert server.seen.count("/tomorrow") == 1
        assert server.seen.count("/busy") == 2


def test_a_host_that_refuses_everything_is_left_alone() -> None:
    with HostileServer({f"/{n}": ok(b"", status="429 No") for n in range(60)}) as server:
        found = fetch_all([f"{server.url}/{n}" for n in range(60)], max_failures=3, rest_s=60.0)
        assert {one.status for one in found} == {"http_429", "host_resting"}
        assert len(server.seen.requests) <= 3 * LIMITS_PER_HOST


def test_a_dead_host_costs_a_few_attempts_only() -> None:
    with HostileServer({str(n): stall for n in range(40)}) as server:
        server.answers = {f"/{n}": stall for n in range(40)}
        found = fetch_all([f"{server.url}/{n}" for n in range(40)], max_failures=2, rest_s=60.0, read_s=0.2)
        assert {one.status for one in found} == {"timeout", "host_resting"}
        assert len(server.seen.requests) <= 3 * LIMITS_PER_HOST


def test_a_broken_connection_is_tried_again() -> None:
    with HostileServer({"/a": in_turns(break_off, break_off, ok(PICTURE)), "/b": break_off}) as server:
        assert fetch(server.url + "/a").ok
        assert server.seen.count("/a") == 3
        assert fetch(server.url + "/b").status == "reset"
        assert server.seen.count("/b") == 3


def test_a_host_is_asked_politely_and_holds_up_no_other() -> None:
    slow = {f"/{n}": after(0.1, ok(PICTURE)) for n in range(12)}
    with (
        name_server({"slow.example": [["127.0.0.1"]], "quick.example": [["127.0.0.1"]]}) as names,
        HostileServer(slow) as first,
        HostileServer({f"/{n}": ok(PICTURE) for n in range(12)}) as second,
    ):

        async def run() -> dict[str, float]:
            limits = FetchLimits(**{**LIMITS, "concurrency": 3, "per_host": 2, "min_host_interval_s": 0.05})
            resolver = NameServerResolver(names.address)
            ended: dict[str, float] = {}

            async def get(url: str) -> None:
                assert (await fetcher.get(url)).ok
                ended[url] = time.monotonic()

            async with Fetcher(guard=AddressGuard(allow=[ALLOWED]), limits=limits, resolver=resolver) as fetcher:
                urls = [f"http://slow.example:{first.port}/{n}" for n in range(12)]
                urls += [f"http://quick.example:{second.port}/{n}" for n in range(12)]
                await asyncio.gather(*map(get, urls))
            return ended

        ended = asyncio.run(run())
    assert first.seen.most_in_air <= 2
    for server in (first, second):
        starts = [request.at for request in server.seen.requests]
        assert max(starts) - min(starts) >= 11 * 0.05 * 0.9
    # all of the slow host were asked for first, and yet
    quick = [at for url, at in ended.items() if "quick" in url]
    assert sorted(quick)[5] < max(at for url, at in ended.items() if "slow" in url)


class Room:
    def __init__(self, n_bytes: int) -> None:
        self.left = n_bytes
        self.kept = 0

    def grow(self, n_bytes: int) -> None:
        self.kept += n_bytes
        if self.kept > self.left:
            raise MemoryError

    def clear(self) -> None:
        self.kept = 0


def test_a_caller_ends_a_fetch_that_has_no_room() -> None:
    async def run(url: str, room: Room) -> str:
        async with Fetcher(guard=AddressGuard(allow=[ALLOWED]), limits=FetchLimits(**LIMITS)) as fetcher:
            return (await fetcher.get(url, room=room)).status

    body = bytes(range(1, 101)) * 1000
    packed = ok(gzip.compress(body), "Content-Encoding: gzip\r\n")
    with HostileServer({"/large": ok(body), "/packed": packed, "/short": ANSWERS["/short"]}) as server:
        for path, kept in (("/large", len(body)), ("/packed", len(body)), ("/short", 0)):
            room = Room(len(body))
            assert asyncio.run(run(server.url + path, room)) == ("ok" if kept else "reset")
            assert room.kept == kept
        for path in ("/large", "/packed"):
            with pytest.raises(MemoryError):
                asyncio.run(run(server.url + path, Room(len(body) - 1)))


NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("120", 120.0),
        (" 0 ", 0.0),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("99999999999", None),
        ("Sun, 22 Nov 2026 12:00:30 GMT", 30.0),
        ("Sunday, 22-Nov-26 12:00:30 GMT", 30.0),
        ("Sun Nov 22 12:00:30 2026", 30.0),
        ("Sat, 21 Nov 2026 12:00:00 GMT", 0.0),
        ("Sun, 99 Nov 2026 12:00:30 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds


@given(st.text())
def test_retry_after_reads_anything(value: str) -> None:
    seconds = parse_retry_after(value, NOW)
    assert seconds is None or seconds >= 0


@pytest.mark.parametrize("bad", [{"max_bytes": 0}, {"total_s": float("nan")}, {"max_retries": -1}])
def test_limits_that_make_no_sense_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="limit"):
        FetchLimits(**bad)
