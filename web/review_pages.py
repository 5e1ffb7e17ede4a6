"""Reviewers' pages: what waits, everything about a case, and buttons that need a reason.

For those whom `HELDOUT_REVIEWERS` names, signed in; others are told that it is not theirs.
"""

from datetime import UTC, datetime
from typing import Annotated, Final, cast, get_args
from urllib.parse import quote

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from heldout.errors import ConflictError, HeldoutError, InputError
from heldout.records import Claim, Dispute, DisputeState
from registry.quarantine import Claimed
from registry.review_queue import MAX_LISTED, Case, ShownSubject, Waiting
from registry.reviewing import parse_claim_outcome, parse_dispute_outcome
from registry.reviews import ClaimOutcome
from registry.service import Registry
from search.engine import SearchEngine
from web import log_words
from web.claim_pages import ASSURANCES, ROLES, STATES
from web.deps import SAME_ORIGIN, EngineDep, PagesDep, RegistryDep, SettingsDep
from web.dispute_words import BASES
from web.dispute_words import STATES as DISPUTE_STATES
from web.review_contexts import (
    CasePage,
    DecisionLine,
    DisputeCase,
    EventLine,
    ReviewPage,
    SubjectLine,
    WaitingLine,
)
from web.said import sentence
from web.settings import Settings
from web.visitors import Visitor, VisitorDep, to_sign_in
from web.whereabouts import all_generations, shown_address, shown_picture
from web.words import count, day_time, gettext, gettext_noop, ngettext

routes = APIRouter(include_in_schema=False)

MAX_REASON_CHARS: Final = 8_000
"""As a browser may send it; the registry's limit is lower."""

KINDS: Final = {
    "url": gettext_noop("address"),
    "image": gettext_noop("picture"),
    "prefix": gettext_noop("profile"),
    "host": gettext_noop("site"),
}
CLAIM_OUTCOMES: Final[dict[ClaimOutcome, str]] = {
    "release": gettext_noop("Bring back into force"),
    "reject": gettext_noop("Reject"),
    "quarantine": gettext_noop("Hold for review"),
    "assure": gettext_noop("Note as reviewed: I have seen proof enough"),
    "unassure": gettext_noop("Take \u201creviewed\u201d back"),
}
_UPHOLD: Final = gettext_noop("Uphold: what is disputed no longer counts")
_REFUSE: Final = gettext_noop("Refuse: it stays in force")


@routes.get("/review")
def queue(
    request: Request, pages: PagesDep, registry: RegistryDep, settings: SettingsDep, visitor: VisitorDep
) -> Response:
    """What waits for a decision."""
    if visitor is None:
        return to_sign_in("/review")
    _check_is_reviewer(visitor, settings)
    waiting, rejected = registry.reviewing.queue(), registry.reviewing.queue("rejected")
    now = datetime.now(UTC)
    page = ReviewPage(
        disputes=[_line(each, now) for each in waiting if each.kind in {"dispute", "left-over"}],
        held=[_line(each, now) for each in waiting if each.kind == "held"],
        rejected=[_line(each, now) for each in rejected],
        is_cut=len(waiting) >= MAX_LISTED or len(rejected) >= MAX_LISTED,
    )
    return pages.render(request, "review.html", page)


@routes.get("/review/{item_id}")
def show_case(
    *,
    request: Request,
    item_id: str,
    pages: PagesDep,
    registry: RegistryDep,
    engine: EngineDep,
    settings: SettingsDep,
    visitor: VisitorDep,
) -> Response:
    """All about a claim, named by its id or a dispute's."""
    if visitor is None:
        return to_sign_in(f"/review/{quote(item_id, safe='')}")
    _check_is_reviewer(visitor, settings)
    return pages.render(request, "review_case.html", _case_page(registry, engine, item_id, visitor))


@routes.post("/review/disputes/{dispute_id}", dependencies=SAME_ORIGIN)
def decide_dispute(
    *,
    request: Request,
    dispute_id: str,
    pages: PagesDep,
    registry: RegistryDep,
    engine: EngineDep,
    settings: SettingsDep,
    visitor: VisitorDep,
    csrf: Annotated[str, Form()] = "",
    outcome: Annotated[str, Form(max_length=16)] = "",
    reason: Annotated[str, Form(max_length=MAX_REASON_CHARS)] = "",
    seen: Annotated[str, Form(max_length=16)] = "",
) -> Response:
    """Uphold or refuse."""
    if visitor is None:
        return to_sign_in(f"/review/{quote(dispute_id, safe='')}")
    _check_is_reviewer(visitor, settings)
    visitor.check_form(csrf)
    try:
        registry.reviewing.decide_dispute(
            dispute_id,
            parse_dispute_outcome(outcome),
            reason=reason,
            reviewer=visitor.account.id,
            seen=_seen(seen),
        )
    except (InputError, ConflictError) as error:
        return _again(
            request, pages, _case_page(registry, engine, dispute_id, visitor, error=error, reason=reason), error
        )
    return RedirectResponse(f"/review/{quote(dispute_id, safe='')}", status_code=303)


@routes.post("/review/claims/{claim_id}", dependencies=SAME_ORIGIN)
def decide_claim(
    *,
    request: Request,
    claim_id: str,
    pages: PagesDep,
    registry: RegistryDep,
    engine: EngineDep,
    settings: SettingsDep,
    visitor: VisitorDep,
    csrf: Annotated[str, Form()] = "",
    outcome: Annotated[str, Form(max_length=16)] = "",
    reason: Annotated[str, Form(max_length=MAX_REASON_CHARS)] = "",
    seen: Annotated[int, Form(ge=0)] = 0,
    subject: Annotated[list[int] | None, Form()] = None,
) -> Response:
    """Decide about a claim, or about the subjects that were ticked."""
    if visitor is None:
        return to_sign_in(f"/review/{quote(claim_id, safe='')}")
    _check_is_reviewer(visitor, settings)
    visitor.check_form(csrf)
    try:
        registry.reviewing.decide_claim(
            claim_id,
            parse_claim_outcome(outcome),
            reason=reason,
            reviewer=visitor.account.id,
            positions=subject or None,
            seen=seen,
        )
    except (InputError, ConflictError) as error:
        return _again(
            request, pages, _case_page(registry, engine, claim_id, visitor, error=error, reason=reason), error
        )
    return RedirectResponse(f"/review/{quote(claim_id, safe='')}", status_code=303)


def is_reviewer(visitor: Visitor | None, settings: Settings) -> bool:
    """Whether somebody may decide here."""
    return visitor is not None and visitor.account.email in settings.reviewers.split(",")


def _check_is_reviewer(visitor: Visitor, settings: Settings) -> None:
    if not is_reviewer(visitor, settings):
        raise HTTPException(403, gettext("This page is for the reviewers of this site."))


def _seen(text: str) -> DisputeState:
    if text not in get_args(DisputeState):
        raise InputError("this form is not whole: load the page again")
    return cast("DisputeState", text)


def _again(request: Request, pages: PagesDep, page: CasePage, error: HeldoutError) -> HTMLResponse:
    return pages.render(request, "review_case.html", page, status=error.http_status)


def _line(each: Waiting, now: datetime) -> WaitingLine:
    if each.kind == "dispute":
        title = ngettext("Dispute about one subject", "Dispute about %(n)s subjects", each.n_subjects)
        why = ", ".join(gettext(words) for code, words in BASES.items() if code in each.reasons)
        note = "" if each.is_ready else gettext("The claimant may still answer: it can only be refused now.")
    else:
        title = ngettext("Claim with one subject", "Claim with %(n)s subjects", each.n_subjects)
        why = ", ".join(f"{log_words.reason(code)} ({count(n)})" for code, n in sorted(each.reasons.items()))
        note = gettext("Disputed, but no dispute is known here.") if each.kind == "left-over" else ""
    return WaitingLine(
        href=f"/review/{quote(each.dispute_id or each.claim_id, safe='')}",
        title=title,
        why=why,
        since=each.since,
        due_at=each.due_at,
        is_overdue=each.due_at is not None and each.due_at <= now,
        note=note,
    )


def _case_page(
    registry: Registry,
    engine: SearchEngine,
    item_id: str,
    visitor: Visitor,
    *,
    error: HeldoutError | None = None,
    reason: str = "",
) -> CasePage:
    case = registry.reviewing.case(item_id)
    claim = case.claim
    return CasePage(
        claim_id=claim.id,
        claim_href=f"/claims/{quote(claim.id, safe='')}",
        state_words=gettext(STATES[claim.state]),
        facts=_facts(case),
        subjects=_subjects(engine, claim, case.subjects),
        n_more=claim.n_subjects - len(case.subjects),
        disputes=[_dispute(registry, each) for each in case.disputes],
        events=[
            EventLine(each.at, _event(each.what, each.became, each.reason, each.positions)) for each in case.events
        ],
        decisions=[
            DecisionLine(each.at, each.outcome, each.reason or gettext("Erased.")) for each in reversed(case.decisions)
        ],
        outcomes=[] if claim.state == "withdrawn" else _outcomes(case),
        seen=max((each.id for each in case.decisions), default=0),
        csrf=visitor.csrf,
        problem=sentence(str(error)) if error is not None else "",
        reason=reason,
    )


def _facts(case: Case) -> list[tuple[str, str]]:
    claim = case.claim
    return [
        (gettext("Preference"), claim.preference),
        (gettext("Assurance"), gettext(ASSURANCES[claim.assurance])),
        (gettext("Acting as"), gettext(ROLES[claim.acting_as])),
        (gettext("Received"), day_time(claim.received_at)),
        (gettext("Account"), gettext("yes") if case.has_account else gettext("no")),
        (gettext("Contact"), case.contact or gettext("none")),
    ]


def _outcomes(case: Case) -> list[tuple[str, str]]:
    """What makes sense in the states the claim's subjects are in."""
    states = case.claim.subject_states
    is_left_over = bool(states.get("disputed")) and not any(each.state == "open" for each in case.disputes)
    fitting: dict[ClaimOutcome, bool] = {
        "release": is_left_over or any(states.get(state) for state in ("quarantined", "rejected")),
        "reject": any(states.get(state) for state in ("pending", "in_force", "disputed", "quarantined")),
        "quarantine": any(states.get(state) for state in ("pending", "in_force", "disputed")),
        "assure": case.claim.assurance != "reviewed",
        "unassure": any(each.assurance == "reviewed" for each in case.subjects),
    }
    return [(code, gettext(words)) for code, words in CLAIM_OUTCOMES.items() if fitting[code]]


def _subjects(engine: SearchEngine, claim: Claim, subjects: list[ShownSubject]) -> list[SubjectLine]:
    lines = []
    with all_generations(engine) as generations:
        for each in subjects:
            shown, where = None, ""
            if each.pdq is not None:
                picture = Claimed(0, claim.id, each.position, each.pdq, each.quality, each.sha256)
                shown, n_domains = shown_picture(generations, picture)
                where = ngettext("on one site here", "on %(n)s unrelated sites here", n_domains)
            elif each.kind == "url" and each.text:
                shown = shown_address(generations, each.text)
            href = None
            if shown is not None:
                dataset = quote(shown.dataset, safe="")
                href = f"/v1/thumbnails/{dataset}/{shown.id}.webp?generation={shown.generation}"
            lines.append(
                SubjectLine(
                    position=each.position,
                    kind_words=gettext(KINDS[each.kind]),
                    text=each.text or gettext("(erased)"),
                    thumbnail=href,
                    state_words=gettext(STATES[each.state]),
                    why="" if each.state == "disputed" else log_words.reason(each.reason),
                    assurance=gettext(ASSURANCES[each.assurance]),
                    where=where,
                )
            )
    return lines


def _dispute(registry: Registry, dispute: Dispute) -> DisputeCase:
    outcomes: list[tuple[str, str]] = []
    may_answer = dispute.answered_at is None and not registry.disputing.is_late(dispute)
    if dispute.state not in {"withdrawn", "moot"}:
        if dispute.state != "upheld" and not may_answer:
            outcomes.append(("uphold", gettext(_UPHOLD)))
        if dispute.state != "refused":
            outcomes.append(("refuse", gettext(_REFUSE)))
    return DisputeCase(
        id=dispute.id,
        state=dispute.state,
        state_words=gettext(DISPUTE_STATES[dispute.state]),
        basis_words=gettext(BASES[dispute.basis]),
        subjects=", ".join(str(position) for position in dispute.subjects[:50])
        + (" \u2026" if dispute.n_subjects > 50 else ""),
        filed_at=dispute.filed_at,
        answer_due_at=dispute.answer_due_at,
        answered_at=dispute.answered_at,
        decide_due_at=dispute.decide_due_at,
        statement=dispute.statement or gettext("Erased."),
        answer=dispute.answer or (gettext("Erased.") if dispute.answered_at else ""),
        outcomes=outcomes,
        wait=gettext("It can be upheld after the claimant\u2019s answer, or once the time for that is over.")
        if may_answer and dispute.state != "upheld" and outcomes
        else "",
    )


def _event(what: str, became: str, why: str, positions: tuple[int, ...] | None) -> str:
    subjects = gettext("all") if positions is None else ngettext("one subject", "%(n)s subjects", len(positions))
    known = STATES | ASSURANCES
    said = f"{gettext(log_words.TITLES[what])}: {gettext(known[became]) if became in known else became}"
    return f"{said} ({log_words.reason(why)}), {subjects}" if why else f"{said}, {subjects}"
