"""What is kept from one publication to the next, and that nothing depends on it."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.errors import VerificationError
from heldout.leaves import (
    ImageDigest,
    Leaf,
    ListLeaf,
    OptOutLeaf,
    StateLeaf,
    UrlDigest,
    WithdrawLeaf,
    format_leaf,
    parse_leaf,
)
from heldout.merkle import leaf_hash, root_of
from heldout.replay import replay
from heldout.tiles import TileReader
from registry import effective
from registry.effective import EffectiveLog, ForeignLogError, effective_rows
from tests.heldout.lying_log import LyingLog

AT = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


class Log:
    """Entries, their tree, and what was asked of their history."""

    def __init__(self, *leaves: Leaf) -> None:
        self.entries: list[bytes] = []
        self.asked: list[set[str]] = []
        self.add(*leaves)

    def add(self, *leaves: Leaf) -> "Log":
        self.entries += map(format_leaf, leaves)
        return self

    @property
    def tree(self) -> TileReader:
        log = LyingLog(entries=self.entries)
        log.publish()
        return TileReader(lambda path: log.files[f"log/{path}"], len(self.entries))

    def history(self, claims: set[str], size: int) -> Iterator[tuple[int, bytes]]:
        self.asked.append(claims)
        for index, entry in enumerate(self.entries[:size]):
            leaf = parse_leaf(entry)
            if not isinstance(leaf, ListLeaf) and leaf.claim in claims:
                yield index, entry

    def grow(self, known: EffectiveLog) -> EffectiveLog:
        return known.grown(self.entries[known.size :], self.tree, self.history)

    def check(self, found: EffectiveLog) -> None:
        """It says what a replay of everything says."""
        whole = effective_rows(replay(map(parse_leaf, self.entries)).claims)
        assert sorted(found.rows.to_pylist(), key=str) == sorted(whole.to_pylist(), key=str)
        assert (found.size, found.root) == (len(self.entries), root_of([leaf_hash(entry) for entry in self.entries]))
        assert found.as_of == (parse_leaf(self.entries[-1]).at if self.entries else None)


def url(name: str) -> UrlDigest:
    return UrlDigest(name.encode().ljust(32, b"\0"))


def opt_out(claim: str, *names: str, part: int = 1, n_parts: int = 1) -> OptOutLeaf:
    return OptOutLeaf(AT, claim, "declared", "train-ai=n", tuple(map(url, names)), part, n_parts)


@pytest.fixture
def log() -> Log:
    return Log(opt_out("claim0001", "a", "b"), opt_out("claim0002", "a"))


def test_a_claim_that_something_happened_to_is_replayed_and_no_other(log: Log) -> None:
    known = log.grow(EffectiveLog.empty())
    log.check(known)
    assert log.asked == []
    log.add(WithdrawLeaf(AT, "claim0001", "by-claimant"), opt_out("claim0003", "c"))
    known = log.grow(known)
    log.check(known)
    assert log.asked == [{"claim0001"}]
    assert known.rows["claim"].to_pylist() == ["claim0002", "claim0003"]


def test_a_claim_whose_parts_lie_on_both_sides_is_whole(log: Log) -> None:
    known = log.add(opt_out("claim0003", "c", part=1, n_parts=2)).grow(EffectiveLog.empty())
    log.check(known)
    known = log.add(opt_out("claim0003", "d", part=2, n_parts=2)).grow(known)
    log.check(known)


def test_growing_by_nothing_changes_nothing(log: Log) -> None:
    known = log.grow(EffectiveLog.empty())
    assert log.grow(known) == known


EVENT = st.tuples(st.integers(0, 6), st.sampled_from(["dispute", "settle", "withdraw", "quarantine"]))
NEW = st.tuples(st.just(-1), st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True).map("".join))


@settings(max_examples=80, deadline=None)
@given(steps=st.lists(st.one_of(NEW, EVENT, st.just(None)), max_size=25), at_once=st.integers(1, 5))
def test_any_history_published_at_any_points_says_what_a_replay_of_all_says(
    steps: list[tuple[int, str] | None], at_once: int
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(effective, "ENTRIES_AT_ONCE", at_once)
        log, known = Log(), EffectiveLog.empty()
        states: dict[str, str] = {}
        for step in steps:
            if step is None:  # publish
                known = log.grow(known)
                log.check(known)
                continue
            number, what = step
            if number == -1:
                claim = f"claim{len(states):04}"
                states[claim] = "in_force"
                image = ImageDigest(what[0].encode() * 32, 80)
                log.add(OptOutLeaf(AT, claim, "declared", "train-ai=n", (*map(url, what), image)))
            elif states:
                claim = sorted(states)[number % len(states)]
                leaf = _event(claim, states[claim], what)
                if leaf is not None:
                    states[claim] = leaf.state if isinstance(leaf, StateLeaf) else "withdrawn"
                    log.add(leaf)
        log.check(log.grow(known))


def _event(claim: str, state: str, what: str) -> StateLeaf | WithdrawLeaf | None:
    match what, state:
        case "dispute", "in_force":
            return StateLeaf(AT, claim, "disputed", "counter-claim")
        case "settle", "disputed":
            return StateLeaf(AT, claim, "in_force", "dispute-refused")
        case "quarantine", "in_force" | "disputed":
            return StateLeaf(AT, claim, "quarantined", "review")
        case "withdraw", "in_force" | "disputed" | "quarantined":
            return WithdrawLeaf(AT, claim, "by-claimant")
    return None


def test_what_is_kept_comes_back(log: Log, tmp_path: Path) -> None:
    known = log.add(ListLeaf(AT + timedelta(hours=1), 7, bytes(32))).grow(EffectiveLog.empty())
    known.save(tmp_path / "effective.arrow")
    assert EffectiveLog.load(tmp_path / "effective.arrow") == known
    assert known.last_list == 7


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda data: data[: len(data) // 2],
        lambda data: b"x" * len(data),
        lambda data: data.replace(b'"code": "', b'"code": "0'),
        lambda data: data.replace(b'"size": 2', b'"size": x'),
    ],
    ids=["empty", "cut", "overwritten", "of other code", "no JSON"],
)
def test_what_is_damaged_or_of_other_code_is_not_used(
    log: Log, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "effective.arrow"
    log.grow(EffectiveLog.empty()).save(path)
    good = path.read_bytes()
    path.write_bytes(damage(good))
    assert path.read_bytes() != good
    assert EffectiveLog.load(path) == EffectiveLog.empty()


def test_what_is_of_another_log_is_not_used(log: Log) -> None:
    known = log.grow(EffectiveLog.empty())
    for other in (Log(opt_out("claim0009", "a"), opt_out("claim0002", "a")), Log(opt_out("claim0001", "a", "b"))):
        with pytest.raises(ForeignLogError):
            other.grow(known)


def test_a_disk_that_refuses_costs_time_only(log: Log, tmp_path: Path) -> None:
    (tmp_path / "effective.arrow").mkdir()
    log.grow(EffectiveLog.empty()).save(tmp_path / "effective.arrow")
    assert EffectiveLog.load(tmp_path / "effective.arrow") == EffectiveLog.empty()


def test_entries_that_are_not_the_logs_are_refused(log: Log) -> None:
    tree = log.tree
    for entries in ([log.entries[0]], log.entries[::-1], [*log.entries, log.entries[0]]):
        with pytest.raises(VerificationError):
            EffectiveLog.empty().grown(entries, tree, log.history)


def test_an_edited_older_entry_is_refused_when_its_claim_changes(log: Log) -> None:
    known = log.grow(EffectiveLog.empty())
    log.add(WithdrawLeaf(AT, "claim0001", "by-claimant"))

    def edited(claims: set[str], size: int) -> Iterator[tuple[int, bytes]]:
        for index, entry in log.history(claims, size):
            yield index, entry.replace(b"declared", b"reviewed")

    with pytest.raises(VerificationError, match="edited"):
        known.grown(log.entries[2:], log.tree, edited)


def test_a_list_version_twice_is_refused(log: Log) -> None:
    known = log.add(ListLeaf(AT, 1, bytes(32))).grow(EffectiveLog.empty())
    with pytest.raises(VerificationError, match="twice"):
        log.add(ListLeaf(AT, 1, bytes(32))).grow(known)
