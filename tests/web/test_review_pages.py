"""Reviewers' pages: who gets in, what they see, what they decide, and what is refused."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.registry.builders import digest
from tests.web.accounts import HTML, csrf_of, page, sign_in
from tests.web.conftest import draw
from tests.web.html import read_page
from web.settings import Settings

REASON = "Seen and found to be as it says."


@pytest.fixture
def site(settings: Settings, open_site: Callable[[Settings], TestClient]) -> TestClient:
    return open_site(settings.model_copy(update={"reviewers": "ria@mail.example", "daily_claims": 1}))


@pytest.fixture
def ria(site: TestClient, settings: Settings) -> TestClient:
    """A reviewer's browser."""
    browser = TestClient(site.app, follow_redirects=False)
    sign_in(browser, settings.state_dir, "ria@mail.example")
    return browser


def held(site: TestClient) -> dict[str, Any]:
    """A claim over the limit, after one that is not."""
    work = {"subjects": [{"kind": "url", "url": f"https://jane.example/art/{n}.png"} for n in (0, 2)]}
    site.post("/v1/claims", json=work)
    made: dict[str, Any] = site.post("/v1/claims", json=work).json()
    assert made["state"] == "quarantined"
    return made


def decide(ria: TestClient, made: dict[str, Any], **fields: Any) -> Any:
    """Send the claim's form as it stands, with these fields."""
    action = f"/review/claims/{made['id']}"
    (form,) = [each for each in page(ria, f"/review/{made['id']}").all("form") if each.attributes["action"] == action]
    return ria.post(action, data=dict(form.fields()) | fields, headers=HTML)


@pytest.mark.parametrize("path", ["/review", "/review/anything"])
def test_reviewing_is_for_those_the_operator_names(site: TestClient, settings: Settings, path: str) -> None:
    assert site.get(path).headers["location"] == f"/sign-in?next={path}"
    sign_in(site, settings.state_dir, "nosy@mail.example")
    assert "reviewers of this site" in page(site, path, status=403).one("main").text
    csrf = csrf_of(site)
    for target in ("/review/claims/anything", "/review/disputes/anything"):
        data = {"csrf": csrf, "outcome": "release", "reason": REASON, "seen": "0"}
        assert site.post(target, data=data, headers=HTML).status_code == 403


def test_without_reviewers_nobody_gets_in(own_site: TestClient, settings: Settings) -> None:
    sign_in(own_site, settings.state_dir, "ria@mail.example")
    assert own_site.get("/review", headers=HTML).status_code == 403


def test_what_is_held_is_seen_and_brought_back(site: TestClient, ria: TestClient) -> None:
    made = held(site)
    (line,) = page(ria, "/review").one("section", aria_labelledby="held").all("li")
    assert "more than a day\u2019s limit (2)" in line.text
    shown = page(ria, f"/review/{made['id']}").one("main")
    assert len(shown.all("img")) == 2
    assert "Change: held for review (more than a day\u2019s limit), all" in shown.text
    assert decide(ria, made, outcome="release", reason=REASON, subject="1").status_code == 303
    assert site.get(f"/v1/claims/{made['id']}").json()["subject_states"] == {"in_force": 1, "quarantined": 1}
    assert decide(ria, made, outcome="reject", reason=REASON).status_code == 303
    assert REASON in page(ria, f"/review/{made['id']}").text
    assert page(ria, "/review").one("section", aria_labelledby="rejected").all("li")
    assert decide(ria, made, outcome="release", reason=REASON).status_code == 303
    assert decide(ria, made, outcome="assure", reason=REASON).status_code == 303
    claim = site.get(f"/v1/claims/{made['id']}").json()
    assert (claim["subject_states"], claim["assurance"]) == ({"in_force": 2}, "reviewed")


def test_a_decision_needs_a_reason_and_what_was_typed_stays(site: TestClient, ria: TestClient) -> None:
    made = held(site)
    for fields, words in (
        ({"outcome": "release", "reason": "no"}, "give a reason"),
        ({"outcome": "unassure", "reason": REASON}, "nothing in claim"),
        ({"outcome": "maybe", "reason": REASON}, "no decision"),
        ({"outcome": "release", "reason": REASON, "subject": "9"}, "not all of the subjects"),
    ):
        answer = decide(ria, made, **fields)
        assert answer.status_code == 422
        shown = read_page(answer.text)
        assert words in shown.one("p", role="alert").text.lower()
        assert shown.one("textarea", id="reason").text == fields["reason"]
    assert decide(ria, made, outcome="release", reason=REASON, csrf="").status_code == 403


def test_a_page_that_is_out_of_date_decides_nothing(site: TestClient, ria: TestClient) -> None:
    made = held(site)
    action = f"/review/claims/{made['id']}"
    (form,) = [each for each in page(ria, f"/review/{made['id']}").all("form") if each.attributes["action"] == action]
    old = dict(form.fields()) | {"outcome": "reject", "reason": REASON}
    assert decide(ria, made, outcome="release", reason=REASON).status_code == 303
    answer = ria.post(action, data=old, headers=HTML)
    assert answer.status_code == 409
    assert "meanwhile" in read_page(answer.text).one("p", role="alert").text
    assert site.get(f"/v1/claims/{made['id']}").json()["state"] == "in_force"


def test_a_picture_is_shown_with_the_sites_that_have_it(site: TestClient, ria: TestClient) -> None:
    import hashlib

    from heldout.pictures import pdq_orientations
    from tests.web.conftest import COLOURS, file_of

    work = draw(0, COLOURS["red"])
    pdq, quality = pdq_orientations(work)
    file = hashlib.sha256(file_of(work)).hexdigest()
    subjects = [
        {"kind": "image", "pdq": bytes(pdq[0]).hex(), "quality": quality, "sha256": file},
        {"kind": "image", "pdq": digest("nowhere").hex(), "quality": 90},
    ]
    made = site.post("/v1/claims", json={"subjects": subjects}).json()
    labels = page(ria, f"/review/{made['id']}").one("main").all("label")
    assert "on 3 unrelated sites here" in labels[0].text
    assert labels[0].all("img")
    assert "on 0 unrelated sites here" in labels[1].text
    assert not labels[1].all("img")
