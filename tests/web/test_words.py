"""Which language a visitor gets, and what comes in it: pages, numbers, dates, errors, mails; the API stays English."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from tests.web.html import read_page
from tests.web.test_claim_pages import HTML
from web import words
from web.said import in_english, said, sentence
from web.settings import Settings

SPANISH = {"accept-language": "es-MX,es;q=0.9,en;q=0.5", "accept": "text/html"}


def language_of(answer: object) -> str:
    page = read_page(answer.text)  # type: ignore[attr-defined]
    language = page.one("html").attributes["lang"]
    assert answer.headers["content-language"] == language  # type: ignore[attr-defined]
    return language


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("", "en"),
        ("es", "es"),
        ("es-419", "es"),
        ("ES", "es"),
        ("de, es-MX;q=0.8, en;q=0.7", "es"),
        ("en, es", "en"),
        ("es;q=0.5, en;q=0.5", "es"),
        ("es;q=0", "en"),
        ("fr, *;q=0.1, es;q=0.05", "en"),
        ("es;q=2, en;q=0.1", "en"),
        (";;q=,,es;q=x", "en"),
    ],
)
def test_the_browsers_wish_is_weighed(header: str, code: str) -> None:
    assert words.accepted(header) == code


@given(st.text(max_size=600))
def test_any_header_gives_a_language_of_the_site(header: str) -> None:
    assert words.accepted(header) in words.NAMES


def test_pages_come_in_the_language_that_the_browser_asks_for(site: TestClient) -> None:
    assert language_of(site.get("/about")) == "en"
    answer = site.get("/about", headers=SPANISH)
    assert language_of(answer) == "es"
    assert "Buscar" in answer.text
    assert {each.strip().lower() for each in answer.headers["vary"].split(",")} >= {"accept-language", "cookie"}


def test_a_language_that_is_chosen_is_remembered(own_site: TestClient) -> None:
    answer = own_site.get("/about?lang=es")
    assert language_of(answer) == "es"
    assert "Secure" not in answer.headers["set-cookie"]
    assert language_of(own_site.get("/about")) == "es"
    assert language_of(own_site.get("/about?lang=en", headers=SPANISH)) == "en"
    assert language_of(own_site.get("/about", headers=SPANISH)) == "en"
    unknown = own_site.get("/about?lang=xx", headers=SPANISH)
    assert (language_of(unknown), "set-cookie" in unknown.headers) == ("en", False)


def test_the_cookie_of_a_site_over_https_is_for_https_alone(
    settings: Settings, open_site: Callable[[Settings], TestClient]
) -> None:
    site = open_site(settings.model_copy(update={"base_url": "https://heldout.example"}))
    cookie = site.get("/about?lang=es").headers["set-cookie"]
    assert {"Secure", "HttpOnly", "SameSite=lax"} <= {part.strip() for part in cookie.split(";")}


def test_the_switch_keeps_the_page_and_its_question(site: TestClient) -> None:
    page = read_page(site.get("/search?q=red+shapes&dataset=shapes&lang=en").text)
    link = page.one("a", class_="language")
    assert link.attributes["href"] == "/search?q=red+shapes&dataset=shapes&lang=es"
    assert (link.text, link.attributes["lang"]) == ("Español", "es")
    other = read_page(site.get(link.attributes["href"]).text)
    assert other.one("a", class_="language").attributes["href"].endswith("lang=en")
    site.cookies.clear()


def test_the_switch_leads_nowhere_but_to_this_site(site: TestClient) -> None:
    page = read_page(site.get("http://testserver//evil.example/", headers=HTML).text)
    assert page.one("a", class_="language").attributes["href"] == "/evil.example/?lang=es"


def test_a_page_made_by_a_form_is_made_again_where_that_is_safe(own_site: TestClient) -> None:
    own_site.app.state.registry.sequence()  # type: ignore[attr-defined]
    answer = own_site.post("/explore/checkpoints", data={"older": "a\nb", "newer": "", "keys": "k"}, headers=HTML)
    form = read_page(answer.text).one("form", class_="language")
    assert form.attributes == {"class": "language", "action": "/explore/checkpoints?lang=es", "method": "post"}
    assert form.fields() == [("older", "a\nb"), ("newer", ""), ("keys", "k")]
    again = own_site.post(form.attributes["action"], data=dict(form.fields()), headers=HTML)
    assert language_of(again) == "es"


def test_a_page_made_by_a_file_stays_open_beside_the_first_page(site: TestClient, picture: bytes) -> None:
    answer = site.post("/search", files={"picture": ("mine.png", picture, "image/png")}, headers=HTML)
    link = read_page(answer.text).one("a", class_="language")
    assert (link.attributes["href"], link.attributes["target"]) == ("/?lang=es", "_blank")


def test_errors_are_in_the_visitors_language_on_pages_and_in_english_in_the_api(site: TestClient) -> None:
    page = read_page(site.get("/search?q=red&side=7", headers=SPANISH).text)
    assert page.one("h1").text == "No hemos podido usar eso"
    assert "lang" not in page.one("p", class_="lead").attributes
    assert "'7'" in page.one("p", class_="lead").text
    problem = site.get("/search?q=red&side=7", headers={"accept-language": "es"}).json()
    assert problem["detail"] == "'7' is nothing to narrow side down to: choose what the page offers."


def test_an_error_without_translation_is_marked_as_english(site: TestClient) -> None:
    page = read_page(site.get("/search?q=red&cursor=" + "x" * 3_000, headers=SPANISH).text)
    assert page.one("html").attributes["lang"] == "es"


def test_a_message_is_translated_with_its_values() -> None:
    english = "'nobody' is not an e-mail address: correct it"
    with words.in_language("es"):
        spanish = sentence(english)
        assert spanish != in_english(english)
        assert "'nobody'" in spanish
        assert said("nothing in the catalogue is like this: zzz") is None
        assert sentence("nothing in the catalogue is like this: zzz") == "Nothing in the catalogue is like this: zzz."
    assert sentence(english) == in_english(english)


@given(st.text(max_size=300))
def test_any_message_can_be_said(message: str) -> None:
    with words.in_language("es"):
        assert isinstance(sentence(message), str)


def test_numbers_sizes_and_dates_are_written_as_the_language_does() -> None:
    at = datetime(2026, 11, 22, 8, 5, tzinfo=UTC)
    assert [words.count(1234567), words.decimal(0.5, 2), words.size(1_300_000)] == ["1,234,567", "0.50", "1.3 MB"]
    assert [words.day_time(at), words.listed(["a", "b", "c"])] == ["22 November 2026, 08:05 UTC", "a, b and c"]
    with words.in_language("es"):
        assert [words.count(1234567), words.decimal(0.5, 2), words.size(1_300_000)] == ["1.234.567", "0,50", "1,3 MB"]
        assert [words.day_time(at), words.listed(["a", "b", "c"])] == ["22 de noviembre de 2026, 08:05 UTC", "a, b y c"]
        assert words.gettext("") == ""
