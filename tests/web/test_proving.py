"""Proving a site on the page, without scripts, over a real name server."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.registry.zone import Zone, serving_zone
from tests.web.accounts import HTML, csrf_of, page, sign_in
from tests.web.html import Element, read_page
from web.settings import Settings

PLACES = {
    "subjects": [
        {"kind": "host", "host": "jane.example"},
        {"kind": "prefix", "prefix": "https://art.example/jane"},
        {"kind": "url", "url": "https://jane.example/a.jpg"},
    ]
}


@pytest.fixture
def zone() -> Iterator[Zone]:
    with serving_zone(Zone()) as made:
        yield made


@pytest.fixture
def site(settings: Settings, open_site: Callable[[Settings], TestClient], zone: Zone) -> TestClient:
    return open_site(settings.model_copy(update={"resolvers": zone.address}))


def claim(site: TestClient) -> dict[str, Any]:
    made: dict[str, Any] = site.post("/v1/claims", json=PLACES).json()
    return made


def prove_path(made: dict[str, Any]) -> str:
    return f"/claims/{made['id']}/prove?secret={made['secret']}"


def form_of(shown: Element, **fields: str) -> dict[str, str]:
    """The one form that would send these."""
    (found,) = [form for form in shown.one("main").all("form") if fields.items() <= dict(form.fields()).items()]
    return dict(found.fields())


def begin(site: TestClient, made: dict[str, Any], **fields: str) -> Element:
    """Choose a way, and see what to put where."""
    form = form_of(page(site, prove_path(made)), **fields)
    answer = site.post(f"/claims/{made['id']}/prove", data=form)
    assert answer.status_code == 303, answer.text
    return page(site, answer.headers["location"])


def check(site: TestClient, shown: Element) -> Any:
    (form,) = [form for form in shown.one("main").all("form") if form.attributes["action"].endswith("/check")]
    return site.post(form.attributes["action"], data=dict(form.fields()), headers=HTML)


def test_a_claimant_is_led_to_a_proof(site: TestClient, zone: Zone) -> None:
    made = claim(site)
    manage = page(site, f"/claims/{made['id']}/manage?secret={made['secret']}")
    assert manage.all("a", href=prove_path(made))
    shown = begin(site, made, method="dns", target="jane.example")
    copied = [code.text for code in shown.all("code", data_copy_text="")]
    assert copied[0] == "_heldout-challenge.jane.example"
    zone.names[copied[0]] = {"TXT": ['"token=wrong"']}
    answer = check(site, shown)
    assert answer.status_code == 303
    shown = page(site, answer.headers["location"])
    assert "says token=wrong, not the code: correct it." in shown.one("p", role="status").text
    assert "Again by itself about" in shown.one("p", role="status").text
    too_soon = check(site, shown)
    assert (too_soon.status_code, too_soon.headers["retry-after"]) == (429, "5")
    assert "wait some seconds" in read_page(too_soon.text).one("p", role="alert").text


def test_a_record_that_is_there_brings_the_site_into_force(site: TestClient, zone: Zone) -> None:
    made = claim(site)
    shown = begin(site, made, method="dns", target="jane.example")
    copied = [code.text for code in shown.all("code", data_copy_text="")]
    zone.names[copied[0]] = {"TXT": [f'"{copied[2]}"']}
    shown = page(site, check(site, shown).headers["location"])
    assert "Proved · for 2 of what you opted out" in shown.text
    states = site.get(f"/v1/claims/{made['id']}").json()["subject_states"]
    assert states == {"in_force": 2, "pending": 1}
    assert "_heldout-challenge" in shown.text  # it can be looked up again


def test_the_ways_on_offer_fit_what_was_claimed(site: TestClient) -> None:
    made = claim(site)
    forms = [dict(form.fields()) for form in page(site, prove_path(made)).one("main").all("form")]
    assert [(form["method"], form["target"]) for form in forms] == [
        ("well-known", "jane.example"),
        ("meta", "https://jane.example/"),
        ("dns", "jane.example"),
        ("account", "https://art.example/jane/"),
        ("meta", "https://art.example/jane/"),
    ]


def test_only_who_made_the_claim_sees_codes(site: TestClient, settings: Settings) -> None:
    made = claim(site)
    begin(site, made, method="dns", target="jane.example")
    stranger = page(site, f"/claims/{made['id']}/prove?secret=wrong")
    assert "_heldout" not in stranger.text
    assert stranger.one("main").all("form") == []
    form = {"method": "dns", "target": "jane.example", "secret": "wrong"}
    assert site.post(f"/claims/{made['id']}/prove", data=form).status_code == 403
    sign_in(site, settings.state_dir, "jane@mail.example")
    with_secret = {"method": "dns", "target": "jane.example", "secret": made["secret"]}
    assert site.post(f"/claims/{made['id']}/prove", data=with_secret).status_code == 403  # without the form's token
    with_token = with_secret | {"csrf": csrf_of(site)}
    assert site.post(f"/claims/{made['id']}/prove", data=with_token).status_code == 303
    headers = {"sec-fetch-site": "cross-site"}
    assert site.post(f"/claims/{made['id']}/prove", data=with_token, headers=headers).status_code == 403


@pytest.mark.parametrize("target", ["github.io", "mallory.example", "", "<script>", "\0"])
def test_a_target_that_does_not_fit_is_told(site: TestClient, target: str) -> None:
    made = claim(site)
    form = {"method": "dns", "target": target, "secret": made["secret"]}
    answer = site.post(f"/claims/{made['id']}/prove", data=form, headers=HTML)
    assert answer.status_code == 422
    assert read_page(answer.text).one("p", role="alert").text


def test_a_claim_that_was_taken_back_has_nothing_to_prove(site: TestClient) -> None:
    made = claim(site)
    shown = begin(site, made, method="dns", target="jane.example")
    site.post(f"/claims/{made['id']}/withdraw", data={"secret": made["secret"]})
    after = page(site, prove_path(made))
    assert "nothing to prove any more" in after.text
    assert after.one("main").all("form") == []
    assert check(site, shown).status_code == 409


def test_an_erased_claim_is_not_found(site: TestClient) -> None:
    assert site.get("/claims/nothing/prove", headers=HTML).status_code == 404
