"""`heldout opt-out` against a real registry on a socket: what is shown, sent, kept, and what never leaves."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from PIL import Image
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from heldout.cli import run
from heldout.cli_opt_out import ActingAsOption
from heldout.errors import HeldoutError
from heldout.receipts import verify_receipt
from heldout.records import ActingAs
from registry.api import router
from registry.service import Registry


@dataclass
class Wire:
    """Everything that was sent to the server; loses answers on demand."""

    app: ASGIApp
    bodies: list[bytes] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    lose: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        self.paths.append(f"{scope['method']} {scope['path']}")
        is_lost = self.lose > 0 and scope["path"] == "/v1/claims"
        self.lose -= is_lost

        async def listen() -> Message:
            message = await receive()
            self.bodies.append(message.get("body", b""))
            return message

        async def speak(message: Message) -> None:
            if not is_lost:
                await send(message)

        await self.app(scope, listen, speak)
        if is_lost:  # the claim is made, and nobody hears of it
            await send({"type": "http.response.start", "status": 502, "headers": []})
            await send({"type": "http.response.body", "body": b""})


@dataclass
class Site:
    """A registry that is served."""

    registry: Registry
    wire: Wire
    url: str


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Registry.prepare(tmp_path_factory.mktemp("site") / "state", origin="registry.example/log") as registry:
        app = FastAPI()
        app.include_router(router(lambda: registry, lambda: bytes(32)))

        @app.exception_handler(HeldoutError)
        def answer(_: Request, error: HeldoutError) -> JSONResponse:
            return JSONResponse({"detail": str(error)}, error.http_status)

        wire = Wire(app)
        server = uvicorn.Server(uvicorn.Config(wire, host="127.0.0.1", port=0, log_config=None))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            thread.join(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Site(registry, wire, f"http://127.0.0.1:{port}")
        server.should_exit = True
        thread.join()


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, site: Site) -> None:
    monkeypatch.chdir(tmp_path)
    site.wire.bodies.clear()
    site.wire.paths.clear()


def opt_out(site: Site, *arguments: str) -> int:
    return run(["opt-out", *arguments, "--server", site.url])


def answer(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def works(name: str = "works.csv", n: int = 3, artist: str = "jane") -> str:
    rows = [f"https://{artist}.example/{i}.jpg" for i in range(n)]
    Path(name).write_text("\n".join(["url", *rows]) + "\n")
    return name


def test_a_table_is_opted_out_and_its_receipt_verifies(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert opt_out(site, works(), "--yes", "--acting-as", "estate", "--contact", "jane@mail.example") == 0
    said = capsys.readouterr().out
    assert "3 addresses" in said
    (receipt,) = Path("heldout-opt-outs").glob("receipt-*.json")
    assert f"receipt: {receipt}" in said
    assert verify_receipt(json.loads(receipt.read_text()), site.registry.vkey)
    claim = site.registry.claim(receipt.stem.removeprefix("receipt-"))
    assert (claim.n_url_subjects, claim.acting_as, claim.preference) == (3, "estate", "train-ai=n")
    assert run(["verify", str(receipt), "--log-key", site.registry.vkey]) == 0


def test_a_picture_never_leaves_the_machine(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    Path("works").mkdir()
    for i in range(3):
        noise = np.random.default_rng(i).integers(0, 255, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((320, 240), Image.Resampling.BICUBIC).save(f"works/secret-title-{i}.png")
    assert opt_out(site, "works", "--yes", "--json") == 0
    assert answer(capsys)["n_image_subjects"] == 3
    sent = b"".join(site.wire.bodies)
    assert len(sent) < 5_000
    assert b"secret-title" not in sent
    for path in Path("works").iterdir():
        data = path.read_bytes()
        assert not any(data[start : start + 16] in sent for start in range(0, len(data) - 16, 16))
    for body in filter(None, site.wire.bodies):
        fields = {name for subject in json.loads(body)["subjects"] for name in subject}
        assert fields == {"kind", "pdq", "quality", "sha256"}


def test_a_preview_says_everything_and_stores_nothing(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mixed.csv").write_text(
        "url,host,pdq,quality\n"
        "https://jane.example/a.jpg,jane.example,,\n"
        "HTTP://JANE.example:80/a.jpg?utm_source=x,github.io,,\n"
        f"ftp://jane.example/b.jpg,,{'0' * 64},10\n"
        f",,{'ab' * 32},90\n"
        f",,{'ab' * 32},lots\n"
    )
    size = site.registry.sequence().size
    assert opt_out(site, "mixed.csv", "--prefix", "https://art.example/jane", "--preview") == 0
    said = capsys.readouterr().out
    for words in (
        "1 picture, wherever it is",
        "1 address\n",
        "1 site, with",
        "1 profile, with",
        "2 places wait for proof",
        "1 said twice",
        "mixed.csv:3: the same as mixed.csv:2",
        "4 cannot be used",
        "mixed.csv:3: github.io is shared by many",
        "mixed.csv:4: URL 'ftp://jane.example/b.jpg' is not http",
        "mixed.csv:4: the picture of PDQ",
        "mixed.csv:6: quality",
        "public log, for ever",
    ):
        assert words in said, words
    assert site.registry.sequence().size == size
    assert set(site.wire.paths) == {"POST /v1/claims/preview"}
    assert not Path("heldout-opt-outs").exists()


def test_what_cannot_be_used_is_left_out_and_the_rest_counts(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    Path("list.txt").write_text("https://jane.example/x.jpg\nnot an address\nhttps://jane.example/x.jpg\n")
    assert opt_out(site, "list.txt", "--host", "co.uk", "--host", "jane.example", "--yes", "--json") == 0
    said = answer(capsys)
    assert [each["where"] for each in said["unusable"]] == ["co.uk", "list.txt:2"]
    assert [each["where"] for each in said["duplicates"]] == ["list.txt:3"]
    (made,) = said["claims"]
    assert made["claim"]["subject_states"] == {"in_force": 1, "pending": 1}
    assert "secret" not in made["claim"]


@pytest.mark.parametrize("n_lost", [1, 2])
def test_sent_again_after_a_lost_answer_it_makes_no_second_claim(
    site: Site, capsys: pytest.CaptureFixture[str], n_lost: int
) -> None:
    table = works(n=5, artist=f"lost{n_lost}")
    before = site.registry.sequence().size
    site.wire.lose = n_lost
    for _ in range(n_lost):
        assert opt_out(site, table, "--yes") == 3
        assert "status 502" in capsys.readouterr().err
    assert opt_out(site, table, "--yes", "--json") == 0
    (first,) = answer(capsys)["claims"]
    assert opt_out(site, table, "--yes", "--json") == 0
    (second,) = answer(capsys)["claims"]
    assert site.registry.sequence().size == before + 1
    assert (first["is_new"], second["is_new"]) == (True, False)
    assert first["claim"] == second["claim"]
    state = json.loads(Path(first["state"]).read_text())
    assert Path(first["state"]).stat().st_mode & 0o777 == 0o600
    assert site.registry.may_change(state["claim"], secret=state["secret"])
    assert state["manage"].startswith(f"{site.url}/claims/{state['claim']}/manage?secret=")


def test_two_people_with_one_list_have_two_claims(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = works(artist="both")
    claims = set()
    for folder in ("one", "other"):
        assert opt_out(site, table, "--yes", "--json", "--out", str(tmp_path / folder)) == 0
        claims.add(answer(capsys)["claims"][0]["claim"]["id"])
    assert len(claims) == 2


def test_what_is_held_for_review_is_said_with_the_reason(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    Path("works").mkdir()
    Image.new("RGB", (64, 64), "white").save("works/blank.png")
    assert opt_out(site, "works", "--yes") == 0
    said = capsys.readouterr().out
    assert "1 quarantined" in said
    assert "held until a person has looked" in said


def test_ten_thousand_works_are_one_claim_and_more_are_two(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert opt_out(site, works(n=10_001, artist="many"), "--yes", "--json") == 0
    said = answer(capsys)
    assert [each["claim"]["n_subjects"] for each in said["claims"]] == [10_000, 1]
    for each in said["claims"]:
        assert verify_receipt(json.loads(Path(each["receipt"]).read_text()), site.registry.vkey)


def test_with_a_key_the_claims_are_the_accounts(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    token = site.registry.accounts.link_token("jane@mail.example", client=bytes(32), next_path="/")
    account = site.registry.accounts.use_link(token or "").account_id
    key = site.registry.accounts.make_key(account, name="cli", scopes=["claims:write"], days=1).text
    assert opt_out(site, works(artist="own"), "--yes", "--json", "--key", key, "--grant") == 0
    (made,) = answer(capsys)["claims"]
    assert made["claim"]["preference"] == "train-ai=y"
    assert [claim.id for claim in site.registry.claims_of(account).claims] == [made["claim"]["id"]]
    assert json.loads(Path(made["state"]).read_text())["secret"] is None
    assert opt_out(site, works(artist="own"), "--yes", "--key", key[:-1] + "0", "--out", "elsewhere") == 2
    assert "wrong, has ended or was removed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "say what to opt out"),
        (["nothing.csv", "--yes"], "cannot be read"),
        (["works.csv"], "add --yes"),
        (["works.csv", "--json"], "add --yes"),
        (["--host", "co.uk", "--yes"], "nothing that was given can be used"),
        (["works.csv", "--yes", "--out", "works.csv"], "cannot be written"),
    ],
)
def test_a_mistake_says_what_to_do_and_sends_no_claim(
    site: Site, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    works()
    assert opt_out(site, *arguments) == 2
    assert says in capsys.readouterr().err
    assert "POST /v1/claims" not in site.wire.paths


def test_a_folder_with_something_else_in_it_is_left_alone(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert opt_out(site, works(artist="else"), "--yes", "--json") == 0
    state = Path(answer(capsys)["claims"][0]["state"])
    for text in ("not JSON", "[]", '{"format": "other/1"}'):
        state.write_text(text)
        assert opt_out(site, works(artist="else"), "--yes") == 2
        assert "move it away" in capsys.readouterr().err
        assert state.read_text() == text


def test_roles_are_those_of_the_records() -> None:
    assert [each.value for each in ActingAsOption] == list(get_args(ActingAs))


def test_without_a_server_it_asks_for_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["opt-out", works()]) == 2
    assert "--server" in capsys.readouterr().err
