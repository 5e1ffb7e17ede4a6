"""What the reviewers' pages may use in their templates; as `web.contexts`."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class WaitingLine:
    """One thing in the queue."""

    href: str
    title: str
    why: str
    since: datetime
    due_at: datetime | None
    is_overdue: bool
    note: str
    """What a reviewer should know before opening it; may be empty."""


@dataclass(frozen=True)
class ReviewPage:
    """`/review`: what waits for a decision."""

    disputes: list[WaitingLine]
    held: list[WaitingLine]
    rejected: list[WaitingLine]
    """Decided already; could be decided anew."""
    is_cut: bool
    """Whether there is more than is listed."""


@dataclass(frozen=True)
class SubjectLine:
    """A subject as a reviewer sees it."""

    position: int
    kind_words: str
    text: str
    thumbnail: str | None
    state_words: str
    why: str
    assurance: str
    where: str
    """At how many sites the indexes have it, in words; may be empty."""


@dataclass(frozen=True)
class DisputeCase:
    """A dispute as a reviewer sees it."""

    id: str
    state: str
    state_words: str
    basis_words: str
    subjects: str
    filed_at: datetime
    answer_due_at: datetime
    answered_at: datetime | None
    decide_due_at: datetime
    statement: str
    answer: str
    outcomes: list[tuple[str, str]]
    """Code and words of what can be decided now."""
    wait: str
    """Why it cannot be upheld yet; may be empty."""


@dataclass(frozen=True)
class EventLine:
    """Something that happened to the claim, as the log has it."""

    at: datetime
    words: str


@dataclass(frozen=True)
class DecisionLine:
    """A decision as it was made."""

    at: datetime
    words: str
    reason: str


@dataclass(frozen=True)
class CasePage:
    """`/review/{id}`: all that is known of a claim, and what can be decided."""

    claim_id: str
    claim_href: str
    state_words: str
    facts: list[tuple[str, str]]
    subjects: list[SubjectLine]
    n_more: int
    disputes: list[DisputeCase]
    events: list[EventLine]
    decisions: list[DecisionLine]
    outcomes: list[tuple[str, str]]
    """Code and words of what can be decided about the claim."""
    seen: int
    csrf: str
    problem: str
    reason: str
    """What was typed, when the decision could not be made."""
