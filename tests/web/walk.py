"""A walk through every page of the site, in any of its languages: what `screenshots` takes pictures of.

Steps go by addresses and forms, not by words. Each begins where the one before has ended.
"""

import email
import email.policy
import io
import re
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

QUERY = "castle"
ARTIST = "Jose+Hevia"
PATIENCE_MS = 60_000
STATEMENT = "I painted this in 2019. My own page shows it with the date, and the sketches that led to it."

Step = Callable[[Page], None]


class Walk:
    """One visitor's way; the site's state folder is where mails arrive."""

    def __init__(self, state_dir: Path, name: str) -> None:
        self._outbox = state_dir / "outbox"
        self._name = name
        self._address = f"{name}@mail.example"
        self._claim = ""
        self._private = ""

    def steps(self) -> dict[str, Step]:
        """Pages by name, in an order in which each can be reached from the one before."""
        return {
            "search": lambda page: visit(page, "/"),
            "results-words": lambda page: visit(page, f"/search?q={QUERY}"),
            "results-name": lambda page: visit(page, f"/search?q={ARTIST}"),
            "results-picture": search_with_a_picture,
            "compare": compare_the_first,
            "basket": self.tick_and_check,
            "done": self.opt_out,
            "claim": lambda page: visit(page, f"/claims/{self._claim}"),
            "evidence": lambda page: visit(page, f"/claims/{self._claim}/evidence"),
            "manage": lambda page: visit(page, self._private),
            "results-opted-out": search_with_a_picture,
            "results-empty": lambda page: visit(page, "/search?q=https://nowhere.example/castle.png"),
            "results-narrowed": lambda page: visit(page, f"/search?q={QUERY}&side=256&kind=similar&left=1"),
            "portfolio": lambda page: visit(page, "/portfolio"),
            "prove": self.claim_a_site,
            "sign-in": lambda page: visit(page, "/sign-in"),
            "sent": lambda page: self.ask_for_a_link(page, self._address),
            "sign-in-link": self.open_link,
            "account": self.adopt,
            "delete-account": lambda page: visit(page, "/account/delete"),
            "dispute": self.come_back_as_another,
            "dispute-status": dispute,
            "disputes": lambda page: visit(page, "/disputes"),
            "review": self.sign_in_as_reviewer,
            "review-case": lambda page: visit_first(page, 'a[href^="/review/"]'),
            "labs": lambda page: visit(page, "/labs"),
            "versions": lambda page: visit(page, "/labs/versions"),
            "research": visit_research,
            "research-dataset": lambda page: visit_first(page, 'main a[href^="/research/"]'),
            "about": lambda page: visit(page, "/about"),
            "explore": lambda page: visit(page, "/explore"),
            "entry": check_an_entry,
            "checkpoints": lambda page: visit(page, "/explore/checkpoints"),
            "check-receipt": self.check_the_receipt,
            "error": lambda page: visit(page, "/nowhere"),
            "error-search": lambda page: visit(page, f"/search?q={QUERY}&side=7"),
        }

    def tick_and_check(self, page: Page) -> None:
        """Tick what is surely the picture, and go on."""
        search_with_a_picture(page)
        page.locator("[data-sure] [data-take]").first.check()
        submit(page, "form[data-results] .tray button[type=submit]:visible")
        page.locator('form[action="/opt-out"]').wait_for()

    def opt_out(self, page: Page) -> None:
        """Confirm; remember the number and the private address."""
        submit(page, 'form[action="/opt-out"] button.primary')
        self._claim = re.search(r"/claims/([^/]+)/done", page.url)[1]  # type: ignore[index]
        self._private = page.locator('a[href*="/manage?secret="]').first.get_attribute("href") or ""

    def claim_a_site(self, page: Page) -> None:
        """Opt a whole site out, and see how to show that it is one's own."""
        subjects = [{"kind": "host", "host": "jane.example"}]
        made = page.request.post("/v1/claims", data={"subjects": subjects}).json()
        visit(page, f"/claims/{made['id']}/prove?secret={made['secret']}")

    def ask_for_a_link(self, page: Page, address: str) -> None:
        """The form of signing in."""
        visit(page, "/sign-in")
        page.locator("#email").fill(address)
        submit(page, 'form[action="/sign-in"] button.primary')

    def open_link(self, page: Page) -> None:
        """The newest mail's link."""
        newest = max(self._outbox.glob("*.eml"), key=lambda path: path.stat().st_mtime_ns)
        text = email.message_from_bytes(newest.read_bytes(), policy=email.policy.default).get_content()
        visit(page, next(word for word in text.split() if "/sign-in/" in word))

    def adopt(self, page: Page) -> None:
        """Sign in, take the opt-out along, and look at all of them."""
        submit(page, "main form button.primary")
        visit(page, self._private)
        submit(page, 'form[action$="/adopt"] button')
        visit(page, "/account")

    def come_back_as_another(self, page: Page) -> None:
        """Somebody else, who thinks that the opt-out is wrong."""
        self.sign_in(page, f"other-{self._address}")
        visit(page, f"/claims/{self._claim}/dispute")

    def sign_in_as_reviewer(self, page: Page) -> None:
        """Somebody who decides, and what waits."""
        self.sign_in(page, reviewer_of(self._name))
        visit(page, "/review")

    def sign_in(self, page: Page, address: str) -> None:
        """Leave, and come back as this."""
        page.context.clear_cookies(name=re.compile("heldout$"))
        self.ask_for_a_link(page, address)
        self.open_link(page)
        submit(page, "main form button.primary")

    def check_the_receipt(self, page: Page) -> None:
        """Paste the receipt of the opt-out, and check it in the browser."""
        receipt = page.request.get(f"/v1/receipts/{self._claim}").text()
        visit(page, "/explore/receipt")
        page.locator("textarea[name=receipt]").fill(receipt)
        check_here(page)


def reviewer_of(name: str) -> str:
    """Who decides on a walk of this name; the site mails an address only a few links an hour."""
    return f"reviewer-of-{name}@mail.example"


def visit(page: Page, path: str) -> None:
    """Open a page of the site."""
    page.goto(path)


def visit_first(page: Page, selector: str) -> None:
    """Follow the first such link."""
    visit(page, page.locator(selector).first.get_attribute("href") or "/")


def visit_research(page: Page) -> None:
    """The data sets, as soon as they are counted."""
    visit(page, "/research")
    while not page.locator('main a[href^="/research/"]').count():
        page.wait_for_timeout(500)
        page.reload()


def submit(page: Page, selector: str) -> None:
    """Press a button, and wait for the page it leads to."""
    with page.expect_navigation(timeout=PATIENCE_MS):
        page.locator(selector).first.click()


def search_with_a_picture(page: Page) -> None:
    """Search with the most copied picture on a page of results, as its artist may have it: larger, and a JPEG."""
    page.goto(f"/search?q={QUERY}")
    most = page.evaluate(
        """() => [...document.querySelectorAll("article")]
        .map(card => [card.querySelectorAll("[data-copy]").length, card.querySelector(".take img")?.src])
        .filter(([, src]) => src).sort((a, b) => b[0] - a[0])[0][1]"""
    )
    picture = Image.open(io.BytesIO(page.request.get(most).body())).convert("RGB")
    file = io.BytesIO()
    picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.LANCZOS).save(file, "JPEG", quality=90)
    page.goto("/")
    with page.expect_navigation(timeout=PATIENCE_MS):
        page.locator("#picture").set_input_files(
            {"name": "mine.jpg", "mimeType": "image/jpeg", "buffer": file.getvalue()}
        )
    page.locator(".asked-picture").wait_for()


def compare_the_first(page: Page) -> None:
    """Lay the first result over the picture."""
    page.locator("[data-compare-button]").first.click()
    page.locator("[data-over], .compare").first.wait_for()


def dispute(page: Page) -> None:
    """Say that an opt-out is wrong."""
    page.locator("input[name=basis]").first.check()
    page.locator("#statement").fill(STATEMENT)
    submit(page, 'form[action$="/dispute"] button.primary')


def check_an_entry(page: Page) -> None:
    """Open the newest opt-out in the log, and check it in the browser."""
    visit(page, "/explore?kind=opt-out")
    visit_first(page, ".entries a")
    check_here(page)


def check_here(page: Page) -> None:
    """Press the button, and wait until all is told."""
    page.locator("[data-run]").first.click()
    page.locator("[data-told] li").last.wait_for(timeout=PATIENCE_MS)
    page.wait_for_load_state("networkidle")
