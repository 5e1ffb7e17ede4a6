"""Pages of a claim: it was recorded, and what anybody may see of it with its receipt."""

import logging
from typing import Literal
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from heldout.checkpoint import Verifier, open_checkpoint, to_base64
from heldout.errors import HeldoutError, NotFoundError
from heldout.receipts import receipt_from_json, verify_receipt
from heldout.records import Claim
from heldout.states import CLOSED
from web.claim_pictures import pictures_of_claim
from web.contexts import ClaimFacts, ClaimPage, DonePage
from web.deps import EngineDep, MailerDep, PagesDep, RegistryDep, SettingsDep
from web.dispute_words import dispute_box
from web.said import sentence
from web.visitors import VisitorDep
from web.words import count, gettext, gettext_noop, ngettext

log = logging.getLogger(__name__)

routes = APIRouter(include_in_schema=False)

STATES = {
    "pending": gettext_noop("waiting for proof"),
    "in_force": gettext_noop("in force"),
    "withdrawn": gettext_noop("taken back"),
    "rejected": gettext_noop("rejected"),
    "disputed": gettext_noop("in force, and disputed by somebody"),
    "quarantined": gettext_noop("held for review"),
}
ROLES = {
    "artist": gettext_noop("the artist"),
    "representative": gettext_noop("somebody who represents the artist"),
    "estate": gettext_noop("the artist\u2019s estate or heir"),
    "organisation": gettext_noop("an organisation that holds the rights"),
}
ASSURANCES = {
    "declared": gettext_noop("declared, not checked"),
    "account": gettext_noop("proved by a profile"),
    "host": gettext_noop("proved by the site"),
    "credential": gettext_noop("proved by Content Credentials"),
    "reviewed": gettext_noop("looked at by a reviewer"),
}


NOTES = (
    gettext_noop("One place waits for proof: a site or a profile counts once it is shown that it is yours."),
    gettext_noop("%(n)s places wait for proof: a site or a profile counts once it is shown that it is yours."),
    gettext_noop(
        "One picture is held until a person has looked: plain, or on so many unrelated sites that it may be nobody's "
        "own work. Addresses count as before. You need do nothing; a signed picture lifts it at once."
    ),
    gettext_noop(
        "%(n)s pictures are held until a person has looked: plain, or on so many unrelated sites that it may be "
        "nobody's own work. Addresses count as before. You need do nothing; a signed picture lifts it at once."
    ),
    gettext_noop(
        "One work is held until a person has looked, because so much came within a day. Nothing is lost, and you need "
        "do nothing; a proof that the site or profile is yours lifts it at once for what is there."
    ),
    gettext_noop(
        "%(n)s works are held until a person has looked, because so much came within a day. Nothing is lost, and you "
        "need do nothing; a proof that the site or profile is yours lifts it at once for what is there."
    ),
    gettext_noop("One subject is held by a reviewer."),
    gettext_noop("%(n)s subjects are held by a reviewer."),
)
"""What `Claim.notes` says, for the catalogues."""


@routes.get("/claims/{claim_id}/done")
def done(
    *,
    request: Request,
    claim_id: str,
    pages: PagesDep,
    registry: RegistryDep,
    settings: SettingsDep,
    visitor: VisitorDep,
    mailer: MailerDep,
    secret: str = "",
) -> Response:
    """It is recorded; what comes next. Opened again after it was taken back, it is the page that says so."""
    claim = registry.claim(claim_id)
    if claim.state in CLOSED:
        return RedirectResponse(claim_href(claim_id, "manage", secret or None), status_code=303)
    try:
        registry.receipt(claim_id)
    except HeldoutError as error:  # a log that fails does not undo what is recorded
        log.warning("claim_without_receipt", extra={"claim": claim_id, "error": type(error).__name__})
        is_logged = False
    else:
        is_logged = True
    page = DonePage(
        claim=claim_facts(claim, is_logged=is_logged),
        publishing=publishing_words(settings.publish if is_logged else "off"),
        verification_key=registry.vkey,
        page_url=f"{settings.base_url}/claims/{claim.id}",
        manage_url=settings.base_url + claim_href(claim.id, "manage", secret)
        if registry.may_change(claim_id, secret=secret)
        else "",
        is_owned=visitor is not None and registry.may_change(claim_id, account_id=visitor.account.id),
        n_places=claim.n_host_subjects + claim.n_prefix_subjects,
        prove_href=claim_href(claim.id, "prove", secret or None),
        manage_path=claim_href(claim.id, "manage", secret or None),
        may_sign_in=mailer is not None and visitor is None,
    )
    return pages.render(request, "done.html", page)


@routes.get("/claims/{claim_id}")
def show_claim(
    *,
    request: Request,
    claim_id: str,
    pages: PagesDep,
    engine: EngineDep,
    registry: RegistryDep,
    visitor: VisitorDep,
) -> HTMLResponse:
    """A claim and its receipt, checked as a stranger would."""
    found = registry.claim(claim_id)
    disputes = dispute_box(registry, found, visitor)
    try:
        receipt = receipt_from_json(registry.receipt(claim_id))
    except NotFoundError:  # not sequenced yet
        facts = claim_facts(found, is_logged=False)
        page = ClaimPage(facts, notes_in_words(found), 0, "", "", registry.vkey, [], [], disputes)
        return pages.render(request, "claim.html", page)
    verify_receipt(receipt, registry.vkey)
    checkpoint = open_checkpoint(receipt.checkpoint, Verifier.parse(registry.vkey))
    page = ClaimPage(
        claim=claim_facts(found, is_logged=True),
        notes=notes_in_words(found),
        tree_size=checkpoint.size,
        root_hash=to_base64(checkpoint.root),
        checkpoint=receipt.checkpoint,
        verification_key=registry.vkey,
        entries=[(entry.index, len(entry.proof)) for entry in receipt.entries],
        pictures=pictures_of_claim(registry, engine, claim_id),
        disputes=disputes,
    )
    return pages.render(request, "claim.html", page)


def claim_href(claim_id: str, page: Literal["done", "manage", "prove"], secret: str | None = None) -> str:
    """Address of a claim's page, with what opens it to somebody who made the claim without an account."""
    query = f"?{urlencode({'secret': secret})}" if secret else ""
    return f"/claims/{quote(claim_id, safe='')}/{page}{query}"


def claim_facts(claim: Claim, *, is_logged: bool) -> ClaimFacts:
    """A claim as its pages show it.

    Whether it is logged, only a receipt shows: its places are set aside in the database before the log is written.
    """
    return ClaimFacts(
        id=claim.id,
        state=claim.state,
        state_words=state_in_words(claim),
        assurance=claim.assurance,
        assurance_words=gettext(ASSURANCES[claim.assurance]),
        acting_as_words=gettext(ROLES[claim.acting_as]),
        received_at=claim.received_at,
        what=covered_in_words(claim),
        is_grant=claim.preference == "train-ai=y",
        positions=", ".join(map(str, claim.log_indices)) if is_logged else "",
        receipt_href=f"/v1/receipts/{claim.id}" if is_logged else "",
        receipt_name=f"heldout-receipt-{claim.id[:8]}.json",
    )


def state_in_words(claim: Claim) -> str:
    """The state of a claim or, where its subjects differ, of how many."""
    if len(claim.subject_states) < 2:
        return gettext(STATES[claim.state])
    return ", ".join(f"{count(n)} {gettext(STATES[state])}" for state, n in claim.subject_states.items())


def notes_in_words(claim: Claim) -> list[str]:
    """What does not count of a claim, and why."""
    return [sentence(note) for note in claim.notes]


def covered_in_words(claim: Claim) -> str:
    """What a claim covers."""
    said = []
    if claim.n_image_subjects:
        said.append(
            ngettext(
                "%(n)s picture file, and copies of it anywhere",
                "%(n)s picture files, and copies of them anywhere",
                claim.n_image_subjects,
            )
        )
    if claim.n_url_subjects:
        said.append(ngettext("%(n)s address", "%(n)s addresses", claim.n_url_subjects))
    return "; ".join([*said, *filter(None, [places_in_words(claim)])])


def places_in_words(claim: Claim) -> str:
    """Sites and profiles of a claim."""
    said = []
    if claim.n_host_subjects:
        said.append(ngettext("%(n)s site", "%(n)s sites", claim.n_host_subjects))
    if claim.n_prefix_subjects:
        said.append(ngettext("%(n)s profile", "%(n)s profiles", claim.n_prefix_subjects))
    return ", ".join(said)


def publishing_words(publish: Literal["auto", "off"]) -> str:
    """When labs get it."""
    if publish == "auto":
        return gettext("A few seconds later it is in the signed list that AI labs take from here.")
    return gettext("It is in the next signed list that AI labs take from here, as soon as that is published.")
