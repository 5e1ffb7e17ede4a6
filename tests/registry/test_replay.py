"""Replay of the log equals the tables, over random histories."""

import itertools
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from heldout.errors import ConflictError, InputError, VerificationError
from heldout.fingerprints import MIN_QUALITY
from heldout.leaves import (
    AssuranceLeaf,
    HostRule,
    Leaf,
    ListLeaf,
    OptOutLeaf,
    StateLeaf,
    UrlDigest,
    WithdrawLeaf,
    parse_leaf,
)
from heldout.records import ASSURANCES, CLAIM_STATES, Assurance, ClaimRequest, ClaimState, Preference
from heldout.replay import LogState, replay
from heldout.states import TRANSITIONS
from registry.claims import submit, withdraw
from registry.db import Sessions, transaction
from registry.tables import ClaimRow, EventRow
from registry.transitions import change_state, lower_assurance, raise_assurance
from tests.registry.builders import host, image, prefix, tables, url

NAMES = st.sampled_from(["a", "b", "c", "d"])
SUBJECTS = st.one_of(
    NAMES.map(url),
    NAMES.map(lambda name: host(f"{name}.example")),
    NAMES.map(lambda name: prefix(f"https://art.example/{name}")),
    st.builds(image, NAMES, quality=st.integers(0, 100)),
    st.builds(image, NAMES, quality=st.integers(MIN_QUALITY, 100), with_sha256=st.just(value=False)),
)
SUBMIT = st.builds(
    ClaimRequest,
    subjects=st.lists(SUBJECTS, min_size=1, max_size=4),
    preference=st.sampled_from(["train-ai=n", "train-ai=y"]),
    acting_as=st.sampled_from(["artist", "estate"]),
)


@dataclass(frozen=True)
class Change:
    """Something happens to one of the claims there are, if it can."""

    which: int
    what: Literal["withdraw", "raise", "lower", "state"]
    assurance: Assurance
    state: ClaimState
    reason: str
    positions: tuple[int, ...] | None


CHANGE = st.builds(
    Change,
    st.integers(0, 20),
    st.sampled_from(["withdraw", "raise", "lower", "state", "state", "state"]),
    st.sampled_from(ASSURANCES),
    st.sampled_from(CLAIM_STATES),
    st.sampled_from(sorted(set().union(*TRANSITIONS.values()))),
    st.none() | st.lists(st.integers(0, 3), min_size=1, max_size=2).map(tuple),
)
STEPS = st.lists(st.one_of(SUBMIT, CHANGE, CHANGE, CHANGE), max_size=12)

AT = datetime(2026, 11, 22, tzinfo=UTC)
SECONDS = itertools.count()


def replayed(session: Session) -> LogState:
    return replay(map(parse_leaf, session.scalars(select(EventRow.payload).order_by(EventRow.id))))


def carry_out(session: Session, change: Change, now: datetime) -> None:
    claims = list(session.scalars(select(ClaimRow.id).order_by(ClaimRow.id)))
    if not claims:
        return
    claim = claims[change.which % len(claims)]
    options: dict[str, Any] = {"reason": change.reason, "now": now, "positions": change.positions}
    with suppress(InputError, ConflictError):  # what the table does not allow changes nothing
        match change.what:
            case "withdraw":
                withdraw(session, claim, reason="by-claimant", now=now)
            case "raise":
                raise_assurance(session, claim, change.assurance, **options)
            case "lower":
                lower_assurance(session, claim, change.assurance, **options)
            case "state":
                change_state(session, claim, change.state, **options)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=STEPS)
def test_replaying_the_events_gives_the_tables(sessions: Sessions, history: list[ClaimRequest | Change]) -> None:
    """The database is kept from one example to the next, so histories also grow."""
    with transaction(sessions) as session:
        for step in history:
            now = AT + timedelta(seconds=next(SECONDS), microseconds=7)
            if isinstance(step, ClaimRequest):
                submit(session, step, now=now)
            else:
                carry_out(session, step, now)
    with transaction(sessions) as session:
        assert replayed(session) == tables(session)


def test_a_large_claim_replays_whole(sessions: Sessions) -> None:
    with transaction(sessions) as session:
        submit(session, ClaimRequest(subjects=[url(str(i)) for i in range(700)]), now=AT)
    with transaction(sessions) as session:
        assert replayed(session) == tables(session)


def part(number: int, n_parts: int, preference: Preference = "train-ai=n") -> OptOutLeaf:
    return OptOutLeaf(AT, "claim0001", "declared", preference, (UrlDigest(bytes(32)),), number, n_parts)


CLAIM = "claim0001"
WITHDRAWN = WithdrawLeaf(AT, CLAIM, "by-claimant")
DISPUTED = StateLeaf(AT, CLAIM, "disputed", "counter-claim")
SITE = OptOutLeaf(AT, CLAIM, "declared", "train-ai=n", (HostRule("jane.example"),))


@pytest.mark.parametrize(
    "leaves",
    [
        [part(2, 2)],
        [part(1, 2), part(1, 2)],
        [part(1, 3), part(3, 3)],
        [part(1, 2), part(2, 2, "train-ai=y")],
        [part(1, 1), part(1, 1)],
        [WITHDRAWN],
        [part(1, 2), WITHDRAWN],
        [part(1, 1), WITHDRAWN, WITHDRAWN],
        [part(1, 1), WITHDRAWN, DISPUTED],
        [part(1, 1), WITHDRAWN, AssuranceLeaf(AT, CLAIM, "host", "dns-txt")],
        [part(1, 2), DISPUTED],
        [part(1, 1), DISPUTED, DISPUTED],
        [part(1, 1), StateLeaf(AT, CLAIM, "in_force", "review")],
        [part(1, 1), StateLeaf(AT, CLAIM, "rejected", "review"), DISPUTED],
        [part(1, 1), StateLeaf(AT, CLAIM, "disputed", "counter-claim", (1,))],
        [part(1, 1), AssuranceLeaf(AT, CLAIM, "declared", "review")],
        [SITE, DISPUTED],
        [DISPUTED],
        [ListLeaf(AT, 1, bytes(32)), ListLeaf(AT, 1, bytes(32))],
    ],
)
def test_entries_that_make_no_history_are_refused(leaves: list[Leaf]) -> None:
    with pytest.raises(VerificationError, match="damaged"):
        replay(leaves)
