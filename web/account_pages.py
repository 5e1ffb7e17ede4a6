"""An account's own pages: its opt-outs, its keys, what is held about it, forgetting it; and changing one claim."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from heldout.errors import ConflictError, InputError
from heldout.records import Claim
from heldout.states import CLOSED
from registry.api_keys import SCOPES, ApiKey, Scope
from registry.service import Registry
from search.engine import SearchEngine
from web.account_contexts import AccountDeletedPage, AccountPage, ClaimLine, DeleteAccountPage, KeyLine, ManagePage
from web.claim_pages import claim_facts, claim_href, notes_in_words
from web.claim_pictures import pictures_of_claim
from web.deps import SAME_ORIGIN, EngineDep, PagesDep, RegistryDep, SettingsDep
from web.dispute_words import dispute_box
from web.said import sentence
from web.visitors import HOME, Visitor, VisitorDep, sign_out_browser, to_sign_in
from web.words import gettext, gettext_noop

routes = APIRouter(include_in_schema=False)

PER_PAGE = 50
_SCOPE_WORDS: dict[Scope, str] = {
    "claims:read": gettext_noop("list your opt-outs"),
    "claims:write": gettext_noop("opt out for you, and take opt-outs back"),
    "list:check": gettext_noop("look things up in the list, without limit"),
}
_NO_STORE = {"cache-control": "no-store"}


@routes.get(HOME)
def account(
    request: Request, pages: PagesDep, registry: RegistryDep, visitor: VisitorDep, cursor: str | None = None
) -> Response:
    """One's opt-outs and keys."""
    if visitor is None:
        return to_sign_in(HOME)
    return pages.render(request, "account.html", _account_page(registry, visitor, cursor))


@routes.post(f"{HOME}/keys", dependencies=SAME_ORIGIN)
def make_key(
    *,
    request: Request,
    pages: PagesDep,
    registry: RegistryDep,
    visitor: VisitorDep,
    csrf: Annotated[str, Form()] = "",
    name: Annotated[str, Form(max_length=200)] = "",
    scope: Annotated[list[str] | None, Form()] = None,
    days: Annotated[int, Form()] = 90,
) -> Response:
    """A new key; its text is on this page and never again."""
    if visitor is None:
        return to_sign_in(HOME)
    visitor.check_form(csrf)
    try:
        made = registry.accounts.make_key(visitor.account.id, name=name, scopes=scope or [], days=days)
    except (InputError, ConflictError) as error:
        page = replace(_account_page(registry, visitor), problem=sentence(str(error)))
        return pages.render(request, "account.html", page, status=error.http_status)
    return _with_new_key(request, pages, registry, visitor, made.text)


@routes.post(HOME + "/keys/{prefix}/rotate", dependencies=SAME_ORIGIN)
def rotate_key(
    *,
    request: Request,
    prefix: str,
    pages: PagesDep,
    registry: RegistryDep,
    visitor: VisitorDep,
    csrf: Annotated[str, Form()] = "",
) -> Response:
    """A key in place of one, which ends a day later."""
    if visitor is None:
        return to_sign_in(HOME)
    visitor.check_form(csrf)
    made = registry.accounts.rotate_key(visitor.account.id, prefix)
    return _with_new_key(request, pages, registry, visitor, made.text)


@routes.post(HOME + "/keys/{prefix}/revoke", dependencies=SAME_ORIGIN)
def revoke_key(prefix: str, registry: RegistryDep, visitor: VisitorDep, csrf: Annotated[str, Form()] = "") -> Response:
    """End a key at once."""
    if visitor is None:
        return to_sign_in(HOME)
    visitor.check_form(csrf)
    registry.accounts.revoke_key(visitor.account.id, prefix)
    return RedirectResponse(f"{HOME}#keys", status_code=303)


@routes.get(f"{HOME}/export")
def export(registry: RegistryDep, visitor: VisitorDep) -> Response:
    """Everything that is held about an account, as a file."""
    if visitor is None:
        return to_sign_in(HOME)
    headers = {"content-disposition": 'attachment; filename="heldout-export.json"', **_NO_STORE}
    return JSONResponse(registry.accounts.export(visitor.account.id), headers=headers)


@routes.get(f"{HOME}/delete")
def confirm_delete(request: Request, pages: PagesDep, registry: RegistryDep, visitor: VisitorDep) -> Response:
    """What is forgotten, and what stays."""
    if visitor is None:
        return to_sign_in(f"{HOME}/delete")
    found = registry.claims_of(visitor.account.id)
    n_claims = f"{len(found.claims)}{'+' if found.next_cursor else ''}"
    return pages.render(
        request, "delete_account.html", DeleteAccountPage(visitor.account.email, visitor.csrf, n_claims)
    )


@routes.post(f"{HOME}/delete", dependencies=SAME_ORIGIN)
def delete(
    *,
    registry: RegistryDep,
    settings: SettingsDep,
    visitor: VisitorDep,
    csrf: Annotated[str, Form()] = "",
    claims: Annotated[str, Form()] = "keep",
) -> Response:
    """Forget somebody."""
    if visitor is None:
        return to_sign_in(f"{HOME}/delete")
    visitor.check_form(csrf)
    registry.delete_account(visitor.account.id, withdraw_claims=claims == "withdraw")
    response = RedirectResponse(f"{HOME}/deleted{'?withdrawn=1' if claims == 'withdraw' else ''}", status_code=303)
    sign_out_browser(response, settings)
    return response


@routes.get(f"{HOME}/deleted")
def deleted(request: Request, pages: PagesDep, visitor: VisitorDep, withdrawn: str = "") -> Response:
    """Somebody is forgotten; what became of the opt-outs."""
    if visitor is not None:
        return RedirectResponse(HOME, status_code=303)
    return pages.render(request, "account_deleted.html", AccountDeletedPage(is_withdrawn=withdrawn == "1"))


@routes.get("/claims/{claim_id}/manage")
def manage(
    *,
    request: Request,
    claim_id: str,
    pages: PagesDep,
    engine: EngineDep,
    registry: RegistryDep,
    visitor: VisitorDep,
    secret: str = "",
) -> HTMLResponse:
    """Take a claim back, or move it into one's account."""
    return pages.render(request, "manage.html", _manage_page(registry, engine, claim_id, visitor, secret))


@routes.post("/claims/{claim_id}/withdraw", dependencies=SAME_ORIGIN)
def withdraw(
    *,
    claim_id: str,
    registry: RegistryDep,
    visitor: VisitorDep,
    csrf: Annotated[str, Form()] = "",
    secret: Annotated[str, Form(max_length=64)] = "",
) -> Response:
    """Take it back."""
    if visitor is not None:
        visitor.check_form(csrf)
    registry.withdraw_own(claim_id, account_id=visitor.account.id if visitor else None, secret=secret)
    return RedirectResponse(claim_href(claim_id, "manage", secret), status_code=303)


@routes.post("/claims/{claim_id}/adopt", dependencies=SAME_ORIGIN)
def adopt(
    *,
    claim_id: str,
    registry: RegistryDep,
    visitor: VisitorDep,
    csrf: Annotated[str, Form()] = "",
    secret: Annotated[str, Form(max_length=64)] = "",
) -> Response:
    """Move a claim into one's account."""
    if visitor is None:
        return to_sign_in(claim_href(claim_id, "manage", secret))
    visitor.check_form(csrf)
    registry.adopt(claim_id, visitor.account.id, secret=secret)
    return RedirectResponse(claim_href(claim_id, "manage"), status_code=303)


def _account_page(registry: Registry, visitor: Visitor, cursor: str | None = None) -> AccountPage:
    found = registry.claims_of(visitor.account.id, cursor=cursor, limit=PER_PAGE)
    now = datetime.now(UTC)
    return AccountPage(
        email=visitor.account.email,
        csrf=visitor.csrf,
        claims=[_line(claim) for claim in found.claims],
        next_href=f"{HOME}?cursor={found.next_cursor}" if found.next_cursor else None,
        keys=[_key_line(key, now) for key in registry.accounts.keys(visitor.account.id)],
        new_key="",
        problem="",
        scopes=[(scope, gettext(_SCOPE_WORDS[scope])) for scope in SCOPES],
    )


def _with_new_key(request: Request, pages: PagesDep, registry: Registry, visitor: Visitor, text: str) -> Response:
    page = replace(_account_page(registry, visitor), new_key=text)
    response = pages.render(request, "account.html", page)
    response.headers.update(_NO_STORE)
    return response


def _manage_page(
    registry: Registry, engine: SearchEngine, claim_id: str, visitor: Visitor | None, secret: str
) -> ManagePage:
    claim = registry.claim(claim_id)
    account_id = visitor.account.id if visitor else None
    may_by_account = registry.may_change(claim_id, account_id=account_id)
    may_by_secret = not may_by_account and registry.may_change(claim_id, secret=secret)
    kept = secret if may_by_secret else ""
    return ManagePage(
        claim=claim_facts(claim, is_logged=bool(claim.log_indices)),
        notes=notes_in_words(claim),
        pictures=pictures_of_claim(registry, engine, claim_id),
        verification_key=registry.vkey,
        prove_href=claim_href(claim_id, "prove", kept),
        disputes=dispute_box(registry, claim, visitor, kept),
        may_change=may_by_account or may_by_secret,
        is_withdrawn=claim.state == "withdrawn",
        secret=kept,
        csrf=visitor.csrf if visitor else "",
        email=visitor.account.email if visitor and may_by_secret else "",
        sign_in_href=f"/sign-in?{urlencode({'next': claim_href(claim_id, 'manage', kept)})}",
    )


def _line(claim: Claim) -> ClaimLine:
    facts = claim_facts(claim, is_logged=bool(claim.log_indices))
    what = gettext("granted: %(what)s", what=facts.what) if facts.is_grant else facts.what
    return ClaimLine(
        id=claim.id,
        href=claim_href(claim.id, "manage"),
        received_at=claim.received_at,
        what=what,
        state_words=facts.state_words,
        is_in_force=claim.state == "in_force",
        assurance_words=facts.assurance_words,
        receipt_href=facts.receipt_href,
        receipt_name=facts.receipt_name,
        evidence_href=f"/claims/{claim.id}/evidence",
        may_prove=claim.state not in CLOSED,
        prove_href=claim_href(claim.id, "prove"),
    )


def _key_line(key: ApiKey, now: datetime) -> KeyLine:
    scopes = ", ".join(gettext(_SCOPE_WORDS[scope]) for scope in SCOPES if scope in key.scopes)
    return KeyLine(key.prefix, key.name, scopes, key.expires_at, key.expires_at <= now, key.used_at)
