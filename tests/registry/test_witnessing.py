"""Asking witnesses on loopback: what they sign is published; what goes wrong is told and stops nothing."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from typer.testing import CliRunner

from heldout.checkpoint import Checkpoint, Signer, Verifier, open_checkpoint, sign_checkpoint
from heldout.errors import ConflictError, VerificationError
from heldout.receipts import parse_tlog_proof, verify_receipt
from heldout.witnesses import WitnessPolicy
from registry import witnessing
from registry.__main__ import app
from registry.keys import load_keys
from registry.log import Sequencer
from registry.service import Registry
from registry.storage import FileCheckpointStore, FileStore
from tests.heldout.cosigning import Witness
from tests.registry.builders import ORIGIN, Clock, request, url
from tests.registry.witness_server import Refused, WitnessServer, witness_server


class World:
    """A registry and three witnesses, of which two are wanted."""

    def __init__(self, registry: Registry, witnesses: list[WitnessServer]) -> None:
        self.registry = registry
        self.witnesses = witnesses
        self.policy_path = registry.state_dir / "witnesses.policy"
        lines = "".join(witness.policy_line for witness in witnesses)
        self.policy_path.write_text(f"{lines}group two 2 w0 w1 w2\nquorum two\n")

    @property
    def note(self) -> str:
        return (self.registry.public_dir / "log" / "checkpoint").read_text()

    def signed(self, note: str | None = None) -> list[str]:
        """Witnesses under the published checkpoint."""
        return list(WitnessPolicy.load(self.policy_path).witnessed(note or self.note).cosignatures)

    def proof(self) -> str:
        """The checkpoint of the newest list's published proof."""
        (path,) = sorted(
            (self.registry.public_dir / "list" / "targets").glob("*.tlog-proof"),
            key=lambda path: path.stat().st_mtime_ns,
        )[-1:]
        return parse_tlog_proof(path.read_bytes()).checkpoint


@pytest.fixture
def backend() -> str:
    """What the database is does not matter here."""
    return "sqlite"


@pytest.fixture
def world(registry: Registry) -> Iterator[World]:
    logs = {ORIGIN: registry.vkey}
    kinds = (4, 4, 6)
    with ExitStack() as stack:
        witnesses = [
            stack.enter_context(witness_server(Witness(f"w{i}.example", bytes([i + 1]) * 32, kind), logs))
            for i, kind in enumerate(kinds)
        ]
        yield World(registry, witnesses)


def test_a_log_without_witnesses_asks_nobody(registry: Registry) -> None:
    assert registry.publish().witnesses is None
    assert registry.ask_witnesses() is None


def test_what_witnesses_sign_is_published_with_the_checkpoint_and_in_the_proof(world: World) -> None:
    world.registry.submit(request(url("a")))
    report = world.registry.publish().witnesses
    assert report is not None
    assert (report.is_enough, report.lines(), report.is_alarm) == (True, [], False)
    assert world.signed() == ["w0", "w1", "w2"]
    assert world.signed(world.proof()) == ["w0", "w1", "w2"]
    assert open_checkpoint(world.note, Verifier.parse(world.registry.vkey)).size == report.size == 2


def test_witnesses_follow_a_growing_log(world: World) -> None:
    for n in (1, 4, 300):
        world.registry.submit(request(*(url(f"{n}-{i}") for i in range(n))))
        for _ in range(n):
            world.registry.submit(request(url(f"one of {n}")))
        report = world.registry.ask_witnesses()
        assert report is not None
        assert (report.is_enough, report.problem) == (True, None)
        assert world.witnesses[0].seen[ORIGIN][0] == report.size


def test_a_second_request_renews_the_time_and_doubles_nothing(world: World) -> None:
    world.registry.submit(request(url("a")))
    world.witnesses[0].at = 1_790_000_000
    world.registry.ask_witnesses()
    world.witnesses[0].at = 1_790_000_100
    world.registry.ask_witnesses()
    witnessed = WitnessPolicy.load(world.policy_path).witnessed(world.note)
    assert witnessed.cosignatures["w0"].at.timestamp() == 1_790_000_100
    assert world.note.count("\u2014 w0.example ") == 1


def test_a_witness_that_sleeps_is_told_of_and_stops_nothing(world: World) -> None:
    world.witnesses[1].is_asleep = True
    report = world.registry.publish().witnesses
    assert report is not None
    assert report.is_enough
    assert [line for line in report.lines() if "w1" in line] == ["witness w1: answered 503: 'asleep'"]
    assert world.signed() == ["w0", "w2"]


def test_too_few_witnesses_publish_all_the_same_and_the_proof_is_mended_later(world: World) -> None:
    world.registry.submit(request(url("a")))
    for witness in world.witnesses[1:]:
        witness.is_asleep = True
    first = world.registry.publish()
    assert first.witnesses is not None
    assert not first.witnesses.is_enough
    assert "not cosigned by the quorum" in first.witnesses.lines()[-1]
    assert world.signed(world.proof()) == ["w0"]
    for witness in world.witnesses:
        witness.is_asleep = False
    again = world.registry.publish()
    assert (again.version, again.is_new) == (1, False)
    assert world.signed(world.proof()) == ["w0", "w1", "w2"]


def test_an_unreachable_witness_is_told_of(world: World) -> None:
    text = world.policy_path.read_text()
    world.policy_path.write_text(text.replace(world.witnesses[0].address, "http://127.0.0.1:9/"))
    report = world.registry.publish().witnesses
    assert report is not None
    assert report.is_enough
    assert "witness w0: could not be asked" in report.lines()[0]


def test_a_witness_that_never_comes_to_an_end_does_not_hold_up_publishing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witnessing, "TOTAL_S", 0.3)
    world.witnesses[0].is_slow = True
    report = world.registry.publish().witnesses
    assert report is not None
    assert report.is_enough
    assert "could not be asked (its answer took more than" in report.lines()[0]


def test_a_damaged_policy_is_told_of_and_the_list_is_published(world: World) -> None:
    world.policy_path.write_text("quorum nobody\n")
    published = world.registry.publish()
    assert published.version == 1
    assert published.witnesses is not None
    assert "not defined" in published.witnesses.lines()[0]


@pytest.mark.parametrize(
    "answer",
    [b"", b"\xff\xfe", b"cosigned, honestly\n", b"\xe2\x80\x94 w0.example AAAA\n", b"x" * 3_000_000],
    ids=["nothing", "no UTF-8", "words", "too short", "endless"],
)
def test_an_answer_that_is_no_cosignature_is_not_published(world: World, answer: bytes) -> None:
    world.registry.sequence()
    world.witnesses[0].answer = answer
    report = world.registry.ask_witnesses()
    assert report is not None
    assert report.asked[0].problem is not None
    assert world.signed() == ["w1", "w2"]
    assert "w0.example" not in world.note


def test_a_cosignature_by_another_key_is_not_published(world: World) -> None:
    world.registry.sequence()
    for witness in (Witness("w0.example", b"\x63" * 32), Witness("other.example", b"\x01" * 32)):
        world.witnesses[0].answer = witness.cosign(world.note, 1_790_000_000).encode()
        report = world.registry.ask_witnesses()
        assert report is not None
        assert "another key" in (report.asked[0].problem or "")
    assert world.signed() == ["w1", "w2"]


def test_a_cosignature_of_another_checkpoint_is_not_published(world: World) -> None:
    world.registry.submit(request(url("a")))
    old = world.note
    world.registry.submit(request(url("b")))
    world.witnesses[0].answer = world.witnesses[0].key.cosign(old, 1_790_000_000).encode()
    report = world.registry.ask_witnesses()
    assert report is not None
    assert "no cosignature that verifies" in (report.asked[0].problem or "")
    assert world.signed() == ["w1", "w2"]


def test_a_log_rolled_back_to_a_backup_is_an_alarm(world: World) -> None:
    """The witness has seen more than there is: the operator restored an old backup of everything."""
    world.registry.submit(request(url("a")))
    world.witnesses[0].seen[ORIGIN] = 5, bytes(32)
    report = world.registry.publish().witnesses
    assert report is not None
    assert report.is_alarm
    assert "has seen 5 entries of this log, which has 2" in report.lines()[0]


def test_a_log_that_was_rewritten_is_an_alarm(world: World) -> None:
    world.registry.submit(request(url("a")))
    world.witnesses[0].seen[ORIGIN] = 1, bytes(32)
    report = world.registry.publish().witnesses
    assert report is not None
    assert report.is_alarm
    assert "has seen another history" in report.lines()[0]


def test_the_witness_of_these_tests_refuses_what_it_must(world: World) -> None:
    """So that its consent above means something."""
    witness = world.witnesses[0]
    world.registry.submit(request(url("a")))
    signer = load_keys(world.registry.state_dir / "keys").log
    forged = sign_checkpoint(Checkpoint(ORIGIN, 1, bytes(32)), Signer(ORIGIN, b"\x09" * 32))
    other = sign_checkpoint(Checkpoint("other.example", 1, bytes(32)), Signer("other.example", b"\x09" * 32))
    rewritten = sign_checkpoint(Checkpoint(ORIGIN, 1, bytes(32)), signer)
    longer = sign_checkpoint(Checkpoint(ORIGIN, 2, bytes(32)), signer)
    witness.add_checkpoint(f"old 0\n\n{world.note}")
    statuses = []
    for body in (
        f"old 0\n\n{forged}",
        f"old 0\n\n{other}",
        f"old 2\n\n{world.note}",
        f"old 0\n\n{world.note}",
        f"old 1\n\n{rewritten}",
        f"old 1\n\n{longer}",
    ):
        with pytest.raises(Refused) as refused:
            witness.add_checkpoint(body)
        statuses.append(refused.value.status)
    assert statuses == [403, 404, 400, 409, 422, 422]


def test_a_receipt_has_the_cosignatures_though_the_log_has_grown(world: World) -> None:
    claim = world.registry.submit(request(url("a")))
    world.registry.publish()
    world.registry.submit(request(url("b")))
    assert world.signed() == []
    receipt = world.registry.receipt(claim.id)
    assert len(verify_receipt(receipt, world.registry.vkey)) == 1
    assert world.signed(receipt["checkpoint"]) == ["w0", "w1", "w2"]


def test_a_receipt_newer_than_the_witnesses_still_verifies(world: World) -> None:
    world.registry.publish()
    claim = world.registry.submit(request(url("b")))
    receipt = world.registry.receipt(claim.id)
    assert len(verify_receipt(receipt, world.registry.vkey)) == 1
    assert world.signed(receipt["checkpoint"]) == []


def test_cosignatures_never_move_the_checkpoint(world: World, tmp_path: Path, clock: Clock) -> None:
    registry = world.registry
    registry.sequence()
    old = world.note
    registry.submit(request(url("a")))
    keys = load_keys(registry.state_dir / "keys")
    folder = registry.public_dir / "log"
    checkpoints = FileCheckpointStore(folder, tmp_path / "other.lock")
    sequencer = Sequencer(registry._sessions, FileStore(folder), checkpoints, keys.log)
    line = world.witnesses[0].key.cosign(old, int(clock().timestamp()))
    with pytest.raises(ConflictError):
        sequencer.replace_signatures(old, old + line)
    with pytest.raises(VerificationError, match="cannot replace"):
        sequencer.replace_signatures(world.note, old + line)
    assert open_checkpoint(world.note, keys.log.verifier).size == 1


@pytest.mark.parametrize(
    ("command", "seen", "is_asleep", "code", "words"),
    [
        ("witness", None, False, 0, "has enough cosignatures"),
        ("witness", None, True, 3, "answered 503"),
        ("witness", (9, bytes(32)), False, 4, "ALARM"),
        ("publish", None, True, 0, "warning: witness w1: answered 503"),
        ("publish", (9, bytes(32)), False, 4, "ALARM"),
    ],
)
def test_commands_tell_and_exit(
    world: World,
    database_url: str,
    *,
    command: str,
    seen: tuple[int, bytes] | None,
    is_asleep: bool,
    code: int,
    words: str,
) -> None:
    world.registry.sequence()
    for witness in world.witnesses[1:]:
        witness.is_asleep = is_asleep
    if seen is not None:
        world.witnesses[0].seen[ORIGIN] = seen
    environment = {"HELDOUT_STATE_DIR": str(world.registry.state_dir), "HELDOUT_DATABASE_URL": database_url}
    result = CliRunner().invoke(app, [command], env=environment)
    assert result.exit_code == code
    assert words in result.output
