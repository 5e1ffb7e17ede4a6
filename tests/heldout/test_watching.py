"""What of the log is about a watched host or address."""

import pytest

from heldout.errors import InputError
from heldout.leaves import (
    AssuranceLeaf,
    HostRule,
    Leaf,
    ListLeaf,
    LoggedSubject,
    OptOutLeaf,
    PrefixRule,
    StateLeaf,
    UrlDigest,
    WithdrawLeaf,
)
from heldout.urls import key_digest
from heldout.watching import Happened, WatchedClaims, Watches
from tests.heldout.lying_log import AT

URL = UrlDigest(key_digest("art.example/jane/1.jpg"))
ELSE = UrlDigest(key_digest("else.example/"))


def watches(*, host: str | None = None, url: str | None = None) -> Watches:
    made = Watches()
    if host:
        made.add_host(host)
    if url:
        made.add_url(url)
    return made


def opt_out(*subjects: LoggedSubject, claim: str = "claim0001", part: int = 1, n_parts: int = 1) -> OptOutLeaf:
    return OptOutLeaf(AT, claim, "declared", "train-ai=n", subjects, part, n_parts)


def read(looked_for: Watches, *leaves: Leaf, floors: dict[str, int] | None = None) -> list[Happened]:
    claims = WatchedClaims()
    found = [claims.read(index, leaf, looked_for, floors or {}) for index, leaf in enumerate(leaves)]
    assert claims.n_seen == {}
    return [happened for happened in found if happened is not None]


@pytest.mark.parametrize(
    ("subject", "is_found"),
    [
        (HostRule("art.example"), True),
        (HostRule("www.art.example"), True),
        (HostRule("start.example"), False),
        (HostRule("other.example"), False),
        (PrefixRule("art.example/jane/"), True),
        (PrefixRule("www.art.example:8080/jane/"), True),
        (PrefixRule("start.example/jane/"), False),
        (URL, False),
    ],
)
def test_a_host_is_found_in_rules_for_it_and_below_it(subject: LoggedSubject, is_found: bool) -> None:
    assert bool(read(watches(host="*.Art.Example"), opt_out(subject))) is is_found


def test_a_host_is_found_in_a_rule_for_the_host_above() -> None:
    (happened,) = read(watches(host="www.art.example"), opt_out(HostRule("art.example")))
    assert happened.about == ("host www.art.example",)


@pytest.mark.parametrize(
    ("subject", "is_found"),
    [
        (URL, True),
        (HostRule("art.example"), True),
        (HostRule("www.art.example"), False),
        (PrefixRule("art.example/jane/"), True),
        (PrefixRule("art.example/janet/"), False),
        (PrefixRule("art.example/jane/2/"), False),
        (ELSE, False),
    ],
)
def test_an_address_is_found_as_itself_and_in_the_places_above_it(subject: LoggedSubject, is_found: bool) -> None:
    assert bool(read(watches(url="https://art.example/jane/1.jpg"), opt_out(subject))) is is_found


def test_what_happens_to_other_subjects_of_the_same_claim_is_not_told() -> None:
    found = read(
        watches(url="https://art.example/jane/1.jpg"),
        opt_out(ELSE, URL),
        StateLeaf(AT, "claim0001", "disputed", "counter-claim", (0,)),
        StateLeaf(AT, "claim0001", "disputed", "counter-claim", (1,)),
        AssuranceLeaf(AT, "claim0001", "host", "dns-txt"),
    )
    assert [happened.index for happened in found] == [0, 2, 3]
    assert ["disputed (counter-claim)" in found[1].words(), "proved as host (dns-txt)" in found[2].words()] == [
        True
    ] * 2


def test_positions_count_over_all_parts_of_a_claim() -> None:
    found = read(
        watches(url="https://art.example/jane/1.jpg"),
        opt_out(ELSE, HostRule("x.example"), n_parts=2),
        opt_out(ELSE, claim="claim0002"),
        opt_out(ELSE, URL, part=2, n_parts=2),
        StateLeaf(AT, "claim0001", "disputed", "counter-claim", (1,)),
        StateLeaf(AT, "claim0001", "in_force", "counter-claim", (3,)),
        ListLeaf(AT, 1, bytes(32)),
        WithdrawLeaf(AT, "claim0002", "by-claimant"),
        WithdrawLeaf(AT, "claim0001", "by-claimant"),
    )
    assert [happened.index for happened in found] == [2, 4, 7]


def test_entries_looked_through_before_are_remembered_and_not_told_again() -> None:
    looked_for = watches(host="art.example", url="https://art.example/jane/1.jpg")
    (name,) = watches(host="art.example").names
    found = read(
        looked_for,
        opt_out(HostRule("art.example")),
        WithdrawLeaf(AT, "claim0001", "by-claimant"),
        floors={name: 1},
    )
    assert [happened.about for happened in found] == [
        ("url art.example/jane/1.jpg",),
        ("host art.example", "url art.example/jane/1.jpg"),
    ]


@pytest.mark.parametrize("host", ["", "localhost", "art.example/jane", "10.0.0.1"])
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(InputError):
        Watches().add_host(host)


def test_what_is_no_address_or_picture_is_refused() -> None:
    with pytest.raises(InputError):
        Watches().add_url("art.example/1.jpg")
    with pytest.raises(InputError):
        Watches().add_picture(b"no picture", "a.png")
