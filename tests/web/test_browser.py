"""The site in a browser: an artist's way with and without JavaScript, keyboard, phone, accessibility."""

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from heldout.leaves import OptOutLeaf
from heldout.receipts import verify_receipt
from tests.web.accounts import mails
from tests.web.conftest import served
from tests.web.serving import EVERYTHING, IN_CHROMIUM, open_context

pytestmark = IN_CHROMIUM

DROP = """([name, type, bytes]) => {
  const files = new DataTransfer();
  files.items.add(new File([new Uint8Array(bytes)], name, {type}));
  for (const kind of ["dragenter", "dragover", "drop"])
    document.body.dispatchEvent(new DragEvent(kind, {bubbles: true, cancelable: true, dataTransfer: files}));
}"""
PASTE = """([name, type, bytes]) => {
  const files = new DataTransfer();
  files.items.add(new File([new Uint8Array(bytes)], name, {type}));
  document.body.dispatchEvent(new ClipboardEvent("paste", {bubbles: true, cancelable: true, clipboardData: files}));
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the site for all tests keeps its state."""
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="module")
def address(datasets_dir: Path, folder: Path) -> Iterator[str]:
    """A site for all tests."""
    with served(datasets_dir, folder, publish="auto") as base:
        yield base


@pytest.fixture
def plain_page(browser: Browser, address: str) -> Iterator[Page]:
    """A page without JavaScript."""
    context, page, complaints = open_context(browser, address, java_script_enabled=False)
    yield page
    context.close()
    assert complaints == []


def download_receipt(page: Page, folder: Path) -> dict[str, Any]:
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download the receipt").click()
    path = folder / downloading.value.suggested_filename
    downloading.value.save_as(path)
    assert path.name.startswith("heldout-receipt-")
    receipt: dict[str, Any] = json.loads(path.read_text())
    return receipt


def test_a_dropped_picture_to_a_verified_receipt(page: Page, picture: bytes, tmp_path: Path) -> None:
    page.goto("/")
    page.evaluate(DROP, ["castle.png", "image/png", list(picture)])
    expect(page.get_by_role("heading", level=1)).to_have_text("Your picture")

    submit = page.get_by_role("button", name="Opt out what I ticked")
    expect(submit).to_be_disabled()
    exact = page.get_by_role("region", name="The same file or address")
    exact.get_by_role("button", name="Select it").click()
    expect(page.locator("[data-count]")).to_have_text("1 picture, 5 copies ticked")
    exact.get_by_text("5 copies on 3 sites").click()
    boxes = exact.locator("[data-copy]")
    expect(boxes).to_have_count(5)
    boxes.nth(4).uncheck()
    expect(page.locator("[data-count]")).to_have_text("1 picture, 4 copies ticked")
    boxes.nth(4).check()
    submit.click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Check, then opt out")
    expect(page.get_by_text("This picture, wherever it is")).to_be_visible()
    page.get_by_label("estate or heir").check()
    page.get_by_role("button", name="Opt them out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your opt-out is recorded")

    receipt = download_receipt(page, tmp_path)
    page.goto("/labs")
    key = page.locator("dd code[data-copy-text]").inner_text()
    (leaf,) = verify_receipt(receipt, key)
    assert isinstance(leaf, OptOutLeaf)
    assert len(leaf.subjects) == 9  # 5 addresses; 4 files, two of them the same bytes


def test_the_same_way_without_javascript(plain_page: Page, picture: bytes, tmp_path: Path) -> None:
    page = plain_page
    page.goto("/")
    upload = {"name": "castle.png", "mimeType": "image/png", "buffer": picture}
    page.get_by_label("Choose a picture").set_input_files(upload)  # type: ignore[arg-type]
    page.get_by_role("button", name="Search with it").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your picture")
    expect(page.get_by_role("button", name="Select")).to_have_count(0)
    page.get_by_role("checkbox", name="Select all 5 copies").check()
    page.get_by_role("button", name="Opt out what I ticked").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Check, then opt out")
    page.get_by_label("E-mail").fill("jane@mail.example")
    page.get_by_role("button", name="Opt them out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your opt-out is recorded")
    receipt = download_receipt(page, tmp_path)
    page.get_by_role("link", name="/claims/").first.click()
    expect(page.get_by_text("In force", exact=True)).to_be_visible()
    page.goto("/labs")
    assert verify_receipt(receipt, page.locator("dd code[data-copy-text]").inner_text())


def test_words_without_javascript(plain_page: Page) -> None:
    plain_page.goto("/")
    plain_page.get_by_label("Words, a name, a site or an address").fill("jane doe")
    plain_page.get_by_role("button", name="Search", exact=True).click()
    expect(plain_page.get_by_role("heading", level=1)).to_have_text("Captions with “jane doe”")
    plain_page.get_by_role("link", name="What it shows or says").click()
    expect(plain_page.get_by_role("heading", level=1)).to_have_text("“jane doe”")


def test_a_pasted_picture_is_searched_with(page: Page, picture: bytes) -> None:
    page.goto("/")
    page.evaluate(PASTE, ["castle.png", "image/png", list(picture)])
    expect(page.get_by_role("heading", level=1)).to_have_text("Your picture")
    expect(page.get_by_alt_text("The picture you searched with").first).to_be_visible()


@pytest.mark.parametrize(
    ("name", "size", "says"),
    [
        ("notes.pdf", 10, "“notes.pdf” is not a picture."),
        ("huge.png", 15_900_000, "“huge.png” is 15.9 MB. The limit is 15 MB"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_before_it_is_sent(
    page: Page, tmp_path: Path, name: str, size: int, says: str
) -> None:
    page.goto("/")
    page.locator("#picture").set_input_files(big_file(tmp_path, name, size))
    expect(page.get_by_role("alert")).to_contain_text(says)
    assert page.url.endswith("/")


def big_file(folder: Path, name: str, size: int) -> Path:
    path = folder / name
    with path.open("wb") as file:
        file.truncate(size)
    return path


def test_a_picture_over_the_limit_is_answered_in_words_without_javascript(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    context, page, complaints = open_context(browser, address, java_script_enabled=False)
    page.goto("/")
    page.locator("#picture").set_input_files(big_file(tmp_path, "a.png", 20_000_000))
    page.get_by_role("button", name="Search with it").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("That is too large")
    context.close()
    (complaint,) = complaints
    assert "413" in complaint


def test_everything_on_a_page_is_ticked_and_cleared_at_once(page: Page) -> None:
    page.goto("/search?q=jane.example")
    page.get_by_role("button", name="Select all on this page").click()
    count = page.locator("[data-count]")
    expect(count).to_contain_text("11 pictures")
    page.get_by_role("button", name="Clear", exact=True).click()
    expect(count).to_have_text("Tick what is yours")


def test_what_was_ticked_is_still_ticked_after_going_back(page: Page) -> None:
    page.goto("/search?q=jane.example")
    page.get_by_role("checkbox", name="Select lost castle").check()
    page.get_by_role("button", name="Opt out what I ticked").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Check, then opt out")
    page.get_by_role("link", name="Go on searching").click()
    expect(page.locator("[data-count]")).to_have_text("1 picture ticked")


def test_further_pages_come_in_place_and_can_be_linked(browser: Browser, datasets_dir: Path, tmp_path: Path) -> None:
    with served(datasets_dir, tmp_path, cards_per_page=4) as base:
        context, page, complaints = open_context(browser, base, viewport={"width": 360, "height": 500})
        page.goto("/search?q=jane.example")
        cards = page.locator("[data-card]")
        page.locator("[data-take]").nth(1).check()
        for so_far in (5, 9):  # each page comes as its end comes near
            page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
            expect(cards.nth(so_far - 1)).to_be_attached(timeout=60_000)
        page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
        expect(cards).to_have_count(11, timeout=60_000)
        expect(page.get_by_text("That is all.")).to_be_visible()
        expect(page.locator("[data-count]")).to_have_text("1 picture ticked")
        ids = page.evaluate("[...document.querySelectorAll('[data-card] [id]')].map(({id}) => id)")
        assert len(ids) == len(set(ids))
        page.locator("[data-take]").nth(10).scroll_into_view_if_needed()
        expect(page).to_have_url(re.compile("cursor="))
        linked = page.url
        page.goto(linked)
        assert 0 < cards.count() < 11
        page.get_by_role("link", name="First page").click()
        expect(page).to_have_url(re.compile(r"q=jane\.example"))
        context.close()
        assert complaints == []


def test_the_next_page_is_a_link_without_javascript(browser: Browser, datasets_dir: Path, tmp_path: Path) -> None:
    with served(datasets_dir, tmp_path, cards_per_page=4) as base:
        context, page, complaints = open_context(browser, base, java_script_enabled=False)
        page.goto("/search?q=jane.example")
        page.get_by_role("link", name="More results").click()
        expect(page.get_by_role("link", name="First page")).to_be_visible()
        context.close()
        assert complaints == []


def test_ticked_pictures_go_into_the_basket_while_one_goes_on_and_survive_everything(
    browser: Browser, address: str
) -> None:
    context, page, complaints = open_context(browser, address)
    page.goto("/search?q=jane.example")
    page.locator("[data-take]").nth(1).check()
    page.locator("[data-take]").nth(4).click(modifiers=["Shift"])
    expect(page.locator("[data-count]")).to_contain_text("4 pictures")
    page.get_by_role("button", name="Add to basket").click()
    expect(page.locator("[data-count]")).to_contain_text("in your basket")
    kept = page.locator("[data-basket-count]").inner_text()
    page.goto("/search?q=ota.example")
    expect(page.locator("[data-basket-count]")).to_have_text(kept)
    page.locator("[data-take]").first.check()
    page.get_by_role("button", name="Opt out what I ticked").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Check, then opt out")
    page.reload()
    thumbs = page.locator(".thumb")
    n = thumbs.count()
    assert n == int(kept) + 1
    page.get_by_role("button", name="Take out").first.click()
    expect(thumbs).to_have_count(n - 1)
    page.get_by_role("button", name="Empty the basket").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your basket is empty")
    context.close()
    assert complaints == []


def test_everything_from_one_site_is_selected_at_once(page: Page) -> None:
    page.goto("/search?q=https://jane.example/art/0.png&as=url")
    page.goto("/search?q=shapes&as=caption")
    page.get_by_label("Select all from a site").select_option("ota.example")
    expect(page.locator("[data-count]")).to_contain_text("10 pictures")


def test_a_picture_is_compared_with_a_slider_by_keyboard(page: Page, picture: bytes) -> None:
    page.goto("/")
    page.evaluate(DROP, ["castle.png", "image/png", list(picture)])
    page.get_by_role("button", name="Compare").first.click()
    dialog = page.get_by_role("dialog", name="Compare")
    expect(dialog.get_by_alt_text("The picture you searched with")).to_be_visible()
    dialog.get_by_label("Lay one over the other").check()
    slider = dialog.get_by_role("slider")
    slider.focus()
    page.keyboard.press("Home")
    mine = dialog.locator("figure .mat").first
    expect(mine).to_have_css("clip-path", "inset(0px 100% 0px 0px)")
    page.keyboard.press("ArrowRight")
    expect(mine).to_have_css("clip-path", "inset(0px 99% 0px 0px)")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your picture")


def test_a_picture_is_compared_side_by_side_without_javascript(plain_page: Page, picture: bytes) -> None:
    page = plain_page
    page.goto("/")
    upload = {"name": "castle.png", "mimeType": "image/png", "buffer": picture}
    page.get_by_label("Choose a picture").set_input_files(upload)  # type: ignore[arg-type]
    page.get_by_role("button", name="Search with it").click()
    page.get_by_role("button", name="Compare").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Is it yours?")
    expect(page.get_by_role("slider")).to_be_hidden()
    page.get_by_role("button", name="It is mine").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Check, then opt out")


def test_a_portfolio_is_opted_out_by_a_list(page: Page, plain_page: Page) -> None:
    for here, first in ((page, "a"), (plain_page, "b")):
        here.goto("/")
        here.get_by_role("link", name="Opt out a whole portfolio").click()
        here.get_by_label("Addresses of your pictures").fill(
            "".join(f"https://jane.example/{first}/{number}.jpg\n" for number in range(40)) + "no address\n"
        )
        here.get_by_role("button", name="Show me what you understood").click()
        expect(here.get_by_text("These 40 addresses")).to_be_visible()
        expect(here.get_by_text("One line could not be used.")).to_be_visible()
        here.get_by_role("button", name="Opt them out").click()
        expect(here.get_by_role("heading", level=1)).to_have_text("Your opt-out is recorded")
        expect(here.get_by_text("40 addresses")).to_be_visible()


def test_a_receipt_is_checked_in_the_browser(page: Page) -> None:
    page.goto("/search?q=https://nobody.example/a.png")
    page.get_by_role("button", name="Opt this address out").click()
    page.get_by_role("button", name="Opt it out").click()
    page.get_by_role("link", name="/claims/").first.click()
    page.get_by_role("button", name="Check it in this browser").click()
    expect(page.locator("[data-verified]")).to_contain_text("Your browser computed it.")
    page.route("**/v1/receipts/*", lambda route: route.fulfill(body='{"format": "heldout-receipt/1"}'))
    page.get_by_role("button", name="Check it in this browser").click()
    expect(page.locator("[data-verified]")).to_contain_text("It does not check out.")


def test_arrow_keys_go_from_picture_to_picture(page: Page) -> None:
    page.goto("/search?q=jane.example")
    ticks = page.locator("[data-take]")
    ticks.first.focus()
    page.keyboard.press("ArrowRight")
    expect(ticks.nth(1)).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    expect(page.locator("[data-count]")).to_contain_text("1 picture")
    page.keyboard.press("ArrowUp")
    expect(ticks.nth(1)).to_be_focused()


def test_going_back_to_a_pictures_results_needs_no_second_upload(page: Page, picture: bytes) -> None:
    page.goto("/")
    page.evaluate(DROP, ["castle.png", "image/png", list(picture)])
    page.get_by_role("checkbox", name="Select all 5 copies").check()
    page.get_by_role("button", name="Opt out what I ticked").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Check, then opt out")
    page.get_by_role("link", name="Go on searching").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your picture")
    expect(page.locator("[data-count]")).to_have_text("1 picture, 5 copies ticked")


def test_pictures_can_be_picked_by_keyboard_alone(page: Page) -> None:
    page.goto("/search?q=jane.example")
    page.get_by_role("checkbox", name="Select lost castle").focus()
    page.keyboard.press("Space")
    expect(page.locator("[data-count]")).to_have_text("1 picture ticked")
    page.goto("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the page")).to_be_focused()
    page.keyboard.press("Enter")
    assert page.url.endswith("#main")


@pytest.mark.parametrize("scripts", [True, False])
def test_an_unsafe_picture_is_blurred_until_asked_for(page: Page, plain_page: Page, scripts: bool) -> None:
    here = page if scripts else plain_page
    here.goto("/search?q=night&as=caption")
    image = here.locator("article img")
    expect(image).to_have_css("filter", re.compile("blur"))
    here.get_by_text("Show", exact=True).click()
    expect(here.get_by_text("Marked as unsafe.")).to_be_hidden()
    expect(image).to_have_css("filter", "none")


def test_commands_can_be_copied(browser: Browser, address: str) -> None:
    context, page, complaints = open_context(browser, address, permissions=["clipboard-read", "clipboard-write"])
    page.goto("/labs")
    page.reload()  # the first list is published as the site starts
    page.get_by_role("button", name="Copy").first.click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "pip install 'heldout[images]'"
    context.close()
    assert complaints == []


def opened_pages(page: Page, picture: bytes, state_dir: Path) -> Iterator[str]:
    """Walk through every page of the site; the name of each as it is open."""
    for path in (
        "/",
        "/search?q=red+shapes",
        "/search?q=night&as=caption",
        "/search?q=nobody.example",
        "/search?q=shapes&as=caption&host=ota.example&safety=safe",
        "/search?q=shapes&side=7",
        "/search?q=https://jane.example/art/0.png",
        "/labs",
        "/about",
    ):
        page.goto(path)
        yield path
    page.goto("/nowhere")
    yield "/nowhere"
    page.goto("/")
    page.evaluate(DROP, ["castle.png", "image/png", list(picture)])
    expect(page.get_by_role("heading", level=1)).to_have_text("Your picture")
    page.get_by_text("5 copies on 3 sites").click()
    yield "results of a picture"
    page.get_by_role("button", name="Compare").first.click()
    page.get_by_label("Lay one over the other").check()
    yield "comparison"
    page.get_by_role("button", name="Close").click()
    page.get_by_role("checkbox", name="Select all 5 copies").check()
    page.get_by_role("button", name="Opt out what I ticked").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Check, then opt out")
    yield "basket"
    page.goto("/portfolio")
    yield "portfolio"
    page.goto("/basket")
    page.get_by_text("Is a whole site yours?").click()
    page.get_by_role("button", name="Opt them out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your opt-out is recorded")
    yield "done"
    page.get_by_role("link", name="/claims/").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("An opt-out and its receipt")
    yield "claim"
    page.get_by_role("link", name="a sheet of evidence").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Evidence of an opt-out")
    yield "evidence"
    page.go_back()
    page.go_back()
    yield from opened_account_pages(page, state_dir)


def opened_account_pages(page: Page, state_dir: Path) -> Iterator[str]:
    """From the page of an opt-out just made through an account's pages, back to the opt-out."""
    private = page.get_by_role("link", name="/manage?secret=").get_attribute("href")
    assert private is not None
    page.goto(private)
    yield "manage"
    page.get_by_role("link", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    yield "sign in"
    page.get_by_label("E-mail").fill("jane@mail.example")
    page.get_by_role("button", name="Mail me the link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Look into your mail")
    yield "sent"
    link = next(word for word in mails(state_dir)[-1].get_content().split() if "/sign-in/" in word)
    page.goto(link)
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in as jane@mail.example")
    yield "sign in by the link"
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Move it into my account").click()
    expect(page.get_by_role("button", name="Move it into my account")).to_have_count(0)
    expect(page.get_by_role("heading", level=1)).to_have_text("Change an opt-out")
    yield "manage one's own"
    page.get_by_role("link", name="My opt-outs").click()
    page.get_by_text("Make a key").click()
    page.get_by_label("What is it for?").fill("a script")
    expect(page.get_by_role("heading", level=1)).to_have_text("My opt-outs")
    yield "account"
    page.get_by_role("button", name="Make the key").click()
    expect(page.get_by_text("Your new key.")).to_be_visible()
    yield "account with a new key"
    page.get_by_role("link", name="Delete your account").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Delete your account")
    yield "delete account"
    page.goto(link)
    yield "a link that was used"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_an_accessibility_fault(
    browser: Browser, address: str, folder: Path, picture: bytes, scheme: str
) -> None:
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    context, page, _ = open_context(browser, address, color_scheme=scheme, bypass_csp=True)
    faults = {}
    for name in opened_pages(page, picture, folder / "state"):
        page.evaluate(axe)
        found = page.evaluate(
            "run => axe.run(document, {runOnly: run})", EVERYTHING if scheme == "light" else ["color-contrast"]
        )
        faults[name] = [
            (each["id"], each["impact"], [node["target"] for node in each["nodes"]]) for each in found["violations"]
        ]
    context.close()
    assert {name: found for name, found in faults.items() if found} == {}
    assert len(faults) == 26


def test_no_page_is_wider_than_a_phone(browser: Browser, address: str, folder: Path, picture: bytes) -> None:
    context, page, _ = open_context(browser, address, viewport={"width": 360, "height": 740}, has_touch=True)
    wide = [
        name
        for name in opened_pages(page, picture, folder / "state")
        if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    ]
    context.close()
    assert wide == []
