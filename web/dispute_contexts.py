"""What the pages of disputes may use in their templates; as `web.contexts`."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class DisputeLine:
    """A dispute in a list."""

    href: str
    state_words: str
    what: str
    """How much of the claim it is about, in words."""
    filed_at: datetime
    waits_for_you: bool
    """Whether the reader is to answer it."""
    answer_due_at: datetime


@dataclass(frozen=True)
class DisputeBox:
    """The disputes about a claim, for `_disputes.html`."""

    lines: list[DisputeLine]
    file_href: str
    """Where to file one; empty where there is nothing to dispute, and for the claimant."""


@dataclass(frozen=True)
class FileDisputePage:
    """`/claims/{id}/dispute`: say why a claim should not hold."""

    claim_id: str
    claim_href: str
    what: str
    """What the claim holds, in words."""
    places: list[str]
    """Sites and profiles of the claim, which the log has by name."""
    is_open: bool
    """Whether there is anything to dispute."""
    is_signed_in: bool
    sign_in_href: str
    csrf: str
    once: str
    problem: str
    bases: list[tuple[str, str]]
    """Code and words of each reason."""
    basis: str
    addresses: str
    statement: str
    n_days: int
    """For the claimant to answer."""
    max_chars: int


@dataclass(frozen=True)
class DisputeStatusPage:
    """`/disputes/{id}`: how a dispute stands; for its two sides also what was said, and what they can do."""

    dispute_id: str
    claim_id: str
    claim_href: str
    state_words: str
    outcome_words: str
    """What follows from its state, in words."""
    basis_words: str
    what: str
    filed_at: datetime
    answer_due_at: datetime
    answered_at: datetime | None
    decide_due_at: datetime
    decided_at: datetime | None
    is_party: bool
    statement: str
    answer: str
    decision: str
    may_answer: bool
    may_withdraw: bool
    is_late: bool
    """Whether the time to answer is over."""
    csrf: str
    secret: str
    sign_in_href: str
    problem: str
    said: str
    """What was typed, when it could not be used."""
    max_chars: int


@dataclass(frozen=True)
class DisputesPage:
    """`/disputes`: those of an account."""

    received: list[DisputeLine]
    filed: list[DisputeLine]
    next_received: str
    next_filed: str
