"""Searching: the first page, results of every kind, paging, bad input."""

import io
import re
import struct
import zlib
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tests.web.conftest import COPY, HOSTILE, draw, file_of
from tests.web.html import Answer, Element, read_page
from web.settings import Settings


def get(site: TestClient, path: str, status: int = 200) -> Element:
    answer = site.get(path, headers={"accept": "text/html"})
    assert answer.status_code == status, answer.text
    return read_page(answer.text)


def search_picture(site: TestClient, data: bytes, name: str = "castle.png") -> Answer:
    answer: Answer = site.post("/search", files={"picture": (name, data, "image/png")}, headers={"accept": "text/html"})
    return answer


def sections(page: Element) -> dict[str, Element]:
    return {
        each.attributes["aria-labelledby"].removeprefix("found-"): each for each in page.all("section", class_="found")
    }


def test_the_first_page_offers_suggestions_with_pictures(site: TestClient) -> None:
    page = get(site, "/")
    tries = page.one("ul", class_="tries")
    assert [link.text for link in tries.all("a")] == ["red shapes", "Jane Doe"]  # nothing is found by "!"
    for image in tries.all("img"):
        answer = site.get(image.attributes["src"])
        assert answer.headers["content-type"] == "image/webp"
        assert "immutable" in answer.headers["cache-control"]
    assert "28 pictures with their captions, from the data set shapes" in page.text


def test_the_first_page_is_light(site: TestClient) -> None:
    page = site.get("/")
    own = re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text)
    assert len(own) == 3
    assert len(page.content) + sum(len(site.get(path).content) for path in own) < 100_000
    assert len(site.get(next(path for path in own if ".js" in path)).content) < 30_000


def test_a_site_without_data_sets_says_so(settings: Settings, open_site: Callable[[Settings], TestClient]) -> None:
    empty = settings.state_dir.parent / "none"
    empty.mkdir()
    site = open_site(settings.model_copy(update={"datasets_dir": empty}))
    assert "No data set has been indexed here yet" in get(site, "/").text
    assert get(site, "/search?q=castle").one("h2").text == "Nothing looks like those words"


def test_words_find_pictures_and_captions(site: TestClient) -> None:
    page = get(site, "/search?q=red+shapes")
    cards = page.all("article")
    assert "red shapes" in cards[0].one("h3").text
    assert page.one("h1").text == "\u201cred shapes\u201d"
    links = page.one("nav", aria_label="Other ways to search for this").all("a")
    assert [link.text for link in links] == ["What it shows or says", "Only captions with these words"]


def test_a_name_finds_only_what_credits_it(site: TestClient) -> None:
    page = get(site, "/search?q=jane+doe")
    assert page.one("h1").text == "Captions with \u201cjane doe\u201d"
    assert {card.one("span", class_="chip chip-caption").text for card in page.all("article")} == {"caption"}
    site_link = page.one("nav", aria_label="Other ways to search for this").all("a")[-1]
    assert site_link.text == "Everything from jane.example"
    assert get(site, site_link.attributes["href"]).one("h1").text == "Pictures from jane.example"
    # the words of a name can still be asked for as anything else
    assert get(site, "/search?q=jane+doe&as=text").one("h1").text == "\u201cjane doe\u201d"


def test_a_site_lists_its_pictures_the_lost_one_too(site: TestClient) -> None:
    page = get(site, "/search?q=jane.example")
    assert page.one("h1").text == "Pictures from jane.example"
    names = [card.one("h3").text for card in page.all("article")]
    assert "lost castle by Jane Doe" in names
    assert "Its address did not answer" in page.text


def test_an_address_finds_its_sample_and_its_copies(site: TestClient) -> None:
    page = get(site, "/search?q=https://jane.example/art/0.png")
    card = sections(page)["exact"].one("article")
    assert "copies on 3 sites" in card.text
    assert "The same address" in card.text


def test_an_unknown_address_can_be_opted_out_all_the_same(site: TestClient) -> None:
    page = get(site, "/search?q=nobody.example/a.png")
    form = page.one("form", action="/basket")
    assert form.fields() == [("address", "https://nobody.example/a.png")]


def test_a_picture_finds_the_same_file_its_changed_copies_and_what_looks_alike(
    site: TestClient, picture: bytes
) -> None:
    page = read_page(search_picture(site, picture).text)
    found = sections(page)
    assert list(found) == ["exact", "similar"]
    copies = found["exact"].one("article").one("details", class_="copies").one("ul").text
    for host in ("jane.example", "pins.example", "wall.example"):
        assert host in copies
    assert "same file" in copies
    assert page.one("p", role="status").text.startswith("5 copies found, on 3 sites. 2")
    assert (
        page.one("span", class_="mat asked-picture").one("img").attributes["src"].startswith("data:image/webp;base64,")
    )


def test_a_changed_copy_is_labelled_near(site: TestClient, picture: bytes) -> None:
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.open(io.BytesIO(picture)).resize((150, 120)).save(out, "JPEG", quality=70)
    page = read_page(search_picture(site, out.getvalue()).text)
    card = sections(page)["near"].one("article")
    assert re.search("[Tt]he same fingerprint", card.text)
    assert page.one("p", class_="own").one("input", name="picture").attributes["value"].count(".") == 2


def test_a_picture_nobody_has_can_be_opted_out_with_what_looks_alike_shown(
    site: TestClient, unknown_picture: bytes
) -> None:
    page = read_page(search_picture(site, unknown_picture).text)
    assert list(sections(page)) == ["similar"]
    assert page.one("p", role="status").text.startswith("No copy of it was found.")
    assert "in data sets that are not searched here" in page.one("p", class_="own").text


def test_unsafe_pictures_are_there_but_covered(site: TestClient) -> None:
    page = get(site, "/search?q=night&as=caption")
    card = page.one("article")
    assert "is-unsafe" in card.attributes["class"]
    veil = card.one("label", class_="veil")
    assert veil.text == "Marked as unsafe. Show"
    toggle = card.one("input", id=veil.attributes["for"])
    assert "name" not in toggle.attributes  # it is not sent with the form


def test_captions_are_text_whatever_they_hold(site: TestClient) -> None:
    answer = site.get("/search", params={"q": "mallory", "as": "caption"})
    page = read_page(answer.text)
    assert "<script>alert" not in answer.text
    (script,) = page.all("script")
    assert script.attributes["src"].startswith("/static/site.js")
    assert page.one("article").one("h3").text.startswith(HOSTILE[:24])
    assert page.one("article").one("h3").attributes["dir"] == "auto"


def test_what_was_typed_is_said_back_as_text(site: TestClient) -> None:
    hostile = '"><script>alert(1)</script>'
    answer = site.get("/search", params={"q": hostile})
    assert "<script>alert" not in answer.text
    assert read_page(answer.text).one("input", id="q").attributes["value"] == hostile


def test_pages_of_results_are_links_that_show_everything_once(
    settings: Settings, open_site: Callable[[Settings], TestClient]
) -> None:
    site = open_site(settings.model_copy(update={"cards_per_page": 4}))
    seen: list[str] = []
    path: str | None = "/search?q=jane.example"
    while path:
        page = get(site, path)
        seen += [card.one("h3").text for card in page.all("article")]
        following = page.all("a", rel="next")
        path = following[0].attributes["href"] if following else None
    assert len(seen) == len(set(seen)) == 11
    assert (
        page.one("nav", aria_label="Pages of results").one("a").attributes["href"] == "/search?q=jane.example&as=site"
    )


def test_an_empty_box_leads_back_to_the_first_page(site: TestClient) -> None:
    answer = site.get("/search?q=+")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/search?q=castle&dataset=nowhere", 404, "nowhere"),
        ("/search?q=castle&cursor=rubbish", 422, "cursor"),
        ("/search?q=castle&as=smell", 422, "no way of searching called"),
        ("/search?q=" + "a" * 3000, 422, "3,000 characters"),
        ("/nowhere", 404, "The address is wrong"),
        ("/claims/nobody", 404, "nobody"),
    ],
)
def test_what_cannot_be_answered_is_a_page_that_says_why(site: TestClient, path: str, status: int, says: str) -> None:
    page = get(site, path, status)
    assert says in page.one("main").text
    assert page.one("main").one("a", href="/").text == "Back to search"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"%PDF-1.7 not a picture", "not a picture we can read"),
        (b"\x89PNG\r\n\x1a\n" + b"\x00" * 40, "picture"),
    ],
)
def test_a_file_that_is_no_picture_is_refused_with_advice(site: TestClient, data: bytes, says: str) -> None:
    answer = search_picture(site, data)
    assert answer.status_code == 422
    assert says in read_page(answer.text).one("main").text


def bomb() -> bytes:
    """A PNG of 400 megapixels, in a few hundred bytes."""
    head = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 1_000)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'


@pytest.mark.parametrize(
    ("data", "status", "says"),
    [
        (b"hello", 422, "not a picture we can read"),
        (SVG, 422, "not a picture we can read"),
        (bomb(), 422, "over the limit of 100 megapixels"),
        (file_of(draw(5, (90, 90, 200)), "JPEG", quality=90)[:2_000], 422, "damaged"),
        (b"\xff" * 50_000_000, 413, "over the limit of 15 MB"),
    ],
    ids=["text", "svg", "bomb", "truncated", "50 MB"],
)
def test_bad_pictures_are_told_alike_to_people_and_programs(
    site: TestClient, data: bytes, status: int, says: str
) -> None:
    page = search_picture(site, data)
    problem = site.post("/v1/search", files={"picture": ("a.jpg", data)})
    assert (page.status_code, problem.status_code) == (status, status)
    assert problem.headers["content-type"] == "application/problem+json"
    assert says in problem.json()["detail"]
    shown = read_page(page.text)
    assert problem.json()["detail"] in shown.one("main").text
    assert shown.one("main").all("input", id="picture"), "the box is there to choose another"


def test_an_animated_picture_is_searched_with_by_its_first_frame(site: TestClient, picture: bytes) -> None:
    first, out = Image.open(io.BytesIO(picture)), io.BytesIO()
    first.save(out, "WEBP", save_all=True, append_images=[draw(77, (9, 200, 9))], quality=90)
    answer = site.post("/v1/search", files={"picture": ("a.webp", out.getvalue())})
    assert answer.json()["hits"][0]["label"] == "near"


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ({"q": "a" * 10_000}, 422, "10,000 characters"),
        ({"q": "long " * 2_000}, 422, "ask with at most 1,000"),
        ({"q": "\x00\x1b\x7f"}, 422, "no letter or digit"),
        ({"q": "castle", "dataset": "nowhere"}, 404, "no data set 'nowhere'"),
        ({"q": "http://[::1", "as": "url"}, 422, ""),
    ],
)
def test_bad_words_are_told_on_a_page_with_the_box(
    site: TestClient, query: dict[str, str], status: int, says: str
) -> None:
    answer = site.get("/search", params=query, headers={"accept": "text/html"})
    assert answer.status_code == status
    page = read_page(answer.text)
    assert says in page.one("main").text
    assert page.one("main").one("input", id="q").attributes["value"] == query["q"][:2_000]


def test_an_empty_site_can_be_opted_out_as_a_whole(site: TestClient) -> None:
    assert get(site, "/search?q=nobody.example").all("a", href="/portfolio")
    assert "opt out the whole of it" not in get(site, "/search?q=nobody.example/a.png").text


def test_everything_of_a_site_is_offered_at_once(site: TestClient) -> None:
    (form,) = [form for form in get(site, "/search?q=jane.example").all("form") if form.all("input", name="site")]
    assert form.attributes["action"] == "/basket"
    assert ("site", "jane.example") in form.fields()


def test_a_found_picture_is_set_beside_ones_own(site: TestClient, picture: bytes) -> None:
    page = read_page(site.post("/search", files={"picture": ("a.png", picture, "image/png")}).text)
    form = page.one("form", class_="results")
    button = page.all("article")[0].one("button", data_compare_button="")
    sent = {**dict(form.fields()), button.attributes["name"]: button.attributes["value"]}
    compared = site.post(button.attributes["formaction"], data=sent)
    assert compared.status_code == 200, compared.text
    beside = read_page(compared.text)
    mine, theirs = beside.one("div", data_compare="").all("img")
    assert mine.attributes["src"].startswith("data:image/webp;base64,")
    assert site.get(theirs.attributes["src"]).headers["content-type"] == "image/webp"
    assert "he same fingerprint" in beside.one("dl").text
    assert beside.one("form", action="/basket").fields() == [("pick", button.attributes["value"])]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"with": "shapes@1:0", "seen": "!"}, 422),
        ({"with": "shapes@1:0", "seen": "aGVsbG8="}, 422),
        ({"with": "castle", "seen": ""}, 422),
        ({}, 422),
        ({"with": "shapes@9:0", "seen": COPY}, 409),
        ({"with": "shapes@1:24", "seen": COPY}, 422),
    ],
)
def test_a_comparison_that_was_not_offered_is_refused(site: TestClient, sent: dict[str, str], status: int) -> None:
    assert site.post("/search/compare", data=sent).status_code == status


def test_a_form_without_a_file_is_refused_with_advice(site: TestClient) -> None:
    answer = site.post("/search", data={"picture": "x"}, headers={"accept": "text/html"})
    assert answer.status_code == 422
    assert "send the file" in answer.text


def test_settings_may_name_no_suggestions(settings: Settings, open_site: Callable[[Settings], TestClient]) -> None:
    site = open_site(settings.model_copy(update={"suggestions": None}))
    assert get(site, "/").all("ul", class_="tries") == []


@pytest.mark.parametrize(("query", "offered"), [("jane.example", True), ("jane+doe", True), ("red+shapes", False)])
def test_one_click_never_selects_what_only_looks_alike(site: TestClient, *, query: str, offered: bool) -> None:
    page = get(site, f"/search?q={query}")
    assert bool(page.all("button", data_select_all="")) == offered


def test_words_find_what_says_so_before_what_only_looks_like_it(site: TestClient) -> None:
    page = get(site, "/search?q=red+shapes")
    found = sections(page)
    assert list(found) == ["caption", "similar"]
    for label, section in found.items():
        for card in section.all("article"):
            assert card.all("span", class_=f"chip chip-{label}")
    assert "No caption" not in page.one("p", role="status").text


@pytest.mark.parametrize("query", ["Zzyzx Qwertyson", "@josehevia"])
def test_words_that_no_caption_has_are_said_to_be_in_none(site: TestClient, query: str) -> None:
    page = get(site, f"/search?q={query}&as=text")
    assert list(sections(page)) == ["similar"]
    assert page.one("p", role="status").text.startswith("No caption has these words.")


def test_pages_say_without_javascript_that_ticks_stay_on_them(
    settings: Settings, open_site: Callable[[Settings], TestClient]
) -> None:
    site = open_site(settings.model_copy(update={"cards_per_page": 4}))
    assert "Ticks stay on this page" in get(site, "/search?q=jane.example").text
    assert "Ticks stay on this page" not in get(site, "/search?q=lost+castle").text


@pytest.mark.parametrize(
    ("contact", "href"),
    [("out@heldout.example", "mailto:out@heldout.example"), ("https://heldout.example/a", "https://heldout.example/a")],
)
def test_about_says_where_to_write_to(
    settings: Settings, open_site: Callable[[Settings], TestClient], contact: str, href: str
) -> None:
    assert "has not said here where to write to" in get(open_site(settings), "/about").text
    page = get(open_site(settings.model_copy(update={"contact": contact})), "/about")
    assert page.one("main").one("a", href=href).text == contact
    assert "has not said here where to write to" not in page.text
