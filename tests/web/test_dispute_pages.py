"""Disputes on the pages, without scripts: file, be told, answer, decide, follow; and who sees what."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.web.accounts import HTML, csrf_of, mails, page, sign_in
from tests.web.html import Element, read_page
from web.dispute_mail import DisputeClerk
from web.settings import Settings

WORKS = {
    "subjects": [
        {"kind": "url", "url": "https://jane.example/art/0.png"},
        {"kind": "url", "url": "https://jane.example/art/2.png"},
        {"kind": "host", "host": "ota.example"},
    ],
    "contact": "ota@mail.example",
}
STATEMENT = "I drew this in 2020.\nThe sketches are on my own site <b>since then</b>."
ANSWER = "I have the layered file, and the first upload was mine."
REASON = "The layered file was shown to us."


@pytest.fixture
def site(settings: Settings, open_site: Callable[[Settings], TestClient]) -> TestClient:
    return open_site(settings.model_copy(update={"reviewers": "rob@mail.example,ria@mail.example"}))


@pytest.fixture
def someone(site: TestClient, settings: Settings) -> Callable[[str], TestClient]:
    """A browser of one's own, signed in."""

    def make(address: str) -> TestClient:
        browser = TestClient(site.app, follow_redirects=False)
        sign_in(browser, settings.state_dir, address)
        return browser

    return make


def claim(site: TestClient) -> dict[str, Any]:
    made: dict[str, Any] = site.post("/v1/claims", json=WORKS).json()
    return made


def main_form(shown: Element, action: str) -> dict[str, str]:
    """The fields of the form that goes there."""
    (form,) = [each for each in shown.one("main").all("form") if each.attributes["action"] == action]
    return dict(form.fields())


def file(browser: TestClient, made: dict[str, Any], **fields: str) -> str:
    """File a dispute by the form; the path of its page."""
    path = f"/claims/{made['id']}/dispute"
    form = main_form(page(browser, path), path) | {"basis": "mine", "statement": STATEMENT} | fields
    answer = browser.post(path, data=form)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])


def told(site: TestClient, settings: Settings) -> list[tuple[str, str, str]]:
    """Mails that are due, sent now: to whom, subject in English and text of each."""
    n_before = len(mails(settings.state_dir))
    app: Any = site.app
    DisputeClerk(app.state.registry, app.state.mailer, settings.base_url).work()
    new = mails(settings.state_dir)[n_before:]
    return [(str(each["to"]), str(each["subject"]).partition(" / ")[0], str(each.get_content())) for each in new]


def test_a_dispute_from_the_first_word_to_the_decision(
    site: TestClient, someone: Callable[[str], TestClient], settings: Settings
) -> None:
    made = claim(site)
    jane, ria = someone("jane@mail.example"), someone("ria@mail.example")
    path = file(jane, made, addresses="https://jane.example/art/0.png\n")
    (mail,) = told(site, settings)
    assert mail[:2] == ("ota@mail.example", "Somebody disputes your opt-out")
    assert [text.split()[0] for text in mail[2].split("* * *")] == ["Somebody", "Alguien"]  # no language is known
    assert "sketches" not in mail[2]
    assert made["secret"] not in mail[2]
    private = f"{path}?secret={made['secret']}"
    shown = page(site, private).one("main")
    assert "The sketches are on my own site <b>since then</b>." in shown.text
    form = main_form(page(site, private), f"{path}/answer")
    answered = site.post(f"{path}/answer", data=form | {"statement": ANSWER})
    assert (answered.status_code, answered.headers["location"]) == (303, private)
    assert ANSWER in page(jane, path).one("main").text
    assert [mail[:2] for mail in told(site, settings)] == [("jane@mail.example", "Your dispute was answered")]
    (line,) = page(ria, "/review").one("section", aria_labelledby="disputes").all("li")
    case_path = line.one("a").attributes["href"]
    case = page(ria, case_path)
    for words in ("The sketches are", ANSWER, "ota@mail.example", "jane.example/art/2.png"):
        assert words in case.one("main").text
    thumbnail = case.one("main").all("img")[0].attributes["src"]
    assert site.get(thumbnail).headers["content-type"] == "image/webp"
    decide = f"/review/disputes/{path.rpartition('/')[2]}"
    form = main_form(case, decide) | {"outcome": "uphold", "reason": REASON}
    assert ria.post(decide, data=form).status_code == 303
    assert {mail[:2] for mail in told(site, settings)} == {
        ("jane@mail.example", "A dispute is over"),
        ("ota@mail.example", "A dispute is over"),
    }
    for reader, address in ((jane, path), (site, private)):
        text = page(reader, address).one("main").text
        assert "upheld by a reviewer" in text
        assert REASON in text
    states = site.get(f"/v1/claims/{made['id']}").json()["subject_states"]
    assert states == {"in_force": 1, "pending": 1, "rejected": 1}


def test_strangers_see_that_there_is_a_dispute_and_nothing_that_was_said(
    site: TestClient, someone: Callable[[str], TestClient]
) -> None:
    made = claim(site)
    path = file(someone("jane@mail.example"), made)
    for reader in (site, someone("nosy@mail.example")):
        text = page(reader, path).one("main").text
        assert "A dispute, open" in text
        assert "sketches" not in text
        assert "mail.example" not in text
        assert not page(reader, path).one("main").all("form")
    assert page(site, path).one("main").all("a", href=f"/sign-in?next=%2Fdisputes%2F{path.rpartition('/')[2]}")


def test_who_is_not_signed_in_is_led_there_and_back(site: TestClient, settings: Settings) -> None:
    made = claim(site)
    path = f"/claims/{made['id']}/dispute"
    shown = page(site, path)
    assert "ota.example" in shown.one("main").text
    assert not shown.one("main").all("form")
    assert shown.one("main").all("a", href=f"/sign-in?next=%2Fclaims%2F{made['id']}%2Fdispute")
    assert site.post(path, data={}).headers["location"] == f"/sign-in?next=/claims/{made['id']}/dispute"
    assert sign_in(site, settings.state_dir, "jane@mail.example", next=path) == path
    assert main_form(page(site, path), path)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"statement": "no"}, "20 to 5,000 characters"),
        ({"basis": "envy"}, "Choose what is wrong"),
        ({"addresses": "https://jane.example/none.png"}, "is no part of claim"),
        ({"addresses": "not an address at all"}, "subject 1"),
        ({"addresses": "https://shop.ota.example/x.png"}, "in force"),
    ],
)
def test_what_cannot_be_used_is_said_and_nothing_typed_is_lost(
    site: TestClient, someone: Callable[[str], TestClient], fields: dict[str, str], words: str
) -> None:
    made = claim(site)
    jane = someone("jane@mail.example")
    path = f"/claims/{made['id']}/dispute"
    form = main_form(page(jane, path), path) | {"basis": "place", "statement": STATEMENT, "addresses": ""} | fields
    answer = jane.post(path, data=form, headers=HTML)
    assert answer.status_code == 422
    shown = read_page(answer.text)
    assert words.lower() in shown.one("p", role="alert").text.lower()
    assert form["statement"].splitlines()[0] in shown.one("textarea", id="statement").text
    assert form["addresses"] in shown.one("textarea", id="addresses").text
    assert site.get(f"/v1/claims/{made['id']}").json()["state"] == "in_force"


def test_a_form_sent_twice_files_one_dispute(site: TestClient, someone: Callable[[str], TestClient]) -> None:
    made = claim(site)
    jane = someone("jane@mail.example")
    path = f"/claims/{made['id']}/dispute"
    form = main_form(page(jane, path), path) | {"basis": "mine", "statement": STATEMENT}
    assert jane.post(path, data=form).headers["location"] == jane.post(path, data=form).headers["location"]
    again = main_form(page(jane, path), path) | {"basis": "mine", "statement": STATEMENT}
    refused = jane.post(path, data=again, headers=HTML)
    assert refused.status_code == 409
    assert "open dispute" in read_page(refused.text).one("p", role="alert").text


def test_own_disputes_are_listed_on_both_sides_and_can_be_taken_back(
    site: TestClient, someone: Callable[[str], TestClient]
) -> None:
    made = claim(site)
    jane, ota = someone("jane@mail.example"), someone("ota@mail.example")
    assert ota.post(f"/claims/{made['id']}/adopt", data={"csrf": csrf_of(ota), "secret": made["secret"]}).is_redirect
    path = file(jane, made)
    assert page(jane, "/disputes").one("section", aria_labelledby="filed").all("a", href=path)
    received = page(ota, "/disputes").one("section", aria_labelledby="received")
    assert "waits for your answer until" in received.text
    assert site.get("/disputes").headers["location"] == "/sign-in?next=/disputes"
    assert main_form(page(ota, path), f"{path}/answer")["secret"] == ""
    form = main_form(page(jane, path), f"{path}/withdraw")
    assert jane.post(f"{path}/withdraw", data=form).status_code == 303
    assert "taken back" in page(ota, path).one("h1").text
    assert not page(ota, path).one("main").all("form")
    assert ota.post(f"{path}/answer", data={"csrf": csrf_of(ota), "statement": ANSWER}, headers=HTML).status_code == 409


def test_forms_need_their_token_and_the_right_person(site: TestClient, someone: Callable[[str], TestClient]) -> None:
    made = claim(site)
    jane, nosy = someone("jane@mail.example"), someone("nosy@mail.example")
    path = file(jane, made)
    for browser, target, data in (
        (jane, f"/claims/{made['id']}/dispute", {"basis": "mine", "statement": STATEMENT}),
        (jane, f"{path}/withdraw", {}),
        (nosy, f"{path}/withdraw", {"csrf": csrf_of(nosy)}),
        (nosy, f"{path}/answer", {"csrf": csrf_of(nosy), "statement": ANSWER}),
        (site, f"{path}/answer", {"statement": ANSWER, "secret": "wrong"}),
    ):
        assert browser.post(target, data=data, headers=HTML).status_code == 403
        crossed = {"sec-fetch-site": "cross-site", **HTML}
        assert browser.post(target, data=data, headers=crossed).status_code == 403
    assert "open" in page(site, path).one("h1").text
    for nothing in ("/disputes/nothing", "/claims/nothing/dispute"):
        assert "There is nothing here" in page(site, nothing, status=404).text


def test_a_claims_own_page_leads_to_its_disputes(site: TestClient, someone: Callable[[str], TestClient]) -> None:
    made = claim(site)
    manage = f"/claims/{made['id']}/manage?secret={made['secret']}"
    assert not page(site, manage).all("a", href=f"/claims/{made['id']}/dispute")
    path = file(someone("jane@mail.example"), made)
    private = page(site, manage).one("section", aria_labelledby="disputes")
    assert private.all("a", href=f"{path}?secret={made['secret']}")
    assert "waits for your answer" in private.text
    public = page(site, f"/claims/{made['id']}")
    assert public.one("section", aria_labelledby="disputes").all("a", href=path)
    assert made["secret"] not in str(public)
    assert public.all("a", href=f"/claims/{made['id']}/dispute")
