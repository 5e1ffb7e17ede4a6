"""Claims of places: they wait for proof, come into force with it and fall back without it; a list has none yet."""

from typing import Any

import pytest

from heldout.errors import ConflictError, InputError
from heldout.exclusion import ExclusionList
from heldout.leaves import AssuranceLeaf, StateLeaf, WithdrawLeaf
from heldout.receipts import verify_receipt
from heldout.records import ASSURANCES
from registry.claims import get_claim, submit, withdraw
from registry.coverage import Coverage
from registry.db import Sessions, transaction
from registry.service import Registry
from registry.subjects import public_suffixes
from registry.transitions import change_state, lower_assurance, raise_assurance
from tests.registry.builders import Clock, host, image, prefix, request, sample, url

PAGES = [
    sample(0, url="https://jane.example/a.jpg"),
    sample(1, url="https://www.jane.example/a.jpg"),
    sample(2, url="https://art.example/jane/a.jpg"),
    sample(3, url="https://art.example/janet/a.jpg"),
]


def covered(registry: Registry) -> list[set[str] | None]:
    return [None if each is None else set(each.ways) for each in registry.opted_out(PAGES)]


def test_a_place_waits_for_proof_and_the_claim_says_so(registry: Registry) -> None:
    claim = registry.submit(request(host(), prefix()))
    assert (claim.state, claim.assurance, claim.n_host_subjects, claim.n_prefix_subjects) == (
        "pending", "declared", 1, 1,
    )  # fmt: skip
    assert claim.subject_states == {"pending": 2}
    assert claim.notes == ["2 places wait for proof: a site or a profile counts once it is shown that it is yours."]
    assert covered(registry) == [None, None, None, None]


def test_what_is_claimed_beside_a_place_counts_at_once(registry: Registry) -> None:
    claim = registry.submit(request(url("a"), host(), image("b")))
    assert (claim.state, claim.subject_states) == ("in_force", {"in_force": 2, "pending": 1})
    assert covered(registry)[0] == {"url"}
    assert registry.submit(request(url("a"))).notes == []


@pytest.mark.parametrize("assurance", ASSURANCES[1:])
def test_proof_brings_a_place_into_force_when_it_is_enough(registry: Registry, assurance: Any) -> None:
    claim = registry.submit(request(host(), prefix()))
    proved = registry.raise_assurance(claim.id, assurance, reason="dns-txt")
    both = ASSURANCES.index(assurance) >= ASSURANCES.index("host")
    assert proved.assurance == assurance
    assert proved.subject_states == ({"in_force": 2} if both else {"in_force": 1, "pending": 1})
    site = {"host"} if both else None
    assert covered(registry) == [site, site, {"prefix"}, None]


def test_proof_of_one_place_is_no_proof_of_another(registry: Registry) -> None:
    claim = registry.submit(request(host(), host("ota.example"), url("a")))
    proved = registry.raise_assurance(claim.id, "host", reason="dns-txt", positions=[1])
    assert (proved.state, proved.assurance) == ("in_force", "declared")
    assert proved.subject_states == {"in_force": 2, "pending": 1}
    assert registry.opted_out([sample(url="https://ota.example/x.jpg")]) == [
        Coverage((claim.id,), claim.received_at, frozenset({"host"}))
    ]


def test_lost_proof_takes_places_out_of_force_and_leaves_works_in(
    registry: Registry, sessions: Sessions, clock: Clock
) -> None:
    claim = registry.submit(request(host(), url("b")))
    registry.raise_assurance(claim.id, "host", reason="dns-txt")
    with transaction(sessions) as session:
        lower_assurance(session, claim.id, "declared", reason="dns-txt-gone", now=clock())
    registry.sequence()
    assert registry.claim(claim.id).subject_states == {"in_force": 1, "pending": 1}
    assert covered(registry)[0] is None
    leaves = verify_receipt(registry.receipt(claim.id), registry.vkey)
    assert leaves[1:] == [
        AssuranceLeaf(clock.now, claim.id, "host", "dns-txt"),
        StateLeaf(clock.now, claim.id, "in_force", "evidence", (0,)),
        AssuranceLeaf(clock.now, claim.id, "declared", "dns-txt-gone"),
        StateLeaf(clock.now, claim.id, "pending", "evidence-lost", (0,)),
    ]


def test_weaker_proof_takes_nothing_away_and_the_same_proof_is_no_event(registry: Registry) -> None:
    claim = registry.submit(request(host()))
    strong = registry.raise_assurance(claim.id, "reviewed", reason="review")
    assert registry.raise_assurance(claim.id, "host", reason="dns-txt") == strong
    assert registry.raise_assurance(claim.id, "reviewed", reason="review") == strong


def test_a_withdrawn_claim_is_not_raised(registry: Registry) -> None:
    claim = registry.submit(request(host()))
    registry.withdraw(claim.id, reason="by-claimant")
    assert registry.raise_assurance(claim.id, "host", reason="dns-txt").state == "withdrawn"
    assert isinstance(verify_receipt(registry.receipt(claim.id), registry.vkey)[-1], WithdrawLeaf)


def test_one_subject_is_disputed_quarantined_rejected_and_restored_while_the_others_hold(
    sessions: Sessions, clock: Clock
) -> None:
    with transaction(sessions) as session:
        claim = submit(session, request(url("a"), url("b"), image("c")), now=clock())

        def take(state: Any, reason: str) -> object:
            change_state(session, claim.id, state, reason=reason, now=clock(), positions=[1])
            found = get_claim(session, claim.id)
            assert found.state == "in_force"
            return found.subject_states

        assert take("disputed", "counter-claim") == {"in_force": 2, "disputed": 1}
        assert take("rejected", "dispute-upheld") == {"in_force": 2, "rejected": 1}
        assert take("in_force", "review") == {"in_force": 3}
        assert take("quarantined", "too-many-hosts") == {"in_force": 2, "quarantined": 1}
        assert withdraw(session, claim.id, reason="by-claimant", now=clock()).subject_states == {"withdrawn": 3}


@pytest.mark.parametrize(
    ("state", "reason", "positions", "error"),
    [
        ("in_force", "review", None, InputError),
        ("in_force", "evidence", None, InputError),
        ("disputed", "counter-claim", None, ConflictError),
        ("rejected", "because", None, InputError),
        ("rejected", "review", [1], InputError),
        ("rejected", "review", [], InputError),
        ("withdrawn", "by-claimant", None, InputError),
    ],
)
def test_what_the_table_does_not_allow_is_refused_and_changes_nothing(
    sessions: Sessions, clock: Clock, *, state: Any, reason: str, positions: Any, error: type[Exception]
) -> None:
    with transaction(sessions) as session:
        claim = submit(session, request(host()), now=clock())
    with pytest.raises(error), transaction(sessions) as session:
        change_state(session, claim.id, state, reason=reason, now=clock(), positions=positions)
    with transaction(sessions) as session:
        assert get_claim(session, claim.id) == claim


def test_a_reason_that_is_no_code_is_not_logged(sessions: Sessions, clock: Clock) -> None:
    with transaction(sessions) as session:
        claim = submit(session, request(host()), now=clock())
    with pytest.raises(InputError, match="reason"), transaction(sessions) as session:
        raise_assurance(session, claim.id, "host", reason="Jane wrote to us", now=clock())


@pytest.mark.parametrize("name", ["github.io", "co.uk", "blogspot.com", "xn--p1ai", "*.github.io", "example"])
def test_a_host_that_everybody_shares_is_refused(registry: Registry, name: str) -> None:
    with pytest.raises(InputError, match="public suffix" if "." in name else "not the name of a host"):
        registry.submit(request(host(name)))


@pytest.mark.parametrize("name", ["jane.github.io", "jane.co.uk", "jane.blogspot.com", "xn--e1afmkfd.xn--p1ai"])
def test_ones_own_host_below_a_public_suffix_is_taken(registry: Registry, name: str) -> None:
    assert registry.submit(request(host(name))).state == "pending"
    assert not public_suffixes().is_public(name)


def test_a_place_enters_the_list_when_it_comes_into_force_and_leaves_it_again(registry: Registry) -> None:
    claim = registry.submit(request(host(), url("a")))
    addresses = ["https://jane.example/any.jpg", "http://cdn.jane.example:8080/x", "https://notjane.example/"]

    def on_host() -> list[bool]:
        assert registry.publish().is_new
        exclusions = ExclusionList.from_published(registry.public_dir / "list")
        found: list[bool] = exclusions.lookup_urls(addresses)["host"].found.tolist()
        return found

    assert on_host() == [False, False, False]
    registry.raise_assurance(claim.id, "host", reason="dns-txt")
    assert on_host() == [True, True, False]
    registry.withdraw(claim.id, reason="by-claimant")
    assert on_host() == [False, False, False]
    assert not registry.publish().is_new
