"""What the page of proofs may use in its template; as `web.contexts`."""

from dataclasses import dataclass
from datetime import datetime

from heldout.records import Instruction


@dataclass(frozen=True)
class Way:
    """One way to prove something, on offer."""

    method: str
    target: str
    words: str


@dataclass(frozen=True)
class PlaceWays:
    """A site or a profile, and how it can be proved."""

    name: str
    ways: list[Way]


@dataclass(frozen=True)
class ProofBox:
    """A proof under way, or done."""

    id: str
    title: str
    state_words: str
    is_proved: bool
    steps: list[str]
    """What to do, in order."""
    put: list[Instruction]
    result: str
    """Of the last look, as a sentence; empty before the first."""
    checked_at: datetime | None
    next_check_at: datetime | None
    failing_since: datetime | None
    n_subjects: int
    is_picture: bool


@dataclass(frozen=True)
class ProvePage:
    """`/claims/{id}/prove`: show that what was claimed is yours."""

    claim_id: str
    manage_href: str
    may_change: bool
    is_open: bool
    """Whether the claim can still come into force."""
    secret: str
    csrf: str
    sign_in_href: str
    problem: str
    places: list[PlaceWays]
    n_more: int
    """Ways besides those that are shown."""
    proofs: list[ProofBox]
    n_days: int
    """After which a proof that was removed no longer counts."""
