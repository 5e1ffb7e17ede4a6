"""What reviewers decide: each outcome, its way back, what may not be decided, and two reviewers at once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from heldout.errors import AccessError, ConflictError, InputError, NotFoundError
from heldout.receipts import verify_receipt
from registry.__main__ import app
from registry.db import transaction
from registry.service import Registry
from registry.tables import EventRow, ReviewRow
from tests.registry.builders import Clock, host, image, request, url
from tests.registry.parties import ANSWER, REASON, account, check_replay, claimed, codes, disputed, states

ROOT = Path(__file__).parents[2]


@pytest.fixture
def jane(registry: Registry) -> str:
    return account(registry, "jane@mail.example")


@pytest.fixture
def ota(registry: Registry) -> str:
    return account(registry, "ota@mail.example")


def test_upholding_takes_out_what_was_disputed_and_nothing_else(registry: Registry, jane: str, clock: Clock) -> None:
    claim, other = claimed(registry), claimed(registry)
    made = disputed(registry, claim, jane, subjects=[url("a")])
    with pytest.raises(ConflictError, match="may answer"):
        registry.reviewing.decide_dispute(made.id, "uphold", reason=REASON)
    clock.advance(days=30)
    registry.reviewing.decide_dispute(made.id, "uphold", reason=REASON)
    assert states(registry, claim) == ["rejected", "in_force", "in_force"]
    assert states(registry, other) == ["in_force"] * 3
    assert codes(registry, claim) == ["counter-claim", "dispute-upheld"]
    seen = registry.disputing.get(made.id, account_id=jane)
    assert (seen.state, seen.decision) == ("upheld", REASON)
    assert len(verify_receipt(registry.receipt(claim.id), registry.vkey)) == 3
    check_replay(registry)


def test_an_answer_makes_way_for_a_decision(registry: Registry, jane: str) -> None:
    claim = claimed(registry)
    made = disputed(registry, claim, jane)
    registry.disputing.answer(made.id, ANSWER, secret=registry._secrets.of(claim.id))
    registry.reviewing.decide_dispute(made.id, "uphold", reason=REASON)
    assert states(registry, claim) == ["rejected"] * 3


def test_refusing_needs_no_answer_and_brings_all_back(registry: Registry, jane: str) -> None:
    claim = claimed(registry)
    made = disputed(registry, claim, jane)
    registry.reviewing.decide_dispute(made.id, "refuse", reason=REASON)
    assert states(registry, claim) == ["in_force"] * 3
    assert codes(registry, claim) == ["counter-claim", "dispute-refused"]
    check_replay(registry)


def test_every_outcome_can_be_reversed_and_reversed_again(registry: Registry, jane: str, clock: Clock) -> None:
    claim = claimed(registry)
    made = disputed(registry, claim, jane)
    clock.advance(days=90)
    registry.disputing.expire_due()
    registry.reviewing.decide_dispute(made.id, "uphold", reason=REASON, seen="expired")
    assert states(registry, claim) == ["rejected"] * 3
    registry.reviewing.decide_dispute(made.id, "refuse", reason=REASON, seen="upheld")
    assert states(registry, claim) == ["in_force"] * 3
    registry.reviewing.decide_dispute(made.id, "uphold", reason=REASON, seen="refused")
    assert states(registry, claim) == ["rejected"] * 3
    assert codes(registry, claim) == ["counter-claim", "dispute-expired", "review", "review", "review"]
    assert len(registry.reviewing.case(made.id).decisions) == 3
    check_replay(registry)


def test_a_grant_that_lapsed_can_be_brought_back(registry: Registry, jane: str, clock: Clock) -> None:
    claim = claimed(registry, url("a"), preference="train-ai=y")
    made = disputed(registry, claim, jane)
    clock.advance(days=30)
    registry.disputing.expire_due()
    registry.reviewing.decide_dispute(made.id, "refuse", reason=REASON, seen="expired")
    assert states(registry, claim) == ["in_force"]


def test_reversing_one_decision_leaves_what_another_upheld(registry: Registry, jane: str, ota: str) -> None:
    claim = claimed(registry)
    secret = registry._secrets.of(claim.id)
    one = disputed(registry, claim, jane, subjects=[url("a"), url("b")])
    two = disputed(registry, claim, ota, subjects=[url("b")])
    for made in (one, two):
        registry.disputing.answer(made.id, ANSWER, secret=secret)
        registry.reviewing.decide_dispute(made.id, "uphold", reason=REASON)
    assert states(registry, claim) == ["rejected", "rejected", "in_force"]
    registry.reviewing.decide_dispute(one.id, "refuse", reason=REASON, seen="upheld")
    assert states(registry, claim) == ["in_force", "rejected", "in_force"]
    registry.reviewing.decide_dispute(two.id, "refuse", reason=REASON, seen="upheld")
    check_replay(registry)


def test_what_comes_back_while_another_disputes_it_is_disputed(registry: Registry, jane: str, ota: str) -> None:
    claim = claimed(registry, url("a"))
    made = disputed(registry, claim, jane)
    disputed(registry, claim, ota)
    registry.disputing.answer(made.id, ANSWER, secret=registry._secrets.of(claim.id))
    registry.reviewing.decide_dispute(made.id, "uphold", reason=REASON)
    registry.reviewing.decide_dispute(made.id, "refuse", reason=REASON, seen="upheld")
    assert states(registry, claim) == ["disputed"]
    check_replay(registry)


def test_a_decision_about_what_changed_meanwhile_is_refused(registry: Registry, jane: str) -> None:
    claim = claimed(registry)
    made = disputed(registry, claim, jane)
    registry.reviewing.decide_dispute(made.id, "refuse", reason=REASON)
    for outcome in ("uphold", "refuse"):
        with pytest.raises(ConflictError, match="look at it again"):
            registry.reviewing.decide_dispute(made.id, outcome, reason=REASON)
    registry.reviewing.decide_claim(claim.id, "quarantine", reason=REASON, seen=1)
    with pytest.raises(ConflictError, match="meanwhile"):
        registry.reviewing.decide_claim(claim.id, "release", reason=REASON, seen=1)


def test_what_was_taken_back_is_not_decided(registry: Registry, jane: str) -> None:
    claim = claimed(registry)
    made = disputed(registry, claim, jane)
    registry.disputing.withdraw(made.id, account_id=jane)
    with pytest.raises(ConflictError, match="taken back"):
        registry.reviewing.decide_dispute(made.id, "uphold", reason=REASON, seen="withdrawn")
    registry.withdraw(claim.id, reason="by-claimant")
    with pytest.raises(ConflictError, match="withdrawn"):
        registry.reviewing.decide_claim(claim.id, "release", reason=REASON)
    with pytest.raises(NotFoundError):
        registry.reviewing.decide_dispute("nothing", "refuse", reason=REASON)


@pytest.mark.parametrize("reason", ["", "    ", "no", "x" * 2_001])
def test_no_decision_without_a_reason(registry: Registry, jane: str, reason: str) -> None:
    claim = claimed(registry)
    made = disputed(registry, claim, jane)
    with pytest.raises(InputError, match="reason"):
        registry.reviewing.decide_dispute(made.id, "refuse", reason=reason)
    with pytest.raises(InputError, match="reason"):
        registry.reviewing.decide_claim(claim.id, "reject", reason=reason)
    assert states(registry, claim) == ["disputed"] * 3


def test_a_reason_that_a_database_cannot_keep_decides_nothing(registry: Registry, jane: str) -> None:
    claim = claimed(registry)
    made = disputed(registry, claim, jane)
    with pytest.raises(InputError, match="control character"):
        registry.reviewing.decide_dispute(made.id, "refuse", reason="It is hers.\x00")
    with pytest.raises(InputError, match="control character"):
        registry.reviewing.decide_claim(claim.id, "reject", reason="It is hers.\x00")
    registry.reviewing.decide_dispute(made.id, "refuse", reason="It is hers.\r\nThe contract says so.")
    assert registry.disputing.get(made.id, account_id=jane).decision == "It is hers.\nThe contract says so."


def test_nobody_decides_what_is_their_own(registry: Registry, jane: str, ota: str) -> None:
    claim = registry.submit(request(url("a")), account_id=ota)
    made = disputed(registry, claim, jane)
    for reviewer in (jane, ota):
        with pytest.raises(AccessError, match="your own"):
            registry.reviewing.decide_dispute(made.id, "refuse", reason=REASON, reviewer=reviewer)
        with pytest.raises(AccessError, match="your own"):
            registry.reviewing.decide_claim(claim.id, "assure", reason=REASON, reviewer=reviewer)
    third = account(registry, "third@mail.example")
    registry.reviewing.decide_dispute(made.id, "refuse", reason=REASON, reviewer=third)
    with transaction(registry._sessions) as session:
        assert session.scalars(select(ReviewRow.account_id)).all() == [third]


def test_nobody_decides_what_they_disputed_once_or_claim_themselves(
    registry: Registry, jane: str, ota: str, clock: Clock
) -> None:
    claim = claimed(registry)
    registry.disputing.withdraw(disputed(registry, claim, jane).id, account_id=jane)
    registry.submit(request(image("c"), url("z"), preference="train-ai=y"), account_id=ota)
    other = disputed(registry, claim, account(registry, "third@mail.example"))
    clock.advance(days=30)
    for reviewer in (jane, ota):
        with pytest.raises(AccessError, match="your own"):
            registry.reviewing.decide_claim(claim.id, "reject", reason=REASON, reviewer=reviewer)
        with pytest.raises(AccessError, match="your own"):
            registry.reviewing.decide_dispute(other.id, "uphold", reason=REASON, reviewer=reviewer)
    assert states(registry, claim) == ["disputed"] * 3
    unrelated = claimed(registry, url("elsewhere"))
    registry.reviewing.decide_claim(unrelated.id, "quarantine", reason=REASON, reviewer=ota)


def test_a_reviewers_words_are_not_in_the_log(registry: Registry, jane: str) -> None:
    claim = claimed(registry)
    made = disputed(registry, claim, jane)
    registry.reviewing.decide_dispute(made.id, "refuse", reason=REASON)
    with transaction(registry._sessions) as session:
        assert REASON.encode() not in b"".join(session.scalars(select(EventRow.payload)))
    registry.erase_personal_data(claim.id)
    assert [each.reason for each in registry.reviewing.case(claim.id).decisions] == [None]


def test_a_claim_is_held_rejected_and_brought_back(registry: Registry) -> None:
    claim = claimed(registry, url("a"), image("b"), host())
    registry.reviewing.decide_claim(claim.id, "quarantine", reason=REASON, positions=[0, 2])
    assert states(registry, claim) == ["quarantined", "in_force", "quarantined"]
    registry.reviewing.decide_claim(claim.id, "reject", reason=REASON)
    assert states(registry, claim) == ["rejected", "in_force", "rejected"]
    registry.reviewing.decide_claim(claim.id, "release", reason=REASON)
    assert states(registry, claim) == ["in_force", "in_force", "pending"]
    assert codes(registry, claim) == ["review"] * 4
    with pytest.raises(InputError, match="nothing in claim"):
        registry.reviewing.decide_claim(claim.id, "release", reason=REASON)
    with pytest.raises(InputError, match="not all of the subjects"):
        registry.reviewing.decide_claim(claim.id, "reject", reason=REASON, positions=[7])
    check_replay(registry)


def test_what_a_dispute_took_out_is_not_released_past_it(registry: Registry, jane: str) -> None:
    claim = claimed(registry, url("a"))
    made = disputed(registry, claim, jane)
    registry.disputing.answer(made.id, ANSWER, secret=registry._secrets.of(claim.id))
    registry.reviewing.decide_dispute(made.id, "uphold", reason=REASON)
    with pytest.raises(InputError, match="nothing in claim"):
        registry.reviewing.decide_claim(claim.id, "release", reason=REASON)


def test_reviewed_brings_a_place_into_force_and_can_be_taken_back(registry: Registry) -> None:
    claim = claimed(registry, url("a"), host("jane.example"), host("ota.example"))
    registry.raise_assurance(claim.id, "host", reason="dns-txt", positions=[2])
    registry.reviewing.decide_claim(claim.id, "assure", reason=REASON)
    assert registry.claim(claim.id).assurance == "reviewed"
    assert states(registry, claim) == ["in_force"] * 3
    registry.reviewing.decide_claim(claim.id, "unassure", reason=REASON)
    assert registry.claim(claim.id).assurance == "declared"
    assert states(registry, claim) == ["in_force", "pending", "pending"]
    check_replay(registry)


def test_the_queue_has_what_waits_the_most_urgent_first(registry: Registry, jane: str, ota: str, clock: Clock) -> None:
    assert registry.reviewing.queue() == []
    first, second, held = claimed(registry), claimed(registry), claimed(registry)
    one = disputed(registry, first, jane)
    clock.advance(days=2)
    two = disputed(registry, second, ota)
    registry.reviewing.decide_claim(held.id, "quarantine", reason=REASON)
    assert [(each.kind, each.dispute_id or each.claim_id, each.is_ready) for each in registry.reviewing.queue()] == [
        ("dispute", one.id, False),
        ("dispute", two.id, False),
        ("held", held.id, True),
    ]
    clock.advance(days=29)
    assert [each.is_ready for each in registry.reviewing.queue("dispute")] == [True, False]
    registry.reviewing.decide_claim(held.id, "reject", reason=REASON)
    assert [each.claim_id for each in registry.reviewing.queue("rejected")] == [held.id]
    assert registry.reviewing.queue("held") == []


def test_a_rebuilt_registry_knows_no_disputes_and_can_end_them(
    registry: Registry, jane: str, tmp_path: Path, clock: Clock
) -> None:
    from registry.service import migrate

    claim = claimed(registry)
    disputed(registry, claim, jane)
    database_url = f"sqlite:///{tmp_path / 'rebuilt.db'}"
    migrate(database_url)
    with Registry(registry.state_dir, database_url, clock=clock) as rebuilt:
        rebuilt.rebuild()
        assert [(each.kind, each.n_subjects) for each in rebuilt.reviewing.queue()] == [("left-over", 3)]
        rebuilt.reviewing.decide_claim(claim.id, "release", reason=REASON)
        assert states(rebuilt, claim) == ["in_force"] * 3
        assert rebuilt.reviewing.queue() == []
        check_replay(rebuilt)


DECIDE = """
import sys
from pathlib import Path
from heldout.errors import ConflictError
from registry.service import Registry
with Registry(Path(sys.argv[1]), sys.argv[2]) as registry:
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        registry.reviewing.decide_dispute(sys.argv[3], sys.argv[4], reason="Decided by one of two.")
    except ConflictError:
        print("lost")
    else:
        print("won")
"""


def test_of_two_reviewers_at_once_one_decides_and_the_other_is_told(
    registry: Registry, jane: str, database_url: str
) -> None:
    claim = claimed(registry)
    made = disputed(registry, claim, jane)
    registry.disputing.answer(made.id, ANSWER, secret=registry._secrets.of(claim.id))
    processes = [
        subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", DECIDE, str(registry.state_dir), database_url, made.id, outcome],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for outcome in ("uphold", "refuse", "uphold")
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outcomes = [process.communicate(timeout=120)[0].strip() for process in processes]
    assert sorted(outcomes) == ["lost", "lost", "won"]
    winner = outcomes.index("won")
    assert registry.disputing.get(made.id).state == ("refused" if winner == 1 else "upheld")
    assert states(registry, claim) == ["in_force" if winner == 1 else "rejected"] * 3
    registry.sequence()
    assert len(codes(registry, claim)) == 2
    check_replay(registry)


def run(registry: Registry, database_url: str, *arguments: str) -> str:
    where = ["--state-dir", str(registry.state_dir), "--database-url", database_url]
    done = CliRunner().invoke(app, ["review", *arguments, *where], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_an_operator_reviews_from_a_shell(registry: Registry, jane: str, database_url: str) -> None:
    assert "Nothing waits." in run(registry, database_url, "list")
    claim = claimed(registry)
    made = disputed(registry, claim, jane)
    listed = run(registry, database_url, "list")
    assert made.id in listed
    assert "the claimant may still answer" in listed
    (waiting,) = json.loads(run(registry, database_url, "list", "--json"))
    assert (waiting["kind"], waiting["dispute_id"], waiting["n_subjects"]) == ("dispute", made.id, 3)
    shown = run(registry, database_url, "show", made.id)
    for words in (claim.id, "I painted this in 2019", "Answer: (none)", "counter-claim", "jane.example/a.jpg"):
        assert words in shown
    assert json.loads(run(registry, database_url, "show", claim.id, "--json"))["disputes"][0]["id"] == made.id
    done = run(registry, database_url, "decide", made.id, "--outcome", "refuse", "--reason", REASON)
    assert "3 in force" in done
    done = run(
        registry, database_url, "decide", claim.id, "--outcome", "quarantine", "--reason", REASON, "--subjects", "0,2"
    )
    assert "2 quarantined" in done
    assert "0 disputes ended" in run(registry, database_url, "due")


def test_a_shell_is_told_what_is_wrong(registry: Registry, jane: str, database_url: str) -> None:
    made = disputed(registry, claimed(registry), jane)
    where = ["--state-dir", str(registry.state_dir), "--database-url", database_url]
    for arguments, error in (
        (["show", "nothing"], NotFoundError),
        (["decide", made.id, "--outcome", "maybe", "--reason", REASON], InputError),
        (["decide", made.id, "--outcome", "uphold", "--reason", REASON], ConflictError),
        (["decide", made.id, "--outcome", "refuse", "--reason", REASON, "--seen", "nonsense"], InputError),
        (["decide", made.id, "--outcome", "refuse", "--reason", REASON, "--subjects", "0"], InputError),
        (["decide", made.id, "--outcome", "reject", "--reason", REASON, "--subjects", "one"], InputError),
        (["list", "--kind", "all"], InputError),
    ):
        done = CliRunner().invoke(app, ["review", *arguments, *where])
        assert isinstance(done.exception, error), arguments
    assert registry.disputing.get(made.id).state == "open"
