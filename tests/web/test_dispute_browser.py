"""One whole dispute in three people's browsers: without JavaScript, on a phone, and with nothing for axe."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect

from heldout.receipts import verify_receipt
from heldout.records import ClaimRequest, HostSubject, UrlSubject
from registry.service import Registry
from tests.web.accounts import mails
from tests.web.conftest import ColourEncoder, make_settings
from tests.web.serving import EVERYTHING, IN_CHROMIUM, address_of, free_socket, open_context, serving
from web.app import create_app

pytestmark = IN_CHROMIUM
STATEMENT = "I drew this in 2020, and the sketches are on my own site since then."
ANSWER = "I have the layered file, and the first upload anywhere was mine."
REASON = "The layered file was shown to us, and the sketches are younger."


@contextmanager
def served(datasets_dir: Path, folder: Path) -> Iterator[tuple[str, Registry]]:
    """A site with a reviewer, on a port of its own, and its registry."""
    bound = free_socket()
    changes = {"base_url": address_of(bound), "reviewers": "ria@mail.example"}
    settings = make_settings(datasets_dir, folder).model_copy(update=changes)
    app: Any = create_app(settings, encoder=ColourEncoder())
    with serving(app, bound) as address:
        yield address, app.state.registry


def sign_in(page: Page, state_dir: Path, name: str) -> None:
    """By the form, the mail and the button, wherever the page leads to it."""
    page.get_by_label("E-mail").fill(f"{name}@mail.example")
    page.get_by_role("button", name="link").click()
    expect(page).to_have_url(re.compile("/sign-in/sent"))
    (path,) = re.findall(r"(/sign-in/\S+)", mails(state_dir)[-1].get_content())
    page.goto(path)
    page.get_by_role("button").first.click()


def check_page(page: Page, name: str) -> None:
    """Nothing for axe, and no wider than a phone."""
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("run => axe.run(document, {runOnly: run})", EVERYTHING)
    faults = [(each["id"], [node["target"] for node in each["nodes"]]) for each in found["violations"]]
    assert faults == [], name
    assert page.evaluate("document.documentElement.scrollWidth") <= 360, name


def test_three_people_settle_a_dispute(browser: Browser, datasets_dir: Path, tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    with served(datasets_dir, tmp_path) as (address, registry):
        works = [UrlSubject(url="https://jane.example/art/0.png"), UrlSubject(url="https://jane.example/art/2.png")]
        claim = registry.submit(ClaimRequest(subjects=[*works, HostSubject(host="ota.example")]))
        phone = {"viewport": {"width": 360, "height": 740}, "bypass_csp": True}  # axe is put into the page
        people = [open_context(browser, address, **phone) for _ in range(2)]
        people.append(open_context(browser, address, java_script_enabled=False))
        jane, ria, ota = (page for _, page, _ in people)

        jane.goto(f"/claims/{claim.id}/dispute")
        check_page(jane, "before signing in")
        jane.get_by_role("main").get_by_role("link", name="Sign in").click()
        sign_in(jane, state_dir, "jane")
        expect(jane.get_by_role("heading", level=1)).to_have_text("Dispute an opt-out")
        check_page(jane, "the form")
        jane.get_by_label("I made it").check()
        jane.get_by_label("Which addresses is it about?").fill("https://jane.example/art/0.png")
        jane.get_by_label("Your statement").fill(STATEMENT)
        jane.get_by_role("button", name="File the dispute").click()
        expect(jane.get_by_role("heading", level=1)).to_have_text("A dispute, open")
        check_page(jane, "the dispute")
        path = jane.url.removeprefix(address)

        ota.goto(f"{path}?secret={claim.secret}")
        expect(ota.get_by_text(STATEMENT)).to_be_visible()
        ota.get_by_label("Why it should hold").fill(ANSWER)
        ota.get_by_role("button", name="Answer").click()
        expect(ota.get_by_text(ANSWER)).to_be_visible()

        ria.goto("/review")
        sign_in(ria, state_dir, "ria")
        expect(ria.get_by_role("heading", level=1)).to_have_text("Review")
        check_page(ria, "the queue")
        ria.get_by_role("link", name="Dispute about one subject").click()
        expect(ria.get_by_text(ANSWER)).to_be_visible()
        check_page(ria, "the case")
        dispute = ria.get_by_role("region", name="A dispute, open")
        dispute.get_by_label("Refuse").check()
        dispute.get_by_label("Reason").fill(REASON)
        dispute.get_by_role("button", name="Decide").click()
        expect(ria.get_by_role("heading", name="A dispute, refused by a reviewer")).to_be_visible()
        check_page(ria, "the case, decided")

        jane.reload()
        expect(jane.get_by_text(REASON)).to_be_visible()
        jane.goto("/disputes")
        check_page(jane, "one's disputes")
        leaves = verify_receipt(registry.receipt(claim.id), registry.vkey)
        assert [getattr(leaf, "reason", None) for leaf in leaves] == [None, "counter-claim", "dispute-refused"]
        for context, _, complaints in people:
            context.close()
            assert complaints == []
