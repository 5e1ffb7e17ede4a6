"""What the pages of accounts may use in their templates; as `web.contexts`."""

from dataclasses import dataclass
from datetime import datetime

from web.contexts import ClaimFacts, ClaimPicture
from web.dispute_contexts import DisputeBox


@dataclass(frozen=True)
class SignInPage:
    """`/sign-in`: where to mail the link to."""

    is_open: bool
    """Whether this site can send mail."""
    next_path: str
    email: str
    problem: str


@dataclass(frozen=True)
class SentPage:
    """`/sign-in/sent`: look into your mail."""

    n_minutes: int


@dataclass(frozen=True)
class SignInLinkPage:
    """`/sign-in/{token}`: the button that signs in."""

    email: str
    """Whose link it is; empty if it cannot be used any more."""
    action: str


@dataclass(frozen=True)
class ClaimLine:
    """One claim in a list."""

    id: str
    href: str
    received_at: datetime
    what: str
    state_words: str
    is_in_force: bool
    assurance_words: str
    receipt_href: str
    receipt_name: str
    evidence_href: str
    may_prove: bool
    prove_href: str


@dataclass(frozen=True)
class KeyLine:
    """One API key in a list."""

    prefix: str
    name: str
    scopes: str
    expires_at: datetime
    has_ended: bool
    used_at: datetime | None


@dataclass(frozen=True)
class AccountPage:
    """`/account`: one's opt-outs and keys."""

    email: str
    csrf: str
    claims: list[ClaimLine]
    next_href: str | None
    keys: list[KeyLine]
    new_key: str
    """The text of a key just made, shown this once; else empty."""
    problem: str
    scopes: list[tuple[str, str]]
    """Name of a scope, and what it allows."""


@dataclass(frozen=True)
class AccountDeletedPage:
    """`/account/deleted`: nothing is left to sign in to."""

    is_withdrawn: bool
    """Whether the opt-outs were taken back too."""


@dataclass(frozen=True)
class DeleteAccountPage:
    """`/account/delete`: what is forgotten, what stays."""

    email: str
    csrf: str
    n_claims: str


@dataclass(frozen=True)
class ManagePage:
    """`/claims/{id}/manage`: take a claim back, or move it into one's account."""

    claim: ClaimFacts
    notes: list[str]
    pictures: list[ClaimPicture]
    verification_key: str
    prove_href: str
    disputes: DisputeBox
    may_change: bool
    is_withdrawn: bool
    secret: str
    """As the address holds it; empty for the account's own claims."""
    csrf: str
    """Empty for somebody who is not signed in."""
    email: str
    """Of the account to move it into; empty where that is not on offer."""
    sign_in_href: str
