"""`heldout search`: pages, filters, checks and what a shell sees of them."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, get_args
from urllib.parse import parse_qs, urlsplit

import pytest

from heldout import records
from heldout.cli import run
from heldout.cli_search import Label, Safety

Capture = pytest.CaptureFixture[str]


def sample(number: int) -> dict[str, Any]:
    missing = dict.fromkeys(("host", "width", "height", "sha256", "pdq", "pdq_quality"))
    facts = {"dataset": "demo", "id": number, "key": f"{number:09d}", "url": f"https://a.example/{number}.png"}
    return missing | facts | {"caption": f"castle {number}", "status": "not_fetched"}


def hit(number: int) -> dict[str, Any]:
    proof = {"channel": "clip", "value": 0.5}
    return {"sample": sample(number), "label": "similar", "score": 0.5, "evidence": [proof], "unverified": True}


@contextmanager
def server() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """A server with three pages of one hit, and what it was asked."""
    asked: list[tuple[str, bytes]] = []

    class Pages(BaseHTTPRequestHandler):
        def answer(self) -> None:
            asked.append((self.path, self.rfile.read(int(self.headers.get("Content-Length", 0)))))
            page = int(parse_qs(urlsplit(self.path).query).get("cursor", ["0"])[0])
            body: dict[str, Any] = {"hits": [hit(page)], "generations": {"demo": 4}}
            if page < 2:
                body["next_cursor"] = str(page + 1)
            if "/check" in self.path:
                body = {"checks": [{"sample": sample(page), "outcome": "not_fetched", "reason": "no such host"}]}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        do_GET = do_POST = answer  # noqa: N815 - the names are http.server's

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}", asked
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


def test_the_choices_are_those_of_the_records() -> None:
    assert {each.value for each in Label} == set(get_args(records.HitLabel))
    assert {each.value for each in Safety} == set(get_args(records.Safety))


def test_filters_go_out_as_the_api_takes_them() -> None:
    with server() as (address, asked):
        filters = [
            "--host",
            "a.example",
            "--host",
            "b.example",
            "--label",
            "near",
            "--min-width",
            "9",
            "--safety",
            "safe",
        ]
        assert run(["search", "--server", address, "--text", "x", *filters, "--not-opted-out", "-k", "5"]) == 0
    sent = parse_qs(urlsplit(asked[0][0]).query)
    assert sent == {
        "text": ["x"],
        "host": ["a.example", "b.example"],
        "label": ["near"],
        "min_width": ["9"],
        "safety": ["safe"],
        "not_opted_out": ["true"],
        "k": ["5"],
    }


def test_pages_are_asked_one_after_the_other_and_the_way_on_is_told(capsys: Capture) -> None:
    with server() as (address, asked):
        assert run(["search", "--server", address, "--site", "a.example", "--pages", "2"]) == 0
        captured = capsys.readouterr()
        assert [line.split("\t")[1] for line in captured.out.splitlines()] == ["demo/000000000", "demo/000000001"]
        assert captured.out.startswith("similar, unverified\t")
        assert captured.err.splitlines()[-1].endswith("--cursor 2")
        assert (
            run(["search", "--server", address, "--site", "a.example", "--pages", "9", "--cursor", "2", "--json"]) == 0
        )
    (line,) = capsys.readouterr().out.splitlines()
    assert records.SearchResult.model_validate_json(line).hits[0].sample.id == 2
    assert len(asked) == 3


def test_a_picture_is_sent_as_a_file_or_by_address_and_hits_are_checked(tmp_path: Path, capsys: Capture) -> None:
    picture = tmp_path / "mine.png"
    picture.write_bytes(b"bytes of a picture")
    with server() as (address, asked):
        assert run(["search", "--server", address, "--image", str(picture), "--check"]) == 0
        assert run(["search", "--server", address, "--image", "https://a.example/b.png"]) == 0
    assert [path.partition("?")[0] for path, _ in asked] == ["/v1/search", "/v1/search/check", "/v1/search"]
    assert b"bytes of a picture" in asked[1][1]
    assert b"demo@4:0" in asked[1][1]
    assert b"https://a.example/b.png" in asked[2][1]
    assert "not fetched\tdemo/000000000\thttps://a.example/0.png\tno such host" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options",
    [
        ["--text", "x", "--check"],
        ["--text", "x", "--label", "sure"],
        ["--text", "x", "--min-width", "0"],
        ["--pages", "2"],
    ],
)
def test_what_cannot_be_asked_is_a_user_error(options: list[str], capsys: Capture) -> None:
    assert run(["search", "--server", "http://127.0.0.1:9", *options]) == 2
    assert "Traceback" not in capsys.readouterr().err
