"""Limits of a day: room for a portfolio, more is held and not lost, far more is refused, proof lifts it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from heldout.errors import TooOftenError
from heldout.records import ClaimRequest
from registry.db import transaction
from registry.limits import MAX_DROPPED, NETWORK_FACTOR, REFUSE_FACTOR, Limits, account_digest
from registry.service import Registry
from registry.tables import UseRow
from tests.registry.builders import ORIGIN, Clock, host, request, url
from tests.registry.parties import account, check_replay, codes, states

HERE, ELSEWHERE = b"h" * 32, b"e" * 32


@pytest.fixture
def small(tmp_path: Path, database_url: str, clock: Clock) -> Iterator[Registry]:
    """A registry with low limits."""
    limits = Limits(claims=3, subjects=4, account_claims=5, account_subjects=8)
    with Registry.prepare(tmp_path / "state", database_url, origin=ORIGIN, clock=clock, limits=limits) as made:
        yield made


def works(n: int, name: str = "w") -> ClaimRequest:
    return request(*(url(f"{name}{number}") for number in range(n)))


def test_a_portfolio_of_ten_thousand_pictures_with_addresses_is_within_a_days_limit() -> None:
    limits = Limits()
    assert limits.subjects >= 2 * 10_000
    assert limits.claims >= 2
    assert limits.account_subjects > limits.subjects


def test_what_is_over_the_limit_is_held_and_in_the_log(small: Registry) -> None:
    first = small.submit(request(*(url(str(n)) for n in range(4))), client=HERE)
    second = small.submit(request(url("more"), host()), client=HERE)
    other = small.submit(request(url("other")), client=ELSEWHERE)
    assert states(small, first) == ["in_force"] * 4
    assert states(small, second) == ["quarantined", "pending"]
    assert codes(small, second) == ["over-limit"]
    assert states(small, other) == ["in_force"]
    assert "Nothing is lost" in " ".join(second.notes)
    (waiting,) = small.reviewing.queue()
    assert (waiting.claim_id, waiting.reasons) == (second.id, {"over-limit": 1})
    small.reviewing.decide_claim(second.id, "release", reason="A portfolio like any other.")
    assert states(small, second) == ["in_force", "pending"]
    check_replay(small)


def test_proof_lifts_what_a_limit_held(small: Registry) -> None:
    small.submit(request(*(url(str(n)) for n in range(4))), client=HERE)
    held = small.submit(request(url("a"), url("b"), host()), client=HERE)
    small.raise_assurance(held.id, "host", reason="dns-txt", positions=[0, 2])
    assert states(small, held) == ["in_force", "quarantined", "in_force"]
    assert codes(small, held)[-1] == "evidence"
    check_replay(small)


def test_claims_are_counted_as_subjects_are(small: Registry) -> None:
    found = [small.submit(request(url(str(n))), client=HERE).state for n in range(4)]
    assert found == ["in_force"] * 3 + ["quarantined"]


def test_an_account_has_limits_of_its_own_wherever_it_is(small: Registry) -> None:
    jane = account(small, "jane@mail.example")
    for client in (HERE, ELSEWHERE):
        claim = small.submit(request(*(url(f"{client[0]}{n}") for n in range(4))), account_id=jane, client=client)
        assert claim.state == "in_force"
    assert small.submit(request(url("more")), account_id=jane, client=HERE).state == "quarantined"
    assert small.submit(request(url("x")), client=HERE).state == "in_force"


def test_many_accounts_of_one_network_have_a_limit_together_that_accounts_elsewhere_do_not_share(
    small: Registry,
) -> None:
    everybody = [account(small, f"p{number}@mail.example") for number in range(NETWORK_FACTOR + 1)]
    first = [small.submit(works(8, f"{each}-"), account_id=each, client=HERE) for each in everybody]
    assert [each.state for each in first] == ["in_force"] * NETWORK_FACTOR + ["quarantined"]
    assert (
        small.submit(works(1, "hers"), account_id=account(small, "q@mail.example"), client=ELSEWHERE).state
        == "in_force"
    )
    assert small.submit(works(1, "nobodys"), client=HERE).state == "in_force"
    check_replay(small)


def test_far_more_is_refused_with_a_time_and_nothing_is_stored(small: Registry, clock: Clock) -> None:
    small.submit(request(url("first")), client=HERE)
    clock.advance(hours=1)
    with pytest.raises(TooOftenError, match="nothing was stored") as caught:
        small.submit(request(*(url(str(n)) for n in range(REFUSE_FACTOR * 4))), client=HERE)
    assert caught.value.retry_after_s == 23 * 3600
    assert small.sequence().size == 1
    clock.advance(hours=23, seconds=1)
    assert small.submit(request(*(url(str(n)) for n in range(4))), client=HERE).state == "in_force"


def test_the_same_request_again_is_not_counted_and_given_even_to_who_is_over(small: Registry) -> None:
    wanted = request(*(url(str(n)) for n in range(4)))
    made = [small.submit(wanted, client=HERE, idempotency_key="k") for _ in range(20)]
    assert {claim.id for claim in made} == {made[0].id}
    with transaction(small._sessions) as session:
        assert [row.n for row in session.scalars(select(UseRow))] == [4]


def test_the_operator_is_not_counted(small: Registry) -> None:
    for number in range(10):
        assert small.submit(request(url(str(number)))).state == "in_force"
    with transaction(small._sessions) as session:
        assert session.scalars(select(UseRow)).all() == []


def test_what_was_counted_is_forgotten_after_a_day_and_with_the_account(small: Registry, clock: Clock) -> None:
    jane = account(small, "jane@mail.example")
    small.submit(request(url("a")), account_id=jane, client=HERE)
    small.delete_account(jane, withdraw_claims=False)
    with transaction(small._sessions) as session:
        (left,) = session.scalars(select(UseRow))  # of the network address, for the day
        assert left.who not in {HERE, account_digest(jane)}
    small.submit(request(url("b")), client=HERE)
    clock.advance(days=1, seconds=1)
    small.submit(request(url("c")), client=ELSEWHERE)
    with transaction(small._sessions) as session:
        assert [row.who for row in session.scalars(select(UseRow))] == [ELSEWHERE]


def test_old_claims_do_not_count_even_before_they_are_forgotten(small: Registry, clock: Clock) -> None:
    with transaction(small._sessions) as session:
        session.add_all(UseRow(who=ELSEWHERE, what="claim", n=1, at=clock.now) for _ in range(MAX_DROPPED))
        session.add_all(UseRow(who=HERE, what="claim", n=1, at=clock.now) for _ in range(REFUSE_FACTOR * 3))
    clock.advance(days=1, seconds=1)
    assert small.submit(request(url("a")), client=HERE).state == "in_force"
