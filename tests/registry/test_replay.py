"""Replay of the log equals the tables, over random histories."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from heldout.errors import VerificationError
from heldout.fingerprints import MIN_QUALITY
from heldout.leaves import ListLeaf, OptOutLeaf, UrlDigest, WithdrawLeaf, parse_leaf
from heldout.records import ClaimRequest, Preference
from registry.claims import submit, withdraw
from registry.db import Sessions, transaction
from registry.replay import LogState, replay
from registry.tables import ClaimRow, EventRow
from tests.registry.builders import image, tables, url

NAMES = st.sampled_from(["a", "b", "c", "d"])
SUBJECTS = st.one_of(
    NAMES.map(url),
    st.builds(image, NAMES, quality=st.integers(0, 100)),
    st.builds(image, NAMES, quality=st.integers(MIN_QUALITY, 100), with_sha256=st.just(value=False)),
)
SUBMIT = st.builds(
    ClaimRequest,
    subjects=st.lists(SUBJECTS, min_size=1, max_size=4),
    preference=st.sampled_from(["train-ai=n", "train-ai=y"]),
    acting_as=st.sampled_from(["artist", "estate"]),
)
STEPS = st.lists(st.one_of(SUBMIT, st.integers(0, 20)), max_size=8)
"""A request is submitted, a number withdraws one of the claims there are."""

AT = datetime(2026, 11, 22, tzinfo=UTC)
SECONDS = itertools.count()


def replayed(session: Session) -> LogState:
    return replay(map(parse_leaf, session.scalars(select(EventRow.payload).order_by(EventRow.id))))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=STEPS)
def test_replaying_the_events_gives_the_tables(sessions: Sessions, history: list[ClaimRequest | int]) -> None:
    """The database is kept from one example to the next, so histories also grow."""
    with transaction(sessions) as session:
        for step in history:
            now = AT + timedelta(seconds=next(SECONDS), microseconds=7)
            claims = list(session.scalars(select(ClaimRow.id).order_by(ClaimRow.id)))
            if isinstance(step, ClaimRequest):
                submit(session, step, now=now)
            elif claims:
                withdraw(session, claims[step % len(claims)], reason="by-claimant", now=now)
    with transaction(sessions) as session:
        assert replayed(session) == tables(session)


def test_a_large_claim_replays_whole(sessions: Sessions) -> None:
    with transaction(sessions) as session:
        submit(session, ClaimRequest(subjects=[url(str(i)) for i in range(700)]), now=AT)
    with transaction(sessions) as session:
        assert replayed(session) == tables(session)


def part(number: int, n_parts: int, preference: Preference = "train-ai=n") -> OptOutLeaf:
    return OptOutLeaf(AT, "claim0001", "declared", preference, (UrlDigest(bytes(32)),), number, n_parts)


@pytest.mark.parametrize(
    "leaves",
    [
        [part(2, 2)],
        [part(1, 2), part(1, 2)],
        [part(1, 3), part(3, 3)],
        [WithdrawLeaf(AT, "claim0001", "by-claimant")],
        [part(1, 1), WithdrawLeaf(AT, "claim0001", "by-claimant"), WithdrawLeaf(AT, "claim0001", "by-claimant")],
        [ListLeaf(AT, 1, bytes(32)), ListLeaf(AT, 1, bytes(32))],
    ],
)
def test_entries_that_make_no_history_are_refused(leaves: list[OptOutLeaf | WithdrawLeaf | ListLeaf]) -> None:
    with pytest.raises(VerificationError, match="damaged"):
        replay(leaves)
