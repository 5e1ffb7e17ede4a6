"""What the log's entries amount to: claims and published lists. Pure; anyone with the log can do the same.

The registry's tables are kept to exactly this (tested), the exclusion list is built from it, and a receipt is checked
by it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from heldout.errors import VerificationError
from heldout.leaves import AssuranceLeaf, Leaf, ListLeaf, LoggedSubject, OptOutLeaf, StateLeaf, WithdrawLeaf, kind_of
from heldout.records import Assurance, ClaimState, Preference
from heldout.states import EFFECTIVE, TRANSITIONS, claim_assurance, claim_state, first_state

_V = TypeVar("_V", Assurance, ClaimState)


@dataclass
class LoggedClaim:
    """A claim as the log tells it. The lists are parallel: one item per subject."""

    preference: Preference
    received_at: datetime
    subjects: list[LoggedSubject]
    states: list[ClaimState]
    assurances: list[Assurance]

    @property
    def state(self) -> ClaimState:
        """The most effective state of its subjects."""
        return claim_state(self.states)

    @property
    def assurance(self) -> Assurance:
        """What is shown for all of its subjects."""
        return claim_assurance(self.assurances)

    def effective(self) -> Iterator[tuple[LoggedSubject, Assurance]]:
        """The subjects that count, and what is shown for each."""
        for subject, state, assurance in zip(self.subjects, self.states, self.assurances, strict=True):
            if state in EFFECTIVE:
                yield subject, assurance


@dataclass
class LogState:
    """Everything the log tells."""

    claims: dict[str, LoggedClaim] = field(default_factory=dict)
    lists: dict[int, ListLeaf] = field(default_factory=dict)


def replay(leaves: Iterable[Leaf]) -> LogState:
    """State after these entries, in the log's order.

    Raises:
        VerificationError: the entries make no history: parts out of order, something happens to a claim that is not
            there yet or in a state it cannot happen in, a list twice.
    """
    state = LogState()
    open_parts: dict[str, OptOutLeaf] = {}
    for leaf in leaves:
        match leaf:
            case OptOutLeaf():
                _add_part(state, open_parts, leaf)
            case AssuranceLeaf():
                claim = _claim(state, open_parts, leaf)
                _set(claim.assurances, _positions(claim, leaf), leaf.assurance, leaf.claim)
            case StateLeaf():
                claim = _claim(state, open_parts, leaf)
                positions = _positions(claim, leaf)
                for position in positions:
                    _check(claim.states[position], leaf.state, leaf.claim)
                _set(claim.states, positions, leaf.state, leaf.claim)
            case WithdrawLeaf():
                claim = _claim(state, open_parts, leaf)
                claim.states = ["withdrawn"] * len(claim.states)
            case ListLeaf():
                if leaf.version in state.lists:
                    raise VerificationError(f"the log holds list version {leaf.version} twice: it is damaged")
                state.lists[leaf.version] = leaf
    return state


def _add_part(state: LogState, open_parts: dict[str, OptOutLeaf], leaf: OptOutLeaf) -> None:
    claim = state.claims.get(leaf.claim)
    before = open_parts.pop(leaf.claim, None)
    follows = leaf.part == 1 and claim is None
    if before is not None:
        follows = leaf.part == before.part + 1 and _shared(leaf) == _shared(before)
    if not follows:
        raise VerificationError(f"the log holds part {leaf.part} of claim {leaf.claim} out of order: it is damaged")
    if leaf.part < leaf.n_parts:
        open_parts[leaf.claim] = leaf
    if claim is None:
        claim = state.claims[leaf.claim] = LoggedClaim(leaf.preference, leaf.at, [], [], [])
    claim.subjects += leaf.subjects
    claim.states += [first_state(kind_of(subject), leaf.assurance) for subject in leaf.subjects]
    claim.assurances += [leaf.assurance] * len(leaf.subjects)


def _shared(leaf: OptOutLeaf) -> tuple[object, ...]:
    """What all parts of a claim have in common."""
    return leaf.at, leaf.assurance, leaf.preference, leaf.n_parts


def _claim(
    state: LogState, open_parts: dict[str, OptOutLeaf], leaf: AssuranceLeaf | StateLeaf | WithdrawLeaf
) -> LoggedClaim:
    """The claim something happens to: whole, and not withdrawn."""
    claim = state.claims.get(leaf.claim)
    if claim is None or leaf.claim in open_parts or claim.states[0] == "withdrawn":
        raise VerificationError(
            f"the log tells of something that happens to claim {leaf.claim}, which cannot happen to it now: "
            "it is not there yet or was withdrawn; the log is damaged"
        )
    return claim


def _positions(claim: LoggedClaim, leaf: AssuranceLeaf | StateLeaf) -> Sequence[int]:
    if leaf.positions is None:
        return range(len(claim.subjects))
    if leaf.positions[-1] >= len(claim.subjects):
        raise VerificationError(f"the log names a subject of claim {leaf.claim} that it does not have: it is damaged")
    return leaf.positions


def _check(old: ClaimState, new: ClaimState, claim: str) -> None:
    if (old, new) not in TRANSITIONS:
        raise VerificationError(f"the log takes a subject of claim {claim} from {old} to {new}: it is damaged")


def _set(values: list[_V], positions: Sequence[int], value: _V, claim: str) -> None:
    if all(values[position] == value for position in positions):
        raise VerificationError(f"the log tells of a change of claim {claim} that changes nothing: it is damaged")
    for position in positions:
        values[position] = value
