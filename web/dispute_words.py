"""Disputes in words, and lists of them for pages. No routes."""

from urllib.parse import quote, urlencode

from heldout.records import Claim, Dispute, DisputeBasis, DisputeState
from heldout.states import CLOSED
from registry.service import Registry
from web.dispute_contexts import DisputeBox, DisputeLine
from web.visitors import Visitor
from web.words import gettext, gettext_noop, ngettext

STATES: dict[DisputeState, str] = {
    "open": gettext_noop("open"),
    "upheld": gettext_noop("upheld by a reviewer"),
    "refused": gettext_noop("refused by a reviewer"),
    "withdrawn": gettext_noop("taken back"),
    "expired": gettext_noop("ended without a decision"),
    "moot": gettext_noop("over, because the opt-out was taken back"),
}
BASES: dict[DisputeBasis, str] = {
    "mine": gettext_noop("I made it, or hold the rights in it"),
    "agreement": gettext_noop("There is an agreement that says otherwise"),
    "place": gettext_noop("The site or the profile is mine"),
    "nobodys": gettext_noop("It is nobody\u2019s own: a logo, a blank, something free for all"),
    "other": gettext_noop("Something else"),
}
_FOLLOWS: dict[DisputeState, str] = {
    "open": gettext_noop("What is disputed stays in force until a reviewer has decided."),
    "upheld": gettext_noop("What was disputed no longer counts. Write to us if that is wrong: it can be reviewed."),
    "refused": gettext_noop("What was disputed stays in force. Write to us if that is wrong: it can be reviewed."),
    "withdrawn": gettext_noop("Whoever filed it took it back. The opt-out is in force as before."),
    "expired": gettext_noop("Nobody decided in time, so the opt-out is in force as before. It can still be reviewed."),
    "moot": gettext_noop("There is nothing left to decide."),
}
_GRANT_EXPIRED = gettext_noop(
    "Nobody decided in time. A grant that its claimant did not stand up for no longer counts. It can still be reviewed."
)


def dispute_href(dispute_id: str, secret: str = "") -> str:
    """Address of a dispute's page, with what opens it to a claimant without an account."""
    query = f"?{urlencode({'secret': secret})}" if secret else ""
    return f"/disputes/{quote(dispute_id, safe='')}{query}"


def dispute_box(registry: Registry, claim: Claim, visitor: Visitor | None, secret: str = "") -> DisputeBox:
    """The disputes about a claim, as somebody sees them; for `_disputes.html`."""
    account_id = visitor.account.id if visitor else None
    is_claimant = registry.may_change(claim.id, account_id=account_id, secret=secret)
    found = registry.disputing.of_claim(claim.id)
    is_open = claim.state not in CLOSED
    return DisputeBox(
        lines=[line_of(each, secret=secret, is_claimant=is_claimant) for each in found],
        file_href=f"/claims/{quote(claim.id, safe='')}/dispute" if is_open and not is_claimant else "",
    )


def line_of(dispute: Dispute, *, secret: str = "", is_claimant: bool) -> DisputeLine:
    """A dispute in a list."""
    return DisputeLine(
        href=dispute_href(dispute.id, secret),
        state_words=gettext(STATES[dispute.state]),
        what=about(dispute),
        filed_at=dispute.filed_at,
        waits_for_you=is_claimant and dispute.state == "open" and dispute.answered_at is None,
        answer_due_at=dispute.answer_due_at,
    )


def about(dispute: Dispute) -> str:
    """How much of a claim a dispute is about."""
    return ngettext("about one of its works and places", "about %(n)s of its works and places", dispute.n_subjects)


def outcome_in_words(dispute: Dispute, claim: Claim) -> str:
    """What follows from how a dispute stands."""
    is_grant = claim.preference == "train-ai=y"
    if dispute.state == "expired" and is_grant and dispute.answered_at is None:
        return gettext(_GRANT_EXPIRED)
    return gettext(_FOLLOWS[dispute.state])
