"""`heldout check` against a list, a server, and a server that is not told what is asked: one answer from all three."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from heldout.cli import run
from heldout.client import Client
from heldout.lookup_records import LookupRequest
from heldout.pictures import fingerprint
from heldout.private_lookups import look_up_privately
from heldout.pull import pull
from heldout.records import ImageSubject
from registry.service import Registry
from tests.registry.builders import request
from tests.web.conftest import COLOURS, ColourEncoder, draw, file_of, make_settings
from tests.web.lists import FOLDER, GRANTED, GRANTED_ON_PLACE, OPTED_OUT, PLACE, UNICODE, fill, issue_key
from tests.web.serving import address_of, free_socket, serving
from web.app import create_app

Capture = pytest.CaptureFixture[str]
FREE = "https://else.example/a.jpg"
QUESTIONS = [OPTED_OUT, FREE, UNICODE, GRANTED, GRANTED_ON_PLACE, f"{FOLDER}1.png", f"https://a.{PLACE}/1.png"]


@pytest.fixture(scope="module")
def served(datasets_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A site with a list, and where it keeps things: pictures that are opted out, copied and not, and `LIST`."""
    folder = tmp_path_factory.mktemp("check")
    work, other = draw(0, COLOURS["red"]), draw(7, COLOURS["blue"])
    (folder / "work.png").write_bytes(file_of(work))
    (folder / "copy.jpg").write_bytes(file_of(work.rotate(90, expand=True), "JPEG", quality=70))
    (folder / "other.png").write_bytes(file_of(other))
    bound = free_socket()
    settings = make_settings(datasets_dir, folder).model_copy(update={"base_url": address_of(bound)})
    with Registry.prepare(settings.state_dir, origin=settings.origin_of_new_log) as registry:
        mark = fingerprint(file_of(work))
        subject = ImageSubject(pdq=mark.pdq[0].tobytes().hex(), quality=mark.quality, sha256=mark.sha256.hex())
        registry.submit(request(subject))
        fill(registry)
        with serving(create_app(settings, encoder=ColourEncoder()), bound) as address:
            pull(address, folder / "LIST", root=registry.root_json)
            (folder / "key").write_text(issue_key(registry))
            yield address, folder


def ask(capsys: Capture, *arguments: str) -> list[dict[str, Any]]:
    assert run(["check", *arguments, "--json"]) == 0, capsys.readouterr().err
    answers: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return answers


def test_a_list_a_server_and_one_that_is_told_nothing_answer_alike(served: tuple[str, Path], capsys: Capture) -> None:
    address, folder = served
    things = [*QUESTIONS, *(str(folder / name) for name in ("work.png", "copy.jpg", "other.png"))]
    by_list = ask(capsys, *things, "--list", str(folder / "LIST"))
    assert [each["what"] for each in by_list] == things
    assert [each["is_opted_out"] for each in by_list] == [True, False, True, False] + [True] * 5 + [False]
    assert [each["rule"]["kind"] for each in by_list if each["rule"]] == [
        "url",
        "url",
        "host",
        "prefix",
        "host",
        "sha256",
        "pdq",
    ]
    assert [each["is_granted"] for each in by_list] == [False] * 3 + [True] * 2 + [False] * 5
    assert by_list[5]["rule"]["place"] == "art.example/jane/"
    assert ask(capsys, *things, "--server", address) == by_list
    assert ask(capsys, *things, "--server", address, "--private") == by_list
    for least in ("account", "reviewed"):
        same = [*things, "--min-assurance", least]
        proved = ask(capsys, *same, "--list", str(folder / "LIST"))
        assert sum(each["is_opted_out"] for each in proved) == (3 if least == "account" else 0)
        assert ask(capsys, *same, "--server", address) == ask(capsys, *same, "--server", address, "--private") == proved


def test_a_server_that_is_asked_privately_learns_no_digest(served: tuple[str, Path]) -> None:
    """What it is asked for, over the wire: the first digit of a digest, and files that hold everything."""
    address, _ = served
    asked: list[str] = []

    class Told(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            asked.append(f"{request.method} {request.url.path}{request.content.decode()}")
            return super().handle_request(request)

    with Client(address, transport=Told()) as client:
        found = look_up_privately(client, LookupRequest(urls=QUESTIONS, sha256=["ab" * 32]))
    assert found.urls[0].is_opted_out
    ranges = {each for each in asked if each.startswith("GET /v1/range/")}
    assert all(len(each.rpartition("/")[2]) == 1 for each in ranges)
    files = {each.split("/")[2] for each in asked if each not in ranges and each != "GET /v1/range"}
    assert files == {"targets", "files"}
    assert not any("POST" in each for each in asked)


def test_people_read_a_line_for_each(served: tuple[str, Path], capsys: Capture) -> None:
    address, folder = served
    key = (folder / "key").read_text()
    assert run(["check", f"https://{PLACE}/", GRANTED, FREE, "--server", address, "--key", key]) == 0
    captured = capsys.readouterr()
    first, second, third = captured.out.splitlines()
    assert first.startswith("opted out since ")
    assert first.endswith(f"by host {PLACE} (host)\thttps://{PLACE}/")
    assert (second, third) == (f"not listed, use granted\t{GRANTED}", f"not listed\t{FREE}")
    assert "own word" in captured.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--list", "LIST", "--private"], 2, "goes with --server"),
        (["--server", "ADDRESS", "--key", "nonsense"], 2, "key is wrong"),
        (["--server", "http://127.0.0.1:9"], 3, "did not answer"),
        (["--server", "http://127.0.0.1:9", "--private"], 3, "did not answer"),
        (["--server", "nothing"], 2, "cannot be asked"),
        (["--list", "nowhere"], 2, "holds no exclusion list"),
        ([], 2, "either --list"),
    ],
)
def test_mistakes_are_told(
    served: tuple[str, Path], arguments: list[str], code: int, words: str, capsys: Capture
) -> None:
    address, folder = served
    known = {"LIST": str(folder / "LIST"), "ADDRESS": address, "nowhere": str(folder / "nowhere")}
    assert run(["check", FREE, *(known.get(each, each) for each in arguments)]) == code
    assert words in capsys.readouterr().err


def test_more_than_one_request_holds_is_asked_in_several(served: tuple[str, Path], capsys: Capture) -> None:
    address, folder = served
    pictures = [str(folder / "other.png")] * 2
    urls = [f"https://else.example/{number}" for number in range(600)]
    answers = ask(capsys, *pictures, *urls, *pictures, OPTED_OUT, "--server", address)
    assert [each["is_opted_out"] for each in answers] == [False] * 604 + [True]


@pytest.mark.parametrize("how", [[], ["--private"]])
def test_a_server_without_a_list_is_no_answer(
    datasets_dir: Path, tmp_path: Path, how: list[str], capsys: Capture
) -> None:
    settings = make_settings(datasets_dir, tmp_path)
    with serving(create_app(settings, encoder=ColourEncoder()), free_socket()) as address:
        assert run(["check", FREE, "--server", address, *how]) == 3
    captured = capsys.readouterr()
    assert (captured.out, "No list" in captured.err) == ("", True)
