"""`heldout monitor` as a person or a script uses it, against a real server of this machine."""

import functools
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from heldout.cli import run
from heldout.leaves import HostRule, OptOutLeaf, WithdrawLeaf
from tests.heldout.conftest import QuietHandler, serving
from tests.heldout.cosigning import Witness
from tests.heldout.lying_log import AT, LyingLog

Heldout = Callable[..., int]


class Served:
    """A log in a folder behind a real server."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder = folder
        self.address = address
        self.log = LyingLog()
        self.vkey = self.log.signer.verifier.vkey

    def publish(self) -> str:
        note = self.log.publish()
        for path, data in self.log.files.items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_bytes(data)
        return note


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    folder = tmp_path / "served"
    folder.mkdir()
    with serving(functools.partial(QuietHandler, directory=str(folder))) as address:
        yield Served(folder, address)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def test_from_the_first_round_to_the_alarm(served: Served, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    served.log.fill(3).add(OptOutLeaf(AT, "claim0001", "host", "train-ai=n", (HostRule("jane.example"),)))
    served.publish()
    options = ["monitor", served.address, "--state", str(state), "--host", "jane.example"]
    assert run([*options, "--log-key", served.vkey]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "entry 3  host jane.example: opt-out, train-ai=n, host, claim claim0001" in lines[0]
    assert lines[1].startswith(
        "registry.example/log: 4 entries, consistent with the 0 seen before; read 3 list, 1 opt-"
    )
    served.log.add(WithdrawLeaf(AT, "claim0001", "by-claimant"))
    served.publish()
    assert run([*options, "--json", "--once"]) == 0  # the key is remembered
    entry, seen = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (entry["event"], entry["type"], entry["about"]) == ("entry", "withdraw", ["host jane.example"])
    assert (seen["event"], seen["old_size"], seen["size"], seen["n_by_type"]) == ("round", 4, 5, {"withdraw": 1})
    served.log.entries[0] = b"another"
    served.publish()
    assert run(options) == 4
    message = capsys.readouterr().err
    assert "ALARM (forked)" in message
    (evidence,) = (state.parent / "state.json.evidence").iterdir()
    assert str(evidence) in message


def test_witnesses_are_told_of(served: Served, state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    witness = Witness("w.example", b"\x07" * 32)
    policy = tmp_path / "policy"
    policy.write_text(f"log {served.vkey}\nwitness w {witness.vkey}\nquorum w\n")
    note = served.log.fill(2).publish()
    served.publish()
    options = ["monitor", served.address, "--state", str(state), "--witnesses", str(policy)]
    assert run(options) == 4  # nobody ever signed
    assert "stale" in capsys.readouterr().err
    (served.folder / "log/checkpoint").write_text(note + witness.cosign(note, int(time.time())))
    assert run(options) == 0
    assert "cosigned by w" in capsys.readouterr().out
    assert run([*options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["is_witnessed"] is True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give its key with --log-key"),
        (["--log-key", "nonsense"], "neither a verifier key nor a file"),
        (["--log-key", "KEY", "--once", "--interval", "5"], "either --once or --interval"),
        (["--log-key", "KEY", "--host", "no/host"], "more than a host"),
        (["--log-key", "KEY", "--image", "nowhere.png"], "cannot be read"),
        (["--log-key", "KEY", "--witnesses", "nowhere"], "cannot be read"),
    ],
)
def test_mistakes_are_told(state: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str) -> None:
    options = [LyingLog().signer.verifier.vkey if option == "KEY" else option for option in options]
    assert run(["monitor", "http://127.0.0.1:9", "--state", str(state), *options]) == 2
    assert message in capsys.readouterr().err


def test_a_server_that_is_not_there_is_the_outside_world(served: Served, state: Path) -> None:
    assert run(["monitor", "http://127.0.0.1:9", "--state", str(state), "--log-key", served.vkey]) == 3
    assert run(["monitor", served.address, "--state", str(state), "--log-key", served.vkey]) == 2  # no log there


def test_a_monitor_that_runs_on_tells_news_and_ends_with_the_alarm(served: Served, state: Path) -> None:
    served.log.fill(1)
    served.publish()
    command = [sys.executable, "-c", "from heldout.cli import main; main()", "monitor", served.address, "--json"]
    command += ["--state", str(state), "--log-key", served.vkey, "--interval", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["size"] == 1
        (served.folder / "log/checkpoint").unlink()  # not there for a moment
        assert "does not exist" in process.stderr.readline()
        served.log.fill(1)
        served.publish()
        sizes = [json.loads(process.stdout.readline())["size"]]
        while sizes[-1] != 2:
            sizes.append(json.loads(process.stdout.readline())["size"])
        served.log.entries.pop()
        served.publish()
        process.stdout.read()
        assert "ALARM (shrunk)" in process.stderr.read()
        assert process.wait(20) == 4


def test_killed_half_way_it_goes_on_where_it_was(served: Served, state: Path) -> None:
    served.log.fill(40 * 256)
    served.publish()
    command = [sys.executable, "-c", "from heldout.cli import main; main()", "monitor", served.address]
    command += ["--state", str(state), "--log-key", served.vkey]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:  # noqa: S603
        while process.poll() is None and not (state.exists() and json.loads(state.read_bytes())["size"] > 0):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    before = json.loads(state.read_bytes())["size"]
    assert before > 0
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)  # noqa: S603
    seen = json.loads(done.stdout)
    assert (seen["size"], seen["n_read"]) == (40 * 256, 40 * 256 - before)
