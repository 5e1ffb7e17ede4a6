"""Opting out without JavaScript: tick, check, confirm, keep the receipt; and what the site refuses."""

import time
from collections.abc import Callable
from urllib.parse import urlencode

import pytest
from fastapi.testclient import TestClient

from heldout.leaves import OptOutLeaf, UrlDigest
from heldout.receipts import verify_receipt
from heldout.urls import canonical_key, key_digest
from registry.service import Registry
from tests.web.html import Answer, Element, read_page
from web.published import current_list
from web.settings import Settings

pytestmark = pytest.mark.opts_out

Form = list[tuple[str, str]]
HTML = {"accept": "text/html"}


def post(site: TestClient, path: str, form: Form, **headers: str) -> Answer:
    body = urlencode(form)
    sent = HTML | {"content-type": "application/x-www-form-urlencoded"} | headers
    answer: Answer = site.post(path, content=body, headers=sent)
    return answer


def page_of(answer: Answer, status: int = 200) -> Element:
    assert answer.status_code == status, answer.text
    return read_page(answer.text)


def tick(site: TestClient, query: str, n_cards: int = 1) -> Form:
    """The form that ticking the first cards of a search would send."""
    page = page_of(site.get(query, headers=HTML))
    boxes = [card.one("input", class_="taken") for card in page.all("article")[:n_cards]]
    return [(box.attributes["name"], box.attributes["value"]) for box in boxes]


def confirm_form(site: TestClient, ticked: Form) -> Element:
    """The basket's form, after putting in what was ticked."""
    assert post(site, "/basket", ticked).status_code == 303
    return basket_form(site)


def basket_form(site: TestClient) -> Element:
    return page_of(site.get("/basket", headers=HTML)).one("form", action="/opt-out")


def fields(form: Element, **changes: str) -> Form:
    kept = [(name, value) for name, value in form.fields() if name not in changes]
    return kept + list(changes.items())


def test_text_search_to_a_receipt_that_verifies(site: TestClient) -> None:
    form = confirm_form(site, tick(site, "/search?q=ota+novak", n_cards=2))
    assert "These 2 pictures, wherever they are" in form.text
    recorded = post(site, "/opt-out", fields(form, contact="ota@mail.example"))
    assert recorded.status_code == 303
    done = page_of(site.get(recorded.headers["location"], headers=HTML))
    assert done.one("h1").text == "Your opt-out is recorded"

    link = done.one("a", class_="button primary")
    receipt = site.get(link.attributes["href"]).json()
    key = read_page(site.get("/labs").text).one("code", data_copy_text="", class_="address").text
    leaves = verify_receipt(receipt, key)
    (leaf,) = leaves
    assert isinstance(leaf, OptOutLeaf)
    addresses = {subject.key for subject in leaf.subjects if isinstance(subject, UrlDigest)}
    assert len(addresses) == 2
    works = {key_digest(canonical_key(f"https://ota.example/art/{number}.png")) for number in range(1, 20, 2)}
    assert addresses <= works
    assert "ota@mail.example" not in done.text
    assert f"heldout verify {link.attributes['download']} --log-key '{key}'" in done.text


def test_one_tick_takes_the_copies_on_other_sites(site: TestClient) -> None:
    form = confirm_form(site, tick(site, "/search?q=https://jane.example/art/0.png"))
    assert "This picture, wherever it is" in form.text
    addresses = form.all("details")[0].text
    for host in ("jane.example", "pins.example", "wall.example"):
        assert host in addresses


def test_an_opted_out_picture_says_so_and_its_copies_too(site: TestClient) -> None:
    ticked = tick(site, "/search?q=https://jane.example/art/0.png")
    post(site, "/opt-out", fields(confirm_form(site, ticked)))
    again = page_of(site.get("/search?q=pins.example"))
    assert again.all("article")
    for card in again.all("article"):
        assert card.one("span", class_="chip chip-out").text == "opted out"
    assert "opted out already" in confirm_form(site, ticked).text


def test_what_is_not_ticked_on_the_confirm_page_is_not_claimed(site: TestClient) -> None:
    form = confirm_form(site, tick(site, "/search?q=https://jane.example/art/2.png"))
    only_address = [field for field in fields(form) if field != ("scope", "picture")]
    place = post(site, "/opt-out", only_address).headers["location"]
    claim = site.get(f"/v1{place.partition('/done')[0]}").json()
    assert (claim["n_url_subjects"], claim["n_image_subjects"]) == (1, 0)


def test_a_picture_that_no_data_set_has_is_opted_out(site: TestClient, unknown_picture: bytes) -> None:
    page = page_of(site.post("/search", files={"picture": ("a.png", unknown_picture, "image/png")}, headers=HTML))
    box = page.one("p", class_="own").one("input")
    form = confirm_form(site, [(box.attributes["name"], box.attributes["value"])])
    assert form.all("input", id="scope-address") == []
    place = post(site, "/opt-out", fields(form)).headers["location"]
    claim = site.get(f"/v1{place.partition('/done')[0]}").json()
    assert (claim["n_url_subjects"], claim["n_image_subjects"]) == (0, 1)
    again = page_of(site.post("/search", files={"picture": ("a.png", unknown_picture, "image/png")}, headers=HTML))
    assert again.one("h1").text == "Your picture"


def test_an_address_that_no_data_set_has_is_opted_out(site: TestClient) -> None:
    form = confirm_form(site, [("address", "https://nobody.example/a.png")])
    assert "This address" in form.text
    assert post(site, "/opt-out", fields(form)).status_code == 303


def test_the_claims_page_proves_it(site: TestClient) -> None:
    form = confirm_form(site, tick(site, "/search?q=https://jane.example/art/4.png"))
    place = post(site, "/opt-out", fields(form, acting_as="estate")).headers["location"]
    page = page_of(site.get(place.partition("/done")[0], headers=HTML))
    assert "Checked just now" in page.text
    assert page.one("p", class_="stamp").text == "In force"
    assert "estate or heir (declared, not checked)" in page.text
    assert page.one("pre", aria_label="Signed checkpoint").text.startswith("testserver/log 1 ")


def test_a_claim_that_was_taken_back_says_so(site: TestClient, settings: Settings) -> None:
    form = confirm_form(site, tick(site, "/search?q=https://jane.example/art/4.png"))
    place = post(site, "/opt-out", fields(form)).headers["location"].partition("/done")[0]
    with Registry(settings.state_dir) as registry:
        registry.withdraw(place.removeprefix("/claims/"), reason="by-claimant")
    page = page_of(site.get(place, headers=HTML))
    assert page.all("p", class_="stamp") == []
    assert "taken back" in page.one("dl", class_="facts").text
    assert len([row for row in page.one("aside").all("dt") if row.text == "Entry"]) == 2
    assert page.one("h1").text == "This opt-out was taken back"


def test_what_waits_is_said_in_the_readers_language(site: TestClient) -> None:
    from registry.subjects import notes_on_places
    from web.claim_pages import NOTES

    subjects = [{"kind": "host", "host": "jane.example"}, {"kind": "host", "host": "art.example"}]
    made = site.post("/v1/claims", json={"subjects": subjects}).json()
    (note,) = made["notes"]
    assert [note] == notes_on_places(n_pending=2) == [NOTES[1] % {"n": 2}]
    assert notes_on_places(n_pending=1) == [NOTES[0]]
    for path in (f"/claims/{made['id']}", f"/claims/{made['id']}/evidence", f"/claims/{made['id']}/manage"):
        text = page_of(site.get(path, headers={**HTML, "accept-language": "es"})).text
        assert "2 lugares esperan una prueba" in text
        assert "for proof" not in text


def test_the_page_of_what_was_recorded_does_not_outlive_it(site: TestClient, settings: Settings) -> None:
    form = confirm_form(site, tick(site, "/search?q=https://jane.example/art/4.png"))
    done = post(site, "/opt-out", fields(form)).headers["location"]
    assert page_of(site.get(done, headers=HTML)).one("h1").text == "Your opt-out is recorded"
    with Registry(settings.state_dir) as registry:
        registry.withdraw(done.removeprefix("/claims/").partition("/done")[0], reason="by-claimant")
    answer = site.get(done, headers=HTML)
    assert answer.status_code == 303
    assert answer.headers["location"] == done.replace("/done", "/manage")
    page = page_of(site.get(answer.headers["location"], headers=HTML))
    assert page.one("h1").text == "This opt-out was taken back"


def test_a_form_sent_twice_is_one_claim(site: TestClient) -> None:
    form = fields(confirm_form(site, tick(site, "/search?q=https://jane.example/art/4.png")))
    places = {post(site, "/opt-out", form).headers["location"] for _ in range(3)}
    assert len(places) == 1


def test_everything_that_was_ticked_is_shown_before_it_is_confirmed(site: TestClient) -> None:
    form = confirm_form(site, tick(site, "/search?q=red+shapes&as=text", n_cards=100))
    assert len(form.one("ul", aria_label="What is in your basket").all("li")) > 20
    assert "Take out what is not yours" in form.text


def test_two_people_who_opt_out_the_same_picture_at_once_make_two_claims(site: TestClient) -> None:
    ticked = tick(site, "/search?q=https://jane.example/art/4.png")
    places = set()
    for _ in range(2):
        site.cookies.clear()
        form = fields(confirm_form(site, ticked), contact="same@mail.example")
        places.add(post(site, "/opt-out", form).headers["location"])
    assert len(places) == 2


def test_a_form_that_was_changed_after_it_was_confirmed_says_that_it_was(site: TestClient) -> None:
    form = confirm_form(site, tick(site, "/search?q=https://jane.example/art/4.png"))
    assert post(site, "/opt-out", fields(form, contact="jane@mali.example")).status_code == 303
    again = page_of(post(site, "/opt-out", fields(form, contact="jane@mail.example")), 409)
    assert "opted out already" in again.one("p", role="alert").text


def test_a_log_that_cannot_be_written_is_said_and_the_claim_is_kept(site: TestClient, settings: Settings) -> None:
    in_the_way = settings.state_dir / "public" / "log" / "tile"
    in_the_way.parent.mkdir(parents=True, exist_ok=True)
    in_the_way.write_text("")
    form = confirm_form(site, tick(site, "/search?q=https://jane.example/art/4.png"))
    place = post(site, "/opt-out", fields(form)).headers["location"]

    def done() -> Element:
        return page_of(site.get(place, headers=HTML))

    assert done().one("h1").text == "Your opt-out is recorded"
    assert "in the public log now" not in done().text
    assert "goes into the public log as soon as" in done().text
    assert "heldout verify" not in done().text
    assert "Place in the public log" not in done().text
    assert done().all("a", class_="button primary") == []
    in_the_way.unlink()
    with Registry(settings.state_dir) as registry:
        registry.sequence()
    assert "in the public log now" in done().text
    assert site.get(done().one("a", class_="button primary").attributes["href"]).status_code == 200


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"contact": "jane"}, "is not an e-mail address"),
        ({"contact": "@mail.example"}, "is not an e-mail address"),
        ({"scope": "everything"}, "tick at least one"),
        ({"acting_as": "a thief"}, "does not fit"),
    ],
)
def test_a_wrong_field_brings_the_form_back_with_what_to_do(
    site: TestClient, changes: dict[str, str], says: str
) -> None:
    form = confirm_form(site, tick(site, "/search?q=https://jane.example/art/4.png"))
    back = page_of(post(site, "/opt-out", fields(form, **changes)), 422)
    assert says in back.one("p", role="alert").text
    is_bad = "true" if "contact" in changes else None
    assert back.one("input", id="contact").attributes.get("aria-invalid") == is_bad
    corrected = fields(back.one("form", action="/opt-out"), contact="", acting_as="artist", scope="picture")
    assert post(site, "/opt-out", corrected).status_code == 303


def test_only_what_was_shown_can_be_confirmed(site: TestClient) -> None:
    shown = fields(confirm_form(site, tick(site, "/search?q=https://jane.example/art/4.png")))
    confirm_form(site, [("address", "https://somebody.example/else.png")])  # in another tab
    for form in (shown, [field for field in shown if field[0] != "seal"]):
        back = page_of(post(site, "/opt-out", form), 422)
        assert "has changed since" in back.one("p", role="alert").text
    assert post(site, "/opt-out", fields(back.one("form", action="/opt-out"))).status_code == 303
    site.cookies.clear()
    page_of(post(site, "/opt-out", [("pick", "shapes@1:1")]), 422)


@pytest.mark.parametrize(
    ("ticked", "status", "says"),
    [
        ([], 422, "Nothing was ticked"),
        ([("pick", "nowhere@1:1")], 404, "nowhere"),
        ([("pick", "shapes@9:1")], 409, "shapes"),
        ([("pick", "shapes@1:99999")], 404, "99999"),
        ([("pick", "'; drop table")], 422, "does not fit"),
        ([("address", "javascript:alert(1)")], 422, "not http"),
    ],
)
def test_a_selection_that_means_nothing_is_refused(site: TestClient, ticked: Form, status: int, says: str) -> None:
    assert says in page_of(post(site, "/basket", ticked), status).one("main").text


def test_the_address_of_a_forms_answer_leads_back_to_the_basket(site: TestClient) -> None:
    answer = site.get("/opt-out")
    assert (answer.status_code, answer.headers["location"]) == (303, "/basket")


@pytest.mark.parametrize("path", ["/basket", "/basket/remove", "/opt-out", "/portfolio"])
@pytest.mark.parametrize(
    "headers", [{"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"origin": "https://evil.example"}]
)
def test_a_form_from_another_site_is_refused(site: TestClient, path: str, headers: dict[str, str]) -> None:
    answer = post(site, path, [("pick", "shapes@1:1")], **headers)
    assert "sent by another site" in page_of(answer, 403).text


@pytest.mark.parametrize(
    "headers", [{}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}, {"origin": "http://testserver"}]
)
def test_a_form_of_our_own_is_taken(site: TestClient, headers: dict[str, str]) -> None:
    assert post(site, "/basket", [("pick", "shapes@1:1")], **headers).status_code == 303


def test_a_claim_reaches_the_published_list_by_itself(
    settings: Settings, open_site: Callable[[Settings], TestClient]
) -> None:
    site = open_site(settings.model_copy(update={"publish": "auto"}))
    form = confirm_form(site, tick(site, "/search?q=https://jane.example/art/4.png"))
    assert "A few seconds later" in form.text
    post(site, "/opt-out", fields(form))

    public = settings.state_dir / "public" / "list"
    give_up_at = time.monotonic() + 60
    while (found := current_list(public)) is None or found.n_addresses != 1:
        assert time.monotonic() < give_up_at
        time.sleep(0.1)
    assert found.n_pictures == 1
    assert site.get(found.manifest_href).json()["counts"]["url"] == 1
