"""Signing in without a password, keys, export, deletion, and changing claims with and without an account."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.cookies import SimpleCookie
from typing import Any

import pytest
from fastapi import Request
from fastapi.testclient import TestClient

from heldout.receipts import verify_receipt
from registry.service import Registry
from registry.sign_in import MAX_LINKS_PER_CLIENT, MAX_LINKS_PER_EMAIL
from tests.web.accounts import HTML, WORK, bearer, csrf_of, link_of, mails, page, sign_in
from tests.web.test_claim_pages import confirm_form, fields, post
from web.settings import Settings
from web.visitors import HOME, client_digest, safe_path

pytestmark = pytest.mark.opts_out

JANE = "jane@mail.example"


def claim(site: TestClient, **headers: str) -> dict[str, Any]:
    answer = site.post("/v1/claims", json=WORK, headers=headers)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def new_key(site: TestClient, *scopes: str, name: str = "script") -> str:
    form = {"csrf": csrf_of(site), "name": name, "scope": list(scopes or ("claims:read", "claims:write")), "days": "30"}
    answer = site.post("/account/keys", data=form, headers=HTML)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    (text,) = re.findall(r"heldout_[a-z2-7]{8}_[a-z2-7]{32}", answer.text)
    return str(text)


def test_a_mailed_link_and_a_button_sign_in_and_lead_on(site: TestClient, settings: Settings) -> None:
    assert site.get("/account").headers["location"] == "/sign-in?next=/account"
    form = page(site, "/sign-in?next=/account/delete").one("form")
    answer = site.post("/sign-in", data=dict(form.fields()) | {"email": " Jane@MAIL.example "})
    assert answer.headers["location"] == "/sign-in/sent"
    page(site, "/sign-in/sent")
    (mail,) = mails(settings.state_dir)
    assert (mail["to"], mail["subject"]) == (JANE, "Sign in to heldout")
    button = page(site, link_of(mail))
    assert button.one("h1").text == f"Sign in as {JANE}"
    done = site.post(button.one("form").attributes["action"])
    assert (done.status_code, done.headers["location"]) == (303, "/account/delete")
    assert page(site, "/account").one("p", class_="address").text == JANE
    assert site.get("/sign-in").headers["location"] == "/account"


def test_programs_that_open_links_in_mail_do_not_use_them_up(site: TestClient, settings: Settings) -> None:
    site.post("/sign-in", data={"email": JANE})
    link = link_of(mails(settings.state_dir)[0])
    for _ in range(5):
        assert site.get(link).status_code == 200
        assert site.head(link).status_code in {200, 405}
    assert site.get("/account").status_code == 303
    assert site.post(link).status_code == 303
    assert site.get("/account").status_code == 200


def test_a_link_works_once_and_ends_the_others(site: TestClient, settings: Settings) -> None:
    for _ in range(3):
        site.post("/sign-in", data={"email": JANE})
    links = [link_of(mail) for mail in mails(settings.state_dir)]
    assert len(set(links)) == 3
    assert site.post(links[1]).status_code == 303
    site.cookies.clear()
    for link in links:
        assert "used already" in page(site, link, 410).text
        answer = site.post(link)
        assert (answer.status_code, "used already" in answer.text) == (403, True)
    assert site.get("/account").status_code == 303


def test_a_link_used_by_many_at_once_signs_in_one(site: TestClient, settings: Settings, registry: Registry) -> None:
    site.post("/sign-in", data={"email": JANE})
    token = link_of(mails(settings.state_dir)[0]).rpartition("/")[2]

    def use(_: int) -> bool:
        try:
            registry.accounts.use_link(token)
        except Exception as error:  # noqa: BLE001 - counted
            assert "used already" in str(error)  # noqa: PT017
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(use, range(6))) == 1


@pytest.mark.parametrize("token", ["x", "A" * 43, "%00", "é" * 43])
def test_a_link_nobody_made_is_told_as_one_that_was_used(site: TestClient, token: str) -> None:
    assert "does not work any more" in page(site, f"/sign-in/{token}", 410).text
    assert site.post(f"/sign-in/{token}").status_code == 403


def test_nobody_learns_who_has_an_account(site: TestClient, settings: Settings) -> None:
    sign_in(site, settings.state_dir, JANE)
    site.cookies.clear()
    answers = [site.post("/sign-in", data={"email": address}) for address in (JANE, "ota@mail.example")]
    assert len({(answer.status_code, answer.headers["location"], answer.text) for answer in answers}) == 1
    assert [mail["to"] for mail in mails(settings.state_dir)][-2:] == [JANE, "ota@mail.example"]


def test_a_mailbox_is_not_flooded_and_the_answer_does_not_tell(site: TestClient, settings: Settings) -> None:
    answers = [site.post("/sign-in", data={"email": JANE}) for _ in range(MAX_LINKS_PER_EMAIL + 3)]
    assert {answer.headers["location"] for answer in answers} == {"/sign-in/sent"}
    assert len(mails(settings.state_dir)) == MAX_LINKS_PER_EMAIL


def test_one_client_does_not_mail_the_whole_town(site: TestClient, settings: Settings) -> None:
    for i in range(MAX_LINKS_PER_CLIENT + 3):
        site.post("/sign-in", data={"email": f"person{i}@mail.example"})
    assert len(mails(settings.state_dir)) == MAX_LINKS_PER_CLIENT


@pytest.mark.parametrize(
    "address",
    ["", "jane", "jane@", "@mail.example", "jane@localhost", "jane@mail.example\r\nBcc: all@mail.example",
     "jane@mail.example, ota@mail.example", "Jane <jane@mail.example>", "j\u0131ne@mail.example", "ja ne@mail.example",
     "jane@mail.example/x", "jane@10.0.0.1", "a..b@mail.example", "jane@*.example.org"],
)  # fmt: skip
def test_what_is_no_address_brings_the_form_back_and_mails_nobody(
    site: TestClient, settings: Settings, address: str
) -> None:
    answer = site.post("/sign-in", data={"email": address}, headers=HTML)
    assert answer.status_code == 422
    assert "is not an e-mail address" in answer.text
    assert mails(settings.state_dir) == []


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("/claims/abc/manage?secret=x", "/claims/abc/manage?secret=x"),
        ("/account", "/account"),
        ("//evil.example", HOME),
        ("/\\evil.example", HOME),
        ("\\/evil.example", HOME),
        ("https://evil.example", HOME),
        ("javascript:alert(1)", HOME),
        ("/a\r\nset-cookie: x", HOME),
        ("/\t/evil.example", HOME),
        (" //evil.example", HOME),
        ("/a\\b", HOME),
        ("", HOME),
        ("/" + "a" * 3_000, HOME),
    ],
)
def test_signing_in_never_leads_to_another_site(given: str, path: str) -> None:
    assert safe_path(given) == path


def test_one_ipv6_subscriber_is_one_client(settings: Settings) -> None:
    def digest(address: str) -> bytes:
        return client_digest(Request({"type": "http", "client": (address, 1)}), settings)

    assert digest("2001:db8:1:2::1") == digest("2001:db8:1:2:ffff::9")
    addresses = ("2001:db8:1:3::1", "192.0.2.1", "192.0.2.2", "::ffff:192.0.2.1", "::ffff:192.0.2.2", "testclient")
    assert len({digest("2001:db8:1:2::1"), *map(digest, addresses)}) == 7


def test_the_next_page_is_checked_when_it_is_asked_and_used(site: TestClient, settings: Settings) -> None:
    assert sign_in(site, settings.state_dir, JANE, next="//evil.example/") == HOME
    assert site.get("/sign-in?next=//evil.example").headers["location"] == HOME


def test_the_cookie_is_of_no_use_to_scripts_or_other_sites(
    settings: Settings, open_site: Callable[[Settings], TestClient]
) -> None:
    site = open_site(settings)
    site.post("/sign-in", data={"email": JANE})
    (header,) = site.post(link_of(mails(settings.state_dir)[-1])).headers.get_list("set-cookie")
    cookie = SimpleCookie(header)["heldout"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["secure"]) == (True, "lax", "/", "")
    secure = settings.model_copy(update={"base_url": "https://testserver"})
    site = open_site(secure)
    site.post("/sign-in", data={"email": JANE})
    token = mails(settings.state_dir)[-1].get_content().split("/sign-in/")[1].split()[0]
    (header,) = site.post(f"/sign-in/{token}").headers.get_list("set-cookie")
    assert header.startswith("__Host-heldout=")
    assert "secure" in header.lower()


@pytest.mark.parametrize("change", ["x", "", "é", "a.b.c", "session"])
def test_a_cookie_we_did_not_write_signs_nobody_in(site: TestClient, settings: Settings, change: str) -> None:
    sign_in(site, settings.state_dir, JANE)
    value = site.cookies["heldout"]
    site.cookies.clear()
    forged = value[:-1] + ("A" if value[-1] != "A" else "B") if change == "session" else change
    answer = site.get("/account", headers=[(b"cookie", f"heldout={forged}".encode())])
    assert answer.headers["location"] == "/sign-in?next=/account"


def test_signing_out_ends_the_session_not_only_the_cookie(site: TestClient, settings: Settings) -> None:
    sign_in(site, settings.state_dir, JANE)
    kept = {"cookie": f"heldout={site.cookies['heldout']}"}
    assert site.post("/sign-out", data={"csrf": csrf_of(site)}).status_code == 303
    assert site.get("/account", headers=kept).status_code == 303


def test_signing_out_everywhere_ends_other_browsers(
    site: TestClient, settings: Settings, open_site: Callable[[Settings], TestClient]
) -> None:
    sign_in(site, settings.state_dir, JANE)
    other = open_site(settings)
    sign_in(other, settings.state_dir, JANE)
    site.post("/sign-out", data={"csrf": csrf_of(site)})
    assert other.get("/account").status_code == 200
    sign_in(site, settings.state_dir, JANE)
    site.post("/sign-out", data={"csrf": csrf_of(site), "everywhere": "1"})
    assert other.get("/account").status_code == 303


FORMS = [
    "/account/keys",
    "/account/keys/aaaaaaaa/rotate",
    "/account/keys/aaaaaaaa/revoke",
    "/account/delete",
    "/sign-out",
    "/claims/{claim}/withdraw",
    "/claims/{claim}/adopt",
]


@pytest.mark.parametrize("path", FORMS)
def test_a_form_without_its_token_or_from_elsewhere_changes_nothing(
    site: TestClient, settings: Settings, registry: Registry, path: str
) -> None:
    made = claim(site)
    sign_in(site, settings.state_dir, JANE)
    path = path.format(claim=made["id"])
    csrf = csrf_of(site)
    form = {"secret": made["secret"], "name": "script", "scope": "claims:read"}
    assert site.post(path, data=form).status_code == 403
    assert site.post(path, data={**form, "csrf": csrf[::-1]}).status_code == 403
    assert site.post(path, data={**form, "csrf": csrf}, headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert site.post(path, data={**form, "csrf": csrf}, headers={"origin": "https://evil.example"}).status_code == 403
    assert registry.claim(made["id"]).state == "in_force"
    assert site.get("/account").status_code == 200


@pytest.mark.parametrize("path", ["/account", "/account/export", "/account/delete"])
def test_an_accounts_pages_ask_strangers_to_sign_in(site: TestClient, path: str) -> None:
    answer = site.get(path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/sign-in?next=/account")
    assert site.post("/account/delete").headers["location"].startswith("/sign-in")


def test_a_key_acts_for_its_account_within_its_scopes(site: TestClient, settings: Settings) -> None:
    sign_in(site, settings.state_dir, JANE)
    both, reads = new_key(site), new_key(site, "claims:read", name="reader")
    site.cookies.clear()
    made = claim(site, **bearer(both))
    assert made["secret"] is None
    for key in (both, reads):
        listed = site.get("/v1/claims", headers=bearer(key)).json()
        assert [each["id"] for each in listed["claims"]] == [made["id"]]
    refused = site.post("/v1/claims", json=WORK, headers=bearer(reads))
    assert (refused.status_code, "claims:write" in refused.json()["detail"]) == (403, True)
    assert site.post(f"/v1/claims/{made['id']}/withdraw", headers=bearer(reads)).status_code == 403
    assert site.post(f"/v1/claims/{made['id']}/withdraw", headers=bearer(both)).json()["state"] == "withdrawn"


@pytest.mark.parametrize(
    "value",
    ["heldout_aaaaaaaa_" + "a" * 32, "heldout_", "x", "heldout_\u00e9", "'; drop table api_keys"],
)
def test_a_key_that_does_not_work_is_never_no_key(site: TestClient, value: str) -> None:
    for method, path in (("POST", "/v1/claims"), ("GET", "/v1/claims")):
        answer = site.request(method, path, json=WORK, headers=[(b"authorization", f"Bearer {value}".encode())])
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert answer.headers["content-type"] == "application/problem+json"
    assert site.get("/v1/claims").status_code == 401
    for header in (b"Basic amFuZTpqYW5l", b"heldout_aaaaaaaa_" + b"a" * 32, b"Bearer", b""):
        answer = site.post("/v1/claims", json=WORK, headers=[(b"authorization", header)])
        assert answer.status_code == 401, header


def test_a_key_is_replaced_and_removed_from_the_page(site: TestClient, settings: Settings) -> None:
    sign_in(site, settings.state_dir, JANE)
    old = new_key(site)
    forms = {form.attributes["action"]: form for form in page(site, "/account").all("form")}
    (rotate,) = [action for action in forms if action.endswith("/rotate")]
    answer = site.post(rotate, data=dict(forms[rotate].fields()), headers=HTML)
    (new,) = re.findall(r"heldout_[a-z2-7]{8}_[a-z2-7]{32}", answer.text)
    for key in (old, new):
        assert site.get("/v1/claims", headers=bearer(key)).status_code == 200
    site.post(f"/account/keys/{new.split('_')[1]}/revoke", data=dict(forms[rotate].fields()))
    assert site.get("/v1/claims", headers=bearer(new)).status_code == 401
    assert site.get("/v1/claims", headers=bearer(old)).status_code == 200


def test_the_database_holds_no_key_token_or_session_that_could_be_used(site: TestClient, settings: Settings) -> None:
    sign_in(site, settings.state_dir, JANE)
    key = new_key(site)
    made = claim(site)
    token = link_of(mails(settings.state_dir)[0]).rpartition("/")[2]
    session = site.cookies["heldout"].split(".")[0]
    files = b"".join(path.read_bytes() for path in settings.state_dir.glob("registry.db*"))
    assert JANE.encode() in files
    for secret in (key.split("_")[2], token, session, made["secret"]):
        assert secret.encode() not in files


@pytest.mark.parametrize(
    "form",
    [
        {"name": "", "scope": "claims:read"},
        {"name": "x" * 81, "scope": "claims:read"},
        {"name": "a\nb", "scope": "claims:read"},
        {"name": "script"},
        {"name": "script", "scope": "claims:everything"},
        {"name": "script", "scope": "claims:read", "days": "0"},
        {"name": "script", "scope": "claims:read", "days": "9999"},
    ],
)
def test_a_key_without_a_name_a_scope_or_an_end_is_not_made(
    site: TestClient, settings: Settings, form: dict[str, str]
) -> None:
    sign_in(site, settings.state_dir, JANE)
    answer = site.post("/account/keys", data={"csrf": csrf_of(site), **form}, headers=HTML)
    assert answer.status_code == 422
    assert "give the key" in answer.text.lower()
    assert "heldout_" not in answer.text


def test_one_persons_claims_and_keys_are_not_anothers(
    site: TestClient, settings: Settings, open_site: Callable[[Settings], TestClient]
) -> None:
    sign_in(site, settings.state_dir, JANE)
    key = new_key(site)
    made = claim(site, **bearer(key))
    other = open_site(settings)
    sign_in(other, settings.state_dir, "ota@mail.example")
    theirs = new_key(other)
    assert other.get("/v1/claims", headers=bearer(theirs)).json() == {"claims": [], "next_cursor": None}
    form = {"csrf": csrf_of(other)}
    for path in (f"/account/keys/{key.split('_')[1]}/revoke", f"/account/keys/{key.split('_')[1]}/rotate"):
        assert other.post(path, data=form).status_code == 404
    assert other.post(f"/claims/{made['id']}/withdraw", data=form).status_code == 403
    assert other.post(f"/v1/claims/{made['id']}/withdraw", headers=bearer(theirs)).status_code == 403
    assert other.post(f"/v1/claims/{made['id']}/adopt", headers=bearer(theirs), json={"secret": "x"}).status_code == 409
    assert "Take this opt-out back" not in page(other, f"/claims/{made['id']}/manage").text
    assert "Take this opt-out back" in page(site, f"/claims/{made['id']}/manage").text


def test_a_claim_without_an_account_is_taken_back_with_its_secret_alone(site: TestClient) -> None:
    made = claim(site)
    private = f"/claims/{made['id']}/manage?secret={made['secret']}"
    assert site.post(f"/v1/claims/{made['id']}/withdraw").status_code == 403
    assert site.post(f"/v1/claims/{made['id']}/withdraw", json={"secret": "a" * 32}).status_code == 403
    assert "Take this opt-out back" not in page(site, f"/claims/{made['id']}/manage").text
    form = page(site, private).one("form")
    back = site.post(form.attributes["action"], data=dict(form.fields()))
    assert page(site, back.headers["location"]).one("h1").text == "This opt-out was taken back"
    assert site.get(f"/v1/claims/{made['id']}").json()["state"] == "withdrawn"
    again = site.post(f"/v1/claims/{made['id']}/withdraw", json={"secret": made["secret"]})
    assert (again.status_code, again.json()["state"]) == (200, "withdrawn")


def test_a_claim_whose_parts_differ_says_how_many_count(site: TestClient) -> None:
    body = {"subjects": [*WORK["subjects"], {"kind": "host", "host": "jane.example"}]}
    made = site.post("/v1/claims", json=body).json()
    shown = page(site, f"/claims/{made['id']}").one("main").text
    assert "1 in force, 1 waiting for proof" in shown
    assert "1 address; 1 site" in shown


def test_a_claim_sent_twice_gives_the_same_secret(site: TestClient) -> None:
    first, second = (claim(site, **{"Idempotency-Key": "k"}) for _ in range(2))
    assert first == second
    assert first["secret"]


def test_a_claim_moves_into_an_account_with_its_secret_which_then_ends(site: TestClient, settings: Settings) -> None:
    made = claim(site)
    private = f"/claims/{made['id']}/manage?secret={made['secret']}"
    (link,) = [a.attributes["href"] for a in page(site, private).one("main").all("a") if a.text == "Sign in"]
    next_path = page(site, link).one("form").fields()[0][1]
    assert sign_in(site, settings.state_dir, JANE, next=next_path) == private
    form = page(site, private).all("form")[-1]
    assert form.attributes["action"].endswith("/adopt")
    assert site.post(form.attributes["action"], data=dict(form.fields())).status_code == 303
    assert "1 address" in page(site, "/account").text
    site.cookies.clear()
    assert site.post(f"/v1/claims/{made['id']}/withdraw", json={"secret": made["secret"]}).status_code == 403
    assert "Take this opt-out back" not in page(site, private).text


def test_opting_out_while_signed_in_makes_it_ones_own(site: TestClient, settings: Settings) -> None:
    sign_in(site, settings.state_dir, JANE)
    done = post(site, "/opt-out", fields(confirm_form(site, [("address", "https://jane.example/a.jpg")])))
    assert "secret" not in done.headers["location"]
    text = page(site, done.headers["location"]).text
    assert "among your opt-outs" in text
    assert "private address" not in text
    assert "1 address" in page(site, "/account").text


def test_opting_out_without_an_account_gives_a_private_address_once(site: TestClient) -> None:
    done = post(site, "/opt-out", fields(confirm_form(site, [("address", "https://jane.example/a.jpg")])))
    place = done.headers["location"]
    (private,) = [a.text for a in page(site, place).all("a", class_="address")]
    assert "Take this opt-out back" in page(site, private.removeprefix("http://testserver")).text
    assert "private address" not in page(site, place.partition("?")[0]).one("main").text
    assert "private address" not in page(site, place.replace("secret=", "secret=x")).one("main").text


def test_claims_are_listed_a_page_at_a_time_each_once(site: TestClient, settings: Settings) -> None:
    sign_in(site, settings.state_dir, JANE)
    key = new_key(site)
    made = [claim(site, **bearer(key))["id"] for _ in range(7)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params = {"limit": "3"} | ({"cursor": cursor} if cursor else {})
        answer = site.get("/v1/claims", params=params, headers=bearer(key)).json()
        seen += [each["id"] for each in answer["claims"]]
        cursor = answer["next_cursor"]
        if cursor is None:
            break
    assert sorted(seen) == sorted(made)
    assert len(seen) == 7
    for wrong in ("x", "1-", "-a", "9" * 50 + "-a", "1-A"):
        answer = site.get("/v1/claims", params={"cursor": wrong}, headers=bearer(key))
        assert (answer.status_code, "not a cursor" in answer.text) == (422, True)


def test_the_export_holds_everything_and_nothing_of_others(site: TestClient, settings: Settings) -> None:
    claim(site)
    sign_in(site, settings.state_dir, JANE)
    key = new_key(site)
    body = {**WORK, "name": "Jane Doe", "contact": "studio@mail.example"}
    made = site.post("/v1/claims", json=body, headers=bearer(key)).json()
    answer = site.get("/account/export")
    assert answer.headers["cache-control"] == "no-store"
    assert "attachment" in answer.headers["content-disposition"]
    held = answer.json()
    assert (held["format"], held["account"]["email"]) == ("heldout-export/1", JANE)
    (exported,) = held["claims"]
    assert (exported["id"], exported["name"], exported["contact"]) == (made["id"], "Jane Doe", "studio@mail.example")
    assert exported["subjects"][0]["url"] == "jane.example/holiday.jpg"
    assert [each["prefix"] for each in held["api_keys"]] == [key.split("_")[1]]
    assert len(held["sessions"]) == 1
    assert key.split("_")[2] not in answer.text


@pytest.mark.parametrize(("choice", "state"), [("keep", "in_force"), ("withdraw", "withdrawn")])
def test_deleting_an_account_forgets_the_person_and_leaves_the_log_whole(
    site: TestClient, settings: Settings, registry: Registry, choice: str, state: str
) -> None:
    sign_in(site, settings.state_dir, JANE)
    key = new_key(site)
    body = {**WORK, "name": "Jane Doe", "contact": "studio@mail.example"}
    made = site.post("/v1/claims", json=body, headers=bearer(key)).json()
    kept = {"cookie": f"heldout={site.cookies['heldout']}"}
    size = registry.sequence().size
    assert JANE in page(site, "/account/delete").text
    done = site.post("/account/delete", data={"csrf": csrf_of(site), "claims": choice})
    assert done.status_code == 303
    said = page(site, done.headers["location"]).one("main").text
    assert "Your account is deleted" in said
    assert ("stay in force" in said, "were taken back" in said) == (choice == "keep", choice == "withdraw")
    assert site.get("/account", headers=kept).status_code == 303
    assert site.get("/v1/claims", headers=bearer(key)).status_code == 401
    assert registry.claim(made["id"]).state == state
    assert registry.sequence().size == size + (choice == "withdraw")
    assert verify_receipt(registry.receipt(made["id"]), registry.vkey)
    files = b"".join(path.read_bytes() for path in settings.state_dir.glob("registry.db*"))
    for word in (JANE, "Jane Doe", "studio@", "holiday"):
        assert word.encode() not in files
    sign_in(site, settings.state_dir, JANE)
    assert "None yet" in page(site, "/account").text


def test_a_site_that_sends_no_mail_says_so(settings: Settings, open_site: Callable[[Settings], TestClient]) -> None:
    production = {"environment": "production", "secret": "x" * 40, "base_url": "https://testserver"}
    open_site(settings)  # makes the keys
    site = open_site(Settings.model_validate(settings.model_dump() | production))
    assert "sends no mail" in page(site, "/sign-in").text
    answer = site.post("/sign-in", data={"email": JANE}, headers=HTML)
    assert (answer.status_code, "sends no mail" in answer.text) == (503, True)
    assert claim(site)["state"] == "in_force"


def test_nothing_personal_is_logged(site: TestClient, settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        made = claim(site)
        sign_in(site, settings.state_dir, JANE)
        key = new_key(site)
        site.get(f"/claims/{made['id']}/manage?secret={made['secret']}")
        site.get("/v1/claims", headers=bearer(key))
    token = link_of(mails(settings.state_dir)[0]).rpartition("/")[2]
    said = "\n".join(
        f"{record.getMessage()} {record.__dict__}" for record in caplog.records if not record.name.startswith("http")
    )
    assert "/sign-in/{token}" in said
    for word in ("jane@", "holiday", made["secret"], key, token):
        assert word not in said
