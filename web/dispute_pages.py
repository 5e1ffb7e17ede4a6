"""Pages of disputes for their two sides: file one, follow it, answer it, take it back. Works without scripts."""

import secrets
from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError

from heldout.errors import ConflictError, HeldoutError, InputError, TooOftenError
from heldout.records import MAX_STATEMENT_CHARS, Claim, DisputeRequest, UrlSubject
from heldout.states import CLOSED, EFFECTIVE
from registry.service import Registry
from web.deps import SAME_ORIGIN, PagesDep, RegistryDep, SettingsDep
from web.dispute_contexts import DisputesPage, DisputeStatusPage, FileDisputePage
from web.dispute_words import BASES, STATES, about, dispute_href, line_of, outcome_in_words
from web.said import sentence
from web.visitors import Visitor, VisitorDep, client_digest, to_sign_in
from web.words import gettext, ngettext

routes = APIRouter(include_in_schema=False)

MAX_ADDRESSES = 1_000
MAX_ADDRESS_CHARS = 100_000
PER_PAGE = 50
MAX_PLACES = 100


@routes.get("/claims/{claim_id}/dispute")
def show_form(request: Request, claim_id: str, pages: PagesDep, registry: RegistryDep, visitor: VisitorDep) -> Response:
    """Say why a claim should not hold."""
    page = _file_page(registry, registry.claim(claim_id), visitor)
    return pages.render(request, "dispute.html", page)


@routes.post("/claims/{claim_id}/dispute", dependencies=SAME_ORIGIN)
def file_dispute(
    *,
    request: Request,
    claim_id: str,
    pages: PagesDep,
    registry: RegistryDep,
    settings: SettingsDep,
    visitor: VisitorDep,
    csrf: Annotated[str, Form()] = "",
    once: Annotated[str, Form(max_length=64)] = "",
    basis: Annotated[str, Form(max_length=16)] = "",
    addresses: Annotated[str, Form(max_length=MAX_ADDRESS_CHARS)] = "",
    statement: Annotated[str, Form(max_length=4 * MAX_STATEMENT_CHARS)] = "",
) -> Response:
    """File it; the claimant is told."""
    if visitor is None:
        return to_sign_in(f"/claims/{claim_id}/dispute")
    visitor.check_form(csrf)
    try:
        wanted = dispute_request(claim_id, basis, addresses, statement)
        made = registry.disputing.file(
            wanted, visitor.account.id, client=client_digest(request, settings), idempotency_key=once or None
        )
    except (InputError, ConflictError, TooOftenError) as error:
        page = _file_page(
            registry,
            registry.claim(claim_id),
            visitor,
            problem=str(error),
            basis=basis,
            addresses=addresses,
            statement=statement,
        )
        return _refused(pages.render(request, "dispute.html", page, status=error.http_status), error)
    return RedirectResponse(dispute_href(made.id), status_code=303)


@routes.get("/disputes")
def own_disputes(
    *,
    request: Request,
    pages: PagesDep,
    registry: RegistryDep,
    visitor: VisitorDep,
    received: str = "",
    filed: str = "",
) -> Response:
    """Those of an account: against its opt-outs, and filed by it."""
    if visitor is None:
        return to_sign_in("/disputes")
    of_others = registry.disputing.against(visitor.account.id, cursor=received or None, limit=PER_PAGE)
    own = registry.disputing.filed_by(visitor.account.id, cursor=filed or None, limit=PER_PAGE)
    page = DisputesPage(
        received=[line_of(each, is_claimant=True) for each in of_others.disputes],
        filed=[line_of(each, is_claimant=False) for each in own.disputes],
        next_received=f"/disputes?{urlencode({'received': of_others.next_cursor})}" if of_others.next_cursor else "",
        next_filed=f"/disputes?{urlencode({'filed': own.next_cursor})}" if own.next_cursor else "",
    )
    return pages.render(request, "disputes.html", page)


@routes.get("/disputes/{dispute_id}")
def show_dispute(
    *,
    request: Request,
    dispute_id: str,
    pages: PagesDep,
    registry: RegistryDep,
    visitor: VisitorDep,
    secret: str = "",
) -> HTMLResponse:
    """How a dispute stands."""
    return pages.render(request, "dispute_status.html", _status_page(registry, dispute_id, visitor, secret))


@routes.post("/disputes/{dispute_id}/answer", dependencies=SAME_ORIGIN)
def answer(
    *,
    request: Request,
    dispute_id: str,
    pages: PagesDep,
    registry: RegistryDep,
    visitor: VisitorDep,
    csrf: Annotated[str, Form()] = "",
    secret: Annotated[str, Form(max_length=64)] = "",
    statement: Annotated[str, Form(max_length=4 * MAX_STATEMENT_CHARS)] = "",
) -> Response:
    """The claimant's statement."""
    if visitor is not None:
        visitor.check_form(csrf)
    try:
        registry.disputing.answer(
            dispute_id, statement, account_id=visitor.account.id if visitor else None, secret=secret
        )
    except (InputError, ConflictError) as error:
        page = _status_page(registry, dispute_id, visitor, secret, problem=str(error), said=statement)
        return pages.render(request, "dispute_status.html", page, status=error.http_status)
    return RedirectResponse(dispute_href(dispute_id, secret), status_code=303)


@routes.post("/disputes/{dispute_id}/withdraw", dependencies=SAME_ORIGIN)
def withdraw(
    *,
    request: Request,
    dispute_id: str,
    pages: PagesDep,
    registry: RegistryDep,
    visitor: VisitorDep,
    csrf: Annotated[str, Form()] = "",
) -> Response:
    """Take it back."""
    if visitor is None:
        return to_sign_in(dispute_href(dispute_id))
    visitor.check_form(csrf)
    try:
        registry.disputing.withdraw(dispute_id, account_id=visitor.account.id)
    except ConflictError as error:
        page = _status_page(registry, dispute_id, visitor, "", problem=str(error))
        return pages.render(request, "dispute_status.html", page, status=error.http_status)
    return RedirectResponse(dispute_href(dispute_id), status_code=303)


def dispute_request(claim_id: str, basis: str, addresses: str, statement: str) -> DisputeRequest:
    """What a form asks for.

    Raises:
        InputError: no reason was chosen, too many addresses, or the statement is too short or too long.
    """
    if basis not in BASES:
        raise InputError("choose what is wrong with it")
    lines = [line.strip() for line in addresses.splitlines() if line.strip()]
    if len(lines) > MAX_ADDRESSES:
        raise InputError(f"these are {len(lines):,} addresses: give at most {MAX_ADDRESSES:,}, or dispute all of it")
    words = "\n".join(statement.strip().splitlines())
    try:
        return DisputeRequest.model_validate(
            {
                "claim": claim_id,
                "basis": basis,
                "statement": words,
                "subjects": [UrlSubject(url=line) for line in lines] or None,
            }
        )
    except ValidationError as error:
        raise InputError(
            f"say in 20 to {MAX_STATEMENT_CHARS:,} characters what is wrong and why; one address a line"
        ) from error


def what_it_holds(claim: Claim) -> str:
    """A claim's subjects, counted in words."""
    parts = [
        ngettext("one picture", "%(n)s pictures", claim.n_image_subjects) if claim.n_image_subjects else "",
        ngettext("one address", "%(n)s addresses", claim.n_url_subjects) if claim.n_url_subjects else "",
        ngettext("one profile", "%(n)s profiles", claim.n_prefix_subjects) if claim.n_prefix_subjects else "",
        ngettext("one site", "%(n)s sites", claim.n_host_subjects) if claim.n_host_subjects else "",
    ]
    return ", ".join(part for part in parts if part)


def _file_page(
    registry: Registry,
    claim: Claim,
    visitor: Visitor | None,
    *,
    problem: str = "",
    basis: str = "",
    addresses: str = "",
    statement: str = "",
) -> FileDisputePage:
    here = f"/claims/{quote(claim.id, safe='')}/dispute"
    return FileDisputePage(
        claim_id=claim.id,
        claim_href=f"/claims/{quote(claim.id, safe='')}",
        what=what_it_holds(claim),
        places=registry.disputing.places_of(claim.id, limit=MAX_PLACES),
        is_open=claim.state not in CLOSED and any(claim.subject_states.get(state) for state in EFFECTIVE),
        is_signed_in=visitor is not None,
        sign_in_href=f"/sign-in?{urlencode({'next': here})}",
        csrf=visitor.csrf if visitor else "",
        once=secrets.token_urlsafe(24),
        problem=sentence(problem) if problem else "",
        bases=[(code, gettext(words)) for code, words in BASES.items()],
        basis=basis,
        addresses=addresses,
        statement=statement,
        n_days=registry.disputing.deadlines.answer.days,
        max_chars=MAX_STATEMENT_CHARS,
    )


def _status_page(
    registry: Registry, dispute_id: str, visitor: Visitor | None, secret: str, *, problem: str = "", said: str = ""
) -> DisputeStatusPage:
    account_id = visitor.account.id if visitor else None
    side = registry.disputing.side_of(dispute_id, account_id=account_id, secret=secret)
    dispute = registry.disputing.get(dispute_id, account_id=account_id, secret=secret)
    claim = registry.claim(dispute.claim)
    by_secret = side == "claimant" and registry.may_change(claim.id, secret=secret)
    is_open = dispute.state == "open"
    return DisputeStatusPage(
        dispute_id=dispute.id,
        claim_id=claim.id,
        claim_href=f"/claims/{quote(claim.id, safe='')}",
        state_words=gettext(STATES[dispute.state]),
        outcome_words=outcome_in_words(dispute, claim),
        basis_words=gettext(BASES[dispute.basis]),
        what=about(dispute),
        filed_at=dispute.filed_at,
        answer_due_at=dispute.answer_due_at,
        answered_at=dispute.answered_at,
        decide_due_at=dispute.decide_due_at,
        decided_at=dispute.decided_at,
        is_party=side is not None,
        statement=dispute.statement or "",
        answer=dispute.answer or "",
        decision=dispute.decision or "",
        may_answer=side == "claimant" and is_open and dispute.answered_at is None,
        may_withdraw=side == "disputer" and is_open,
        is_late=registry.disputing.is_late(dispute),
        csrf=visitor.csrf if visitor else "",
        secret=secret if by_secret else "",
        sign_in_href=f"/sign-in?{urlencode({'next': dispute_href(dispute.id)})}" if visitor is None else "",
        problem=sentence(problem) if problem else "",
        said=said,
        max_chars=MAX_STATEMENT_CHARS,
    )


def _refused(response: HTMLResponse, error: HeldoutError) -> HTMLResponse:
    if isinstance(error, TooOftenError):
        response.headers["retry-after"] = str(error.retry_after_s)
    return response
