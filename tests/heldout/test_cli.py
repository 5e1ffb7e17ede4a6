"""The commands as a shell sees them: exit codes, stdout for answers, stderr for complaints."""

import json
import subprocess
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer

from heldout.checkpoint import Checkpoint, sign_checkpoint, to_base64
from heldout.cli import EmitKind, MinAssurance, PreferenceKind, app, run
from heldout.filtering_options import EMITS, PREFERENCES, Emit, Preference
from heldout.leaves import OptOutLeaf, UrlDigest, format_leaf
from heldout.merkle import leaf_hash
from heldout.records import ASSURANCES, Assurance, Sample
from heldout.urls import canonical_key, key_digest
from tests.heldout.conftest import IMAGES, URLS, serving
from tests.heldout.published import Site, UrlRule

Capture = pytest.CaptureFixture[str]
COMMANDS = ["pull", "filter", "audit", "verify", "check", "keygen", "sign", "search", "opt-out", "monitor"]


def test_assurances_are_those_of_the_records() -> None:
    assert tuple(MinAssurance) == ASSURANCES == get_args(Assurance)
    assert tuple(EmitKind) == EMITS == get_args(Emit)
    assert tuple(PreferenceKind) == PREFERENCES == get_args(Preference)


def test_commands_are_the_documented_ones() -> None:
    assert [info.name or info.callback.__name__ for info in app.registered_commands if info.callback] == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_has_help(command: str, capsys: Capture) -> None:
    assert run([command, "--help"]) == 0
    click_command = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]
    assert click_command.help
    for parameter in click_command.params:
        assert parameter.help, f"{command} {parameter.name}"
    assert "Usage: heldout" in capsys.readouterr().out


def test_bare_command_shows_help_and_version_is_printed(capsys: Capture) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("heldout 0.")
    run([])
    assert "Usage: heldout" in capsys.readouterr().err


def test_help_loads_neither_pyarrow_nor_tuf() -> None:
    code = "import sys; from heldout.cli import run; run(['filter', '--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603
    assert {"pyarrow", "tuf", "httpx", "numpy"}.isdisjoint(done.stderr.split())


def test_pull_filter_verify_and_check_work_together(served: str, site: Site, tmp_path: Path, capsys: Capture) -> None:
    root, held, out = site.write_root(tmp_path), str(tmp_path / "list"), str(tmp_path / "out")
    assert run(["pull", served, "-o", held, "--root", str(root)]) == 0
    assert "version 1 (new), 2 URLs and 2 pictures" in capsys.readouterr().out
    assert run(["pull", served, "-o", held, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["is_new"] is False

    shard = tmp_path / "00000.parquet"
    pq.write_table(pa.table({"url": [URLS[0].url, "https://else.example/1", "no url"]}), shard)
    assert run(["filter", str(shard), "-o", out, "--list", held]) == 0
    printed = capsys.readouterr().out
    assert "3 samples in, 2 kept, 1 dropped (1 by url)" in printed
    assert "samples have no usable URL, and were not checked by it: 1" in printed
    assert pq.read_table(Path(out) / "00000.parquet").num_rows == 2

    assert run(["verify", held]) == 0
    assert ": verified: version 1" in capsys.readouterr().out
    assert run(["verify", f"{out}/report.json", "--list", held]) == 0
    assert (
        "verified: 1 files are as the run wrote them; it dropped 1 of 3 samples by this list" in capsys.readouterr().out
    )
    assert run(["verify", f"{out}/report.json"]) == 0
    assert "a list that was not checked" in capsys.readouterr().out
    assert run(["verify", f"{out}/report.json", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_intact"] == 1

    assert run(["check", URLS[1].url, "https://else.example/", "--list", held]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"opted out since 2026-11-01 by url (host)\t{URLS[1].url}",
        "not listed\thttps://else.example/",
    ]


@pytest.mark.parametrize("how", [[], ["--private"]])
def test_check_says_that_a_mirror_answers_no_questions(served: str, how: list[str], capsys: Capture) -> None:
    assert run(["check", URLS[0].url, "--server", served, *how]) == 2
    assert "answers no questions" in capsys.readouterr().err


def test_check_knows_a_picture_by_its_copies(pulled: Path, tmp_path: Path, capsys: Capture) -> None:
    from tests.heldout.test_filtering_tar import drawing, encoded

    picture = tmp_path / "picture.png"
    picture.write_bytes(encoded(drawing(1)))
    assert run(["check", str(picture), "--list", str(pulled)]) == 0
    assert capsys.readouterr().out.startswith("not listed")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    assert run(["check", str(tmp_path / "broken.png"), "--list", str(pulled)]) == 2
    assert "broken.png" in capsys.readouterr().err


def receipt_of(site: Site) -> dict[str, object]:
    from datetime import UTC, datetime

    subjects = (UrlDigest(key_digest(canonical_key(URLS[0].url))),)
    leaf = format_leaf(
        OptOutLeaf(datetime(2026, 11, 22, tzinfo=UTC), "0123456789abcdef", "declared", "train-ai=n", subjects)
    )
    note = sign_checkpoint(Checkpoint(site.log_signer.name, 1, leaf_hash(leaf)), site.log_signer)
    entry = {"index": 0, "leaf": to_base64(leaf), "proof": []}
    return {"format": "heldout-receipt/1", "claim": "0123456789abcdef", "checkpoint": note, "entries": [entry]}


def test_receipt_is_verified_by_key_key_file_or_list(site: Site, pulled: Path, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "receipt.json"
    path.write_text(json.dumps(receipt_of(site)))
    vkey = site.log_signer.verifier.vkey
    (tmp_path / "log.vkey").write_text(vkey + "\n")
    for proof in (["--log-key", vkey], ["--log-key", str(tmp_path / "log.vkey")], ["--list", str(pulled)]):
        assert run(["verify", str(path), *proof]) == 0
        assert "claim 0123456789abcdef of 2026-11-22T00:00:00Z is in the log" in capsys.readouterr().out
    assert run(["verify", str(path), "--log-key", vkey, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_subjects"] == 1
    assert run(["verify", str(path)]) == 2
    assert "--log-key" in capsys.readouterr().err
    path.write_text(path.read_text().replace('"index": 0', '"index": 1'))
    assert run(["verify", str(path), "--log-key", vkey]) == 4
    assert run(["verify", str(path), "--log-key", Site().log_signer.verifier.vkey]) == 4


class SearchHandler(BaseHTTPRequestHandler):
    """Answers every search with one hit whose caption would clear a terminal."""

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        sample = dict.fromkeys(Sample.model_fields) | {
            "signals": [],
            "dataset": "demo",
            "id": 7,
            "key": "000000007",
            "url": "https://art.example/1.jpg",
            "caption": "a castle\x1b[2J",
            "status": "ok",
            "unsafe": False,
        }
        hit = {"sample": sample, "label": "similar", "score": 0.3, "evidence": [{"channel": "clip", "value": 0.3}]}
        body = json.dumps({"hits": [hit], "notes": [f"asked {self.path}"]}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer  # noqa: N815 - the names are http.server's

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        pass


def test_search_prints_a_line_per_hit_or_json(tmp_path: Path, capsys: Capture) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"bytes of a picture")
    with serving(SearchHandler) as address:
        for door, value in (("text", "red car"), ("url", "http://a.example"), ("site", "a"), ("caption", "c")):
            assert run(["search", "--server", address, f"--{door}", value, "--dataset", "demo", "-k", "3"]) == 0
            captured = capsys.readouterr()
            assert captured.out == "similar\tdemo/000000007\thttps://art.example/1.jpg\ta castle [2J\n"
            assert f"asked /v1/search?{door}=" in captured.err
            assert "k=3&dataset=demo" in captured.err
        assert run(["search", "--server", address, "--image", str(picture), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["hits"][0]["sample"]["id"] == 7


# --- exit codes ---------------------------------------------------------------------------------------------------


def test_user_errors_are_2_and_one_line_on_stderr(pulled: Path, tmp_path: Path, capsys: Capture) -> None:
    shard = tmp_path / "bad.parquet"
    shard.write_bytes(b"no parquet")
    held, out, no = str(pulled), str(tmp_path / "out"), str(tmp_path / "nothing")
    (tmp_path / "other.json").write_text("[1]")
    lines = [
        ["filter", str(shard), "-o", out, "--list", held],
        ["filter", no, "-o", out, "--list", held],
        ["filter", str(shard), "-o", out, "--list", no],
        ["verify", no],
        ["verify", str(shard)],
        ["verify", held, "--list"],
        ["check", "http://a.example/"],
        ["check", "http://a.example/", "--list", held, "--server", "http://b.example"],
        ["check", "a.example", "--list", held],
        ["check", "ftp://a.example", "--list", held],
        ["search", "--text", "x"],
        ["search", "--server", "http://b.example"],
        ["search", "--server", "http://b.example", "--text", "x", "--url", "y"],
        ["search", "--server", "b.example", "--text", "x"],
        ["search", "--server", "http://b.example", "--image", no],
        ["pull", "http://b.example", "-o", out, "--root", no],
        ["filter", str(shard), "-o", out, "--list", held, "--min-assurance", "certain"],
        ["nonsense"],
    ]
    for line in lines:
        assert run(line) == 2, line
        captured = capsys.readouterr()
        assert captured.err, line
        assert "Traceback" not in captured.err


def test_outside_failures_are_3(tmp_path: Path, site: Site, capsys: Capture) -> None:
    closed = "http://127.0.0.1:9"  # the discard port: nobody listens
    assert run(["pull", closed, "-o", str(tmp_path / "list"), "--root", str(site.write_root(tmp_path))]) == 3
    assert "could not be fetched" in capsys.readouterr().err
    assert run(["search", "--server", closed, "--text", "x"]) == 3
    assert "did not answer" in capsys.readouterr().err


def test_failed_verification_is_4_and_writes_nothing(
    served: str, pulled: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert run(["pull", served, "-o", str(tmp_path / "first")]) == 4
    assert "--root" in capsys.readouterr().err
    stranger = tmp_path / "stranger.json"
    stranger.write_bytes(Site().publish().root)
    assert run(["pull", served, "-o", str(tmp_path / "first"), "--root", str(stranger)]) == 4
    shard = tmp_path / "00000.parquet"
    pq.write_table(pa.table({"url": [URLS[0].url]}), shard)
    for path in (pulled / "files").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    out = tmp_path / "out"
    for line in (
        ["verify", str(pulled)],
        ["filter", str(shard), "-o", str(out), "--list", str(pulled)],
        ["check", URLS[0].url, "--list", str(pulled)],
    ):
        capsys.readouterr()
        assert run(line) == 4
        assert "pull the list again" in capsys.readouterr().err
    assert not out.exists()


def test_unverified_list_has_to_be_allowed_by_every_command(served: str, tmp_path: Path, capsys: Capture) -> None:
    held = str(tmp_path / "list")
    assert run(["pull", served, "-o", held, "--allow-unverified"]) == 0
    assert "own word" in capsys.readouterr().err
    shard = tmp_path / "00000.parquet"
    pq.write_table(pa.table({"url": [URLS[0].url]}), shard)
    line = ["filter", str(shard), "-o", str(tmp_path / "out"), "--list", held]
    assert run(line) == 4
    assert not (tmp_path / "out").exists()
    capsys.readouterr()
    assert run([*line, "--allow-unverified", "--json"]) == 0
    captured = capsys.readouterr()
    assert "NOT VERIFIED" in captured.err
    assert json.loads(captured.out)["total"]["n_dropped"] == 1
    assert run(["verify", held]) == 4
    assert run(["verify", held, "--allow-unverified"]) == 0
    assert "NOT verified" in capsys.readouterr().out


def test_partial_failure_names_the_shard_and_is_not_0(pulled: Path, tmp_path: Path, capsys: Capture) -> None:
    good, bad = tmp_path / "00000.parquet", tmp_path / "00001.parquet"
    pq.write_table(pa.table({"url": ["http://else.example/"]}), good)
    bad.write_bytes(b"")
    assert run(["filter", str(good), str(bad), "-o", str(tmp_path / "out"), "--list", str(pulled)]) == 2
    captured = capsys.readouterr()
    assert "00001.parquet" in captured.err
    assert "1 of 2 inputs gave no output" in captured.err
    assert "1 shards" in captured.out


def test_what_strangers_wrote_does_not_steer_the_terminal(pulled: Path, capsys: Capture) -> None:
    assert run(["check", "http://a.example/\x1b[2J", "--list", str(pulled)]) == 2
    captured = capsys.readouterr()
    assert "\x1b" not in captured.err + captured.out


def test_min_assurance_reaches_the_list(pulled: Path, capsys: Capture) -> None:
    for url, level, found in ((URLS[0].url, "host", False), (URLS[1].url, "host", True)):
        run(["check", url, "--list", str(pulled), "--min-assurance", level, "--json"])
        assert json.loads(capsys.readouterr().out)[0]["is_opted_out"] is found


def test_opted_in_is_not_opted_out(tmp_path: Path, capsys: Capture) -> None:
    from heldout.pull import pull
    from tests.heldout.published import BASE_URL

    site = Site().publish([UrlRule("https://art.example/yes.jpg", preference=1)], IMAGES)
    pull(BASE_URL, tmp_path / "list", root=site.write_root(tmp_path), transport=site.transport())
    assert run(["check", "https://art.example/yes.jpg", "--list", str(tmp_path / "list")]) == 0
    assert capsys.readouterr().out.startswith("not listed")


def test_a_report_with_doubts_does_not_verify(served: str, site: Site, tmp_path: Path, capsys: Capture) -> None:
    root, held, out = site.write_root(tmp_path), str(tmp_path / "list"), tmp_path / "out"
    assert run(["pull", served, "-o", held, "--root", str(root)]) == 0
    shard = tmp_path / "00000.parquet"
    pq.write_table(pa.table({"url": [URLS[0].url, "https://else.example/1"]}), shard)
    assert run(["filter", str(shard), "-o", str(out), "--list", held]) == 0
    (out / "00000.parquet").rename(tmp_path / "elsewhere")
    capsys.readouterr()
    assert run(["verify", str(out / "report.json"), "--list", held]) == 4
    assert "00000.parquet" in capsys.readouterr().err
    assert run(["verify", str(out / "report.json"), "--list", held, "--allow-unverified"]) == 0
    assert "NOT verified" in capsys.readouterr().out
