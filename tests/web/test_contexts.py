"""A page's template gets its dataclass, the whole of it, and nothing else."""

from dataclasses import fields, is_dataclass

import jinja2.meta
import pytest
from fastapi.testclient import TestClient

from heldout.records import ClaimRequest, UrlSubject
from tests.web.accounts import sign_in
from tests.web.conftest import COPY
from tests.web.html import read_page
from tests.web.test_claim_pages import HTML, tick
from web import (
    account_contexts,
    basket_contexts,
    contexts,
    dispute_contexts,
    lab_contexts,
    log_contexts,
    prove_contexts,
    research_contexts,
    review_contexts,
)
from web.pages import TEMPLATES_DIR, Pages
from web.settings import Settings
from web.survey import survey

PAGES: dict[str, type] = {
    "search.html": contexts.SearchPage,
    "results.html": contexts.ResultsPage,
    "compare.html": contexts.ComparePage,
    "basket.html": basket_contexts.BasketPage,
    "portfolio.html": basket_contexts.PortfolioPage,
    "done.html": contexts.DonePage,
    "manage.html": account_contexts.ManagePage,
    "sign_in.html": account_contexts.SignInPage,
    "sent.html": account_contexts.SentPage,
    "sign_in_link.html": account_contexts.SignInLinkPage,
    "account.html": account_contexts.AccountPage,
    "account_deleted.html": account_contexts.AccountDeletedPage,
    "delete_account.html": account_contexts.DeleteAccountPage,
    "claim.html": contexts.ClaimPage,
    "evidence.html": contexts.EvidencePage,
    "prove.html": prove_contexts.ProvePage,
    "labs.html": lab_contexts.LabsPage,
    "versions.html": lab_contexts.VersionsPage,
    "about.html": contexts.AboutPage,
    "error.html": contexts.ErrorPage,
    "explore.html": log_contexts.ExplorePage,
    "entry.html": log_contexts.EntryPage,
    "checkpoints.html": log_contexts.CheckpointsPage,
    "check_receipt.html": log_contexts.CheckReceiptPage,
    "dispute.html": dispute_contexts.FileDisputePage,
    "dispute_status.html": dispute_contexts.DisputeStatusPage,
    "disputes.html": dispute_contexts.DisputesPage,
    "review.html": review_contexts.ReviewPage,
    "review_case.html": review_contexts.CasePage,
    "research.html": research_contexts.ResearchPage,
    "research_dataset.html": research_contexts.DatasetPage,
}
SET_BEFORE = {"results.html": {"mine", "theirs", "theirs_alt", "theirs_words"}}
"""Names that a page sets for what it includes."""
GIVEN_BY_BASE = {"request", "asset", "url_for", "language", "_", "gettext", "ngettext", "pgettext"}


def names(of: type) -> set[str]:
    assert is_dataclass(of)
    return {field.name for field in fields(of)}


def test_every_page_has_its_dataclass() -> None:
    templates = {path.name for path in TEMPLATES_DIR.glob("*.html") if not path.name.startswith("_")}
    assert templates - {"base.html"} == PAGES.keys()


@pytest.mark.parametrize("template", PAGES)
def test_a_template_uses_what_its_dataclass_has_and_all_of_it(template: str) -> None:
    used = _names_used(template, set())
    assert used - GIVEN_BY_BASE == names(PAGES[template])


def _names_used(template: str, locals_: set[str]) -> set[str]:
    environment = Pages().environment
    tree = environment.parse((TEMPLATES_DIR / template).read_text())
    used = jinja2.meta.find_undeclared_variables(tree)
    for other in jinja2.meta.find_referenced_templates(tree):
        if other and other not in {"base.html", "_icons.html", "_check.html"}:
            used |= _names_used(other, locals_)
    # Names that a page sets before including a part: the part's loop variables, the imported shapes.
    return used - {"icon", "checking", "card", "commands", "here", "line"} - SET_BEFORE.get(template, set())


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """With a reviewer."""
    return settings.model_copy(update={"reviewers": "jane@mail.example"})


@pytest.fixture
def claim_id(own_site: TestClient) -> str:
    request = ClaimRequest(subjects=[UrlSubject(url="https://jane.example/art/0.png")])
    answer = own_site.post("/v1/claims", json=request.model_dump(mode="json"))
    number: str = answer.json()["id"]
    return number


def test_the_context_of_each_rendered_page_is_its_dataclass(
    own_site: TestClient, claim_id: str, settings: Settings
) -> None:
    own_site.post("/basket", data=dict(tick(own_site, "/search?q=jane.example")), headers=HTML)
    own_site.app.state.registry.publish()  # type: ignore[attr-defined]
    survey(settings.datasets_dir, settings.state_dir / "public" / "list", settings.research_dir)
    rendered = [
        own_site.get("/"),
        own_site.get("/search?q=red"),
        own_site.get("/basket"),
        own_site.get("/portfolio"),
        own_site.post("/search/compare", data={"with": "shapes@1:0", "seen": COPY}),
        own_site.get(f"/claims/{claim_id}/done"),
        own_site.get(f"/claims/{claim_id}"),
        own_site.get(f"/claims/{claim_id}/evidence"),
        own_site.get("/labs"),
        own_site.get("/labs/versions"),
        own_site.get("/about"),
        own_site.get("/explore"),
        own_site.get("/explore/entries/0"),
        own_site.get("/explore/checkpoints"),
        own_site.get("/explore/receipt"),
        own_site.get("/research"),
        own_site.get("/research/shapes"),
        own_site.get("/nowhere", headers=HTML),
        own_site.get(f"/claims/{claim_id}/manage"),
        own_site.get(f"/claims/{claim_id}/prove"),
        own_site.get("/sign-in"),
        own_site.get("/sign-in/sent"),
        own_site.get("/sign-in/nothing"),
    ]
    rendered.append(own_site.get("/account/deleted"))
    sign_in(own_site, settings.state_dir, "jane@mail.example")
    form = dict(read_page(own_site.get(f"/claims/{claim_id}/dispute").text).one("main").one("form").fields())
    wanted = form | {"basis": "mine", "statement": "I drew this, and I can show it."}
    filed = own_site.post(f"/claims/{claim_id}/dispute", data=wanted).headers["location"]
    rendered += [own_site.get(path) for path in ("/account", "/account/delete", f"/claims/{claim_id}/dispute")]
    rendered += [own_site.get(path) for path in (filed, "/disputes", "/review", f"/review/{claim_id}")]
    seen = {}
    for answer in rendered:
        context = dict(answer.context)  # type: ignore[attr-defined]
        context.pop("request")
        seen[answer.template.name] = context.keys()  # type: ignore[attr-defined]
    assert seen == {template: names(of) for template, of in PAGES.items()}
