"""Filters of the site: fields beside the box, pages narrowed down by them, and said in words."""

import pytest
from fastapi.testclient import TestClient

from heldout.errors import InputError
from heldout.records import SearchFilters
from tests.web.html import Element, read_page
from web.narrowing import Narrowing, read_narrowing


def get(site: TestClient, path: str, status: int = 200) -> Element:
    answer = site.get(path, headers={"accept": "text/html"})
    assert answer.status_code == status, answer.text
    return read_page(answer.text)


def test_fields_stand_for_filters_and_are_said_in_words() -> None:
    given = {"host": " pins.example ", "side": "512", "kind": "sure", "safety": "safe", "left": "1"}
    narrowing = read_narrowing(lambda name: given.get(name, ""))
    assert narrowing.filters == SearchFilters(
        hosts=("pins.example",),
        min_width=512,
        min_height=512,
        labels=("exact", "near"),
        safety="safe",
        not_opted_out=True,
    )
    assert narrowing.words == (
        "Only from pins.example, at least 512 pixels wide and high, sure copies, not marked as unsafe, "
        "not opted out yet."
    )
    assert (Narrowing().is_used, Narrowing().words, Narrowing().filters.are_any) == (False, "", False)


@pytest.mark.parametrize(
    "given", [{"host": "://"}, {"host": "a" * 400}, {"side": "7"}, {"kind": "x"}, {"safety": "x"}, {"left": "yes"}]
)
def test_what_the_page_does_not_offer_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(InputError):
        read_narrowing(lambda name: given.get(name, ""))


def test_results_are_narrowed_down_and_the_box_remembers(site: TestClient) -> None:
    page = get(site, "/search?q=shapes&host=ota.example&side=256")
    assert page.one("main").one("h2").text == "Nothing is left of it"
    page = get(site, "/search?q=shapes&as=caption&host=ota.example")
    assert {card.one("p", class_="where").text for card in page.all("article")} == {"ota.example"}
    assert page.one("input", id="words-host").attributes["value"] == "ota.example"
    assert "open" in page.all("details", data_narrow="")[0].attributes
    wide = next(link for link in page.all("a") if link.text == "Show everything")
    assert wide.attributes["href"] == "/search?q=shapes&as=caption"
    assert "Only from ota.example." in page.text


def test_other_ways_to_take_the_words_keep_the_filters(site: TestClient) -> None:
    page = get(site, "/search?q=shapes&as=caption&host=ota.example&safety=safe")
    ways = {link.text: link.attributes["href"] for link in page.one("ul", class_="readings").all("a")}
    assert ways.pop("Everything from ota.example") == "/search?q=ota.example&safety=safe"
    assert ways
    assert all(href.endswith("&host=ota.example&safety=safe") for href in ways.values())


def test_no_caption_is_denied_that_was_only_left_out(site: TestClient) -> None:
    page = get(site, "/search?q=red+shapes&kind=similar")
    assert page.all("article")
    assert "No caption" not in page.one("p", role="status").text


def test_further_pages_keep_the_filters(site: TestClient) -> None:
    settings = site.app.state.settings  # type: ignore[attr-defined]
    site.app.state.settings = settings.model_copy(update={"cards_per_page": 4})  # type: ignore[attr-defined]
    try:
        seen, path = [], "/search?q=shapes&as=caption&host=ota.example"
        while path:
            page = get(site, path)
            seen += [card.one("p", class_="where").text for card in page.all("article")]
            following = page.all("a", rel="next")
            path = following[0].attributes["href"] if following else ""
    finally:
        site.app.state.settings = settings  # type: ignore[attr-defined]
    assert seen == ["ota.example"] * 10


def test_a_picture_is_narrowed_down_by_the_fields_of_its_form(site: TestClient, picture: bytes) -> None:
    answer = site.post(
        "/search", files={"picture": ("a.png", picture)}, data={"host": "ota.example"}, headers={"accept": "text/html"}
    )
    page = read_page(answer.text)
    assert {card.one("p", class_="where").text for card in page.all("article")} == {"ota.example"}
    assert "leave out sure copies: 2 exact and 3 near" in page.text.replace("3 near and 2 exact", "2 exact and 3 near")


def test_a_wrong_filter_is_a_page_with_the_box_and_the_words(site: TestClient) -> None:
    page = get(site, "/search?q=red+shapes&side=7", 422)
    assert "nothing to narrow side down to" in page.one("main").text
    assert page.one("input", id="q").attributes["value"] == "red shapes"
