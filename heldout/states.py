"""States of what a claim is about, and how one passes into another: the one table. Pure.

Each *subject* of a claim has a state and an assurance of its own, because proof reaches one site of three, and a
dispute or a quarantine one picture of a thousand. A claim's own state is the most effective one among its subjects'.
In the library, because whoever reads the log or checks a receipt applies it too. Normative: docs/formats/log.md §4.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from heldout.errors import ConflictError, InputError
from heldout.records import ASSURANCES, CLAIM_STATES, Assurance, ClaimState, SubjectKind

EFFECTIVE: Final[frozenset[ClaimState]] = frozenset({"in_force", "disputed"})
"""A subject in one of these counts. A dispute does not take anything out of force: nobody's word blocks another's."""

CLOSED: Final[frozenset[ClaimState]] = frozenset({"withdrawn", "rejected"})
"""A claim in one of these has nothing in it that waits, counts or could be shown any more."""

TRANSITIONS: Final[Mapping[tuple[ClaimState, ClaimState], frozenset[str]]] = MappingProxyType(
    {
        ("pending", "in_force"): frozenset({"evidence"}),
        ("pending", "rejected"): frozenset({"review", "expired"}),
        ("pending", "quarantined"): frozenset({"review"}),
        ("pending", "withdrawn"): frozenset({"by-claimant", "by-operator"}),
        ("in_force", "pending"): frozenset({"evidence-lost"}),
        ("in_force", "disputed"): frozenset({"counter-claim"}),
        ("in_force", "quarantined"): frozenset({"too-many-hosts", "too-plain", "over-limit", "review"}),
        ("in_force", "rejected"): frozenset({"review"}),
        ("in_force", "withdrawn"): frozenset({"by-claimant", "by-operator"}),
        ("disputed", "in_force"): frozenset({"dispute-refused", "dispute-withdrawn", "dispute-expired"}),
        ("disputed", "pending"): frozenset({"evidence-lost"}),
        ("disputed", "quarantined"): frozenset({"too-many-hosts", "too-plain", "review"}),
        ("disputed", "rejected"): frozenset({"dispute-upheld", "dispute-expired", "review"}),
        ("disputed", "withdrawn"): frozenset({"by-claimant", "by-operator"}),
        ("quarantined", "in_force"): frozenset({"review", "evidence"}),
        ("quarantined", "pending"): frozenset({"review"}),
        ("quarantined", "rejected"): frozenset({"review"}),
        ("quarantined", "withdrawn"): frozenset({"by-claimant", "by-operator"}),
        ("rejected", "in_force"): frozenset({"review"}),
        ("rejected", "pending"): frozenset({"review"}),
        ("rejected", "withdrawn"): frozenset({"by-claimant", "by-operator"}),
    }
)
"""(from, to) -> reason codes in use. Which pairs there are is part of the format; codes may be added. `withdrawn` is
the end, for whole claims only; every other decision can be reversed."""

NEEDED: Final[Mapping[SubjectKind, Assurance]] = MappingProxyType(
    {"url": "declared", "image": "declared", "prefix": "account", "host": "host"}
)
"""What must be shown before a subject counts."""


def is_enough(kind: SubjectKind, assurance: Assurance) -> bool:
    """Whether a subject of this kind at this assurance may be in force."""
    return ASSURANCES.index(assurance) >= ASSURANCES.index(NEEDED[kind])


def first_state(kind: SubjectKind, assurance: Assurance) -> ClaimState:
    """The state a subject has when its claim is made."""
    return "in_force" if is_enough(kind, assurance) else "pending"


def check_transition(old: ClaimState, new: ClaimState, reason: str) -> None:
    """Accept a passage for a reason.

    Raises:
        ConflictError: there is no such passage.
        InputError: the passage has other reasons.
    """
    reasons = TRANSITIONS.get((old, new))
    if reasons is None:
        raise ConflictError(f"what is {words(old)} cannot become {words(new)}")
    if reason not in reasons:
        raise InputError(f"reason {reason!r:.40} is unknown here: give one of {', '.join(sorted(reasons))}")


def claim_state(states: Iterable[ClaimState]) -> ClaimState:
    """The state of a claim whose subjects are in these."""
    return min(states, key=CLAIM_STATES.index)


def claim_assurance(assurances: Iterable[Assurance]) -> Assurance:
    """The assurance of a claim whose subjects have these: what is shown for all of it."""
    return min(assurances, key=ASSURANCES.index)


def words(state: ClaimState) -> str:
    """For messages."""
    return state.replace("_", " ")
