"""Proving a site, a profile or a picture: what to put where, and a button that looks for it. Works without scripts."""

from datetime import UTC
from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import APIRouter, File, Form, Request, UploadFile
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from heldout.errors import AccessError, ConflictError, InputError, TooOftenError
from heldout.records import Proof
from heldout.states import CLOSED
from registry.evidence_targets import Method, parse_method
from registry.service import Registry
from web.claim_pages import claim_href
from web.deps import SAME_ORIGIN, PagesDep, ProberDep, RegistryDep
from web.prove_contexts import PlaceWays, ProofBox, ProvePage, Way
from web.said import in_english, sentence
from web.visitors import Visitor, VisitorDep
from web.words import gettext, gettext_noop

routes = APIRouter(include_in_schema=False)

WAYS: dict[Method, str] = {
    "dns": gettext_noop("a record in the domain name system, where you bought %(target)s"),
    "well-known": gettext_noop("a small text file on %(target)s"),
    "meta": gettext_noop("a line in the head of the page %(target)s"),
    "account": gettext_noop("a code in the profile's description at %(target)s"),
    "credential": gettext_noop("the picture signed with your Content Credentials"),
}
STATES = {
    "waiting": gettext_noop("not found yet"),
    "proved": gettext_noop("proved"),
    "lost": gettext_noop("was there, and is gone"),
}
STEPS: dict[Method, list[str]] = {
    "dns": [
        gettext_noop("Sign in where your domain name is managed and open its DNS records."),
        gettext_noop(
            "Add a record as below. Where only the first part of the name is asked for, leave the domain itself away."
        ),
        gettext_noop("Save, wait a few minutes, and press the button here. Some providers take an hour."),
    ],
    "well-known": [
        gettext_noop("Make a plain text file named heldout.txt with the line below."),
        gettext_noop("Put it on your site into a folder named .well-known, so that the address below shows it."),
        gettext_noop("Open the address in your browser to see that it is there, and press the button here."),
    ],
    "meta": [
        gettext_noop(
            "Open the page's settings where code for its head can be added, often under SEO or site verification."
        ),
        gettext_noop("Paste the line below, before </head>, and publish."),
        gettext_noop("Press the button here."),
    ],
    "account": [
        gettext_noop("Open your profile's settings and put the code below into its description, anywhere in the text."),
        gettext_noop("Save, and see that the code shows on your profile when you are signed out."),
        gettext_noop("Press the button here. A code in a comment does not count: anybody can write one."),
    ],
    "credential": [
        gettext_noop("Sign the picture with your certificate and add the assertion below to what is signed."),
        gettext_noop("With a CAWG identity, let the identity reference the assertion too."),
        gettext_noop("Hand in the signed file here. It is not kept."),
    ],
}


@routes.get("/claims/{claim_id}/prove")
def prove(
    *, request: Request, claim_id: str, pages: PagesDep, registry: RegistryDep, visitor: VisitorDep, secret: str = ""
) -> HTMLResponse:
    """What can be proved, how, and how far it has come."""
    return pages.render(request, "prove.html", _page(registry, claim_id, visitor, secret))


@routes.post("/claims/{claim_id}/prove", dependencies=SAME_ORIGIN)
def begin(
    *,
    request: Request,
    claim_id: str,
    pages: PagesDep,
    registry: RegistryDep,
    visitor: VisitorDep,
    csrf: Annotated[str, Form()] = "",
    secret: Annotated[str, Form(max_length=64)] = "",
    method: Annotated[str, Form(max_length=16)] = "",
    target: Annotated[str, Form(max_length=2_100)] = "",
) -> Response:
    """A code for one way of proving."""
    _check_may(registry, claim_id, visitor, csrf, secret)
    try:
        proof = registry.proving.create(claim_id, parse_method(method), target)
    except (InputError, ConflictError) as error:
        page = _page(registry, claim_id, visitor, secret, problem=str(error))
        return pages.render(request, "prove.html", page, status=error.http_status)
    return _back(claim_id, secret, proof.id)


@routes.post("/claims/{claim_id}/prove/{evidence_id}/check", dependencies=SAME_ORIGIN)
async def check(
    *,
    request: Request,
    claim_id: str,
    evidence_id: str,
    pages: PagesDep,
    registry: RegistryDep,
    prober: ProberDep,
    visitor: VisitorDep,
    csrf: Annotated[str, Form()] = "",
    secret: Annotated[str, Form(max_length=64)] = "",
    picture: Annotated[UploadFile | None, File()] = None,
) -> Response:
    """Look for the code now, or judge the picture that comes with the form."""
    await run_in_threadpool(_check_may, registry, claim_id, visitor, csrf, secret)
    try:
        if picture is not None:
            await run_in_threadpool(registry.proving.check_picture, evidence_id, await picture.read())
        else:
            await registry.proving.check(evidence_id, prober)
    except (InputError, ConflictError, TooOftenError) as error:
        page = await run_in_threadpool(_page, registry, claim_id, visitor, secret, problem=str(error))
        response = pages.render(request, "prove.html", page, status=error.http_status)
        if isinstance(error, TooOftenError):
            response.headers["retry-after"] = str(error.retry_after_s)
        return response
    return _back(claim_id, secret, evidence_id)


def _back(claim_id: str, secret: str, evidence_id: str) -> Response:
    return RedirectResponse(f"{claim_href(claim_id, 'prove', secret)}#{quote(evidence_id, safe='')}", status_code=303)


def _check_may(registry: Registry, claim_id: str, visitor: Visitor | None, csrf: str, secret: str) -> None:
    if visitor is not None:
        visitor.check_form(csrf)
    account_id = visitor.account.id if visitor else None
    if not (registry.may_change(claim_id, account_id=account_id) or registry.may_change(claim_id, secret=secret)):
        raise AccessError(f"claim {claim_id} is not yours to prove: sign in, or open its private address")


def _page(registry: Registry, claim_id: str, visitor: Visitor | None, secret: str, *, problem: str = "") -> ProvePage:
    claim = registry.claim(claim_id)
    account_id = visitor.account.id if visitor else None
    by_account = registry.may_change(claim_id, account_id=account_id)
    by_secret = not by_account and registry.may_change(claim_id, secret=secret)
    may_change, kept = by_account or by_secret, secret if by_secret else ""
    proofs = registry.proving.of_claim(claim_id) if may_change else []
    known = {(each.method, each.target) for each in proofs}
    suggested, n_more = registry.proving.suggested(claim_id) if may_change else ([], 0)
    ways: dict[str, list[Way]] = {}
    for each in suggested:
        if (each.method, each.target) not in known:
            words = gettext(WAYS[each.method], target=each.target)
            ways.setdefault(each.subject, []).append(Way(each.method, each.target, words))
    return ProvePage(
        claim_id=claim.id,
        manage_href=claim_href(claim.id, "manage", kept),
        may_change=may_change,
        is_open=claim.state not in CLOSED,
        secret=kept,
        csrf=visitor.csrf if visitor else "",
        sign_in_href=f"/sign-in?{urlencode({'next': claim_href(claim_id, 'prove')})}",
        problem=sentence(problem) if problem else "",
        places=[PlaceWays(name, of_place) for name, of_place in ways.items()],
        n_more=n_more,
        proofs=[_box(each) for each in proofs],
        n_days=registry.proving.schedule.grace.days,
    )


def _box(proof: Proof) -> ProofBox:
    return ProofBox(
        id=proof.id,
        title=gettext(WAYS[proof.method], target=proof.target),
        state_words=in_english(gettext(STATES[proof.state])).removesuffix("."),
        is_proved=proof.state == "proved",
        steps=[gettext(step) for step in STEPS[proof.method]],
        put=proof.put,
        result=sentence(proof.result) if proof.result else "",
        checked_at=proof.checked_at and proof.checked_at.astimezone(UTC),
        next_check_at=proof.next_check_at,
        failing_since=proof.failing_since if proof.state == "proved" else None,
        n_subjects=proof.n_subjects,
        is_picture=proof.method == "credential",
    )
