"""Several processes at once on one registry, and some of them killed: nothing is lost, nothing is there twice."""

import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from heldout.checkpoint import Verifier
from heldout.leaves import ListLeaf, OptOutLeaf, parse_leaf
from heldout.receipts import verify_receipt
from heldout.replay import replay
from registry.db import Sessions, transaction
from registry.service import Registry
from registry.storage import FileCheckpointStore, FileStore
from tests.registry.builders import tables
from tests.registry.failing import read_log

ROOT = Path(__file__).parents[2]


def start(registry: Registry, database_url: str, name: str, n: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.registry.worker", str(registry.state_dir), database_url, name, str(n)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)  # noqa: S603


def test_processes_that_are_killed_lose_no_claim_that_was_told_of(
    registry: Registry, database_url: str, sessions: Sessions
) -> None:
    told: list[str] = []
    with ExitStack() as stack:
        lasting = [stack.enter_context(start(registry, database_url, name, 7)) for name in ("a", "b")]
        for attempt in range(2):
            victim = stack.enter_context(start(registry, database_url, f"victim{attempt}", 1_000))
            assert victim.stdout is not None
            told.append(victim.stdout.readline().strip())
            time.sleep(0.05 * attempt)
            victim.kill()
            told += victim.stdout.read().split()
        for process in lasting:
            out, err = process.communicate(timeout=120)
            assert process.returncode == 0, err
            told += out.split()
    registry.publish()
    entries = read_log(
        FileStore(registry.public_dir / "log"),
        FileCheckpointStore(registry.public_dir / "log", registry.state_dir / "unused.lock"),
        Verifier.parse(registry.vkey),
    )
    leaves = [parse_leaf(entry) for entry in entries]
    claims = [leaf.claim for leaf in leaves if isinstance(leaf, OptOutLeaf)]
    assert len(claims) == len(set(claims))
    assert set(told) <= set(claims)
    assert len(told) >= 14 + 2
    versions = [leaf.version for leaf in leaves if isinstance(leaf, ListLeaf)]
    assert versions == list(range(1, len(versions) + 1))
    with transaction(sessions) as session:
        assert replay(leaves) == tables(session)
    for claim in told[::7]:
        assert len(verify_receipt(registry.receipt(claim), registry.vkey)) == 1
