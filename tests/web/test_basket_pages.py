"""The basket and the portfolio, without JavaScript: put in, look, take out, and lists that are not all right."""

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from tests.web.conftest import add_shard, build_dataset, draw, file_of, make_settings, row, running
from tests.web.html import Element
from tests.web.test_claim_pages import HTML, basket_form, fields, page_of, post, tick
from web.settings import Settings

pytestmark = pytest.mark.opts_out

Files = dict[str, tuple[str, bytes, str]]


def basket(site: TestClient) -> Element:
    return page_of(site.get("/basket", headers=HTML))


def thumbs(page: Element) -> list[str]:
    return [button.attributes["value"] for button in page.all("button", class_="take-out")]


def menu_count(page: Element) -> str:
    return page.one("span", data_basket_count="").text


def hand_in(client: TestClient, /, status: int = 303, files: Files | None = None, **form: str) -> Element:
    """Send the portfolio's form; the page that follows."""
    data = {"addresses": "", "site": "", **form}
    sent = {"table": ("", b"", "text/plain"), **(files or {})}
    answer = client.post("/portfolio", data=data, files=sent, headers=HTML)
    assert answer.status_code == status, answer.text
    return basket(client) if status == 303 else page_of(answer, status)


def test_an_empty_basket_says_where_to_begin(site: TestClient) -> None:
    assert basket(site).one("h1").text == "Your basket is empty"


def test_what_was_ticked_in_several_searches_comes_together_and_is_counted_on_every_page(site: TestClient) -> None:
    post(site, "/basket", tick(site, "/search?q=https://jane.example/art/4.png"))
    post(site, "/basket", tick(site, "/search?q=https://ota.example/art/5.png"))
    post(site, "/basket", tick(site, "/search?q=https://ota.example/art/5.png"))
    page = basket(site)
    assert len(thumbs(page)) == 2
    assert menu_count(page) == menu_count(page_of(site.get("/about", headers=HTML))) == "2"
    assert "These 2 addresses" in page.text


def test_one_thing_is_taken_out_and_then_everything(site: TestClient) -> None:
    post(site, "/basket", tick(site, "/search?q=https://jane.example/art/0.png"))
    keys = thumbs(basket(site))
    assert len(keys) == 5
    assert post(site, "/basket/remove", [("remove", keys[1])]).status_code == 303
    assert thumbs(basket(site)) == [keys[0], *keys[2:]]
    post(site, "/basket/remove", [("everything", "1")])
    assert basket(site).one("h1").text == "Your basket is empty"
    assert menu_count(basket(site)) == "0"


def test_a_script_of_the_page_is_told_how_much_is_in_it(site: TestClient) -> None:
    ticked = tick(site, "/search?q=https://jane.example/art/0.png")
    answer = post(site, "/basket", ticked, accept="application/json")
    assert (answer.status_code, answer.json()) == (200, {"n": 5, "n_unusable": 0})


def test_a_basket_outlives_the_browser_and_is_nobody_elses(site: TestClient) -> None:
    post(site, "/basket", tick(site, "/search?q=https://jane.example/art/4.png"))
    kept = dict(site.cookies)
    site.cookies.clear()
    assert basket(site).one("h1").text == "Your basket is empty"
    name, value = next(iter(kept.items()))
    site.cookies.set(name, value[:-2] + ("AA" if value[-2:] != "AA" else "BB"))
    assert basket(site).one("h1").text == "Your basket is empty"
    site.cookies.clear()
    site.cookies.set(name, value)
    assert len(thumbs(basket(site))) == 1


def test_a_basket_outlives_the_index_it_was_filled_from(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("rebuilt")
    datasets = folder / "datasets"
    datasets.mkdir()
    rows = [row(f"https://jane.example/{n}.png", f"castle {n}", file_of(draw(n, (200, 40, 40)))) for n in range(3)]
    build_dataset(datasets, "small", rows)
    with running(make_settings(datasets, folder)) as site:
        post(site, "/basket", tick(site, "/search?q=jane.example", n_cards=2))
        assert len(basket(site).all("img", loading="lazy")) == 2
        add_shard(datasets, "small", [row("https://ota.example/9.png", "tower", file_of(draw(9, (40, 200, 40))))])
        site.app.state.engine.refresh()  # type: ignore[attr-defined]
        page = basket(site)
        assert page.all("img", loading="lazy") == []
        assert "castle" in page.one("ul", class_="thumbs").text
        assert post(site, "/opt-out", fields(page.one("form", action="/opt-out"))).status_code == 303


def test_everything_of_a_site_goes_in_at_once(site: TestClient) -> None:
    assert post(site, "/basket", [("site", "jane.example")]).status_code == 303
    page = basket(site)
    assert len(thumbs(page)) == 10
    assert "These 11 addresses" in page.text  # one has no picture
    assert "Nothing from nobody.example" in page_of(post(site, "/basket", [("site", "nobody.example")]), 422).text


def test_a_whole_site_is_claimed_when_it_is_ticked_and_waits_for_proof(site: TestClient) -> None:
    post(site, "/basket", [("site", "jane.example")])
    form = basket_form(site)
    (offer,) = form.all("input", name="site")
    assert (offer.attributes["value"], "checked" in offer.attributes) == ("jane.example", False)
    place = post(site, "/opt-out", [*fields(form), ("site", "jane.example")]).headers["location"]
    claim = site.get(f"/v1{place.partition('/done')[0]}").json()
    assert (claim["n_host_subjects"], claim["subject_states"]["pending"]) == (1, 1)
    assert basket(site).one("h1").text == "Your basket is empty"


@pytest.mark.parametrize("name", ["", "a." * 200 + "example"])
def test_a_site_whose_name_does_not_fit_is_refused_and_the_basket_stays(site: TestClient, name: str) -> None:
    post(site, "/basket", tick(site, "/search?q=https://jane.example/art/4.png"))
    answer = post(site, "/opt-out", [*fields(basket_form(site)), ("site", name)])
    assert len(page_of(answer, 422).all("form", action="/opt-out")) == 1
    assert len(thumbs(basket(site))) == 1


def test_what_came_into_the_basket_meanwhile_stays(site: TestClient) -> None:
    post(site, "/basket", tick(site, "/search?q=https://jane.example/art/4.png"))
    form = fields(basket_form(site))
    assert post(site, "/opt-out", form).status_code == 303
    post(site, "/basket", tick(site, "/search?q=https://ota.example/art/5.png"))
    assert post(site, "/opt-out", form).status_code == 303  # sent twice: one opt-out, and nothing else happens
    assert len(thumbs(basket(site))) == 1


def test_a_pasted_list_is_read_and_what_is_wrong_with_it_is_named(site: TestClient) -> None:
    page = hand_in(
        site,
        addresses="https://jane.example/a.png\n\n# older work\njane.example/b.png\nhttps://jane.example/a.png\nftp://x/y\n",
    )
    assert "These 2 addresses" in page.text
    heard = page.one("div", class_="heard").text
    assert "One line could not be used." in heard
    assert "line 6" in heard


@pytest.mark.parametrize("kind", ["works.csv", "works.txt"])
def test_a_table_or_a_list_of_thousands_is_read_and_opted_out(site: TestClient, kind: str) -> None:
    urls = [f"https://jane.example/art/{number}.jpg" for number in range(3_000)]
    text = "\n".join(["url" if kind.endswith("csv") else "# mine", *urls])
    page = hand_in(site, files={"table": (kind, text.encode(), "text/plain")})
    assert "These 3,000 addresses" in page.text
    place = post(site, "/opt-out", fields(page.one("form", action="/opt-out"))).headers["location"]
    assert site.get(f"/v1{place.partition('/done')[0]}").json()["n_url_subjects"] == 3_000


def test_pictures_are_fingerprinted_and_a_damaged_one_is_named(site: TestClient) -> None:
    one, other = file_of(draw(1, (9, 200, 9))), file_of(draw(2, (9, 9, 200)))
    files = [
        ("pictures", ("one.png", one, "image/png")),
        ("pictures", ("other.png", other, "image/png")),
        ("pictures", ("half.png", one[:900], "image/png")),
    ]
    answer = site.post("/portfolio", files=files, headers=HTML)
    assert answer.status_code == 303
    page = basket(site)
    assert "These 2 pictures" in page.text
    assert "half.png" in page.one("div", class_="heard").text


def test_a_site_goes_in_as_its_pictures_and_as_a_whole(site: TestClient) -> None:
    page = hand_in(site, site="jane.example", known="1", whole="1")
    assert len(thumbs(page)) == 10
    assert "jane.example the whole site" in page.one("ul", class_="places").text
    page = hand_in(site, site="https://art.example/jane/", whole="1")
    assert "https://art.example/jane/ everything below this address" in page.one("ul", class_="places").text


@pytest.mark.parametrize(
    ("form", "file", "says"),
    [
        ({}, None, "nothing to read"),
        ({"addresses": "castle"}, None, "Nothing of that can be opted out (line 1: "),
        ({"site": "co.uk", "whole": "1"}, None, "shared by many"),
        (
            {"site": "nobody.example", "known": "1"},
            None,
            "Nothing from nobody.example is in what is searched here. You",
        ),
        ({"addresses": "# none yet"}, None, "nothing to read"),
        ({}, ("works.csv", b"name,price\ncastle,3\n"), "works.csv has no column called url"),
        ({}, ("works.txt", b"\xff\xfe\x00"), "works.txt is not text in UTF-8"),
        ({}, ("works.txt", b"https://jane.example/1.png\n" * 10_001), "one opt-out takes 10,000"),
    ],
)
def test_a_list_that_cannot_be_used_brings_the_form_back(
    site: TestClient, form: dict[str, str], file: tuple[str, bytes] | None, says: str
) -> None:
    page = hand_in(site, 422, files=None if file is None else {"table": (*file, "text/plain")}, **form)
    assert says in page.one("p", role="alert").text
    assert page.one("textarea", id="addresses").text == form.get("addresses", "")
    assert basket(site).one("h1").text == "Your basket is empty"


def test_lines_that_cannot_be_used_are_named_in_the_readers_language_and_letters(site: TestClient) -> None:
    site.headers["accept-language"] = "es"
    page = hand_in(site, addresses="https://jane.example/1.png\nuna canción\nمعرض")
    lines = [line.text for line in page.one("div", class_="heard").all("li")]
    assert lines[0].startswith("línea 2 : 'una canción' no es una dirección completa")
    assert lines[1].startswith("línea 3 : 'معرض' no es")
    assert page.one("div", class_="heard").all("span", lang="en") == []
    refused = hand_in(site, 422, addresses="una canción").one("p", role="alert").text
    assert "no es una dirección completa" in refused


def test_a_basket_that_would_be_too_full_is_left_as_it_is(site: TestClient) -> None:
    def urls(prefix: str, n: int) -> bytes:
        return "\n".join(f"https://jane.example/{prefix}{number}.jpg" for number in range(n)).encode()

    hand_in(site, files={"table": ("a.txt", urls("a", 9_000), "text/plain")})
    page = hand_in(site, 422, files={"table": ("b.txt", urls("b", 1_001), "text/plain")})
    assert "opt out what is in your basket first" in page.one("p", role="alert").text
    assert "These 9,000 addresses" in basket(site).text


def test_new_baskets_without_end_are_refused(settings: Settings, open_site: Callable[[Settings], TestClient]) -> None:
    from registry.baskets import MAX_PER_CLIENT

    site = open_site(settings)
    statuses = []
    for _ in range(MAX_PER_CLIENT + 1):
        site.cookies.clear()
        statuses.append(post(site, "/basket", [("address", "https://jane.example/a.png")]).status_code)
    assert set(statuses[:-1]) == {303}
    assert statuses[-1] == 429
