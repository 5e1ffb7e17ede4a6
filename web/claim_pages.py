"""Pages of opting out: check what was ticked, confirm, keep the receipt. With an account or without."""

import hashlib
import json
import logging
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Literal
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError

from heldout.checkpoint import Verifier, open_checkpoint, to_base64
from heldout.errors import HeldoutError, InputError, NotFoundError
from heldout.receipts import receipt_from_json, verify_receipt
from heldout.records import Claim, ClaimRequest
from registry.service import Registry
from search.engine import SearchEngine
from web.cards import alternative_text, thumbnail_href
from web.contexts import ClaimFacts, ClaimPage, ConfirmPage, DonePage, Thumb
from web.deps import SAME_ORIGIN, EngineDep, PagesDep, RegistryDep, SettingsDep
from web.opted_out import opted_out_of
from web.seals import check_seal, seal
from web.selection import Selection, Subjects, fields_of, parse_selection, subjects_of
from web.settings import Settings
from web.visitors import VisitorDep

log = logging.getLogger(__name__)

routes = APIRouter(include_in_schema=False)

MAX_FIELDS = 10_000
MAX_THUMBS = 120
MAX_ADDRESSES_SHOWN = 50

Fields = list[tuple[str, str]]

STATES = {
    "pending": "waiting for proof",
    "in_force": "in force",
    "withdrawn": "taken back",
    "rejected": "rejected",
    "disputed": "in force, and disputed by somebody",
    "quarantined": "held for review",
}


async def form_fields(request: Request) -> Fields:
    """Name and value of every field of a form, in order; files are passed over."""
    async with request.form(max_fields=MAX_FIELDS) as form:
        return [(name, value) for name, value in form.multi_items() if isinstance(value, str)]


FieldsDep = Annotated[Fields, Depends(form_fields)]


@routes.get("/opt-out")
@routes.get("/opt-out/confirm")
def start_over() -> RedirectResponse:
    """Somebody opened the address of a form's answer: what was ticked is not in it."""
    return RedirectResponse("/", status_code=303)


@routes.post("/opt-out", dependencies=SAME_ORIGIN)
def check(
    *,
    request: Request,
    fields: FieldsDep,
    pages: PagesDep,
    engine: EngineDep,
    registry: RegistryDep,
    settings: SettingsDep,
) -> HTMLResponse:
    """What exactly will be excluded, before it is."""
    page = confirm_page(parse_selection(fields), engine, registry, settings, now=datetime.now(UTC))
    return pages.render(request, "confirm.html", page)


@routes.post("/opt-out/confirm", dependencies=SAME_ORIGIN)
def opt_out(
    *,
    request: Request,
    fields: FieldsDep,
    pages: PagesDep,
    engine: EngineDep,
    registry: RegistryDep,
    settings: SettingsDep,
    visitor: VisitorDep,
) -> Response:
    """Record the opt-out; the receipt is there at once."""
    now = datetime.now(UTC)
    selection = parse_selection(fields)
    check_seal(settings.secret.get_secret_value(), _sealed_text(selection), _first(fields, "seal"), now=now)
    subjects = subjects_of(selection, engine.picked(selection.picks))
    try:
        wanted = claim_request(fields, subjects)
    except InputError as error:
        page = replace(
            confirm_page(selection, engine, registry, settings, now=now),
            problem=str(error),
            bad_contact=not _is_contact(_first(fields, "contact").strip()),
            scopes=_all(fields, "scope"),
            acting_as=_first(fields, "acting_as"),
            contact=_first(fields, "contact"),
        )
        return pages.render(request, "confirm.html", page, status=422)
    account_id = visitor.account.id if visitor else None
    claim = registry.submit(wanted, idempotency_key=_once(fields), account_id=account_id)
    return RedirectResponse(claim_href(claim.id, "done", claim.secret), status_code=303)


@routes.get("/claims/{claim_id}/done")
def done(
    *,
    request: Request,
    claim_id: str,
    pages: PagesDep,
    registry: RegistryDep,
    settings: SettingsDep,
    visitor: VisitorDep,
    secret: str = "",
) -> HTMLResponse:
    """It is recorded; what comes next."""
    claim = registry.claim(claim_id)
    try:
        registry.receipt(claim_id)
    except HeldoutError as error:  # a log that fails does not undo what is recorded
        log.warning("claim_without_receipt", extra={"claim": claim_id, "error": type(error).__name__})
        is_logged = False
    else:
        is_logged = True
    page = DonePage(
        claim=claim_facts(claim, is_logged=is_logged),
        publishing=_publishing(settings.publish if is_logged else "off"),
        verification_key=registry.vkey,
        page_url=f"{settings.base_url}/claims/{claim.id}",
        manage_url=settings.base_url + claim_href(claim.id, "manage", secret)
        if registry.may_change(claim_id, secret=secret)
        else "",
        is_owned=visitor is not None and registry.may_change(claim_id, account_id=visitor.account.id),
    )
    return pages.render(request, "done.html", page)


@routes.get("/claims/{claim_id}")
def show_claim(request: Request, claim_id: str, pages: PagesDep, registry: RegistryDep) -> HTMLResponse:
    """A claim and its receipt, checked as a stranger would."""
    found = registry.claim(claim_id)
    try:
        receipt = receipt_from_json(registry.receipt(claim_id))
    except NotFoundError:  # not sequenced yet
        page = ClaimPage(claim_facts(found, is_logged=False), found.notes, 0, "", "", registry.vkey, [])
        return pages.render(request, "claim.html", page)
    verify_receipt(receipt, registry.vkey)
    checkpoint = open_checkpoint(receipt.checkpoint, Verifier.parse(registry.vkey))
    page = ClaimPage(
        claim=claim_facts(found, is_logged=True),
        notes=found.notes,
        tree_size=checkpoint.size,
        root_hash=to_base64(checkpoint.root),
        checkpoint=receipt.checkpoint,
        verification_key=registry.vkey,
        entries=[(entry.index, len(entry.proof)) for entry in receipt.entries],
    )
    return pages.render(request, "claim.html", page)


def claim_href(claim_id: str, page: Literal["done", "manage", "prove"], secret: str | None = None) -> str:
    """Address of a claim's page, with what opens it to somebody who made the claim without an account."""
    query = f"?{urlencode({'secret': secret})}" if secret else ""
    return f"/claims/{quote(claim_id, safe='')}/{page}{query}"


def confirm_page(
    selection: Selection, engine: SearchEngine, registry: Registry, settings: Settings, *, now: datetime
) -> ConfirmPage:
    """What the selection stands for, in words."""
    samples = engine.picked(selection.picks)
    subjects = subjects_of(selection, samples)
    if not subjects.addresses and not subjects.pictures:
        raise InputError(
            "What you ticked has neither an address nor a picture we can use, so there is nothing to exclude."
        )
    generations = {pick.dataset: pick.generation for pick in selection.picks}
    thumbs = [Thumb(thumbnail_href(each, generations), alternative_text(each), each.unsafe) for each in samples]
    if selection.pictures:
        thumbs.insert(0, Thumb(None, "The picture you searched with", unsafe=False))
    return ConfirmPage(
        fields=fields_of(selection),
        seal=seal(settings.secret.get_secret_value(), _sealed_text(selection), now=now),
        thumbs=thumbs[:MAX_THUMBS],
        n_more=max(0, len(thumbs) - MAX_THUMBS),
        n_samples=len(samples),
        addresses=[address.url for address in subjects.addresses[:MAX_ADDRESSES_SHOWN]],
        n_addresses=len(subjects.addresses),
        n_pictures=subjects.n_pictures,
        n_plain=subjects.n_plain,
        n_unreadable=subjects.n_unreadable,
        n_already=len(opted_out_of(registry, samples)),
        next_list=_publishing(settings.publish),
        problem="",
        bad_contact=False,
        scopes=["picture", "address"],
        acting_as="artist",
        contact="",
    )


def claim_request(fields: Fields, subjects: Subjects) -> ClaimRequest:
    """The request that a confirmed form makes.

    Raises:
        InputError: nothing is left to exclude, or a field does not fit. The message is for the form.
    """
    chosen = subjects.chosen(_all(fields, "scope"))
    if not chosen:
        raise InputError("Nothing would be excluded: tick at least one box under \u201cWhat will be excluded\u201d.")
    contact = _first(fields, "contact").strip()
    if not _is_contact(contact):
        raise InputError(f"{contact[:80]!r} is not an e-mail address: correct it, or leave it empty.")
    try:
        return ClaimRequest.model_validate(
            {"subjects": chosen, "acting_as": _first(fields, "acting_as") or "artist", "contact": contact or None}
        )
    except ValidationError as error:
        where = ", ".join(".".join(map(str, each["loc"])) for each in error.errors()[:3])
        raise InputError(f"Something in the form does not fit ({where}): load the page again.") from error


def claim_facts(claim: Claim, *, is_logged: bool) -> ClaimFacts:
    """A claim as its pages show it.

    Whether it is logged, only a receipt shows: its places are set aside in the database before the log is written.
    """
    return ClaimFacts(
        id=claim.id,
        state=claim.state,
        state_words=state_in_words(claim),
        assurance=claim.assurance,
        acting_as=claim.acting_as,
        received_at=claim.received_at,
        n_addresses=claim.n_url_subjects,
        n_pictures=claim.n_image_subjects,
        places=places_in_words(claim),
        is_grant=claim.preference == "train-ai=y",
        positions=", ".join(map(str, claim.log_indices)) if is_logged else "",
        receipt_href=f"/v1/receipts/{claim.id}" if is_logged else "",
        receipt_name=f"heldout-receipt-{claim.id[:8]}.json",
    )


def state_in_words(claim: Claim) -> str:
    """The state of a claim or, where its subjects differ, of how many."""
    if len(claim.subject_states) < 2:
        return STATES[claim.state]
    return ", ".join(f"{n:,} {STATES[state]}" for state, n in claim.subject_states.items())


def places_in_words(claim: Claim) -> str:
    """Sites and profiles of a claim."""
    counts = ((claim.n_host_subjects, "site", "sites"), (claim.n_prefix_subjects, "profile", "profiles"))
    return ", ".join(f"{n:,} {one if n == 1 else many}" for n, one, many in counts if n)


def _publishing(publish: Literal["auto", "off"]) -> str:
    if publish == "auto":
        return "A few seconds later it is in the signed list that AI labs take from here."
    return "It is in the next signed list that AI labs take from here, as soon as that is published."


def _sealed_text(selection: Selection) -> str:
    return json.dumps(fields_of(selection))


def _once(fields: Fields) -> str:
    """The same for a form sent twice, another for a form changed in between and for everybody else's.

    The seal stands for the selection, and its random part keeps the contact from being guessed out of the digest.
    """
    chosen = [(name, value) for name, value in fields if name in {"seal", "scope", "acting_as", "contact"}]
    return hashlib.sha256(json.dumps(chosen).encode()).hexdigest()


def _is_contact(text: str) -> bool:
    """Whether it is empty, or looks like an e-mail address."""
    name, _, host = text.partition("@")
    return not text or bool(name and "." in host.strip("."))


def _first(fields: Fields, name: str) -> str:
    return next((value for key, value in fields if key == name), "")


def _all(fields: Fields, name: str) -> list[str]:
    return [value for key, value in fields if key == name]
