"""Processes that all send the same: each thing happens once, and what changes a claim waits its turn."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import select

from heldout.leaves import AssuranceLeaf, OptOutLeaf, StateLeaf, WithdrawLeaf, parse_leaf
from heldout.replay import replay
from registry.db import Sessions, transaction
from registry.service import Registry
from registry.tables import EventRow
from tests.registry.builders import tables

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("backend", ["postgresql"])  # where rows are locked one by one
def test_what_processes_repeat_at_once_happens_once(registry: Registry, database_url: str, sessions: Sessions) -> None:
    line = [sys.executable, "-m", "tests.registry.repeating", str(registry.state_dir), database_url, "6"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    running = [subprocess.Popen(line, cwd=ROOT, text=True, **pipes) for _ in range(3)]  # type: ignore[call-overload] # noqa: S603
    for process in running:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
    for process in running:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = []
    for process in running:
        out, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        answers.append(json.loads(out))
    assert answers[0] == answers[1] == answers[2]
    assert len(set(answers[0])) == 6
    assert registry.sequence().size == 6 + 6 + 6 + 3
    with transaction(sessions) as session:
        payloads = list(session.scalars(select(EventRow.payload).order_by(EventRow.log_index)))
        leaves = [parse_leaf(payload) for payload in payloads]
        assert replay(leaves) == tables(session)
    for kind, n in ((OptOutLeaf, 6), (AssuranceLeaf, 6), (StateLeaf, 6), (WithdrawLeaf, 3)):
        assert sum(isinstance(leaf, kind) for leaf in leaves) == n
