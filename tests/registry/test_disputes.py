"""Counter-claims: who may, what they change, who wins when time runs out, what is kept and what can be forgotten."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import select

from heldout.errors import AccessError, ConflictError, InputError, NotFoundError, TooOftenError
from heldout.records import DisputeRequest
from registry.db import transaction
from registry.disputes import MAX_REFUSED
from registry.limits import Limits
from registry.service import Registry
from registry.tables import DisputeRow, EventRow, ReviewRow
from registry.transitions import lower_assurance
from tests.registry.builders import ORIGIN, Clock, host, image, prefix, request, sample, url
from tests.registry.parties import ANSWER, STATEMENT, account, check_replay, claimed, codes, disputed, states


@pytest.fixture
def jane(registry: Registry) -> str:
    return account(registry, "jane@mail.example")


@pytest.fixture
def ota(registry: Registry) -> str:
    return account(registry, "ota@mail.example")


def test_a_dispute_takes_nothing_out_of_force(registry: Registry, jane: str) -> None:
    claim = claimed(registry)
    asked = [sample(url="https://jane.example/a.jpg"), sample(sha256=image("c").sha256)]
    before = registry.opted_out(asked)
    made = disputed(registry, claim, jane)
    assert (made.state, made.n_subjects, made.statement) == ("open", 3, STATEMENT)
    assert states(registry, claim) == ["disputed"] * 3
    assert registry.claim(claim.id).state == "disputed"
    assert registry.opted_out(asked) == before
    assert None not in before
    check_replay(registry)


@pytest.mark.parametrize(
    ("meant", "positions"),
    [
        ([url("b")], [1]),
        ([url("a"), image("c", with_sha256=False)], [0, 2]),
        ([image("nothing like it").model_copy(update={"sha256": image("c").sha256})], [2]),
        ([host("jane.example")], [3]),
        ([prefix("https://art.example/jane")], [4]),
    ],
)
def test_a_dispute_may_be_about_a_part(registry: Registry, jane: str, meant: list[Any], positions: list[int]) -> None:
    claim = claimed(registry, url("a"), url("b"), image("c"), host("jane.example"), prefix())
    registry.raise_assurance(claim.id, "host", reason="dns-txt", positions=[3, 4])
    made = disputed(registry, claim, jane, subjects=meant)
    assert made.subjects == positions
    assert [at for at, state in enumerate(states(registry, claim)) if state == "disputed"] == positions


def test_an_address_that_is_not_claimed_means_the_place_it_is_on(registry: Registry, jane: str) -> None:
    claim = claimed(registry, host("jane.example"), prefix("https://jane.example/art"), url("elsewhere"))
    registry.raise_assurance(claim.id, "host", reason="dns-txt")
    on_it = request(url("x")).subjects[0].model_copy(update={"url": "https://shop.jane.example/art/x.jpg"})
    assert disputed(registry, claim, jane, subjects=[on_it]).subjects == [0]
    profile = on_it.model_copy(update={"url": "https://jane.example/art/y.jpg"})
    assert disputed(registry, claim, account(registry, "x@mail.example"), subjects=[profile]).subjects == [1]


def test_what_is_no_part_of_it_or_not_in_force_cannot_be_disputed(registry: Registry, jane: str) -> None:
    claim = claimed(registry, url("a"), host("ota.example"))
    with pytest.raises(InputError, match="no part of claim"):
        disputed(registry, claim, jane, subjects=[url("other")])
    with pytest.raises(InputError, match="in force"):
        disputed(registry, claim, jane, subjects=[host("ota.example")])
    registry.withdraw(claim.id, reason="by-claimant")
    with pytest.raises(ConflictError, match="nothing to dispute"):
        disputed(registry, claim, jane)
    with pytest.raises(NotFoundError):
        registry.disputing.file(DisputeRequest(claim="none", basis="mine", statement=STATEMENT), jane)


def test_nobody_disputes_themselves_or_twice(registry: Registry, jane: str, ota: str) -> None:
    own = registry.submit(request(url("own")), account_id=jane)
    with pytest.raises(InputError, match="your own"):
        disputed(registry, own, jane)
    claim = claimed(registry)
    first = disputed(registry, claim, jane, subjects=[url("a")])
    with pytest.raises(ConflictError, match="open dispute"):
        disputed(registry, claim, jane, subjects=[url("b")])
    registry.disputing.withdraw(first.id, account_id=jane)
    assert disputed(registry, claim, jane).n_subjects == 3
    assert disputed(registry, claim, ota).n_subjects == 3


def test_a_dispute_that_is_taken_back_leaves_the_claim_as_it_was(registry: Registry, jane: str, ota: str) -> None:
    claim = claimed(registry)
    made = disputed(registry, claim, jane)
    with pytest.raises(AccessError):
        registry.disputing.withdraw(made.id, account_id=ota)
    with pytest.raises(AccessError):
        registry.disputing.withdraw(made.id, account_id=None)
    assert registry.disputing.withdraw(made.id, account_id=jane).state == "withdrawn"
    assert registry.disputing.withdraw(made.id, account_id=jane).state == "withdrawn"
    assert states(registry, claim) == ["in_force"] * 3
    assert codes(registry, claim) == ["counter-claim", "dispute-withdrawn"]
    check_replay(registry)


def test_what_two_dispute_stays_disputed_until_both_are_over(registry: Registry, jane: str, ota: str) -> None:
    claim = claimed(registry)
    one = disputed(registry, claim, jane, subjects=[url("a"), url("b")])
    disputed(registry, claim, ota, subjects=[url("b"), image("c")])
    registry.disputing.withdraw(one.id, account_id=jane)
    assert states(registry, claim) == ["in_force", "disputed", "disputed"]


def test_both_statements_are_seen_by_both_sides_and_by_nobody_else(registry: Registry, jane: str, ota: str) -> None:
    claim = claimed(registry)
    secret = registry._secrets.of(claim.id)
    made = disputed(registry, claim, jane)
    answered = registry.disputing.answer(made.id, ANSWER, secret=secret)
    assert (answered.statement, answered.answer) == (STATEMENT, ANSWER)
    assert registry.disputing.get(made.id, account_id=jane).answer == ANSWER
    assert registry.disputing.get(made.id, secret=secret).statement == STATEMENT
    assert registry.disputing.of_claim(claim.id, secret=secret)[0].answer == ANSWER
    (seen,) = registry.disputing.of_claim(claim.id)
    for stranger in (seen, registry.disputing.get(made.id, account_id=ota), registry.disputing.get(made.id)):
        assert (stranger.statement, stranger.answer, stranger.decision) == (None, None, None)
        assert stranger.answered_at is not None
    with transaction(registry._sessions) as session:
        logged = b"\n".join(session.scalars(select(EventRow.payload)))
    for words in (STATEMENT, ANSWER, "mail.example"):
        assert words.encode() not in logged


def test_an_answer_is_the_claimants_and_stays(registry: Registry, jane: str, ota: str, clock: Clock) -> None:
    claim = registry.submit(request(url("a")), account_id=ota)
    made = disputed(registry, claim, jane)
    with pytest.raises(AccessError):
        registry.disputing.answer(made.id, ANSWER, account_id=jane)
    with pytest.raises(AccessError):
        registry.disputing.answer(made.id, ANSWER, secret=registry._secrets.of(claim.id))
    for bad in ("too short", "x" * 5_001, "a bell \a rings in this statement"):
        with pytest.raises(InputError):
            registry.disputing.answer(made.id, bad, account_id=ota)
    first = registry.disputing.answer(made.id, ANSWER, account_id=ota)
    clock.advance(days=1)
    assert registry.disputing.answer(made.id, f" {ANSWER}\n", account_id=ota) == first
    with pytest.raises(ConflictError, match="answered already"):
        registry.disputing.answer(made.id, f"{ANSWER} And more.", account_id=ota)


def test_a_late_answer_is_taken_while_the_dispute_is_open(registry: Registry, jane: str, clock: Clock) -> None:
    claim = claimed(registry)
    made = disputed(registry, claim, jane)
    clock.advance(days=31)
    assert registry.disputing.expire_due() == 0
    late = registry.disputing.answer(made.id, ANSWER, secret=registry._secrets.of(claim.id))
    assert late.answered_at is not None
    assert late.answered_at > late.answer_due_at
    clock.advance(days=60)
    registry.disputing.expire_due()
    with pytest.raises(ConflictError, match="over"):
        registry.disputing.answer(made.id, f"{ANSWER} Once more.", secret=registry._secrets.of(claim.id))


def test_an_opt_out_that_nobody_answers_for_stays_in_force(registry: Registry, jane: str, clock: Clock) -> None:
    """A missed opt-out costs an artist her work, a false one a lab a picture: silence is no reason to train."""
    claim = claimed(registry)
    made = disputed(registry, claim, jane)
    clock.advance(days=89)
    assert registry.disputing.expire_due() == 0
    clock.advance(days=1)
    assert registry.disputing.expire_due() == 1
    assert registry.disputing.expire_due() == 0
    assert states(registry, claim) == ["in_force"] * 3
    assert codes(registry, claim) == ["counter-claim", "dispute-expired"]
    assert registry.disputing.get(made.id).state == "expired"
    check_replay(registry)


@pytest.mark.parametrize("is_answered", [True, False])
def test_a_grant_stays_only_if_its_claimant_stands_up_for_it(
    registry: Registry, jane: str, clock: Clock, *, is_answered: bool
) -> None:
    claim = claimed(registry, url("a"), preference="train-ai=y")
    made = disputed(registry, claim, jane)
    if is_answered:
        registry.disputing.answer(made.id, ANSWER, secret=registry._secrets.of(claim.id))
    clock.advance(days=30)
    assert registry.disputing.expire_due() == (0 if is_answered else 1)
    clock.advance(days=60)
    assert registry.disputing.expire_due() == (1 if is_answered else 0)
    assert states(registry, claim) == ["in_force" if is_answered else "rejected"]
    assert codes(registry, claim) == ["counter-claim", "dispute-expired"]
    check_replay(registry)


def test_taking_the_claim_back_ends_its_disputes(registry: Registry, jane: str) -> None:
    claim = claimed(registry, contact="ota@mail.example")
    made = disputed(registry, claim, jane)
    registry.withdraw_own(claim.id, secret=registry._secrets.of(claim.id))
    assert registry.disputing.get(made.id).state == "moot"
    with pytest.raises(ConflictError, match="over"):
        registry.disputing.withdraw(made.id, account_id=jane)
    assert [(each.to, each.about) for each in registry.disputing.take_notices()][-1] == ("jane@mail.example", "decided")
    check_replay(registry)


def test_a_proof_that_is_lost_and_found_does_not_end_a_dispute(registry: Registry, jane: str) -> None:
    claim = claimed(registry, host("jane.example"))
    registry.raise_assurance(claim.id, "host", reason="dns-txt")
    disputed(registry, claim, jane)
    with transaction(registry._sessions) as session:
        lower_assurance(session, claim.id, "declared", reason="evidence-lost", now=registry._clock())
    assert states(registry, claim) == ["pending"]
    registry.raise_assurance(claim.id, "host", reason="dns-txt")
    assert states(registry, claim) == ["disputed"]
    check_replay(registry)


def test_the_same_request_is_one_dispute_and_another_under_its_key_is_refused(
    registry: Registry, jane: str, ota: str
) -> None:
    claim, other = claimed(registry), claimed(registry)
    made = disputed(registry, claim, jane, idempotency_key="k")
    assert disputed(registry, claim, jane, idempotency_key="k") == made
    with pytest.raises(ConflictError, match="idempotency key"):
        disputed(registry, other, jane, idempotency_key="k")
    assert disputed(registry, other, ota, idempotency_key="k").claim == other.id
    registry.disputing.withdraw(made.id, account_id=jane)
    assert disputed(registry, claim, jane, idempotency_key="k").state == "withdrawn"


def test_one_account_and_one_network_file_only_so_many_a_day(tmp_path: Path, database_url: str, clock: Clock) -> None:
    with Registry.prepare(
        tmp_path / "state", database_url, origin=ORIGIN, clock=clock, limits=Limits(disputes=2)
    ) as registry:
        jane, ota = account(registry, "jane@mail.example"), account(registry, "ota@mail.example")
        claims = [claimed(registry) for _ in range(4)]
        network = b"n" * 32
        disputed(registry, claims[0], jane, client=network)
        disputed(registry, claims[1], jane, client=network)
        with pytest.raises(TooOftenError) as caught:
            disputed(registry, claims[2], jane)
        assert 0 < caught.value.retry_after_s <= 86_400
        with pytest.raises(TooOftenError):
            disputed(registry, claims[2], ota, client=network)
        assert states(registry, claims[2]) == ["in_force"] * 3
        clock.advance(days=1, seconds=1)
        disputed(registry, claims[2], ota, client=network)


def test_who_is_refused_again_and_again_waits(registry: Registry, jane: str, clock: Clock) -> None:
    for _ in range(MAX_REFUSED):
        made = disputed(registry, claimed(registry), jane)
        registry.reviewing.decide_dispute(made.id, "refuse", reason="There is nothing to it.")
    claim = claimed(registry)
    with pytest.raises(TooOftenError, match="were refused"):
        disputed(registry, claim, jane)
    clock.advance(days=91)
    assert disputed(registry, claim, jane).state == "open"


def test_pages_of_disputes_are_whole_and_in_order(registry: Registry, jane: str, ota: str, clock: Clock) -> None:
    made = []
    for number in range(5):
        claim = registry.submit(request(url(str(number))), account_id=ota)
        made.append(disputed(registry, claim, jane).id)
        clock.advance(seconds=number % 2)
    for read in (registry.disputing.filed_by, registry.disputing.against):
        who = jane if read == registry.disputing.filed_by else ota
        seen, cursor = [], None
        while True:
            page = read(who, cursor=cursor, limit=2)
            seen += [each.id for each in page.disputes]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert sorted(seen) == sorted(made)
        assert len(seen) == 5
    assert registry.disputing.filed_by(ota).disputes == registry.disputing.against(jane).disputes == []
    with pytest.raises(InputError, match="cursor"):
        registry.disputing.filed_by(jane, cursor="nonsense")


def test_forgetting_a_disputer_takes_the_dispute_back_and_erases_what_was_said(
    registry: Registry, jane: str, database_url: str
) -> None:
    claim, done = claimed(registry), claimed(registry)
    decided = disputed(registry, done, jane)
    registry.reviewing.decide_dispute(decided.id, "refuse", reason="Jane Doe has sold it.")
    made = disputed(registry, claim, jane)
    assert STATEMENT in str(registry.accounts.export(jane))
    registry.delete_account(jane, withdraw_claims=False)
    assert registry.disputing.get(made.id).state == "withdrawn"
    assert registry.disputing.get(decided.id).state == "refused"
    assert states(registry, claim) == ["in_force"] * 3
    with transaction(registry._sessions) as session:
        assert [(row.statement, row.account_id) for row in session.scalars(select(DisputeRow))] == [(None, None)] * 2
        assert session.scalars(select(ReviewRow.reason)).all() == [None]
    if database_url.startswith("sqlite"):
        assert STATEMENT.encode() not in Path(database_url.removeprefix("sqlite:///")).read_bytes()
    check_replay(registry)


def test_forgetting_a_claimant_erases_the_answer_and_leaves_the_dispute(
    registry: Registry, jane: str, ota: str
) -> None:
    claim = registry.submit(request(url("a")), account_id=ota)
    made = disputed(registry, claim, jane)
    registry.disputing.answer(made.id, ANSWER, account_id=ota)
    registry.reviewing.decide_dispute(made.id, "refuse", reason="Ota has the contract.")
    assert ANSWER in str(registry.accounts.export(ota))
    registry.delete_account(ota, withdraw_claims=False)
    seen = registry.disputing.get(made.id, account_id=jane)
    assert (seen.statement, seen.answer, seen.decision) == (STATEMENT, None, None)
    assert seen.answered_at is not None


def test_two_who_dispute_each_other_can_both_be_forgotten(registry: Registry, jane: str, ota: str) -> None:
    of_jane = registry.submit(request(url("a")), account_id=jane)
    of_ota = registry.submit(request(url("b")), account_id=ota)
    disputed(registry, of_jane, ota)
    disputed(registry, of_ota, jane)
    registry.delete_account(jane, withdraw_claims=True)
    registry.delete_account(ota, withdraw_claims=False)
    assert (states(registry, of_jane), states(registry, of_ota)) == (["withdrawn"], ["in_force"])
    check_replay(registry)


def test_both_sides_are_mailed_and_what_is_not_sent_comes_again(registry: Registry, jane: str, clock: Clock) -> None:
    claim = claimed(registry, contact="Ota@Mail.example")
    made = disputed(registry, claim, jane)
    (notice,) = registry.disputing.take_notices()
    assert (notice.to, notice.side, notice.about, notice.has_account) == (
        "ota@mail.example",
        "claimant",
        "filed",
        False,
    )
    assert registry.disputing.take_notices() == []
    clock.advance(minutes=11)
    (again,) = registry.disputing.take_notices()
    assert again.id == notice.id
    registry.disputing.notice_sent(again.id)
    clock.advance(days=2)
    assert registry.disputing.take_notices() == []
    registry.disputing.answer(made.id, ANSWER, secret=registry._secrets.of(claim.id))
    registry.reviewing.decide_dispute(made.id, "refuse", reason="There is nothing to it.")
    told = {(each.to, each.about) for each in registry.disputing.take_notices()}
    assert told == {
        ("jane@mail.example", "answered"),
        ("jane@mail.example", "decided"),
        ("ota@mail.example", "decided"),
    }


@pytest.mark.parametrize("contact", [None, "my studio, ask for Ota", "https://ota.example"])
def test_a_claimant_without_an_address_is_not_mailed(registry: Registry, jane: str, contact: str | None) -> None:
    disputed(registry, claimed(registry, contact=contact), jane)
    assert registry.disputing.take_notices() == []


def test_a_mail_that_is_never_taken_is_given_up(registry: Registry, jane: str, clock: Clock) -> None:
    disputed(registry, claimed(registry, contact="ota@mail.example"), jane)
    n_tries = 0
    for _ in range(20):
        n_tries += len(registry.disputing.take_notices())
        clock.advance(days=2)
    assert n_tries == 8


@pytest.mark.parametrize("statement", ["", "   " * 20, "short", "x" * 5_001])
def test_a_dispute_without_a_statement_is_no_request(statement: str) -> None:
    with pytest.raises(ValidationError):
        DisputeRequest(claim="c", basis="mine", statement=statement)
