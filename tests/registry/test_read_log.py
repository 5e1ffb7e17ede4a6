"""The independent reader of docs/formats over a registry's log: it accepts what we publish, and no change of it."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from heldout.leaves import parse_leaf
from heldout.replay import replay
from heldout.tiles import TileReader
from registry.claims import submit
from registry.db import transaction
from registry.service import Registry
from registry.storage import FileStore
from tests.heldout.cosigning import Witness
from tests.registry.builders import Clock, host, image, request, url

READER = Path(__file__).parents[2] / "docs" / "formats" / "read_log.py"
WITNESS = Witness("w.example", b"\x07" * 32)


@pytest.fixture
def backend() -> str:
    """What the database is does not matter here."""
    return "sqlite"


def submit_many(registry: Registry, clock: Clock, n: int) -> None:
    """Claims of one address each, sequenced together."""
    with transaction(registry._sessions) as session:
        for number in range(n):
            submit(session, request(url(str(number))), now=clock())
    registry.sequence()


@pytest.fixture
def log(registry: Registry, clock: Clock, tmp_path: Path) -> Path:
    """A log of more than one tile, cosigned; beside it an older checkpoint and a receipt."""
    log = registry.public_dir / "log"
    claim = registry.submit(request(*(url(str(i)) for i in range(700)), image("a"), host("jane.example")))
    registry.submit(request(host("pending.example")))
    submit_many(registry, clock, 130)
    (tmp_path / "older").write_bytes((log / "checkpoint").read_bytes())
    registry.withdraw(claim.id, reason="by-claimant")
    clock.advance(hours=1)
    registry.publish()
    submit_many(registry, clock, 130)
    (tmp_path / "receipt.json").write_text(json.dumps(registry.receipt(claim.id)))
    note = (log / "checkpoint").read_text()
    (log / "checkpoint").write_text(note + WITNESS.cosign(note, 1_790_000_000))
    return log


@pytest.fixture
def read(log: Path, registry: Registry, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(vkey: str = registry.vkey) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, str(READER), str(log), vkey, "--witness", WITNESS.vkey]
        line += ["--older", str(tmp_path / "older"), "--receipt", str(tmp_path / "receipt.json")]
        return subprocess.run(line, capture_output=True, text=True, check=False)  # noqa: S603 - our own script

    return run


Read = Callable[..., subprocess.CompletedProcess[str]]


def test_it_reads_what_we_publish(read: Read, log: Path, registry: Registry) -> None:
    done = read()
    assert done.returncode == 0, done.stderr
    size = int((log / "checkpoint").read_text().split("\n")[1])
    reader = TileReader(FileStore(log).read, size)
    state = replay(map(parse_leaf, reader.iter_entries()))
    states = Counter(claim.state for claim in state.claims.values())
    assert size > 256
    assert done.stdout.splitlines() == [
        f"{size} entries, root {reader.root().hex()}",
        "cosigned by w.example",
        "extends the checkpoint of 134 entries",
        f"holds the receipt of claim {next(iter(state.claims))}",
        f"{len(state.claims)} claims: {states['in_force']} in_force, {states['pending']} pending, 1 withdrawn",
    ]
    assert registry.vkey in read(registry.vkey).args


def test_it_refuses_any_of_it_changed_and_another_key(read: Read, log: Path, tmp_path: Path) -> None:
    files = [log / "checkpoint", log / "tile/0/000", log / "tile/entries/000"]
    for file in [*files, tmp_path / "older", tmp_path / "receipt.json"]:
        good = file.read_bytes()
        for position in (10, len(good) - 40):
            changed = bytearray(good)
            changed[position] ^= 1
            file.write_bytes(changed)
            assert read().returncode != 0, (file, position)
        file.write_bytes(good)
    assert read(Witness("registry.example/log", b"\x01" * 32, kind=1).vkey).returncode != 0
    assert read().returncode == 0
