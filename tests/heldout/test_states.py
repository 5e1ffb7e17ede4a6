"""The table of states: what may follow what, and how a claim is summed up."""

import itertools
import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout.errors import ConflictError, InputError
from heldout.records import ASSURANCES, CLAIM_STATES, Assurance, ClaimState, SubjectKind
from heldout.states import (
    EFFECTIVE,
    TRANSITIONS,
    check_transition,
    claim_assurance,
    claim_state,
    first_state,
    is_enough,
)

TABLE = {
    "pending": {"in_force", "rejected", "quarantined", "withdrawn"},
    "in_force": {"pending", "disputed", "quarantined", "rejected", "withdrawn"},
    "disputed": {"in_force", "pending", "quarantined", "rejected", "withdrawn"},
    "quarantined": {"in_force", "pending", "rejected", "withdrawn"},
    "rejected": {"in_force", "pending", "withdrawn"},
    "withdrawn": set(),
}


@pytest.mark.parametrize(("old", "new"), list(itertools.product(CLAIM_STATES, repeat=2)))
def test_only_what_the_table_says_may_follow(old: ClaimState, new: ClaimState) -> None:
    reasons = TRANSITIONS.get((old, new), frozenset())
    assert bool(reasons) == (new in TABLE[old])
    for reason in reasons:
        check_transition(old, new, reason)
    if reasons:
        with pytest.raises(InputError, match="give one of"):
            check_transition(old, new, "because")
    else:
        with pytest.raises(ConflictError):
            check_transition(old, new, "review")


def test_every_state_has_its_place_and_every_reason_fits_the_log() -> None:
    assert set(CLAIM_STATES) == set(get_args(ClaimState)) == TABLE.keys()
    for reason in set().union(*TRANSITIONS.values()):
        assert re.fullmatch(r"[a-z][a-z0-9-]{0,31}", reason)


def test_only_withdrawing_is_for_ever() -> None:
    for state, following in TABLE.items():
        assert ("in_force" in following or state == "in_force") == (state != "withdrawn")


def test_a_dispute_takes_nothing_out_of_force() -> None:
    assert set(CLAIM_STATES[:2]) == EFFECTIVE == {"in_force", "disputed"}


@pytest.mark.parametrize(
    ("kind", "needed"), [("url", "declared"), ("image", "declared"), ("prefix", "account"), ("host", "host")]
)
def test_places_wait_for_proof_and_works_do_not(kind: SubjectKind, needed: Assurance) -> None:
    for assurance in ASSURANCES:
        enough = ASSURANCES.index(assurance) >= ASSURANCES.index(needed)
        assert is_enough(kind, assurance) == enough
        assert first_state(kind, assurance) == ("in_force" if enough else "pending")


@given(st.lists(st.sampled_from(CLAIM_STATES), min_size=1))
def test_a_claim_is_in_the_most_effective_state_of_its_subjects(states: list[ClaimState]) -> None:
    assert claim_state(states) == next(state for state in CLAIM_STATES if state in states)


@given(st.lists(st.sampled_from(ASSURANCES), min_size=1))
def test_a_claim_has_the_assurance_that_all_of_its_subjects_have(assurances: list[Assurance]) -> None:
    assert all(ASSURANCES.index(claim_assurance(assurances)) <= ASSURANCES.index(each) for each in assurances)
    assert claim_assurance(assurances) in assurances


def test_the_document_has_the_same_table() -> None:
    text = (Path(__file__).parents[2] / "docs" / "formats" / "log.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_]+)` \| (.+) \|$", text, re.MULTILINE)
    written = {old: set(re.findall(r"`([a-z_]+)`", cells)) for old, cells in rows if old in TABLE}
    assert written == TABLE
    for reason in set().union(*TRANSITIONS.values()):
        assert f"`{reason}`" in text
