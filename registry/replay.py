"""What the log's entries amount to: claims and published lists. Pure; anyone with the log can do the same.

The tables are kept to exactly this (tested), and the exclusion list is built from it, not from the tables.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from heldout.errors import VerificationError
from heldout.leaves import Leaf, ListLeaf, OptOutLeaf, SubjectDigest, WithdrawLeaf
from heldout.records import Assurance, ClaimState, Preference


@dataclass(frozen=True)
class LoggedClaim:
    """A claim as the log tells it."""

    state: ClaimState
    preference: Preference
    assurance: Assurance
    received_at: datetime
    subjects: tuple[SubjectDigest, ...]


@dataclass
class LogState:
    """Everything the log tells."""

    claims: dict[str, LoggedClaim] = field(default_factory=dict)
    lists: dict[int, ListLeaf] = field(default_factory=dict)


def replay(leaves: Iterable[Leaf]) -> LogState:
    """State after these entries, in the log's order.

    Raises:
        VerificationError: the entries make no history: parts out of order, a withdrawal of nothing, a list twice.
    """
    state = LogState()
    n_parts_seen: dict[str, int] = {}
    for leaf in leaves:
        match leaf:
            case OptOutLeaf():
                _add_part(state, n_parts_seen, leaf)
            case WithdrawLeaf():
                claim = state.claims.get(leaf.claim)
                if claim is None or claim.state != "in_force":
                    raise VerificationError(
                        f"the log withdraws claim {leaf.claim}, which is not in force: it is damaged"
                    )
                state.claims[leaf.claim] = replace(claim, state="withdrawn")
            case ListLeaf():
                if leaf.version in state.lists:
                    raise VerificationError(f"the log holds list version {leaf.version} twice: it is damaged")
                state.lists[leaf.version] = leaf
    return state


def _add_part(state: LogState, n_parts_seen: dict[str, int], leaf: OptOutLeaf) -> None:
    if leaf.part != n_parts_seen.get(leaf.claim, 0) + 1:
        raise VerificationError(f"the log holds part {leaf.part} of claim {leaf.claim} out of order: it is damaged")
    n_parts_seen[leaf.claim] = leaf.part
    claim = state.claims.get(leaf.claim)
    if claim is None:
        state.claims[leaf.claim] = LoggedClaim("in_force", leaf.preference, leaf.assurance, leaf.at, leaf.subjects)
    else:
        state.claims[leaf.claim] = replace(claim, subjects=claim.subjects + leaf.subjects)
