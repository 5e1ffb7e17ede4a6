"""What happened to a claim, read from its events: for people, and to know why a subject is where it is. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from heldout.leaves import AssuranceLeaf, Leaf, ListLeaf, OptOutLeaf, StateLeaf, WithdrawLeaf, parse_leaf
from registry.tables import EventRow


@dataclass(frozen=True)
class Happened:
    """One event of a claim."""

    at: datetime
    what: str
    """`opt-out`, `assurance`, `state` or `withdraw`."""
    became: str
    """The state or the assurance."""
    reason: str
    """As the log has it; empty for an opt-out."""
    positions: tuple[int, ...] | None
    """Of the subjects; None: all of them, or a part of a claim as it was made."""
    log_index: int | None


def history(session: Session, claim_id: str) -> list[Happened]:
    """Every event of a claim, oldest first."""
    rows = session.execute(
        select(EventRow.payload, EventRow.log_index).where(EventRow.claim_id == claim_id).order_by(EventRow.id)
    )
    return [_happened(parse_leaf(payload), log_index) for payload, log_index in rows]


def why(happened: Sequence[Happened], n_subjects: int) -> list[str]:
    """For each subject of a claim with this history the reason it last changed its state for; empty if it never did."""
    reasons = [""] * n_subjects
    for each in happened:
        if each.what == "state":
            for position in range(n_subjects) if each.positions is None else each.positions:
                reasons[position] = each.reason
    return reasons


def _happened(leaf: Leaf, log_index: int | None) -> Happened:
    match leaf:
        case OptOutLeaf():
            return Happened(leaf.at, "opt-out", leaf.assurance, "", None, log_index)
        case AssuranceLeaf():
            return Happened(leaf.at, "assurance", leaf.assurance, leaf.reason, leaf.positions, log_index)
        case StateLeaf():
            return Happened(leaf.at, "state", leaf.state, leaf.reason, leaf.positions, log_index)
        case WithdrawLeaf():
            return Happened(leaf.at, "withdraw", "withdrawn", leaf.reason, None, log_index)
        case ListLeaf():
            raise ValueError("a list is no event of a claim")
