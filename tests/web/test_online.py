"""Questions about the list over HTTP: every form, every refusal, and a list that changes meanwhile."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from heldout.kernel import key_of
from heldout.lookup_records import MAX_LOOKUPS, LookupResult, RangeFacts
from heldout.records import UrlSubject
from registry.service import Registry
from tests.registry.builders import request
from tests.web.accounts import bearer
from tests.web.conftest import ColourEncoder, make_settings, running
from tests.web.lists import FOLDER, GRANTED, GRANTED_ON_PLACE, OPTED_OUT, PICTURE, PLACE, UNICODE, fill, issue_key
from tests.web.serving import free_socket, serving
from web.app import create_app
from web.settings import Settings

SPAWNING = "/api/v2/query/urls/"
FREE = "https://else.example/a.jpg"
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def filled(datasets_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a registry that has published a list."""
    made = make_settings(datasets_dir, tmp_path_factory.mktemp("online"))
    with Registry.prepare(made.state_dir, origin=made.origin_of_new_log) as registry:
        fill(registry)
    return made


@pytest.fixture(scope="module")
def site(filled: Settings) -> Iterator[TestClient]:
    with running(filled) as client:
        yield client


@pytest.fixture(scope="module")
def key(site: TestClient) -> str:
    return issue_key(site.app.state.registry)  # type: ignore[attr-defined]


def query(site: TestClient, *lines: str, **options: Any) -> list[dict[str, Any]]:
    answer = site.post(SPAWNING, content="\n".join(lines).encode(), **options)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["urls"]
    return found


def bits(site: TestClient, *lines: str, **options: Any) -> list[bool]:
    answer = site.post("/v1/check/bulk", content="\n".join(lines).encode(), **options)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/octet-stream"
    n_lines = int(answer.headers["heldout-lines"])
    assert n_lines == len(lines)
    found: list[bool] = np.unpackbits(np.frombuffer(answer.content, np.uint8), bitorder="little").astype(bool).tolist()
    assert not any(found[n_lines:])
    return found[:n_lines]


def test_addresses_are_answered_in_order_repeated_and_as_they_were_written(site: TestClient) -> None:
    spelled = "HTTP://JANE.example:80/art/x/../castle.jpg?utm_source=feed#top"
    lines = [OPTED_OUT, FREE, spelled, UNICODE, OPTED_OUT, GRANTED, f"{FOLDER}1.png", f"https://a.{PLACE}/b\r", ""]
    found = query(site, *lines)
    assert [each["url"] for each in found] == lines
    assert [each["optOut"] for each in found] == [True, False, True, True, True, False, True, True, False]
    assert [each["optIn"] for each in found] == [False] * 5 + [True] + [False] * 3
    assert [each.get("unreadable", False) for each in found] == [False] * 8 + [True]
    assert bits(site, *lines) == [each["optOut"] for each in found]


def test_a_grant_lifts_no_place(site: TestClient) -> None:
    assert query(site, GRANTED_ON_PLACE) == [{"url": GRANTED_ON_PLACE, "optOut": True, "optIn": True}]


def test_every_answer_names_the_version_that_answered(site: TestClient, filled: Settings) -> None:
    manifest = site.get("/v1/range").json()["manifest_path"].split("/")[-1].split(".")[0]
    assert (filled.state_dir / "public" / "list" / "targets" / f"{manifest}.manifest.json").exists()
    for answer in (
        site.post(SPAWNING, content=FREE),
        site.post("/v1/check/bulk", content=FREE),
        site.post("/v1/check", json={"urls": [FREE]}),
        site.get("/v1/range"),
        site.get("/v1/range/a"),
    ):
        assert answer.headers["heldout-list-version"] == "1"
        assert answer.headers["heldout-list-manifest"] == manifest


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=40), max_size=30))
@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_lines_are_echoed_and_both_forms_agree(site: TestClient, lines: list[str]) -> None:
    lines = [*lines, OPTED_OUT]
    found = query(site, *lines)
    assert [each["url"] for each in found] == lines
    assert found[-1]["optOut"]
    assert bits(site, *lines) == [each["optOut"] for each in found]


def test_least_assurance_can_be_asked_for(site: TestClient) -> None:
    lines = [OPTED_OUT, f"{FOLDER}1.png", f"https://{PLACE}/"]
    expected = {"declared": [True] * 3, "account": [False, True, True], "host": [False, False, True]}
    for least, wanted in expected.items():
        params = {"min_assurance": least}
        assert [each["optOut"] for each in query(site, *lines, params=params)] == wanted
        assert bits(site, *lines, params=params) == wanted
        answer = site.post("/v1/check", json={"urls": lines, **params}).json()
        assert [each["is_opted_out"] for each in answer["urls"]] == wanted


def test_bytes_that_are_no_text_are_refused_where_they_would_be_repeated(site: TestClient) -> None:
    body = OPTED_OUT.encode() + b"\nhttps://jane.example/\xff\n" + OPTED_OUT.encode()
    refused = site.post(SPAWNING, content=body)
    assert (refused.status_code, "byte 57" in refused.json()["detail"]) == (422, True)
    answer = site.post("/v1/check/bulk", content=body)
    assert (answer.content, answer.headers["heldout-unreadable"]) == (b"\x05", "1")


def test_ten_thousand_lines_are_answered_and_one_more_is_refused(site: TestClient, key: str) -> None:
    lines = [OPTED_OUT if number % 7 == 0 else f"https://else.example/{number}.jpg" for number in range(10_000)]
    found = query(site, *lines, headers=bearer(key))
    assert [each["url"] for each in found] == lines
    assert [each["optOut"] for each in found] == [number % 7 == 0 for number in range(10_000)]
    refused = site.post(SPAWNING, content="\n".join([*lines, FREE]), headers=bearer(key))
    assert (refused.status_code, refused.headers["content-type"]) == (413, "application/problem+json")
    assert "10,001 lines" in refused.json()["detail"]
    assert site.post("/v1/check/bulk", content=b"\n" * 99_999, headers=bearer(key)).status_code == 200
    assert site.post("/v1/check/bulk", content=b"\n" * 100_000, headers=bearer(key)).status_code == 413


def test_a_body_of_too_many_bytes_is_refused(site: TestClient, filled: Settings) -> None:
    refused = site.post(SPAWNING, content=b"a" * (filled.max_body_bytes + 1))
    assert (refused.status_code, refused.headers["content-type"]) == (413, "application/problem+json")


KEYS = [
    ("API {key}", 200),
    ("Bearer {key}", 200),
    ("api {key}", 200),
    ("API", 200),
    ("API ", 200),
    ("API nonsense", 401),
    ("API heldout_aaaaaaaa_" + "a" * 32, 401),
    ("Bearer", 401),
    ("Basic {key}", 401),
    ("{key}", 401),
]


@pytest.mark.parametrize(("header", "status"), KEYS)
def test_a_key_that_does_not_work_is_never_taken_for_none(site: TestClient, key: str, header: str, status: int) -> None:
    headers = {"Authorization": header.format(key=key)}
    for answer in (
        site.post(SPAWNING, content=FREE, headers=headers),
        site.post("/v1/check/bulk", content=FREE, headers=headers),
        site.post("/v1/check", json={"urls": [FREE]}, headers=headers),
        site.get("/v1/range/a", headers=headers),
    ):
        assert answer.status_code == status, answer.text
        assert (answer.headers["content-type"] == "application/problem+json") == (status != 200)


def test_a_key_for_other_things_is_refused(site: TestClient) -> None:
    other = issue_key(site.app.state.registry, "claims:read")  # type: ignore[attr-defined]
    refused = site.post(SPAWNING, content=FREE, headers={"Authorization": f"API {other}"})
    assert (refused.status_code, "list:check" in refused.json()["detail"]) == (403, True)


def test_without_a_key_one_may_ask_so_much_and_with_one_without_end(filled: Settings, key: str) -> None:
    lines = "\n".join([FREE] * 600)
    with running(filled.model_copy(update={"checks_per_minute": 1_000})) as site:
        assert [site.post(SPAWNING, content=lines).status_code for _ in range(3)] == [200, 200, 429]
        refused = site.get("/v1/range/a")
        assert refused.status_code == 429
        assert 0 < int(refused.headers["retry-after"]) <= 60
        for _ in range(5):
            assert site.post(SPAWNING, content=lines, headers=bearer(key)).status_code == 200
    with running(filled.model_copy(update={"checks_per_minute": 0})) as site:
        refused = site.post(SPAWNING, content=FREE)
        assert (refused.status_code, "www-authenticate" in refused.headers) == (401, True)
        assert site.post(SPAWNING, content=FREE, headers=bearer(key)).status_code == 200


def test_before_the_first_list_nothing_is_taken_for_not_opted_out(own_site: TestClient) -> None:
    for answer in (
        own_site.post(SPAWNING, content=FREE),
        own_site.post("/v1/check/bulk", content=FREE),
        own_site.post("/v1/check", json={"urls": [FREE]}),
        own_site.get("/v1/range"),
        own_site.get("/v1/range/a"),
    ):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
        assert "list" in answer.json()["detail"]


def test_items_are_answered_by_which_rule_how_well_proved_and_since_when(site: TestClient) -> None:
    urls = [OPTED_OUT, FREE, f"{FOLDER}1.png", f"https://www.{PLACE}/x", GRANTED, "no address"]
    other = hashlib.sha256(b"other").hexdigest()
    marks = [
        {"pdq": [PICTURE.pdq], "quality": 90},
        {"pdq": [other, PICTURE.pdq], "quality": 90},
        {"pdq": [PICTURE.pdq], "quality": 20},
        {"pdq": [other] * 8, "quality": 100},
    ]
    body = {"urls": urls, "sha256": [(PICTURE.sha256 or "").upper(), other], "pdq": marks}
    answer = site.post("/v1/check", json=body)
    found = LookupResult.model_validate(answer.json())
    rules = [each.rule for each in found.urls]
    assert [(rule.kind, rule.assurance, rule.place) if rule else None for rule in rules] == [
        ("url", "declared", None),
        None,
        ("prefix", "account", "art.example/jane/"),
        ("host", "host", PLACE),
        None,
        None,
    ]
    assert all(each.is_opted_out == (each.rule is not None) for each in found.urls)
    assert [each.is_granted for each in found.urls] == [False] * 4 + [True, False]
    assert [each.problem is not None for each in found.urls] == [False] * 5 + [True]
    assert [each.is_opted_out for each in found.sha256] == [True, False]
    assert [each.is_opted_out for each in found.pdq] == [True, True, False, False]
    assert {each.rule.kind for each in found.pdq if each.rule} == {"pdq"}
    assert found.exclusion_list.version == 1
    assert answer.headers["cache-control"] == "no-store"


BAD: list[Any] = [
    {},
    {"urls": []},
    {"urls": "https://a.example/"},
    {"urls": [5]},
    {"urls": ["a"] * (MAX_LOOKUPS + 1)},
    {"urls": ["a"] * MAX_LOOKUPS, "sha256": ["0" * 64]},
    {"sha256": ["zz"]},
    {"sha256": ["0" * 63]},
    {"pdq": [{"pdq": [], "quality": 1}]},
    {"pdq": [{"pdq": ["0" * 64] * 9, "quality": 1}]},
    {"pdq": [{"pdq": ["0" * 64], "quality": 101}]},
    {"urls": ["a"], "min_assurance": "some"},
    {"urls": ["a"], "other": 1},
    [],
    "a",
    None,
]


@pytest.mark.parametrize("body", BAD)
def test_a_question_that_does_not_fit_is_a_problem(site: TestClient, body: Any) -> None:
    answer = site.post("/v1/check", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_is_a_problem(site: TestClient, body: bytes) -> None:
    answer = site.post("/v1/check", content=body, headers=JSON)
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"


def test_text_that_is_no_unicode_is_no_address(site: TestClient) -> None:
    answer = site.post("/v1/check", content=b'{"urls": ["https://jane.example/\\ud800"]}', headers=JSON)
    assert (answer.status_code, answer.json()["urls"][0]["problem"] is None) == (200, False)


def test_a_range_tells_what_is_opted_out_and_no_more_than_its_size(site: TestClient) -> None:
    facts = RangeFacts.model_validate(site.get("/v1/range").json())
    assert (facts.url.prefix_chars, facts.url.suffix_chars, facts.sha256.suffix_chars) == (1, 15, 63)
    answers = {digit: site.get(f"{facts.url.path}{digit}") for digit in "0123456789abcdefABC"}
    assert {(answer.status_code, len(answer.content)) for answer in answers.values()} == {
        (200, facts.url.n_lines * len("0123456789abcde:1:2026-11-22\n"))
    }
    found = {
        digit + line.split(":")[0]
        for digit, answer in answers.items()
        for line in answer.text.splitlines()
        if line.split(":")[1] != "0"
    }
    assert {each.lower() for each in found} == {
        f"{key_of(url):016x}" for url in (OPTED_OUT, UNICODE, GRANTED, GRANTED_ON_PLACE)
    }
    assert f"{key_of(GRANTED):016x}"[1:] + ":6:" in answers[f"{key_of(GRANTED):016x}"[0]].text
    sha256 = PICTURE.sha256 or ""
    assert f"{sha256[1:]}:1:" in site.get(f"/v1/range/sha256/{sha256[0]}").text


def test_places_and_pictures_are_in_files_that_the_ranges_name(site: TestClient) -> None:
    facts = RangeFacts.model_validate(site.get("/v1/range").json())
    assert set(facts.files) == {"hosts.parquet", "prefixes.parquet", "images.parquet"}
    manifest = site.get(facts.manifest_path).content
    assert hashlib.sha256(manifest).hexdigest() == facts.exclusion_list.manifest_sha256
    files = json.loads(manifest)["files"]
    for name, path in facts.files.items():
        assert hashlib.sha256(site.get(path).content).hexdigest() == files[name]["sha256"]


def test_a_range_may_be_cached_and_never_compressed(site: TestClient) -> None:
    answer = site.get("/v1/range/a", headers={"accept-encoding": "gzip, br"})
    assert answer.headers["cache-control"] == "public, max-age=300, no-transform"
    assert "content-encoding" not in answer.headers
    again = site.get("/v1/range/a", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("prefix", ["g", "aaa", "0" * 64, "%20", "sha256"])
def test_a_range_that_does_not_fit_is_a_problem_that_says_how_to_ask(site: TestClient, prefix: str) -> None:
    answer = site.get(f"/v1/range/{prefix}")
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert "first 1 hexadecimal digits" in answer.json()["detail"]


def test_scripts_of_other_sites_may_ask_and_read_errors_too(site: TestClient) -> None:
    elsewhere = {"origin": "https://jane.example"}
    for answer in (
        site.post(SPAWNING, content=FREE, headers=elsewhere),
        site.post("/v1/check", json={}, headers=elsewhere),
        site.get("/v1/range/a", headers=elsewhere),
        site.get("/v1/range/zz", headers=elsewhere),
    ):
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "Heldout-List-Version" in answer.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in answer.headers
    ask = elsewhere | {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    allowed = site.options("/v1/check", headers=ask)
    assert (allowed.status_code, "Content-Type" in allowed.headers["access-control-allow-headers"]) == (204, True)
    assert "access-control-allow-origin" not in site.post("/v1/claims", json={}, headers=elsewhere).headers
    assert "access-control-allow-origin" not in site.options("/v1/claims", headers=ask).headers


def until(holds: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


def test_a_new_list_takes_over_without_a_failed_request(datasets_dir: Path, tmp_path: Path) -> None:
    settings = make_settings(datasets_dir, tmp_path)
    with Registry.prepare(settings.state_dir, origin=settings.origin_of_new_log) as registry:
        registry.submit(request(UrlSubject(url=OPTED_OUT)))
        registry.publish()
        done = threading.Event()
        seen: set[tuple[int, str, bytes]] = set()
        with serving(create_app(settings, encoder=ColourEncoder()), free_socket()) as address:

            def ask() -> None:
                with httpx.Client(base_url=address, timeout=60) as client:
                    while not done.is_set():
                        answer = client.post("/v1/check/bulk", content=f"{OPTED_OUT}\n{FREE}")
                        seen.add((answer.status_code, answer.headers["heldout-list-version"], answer.content))

            with ThreadPoolExecutor(3) as pool:
                asking = [pool.submit(ask) for _ in range(3)]
                try:
                    until(lambda: (200, "1", b"\x01") in seen)
                    registry.submit(request(UrlSubject(url=FREE)))
                    assert registry.publish().version == 2
                    until(lambda: (200, "2", b"\x03") in seen or any(each.done() for each in asking))
                finally:
                    done.set()
                for each in asking:
                    each.result()
    assert seen == {(200, "1", b"\x01"), (200, "2", b"\x03")}


def test_a_damaged_list_leaves_the_old_one_answering(own_site: TestClient, settings: Settings) -> None:
    lists = own_site.app.state.lists  # type: ignore[attr-defined]
    own = own_site.app.state.registry  # type: ignore[attr-defined]
    own.submit(request(UrlSubject(url=OPTED_OUT)))
    own.publish()
    assert lists.refresh()
    assert not lists.refresh()
    own.publish()  # signed anew, and the same list
    assert not lists.refresh()
    own.submit(request(UrlSubject(url=FREE)))
    published = own.publish()
    digest = published.manifest_sha256.hex()
    path = settings.state_dir / "public" / "list" / "targets" / f"{digest}.manifest.json"
    whole = path.read_bytes()
    path.write_bytes(b"{}")
    with pytest.raises(Exception, match="manifest"):
        lists.refresh()
    assert bits(own_site, OPTED_OUT, FREE) == [True, False]
    path.write_bytes(whole)
    assert lists.refresh()
    assert bits(own_site, OPTED_OUT, FREE) == [True, True]


def described(site: TestClient) -> dict[tuple[str, str], dict[str, Any]]:
    """(method, path) of the operations about the list, as described."""
    return {
        (method, path): operation
        for path, methods in site.get("/v1/openapi.json").json()["paths"].items()
        for method, operation in methods.items()
        if "list" in operation.get("tags", [])
    }


def test_everything_is_described_and_every_example_runs(site: TestClient) -> None:
    operations = described(site)
    assert set(operations) == {
        ("post", "/api/v2/query/urls/"),
        ("post", "/v1/check"),
        ("post", "/v1/check/bulk"),
        ("get", "/v1/range"),
        ("get", "/v1/range/{prefix}"),
        ("get", "/v1/range/sha256/{prefix}"),
    }
    n_run = 0
    for (method, path), operation in operations.items():
        assert operation["description"]
        assert {"200", "503"} <= operation["responses"].keys()
        content = operation.get("requestBody", {}).get("content", {})
        assert bool(content) == (method == "post")
        for media_type, form in content.items() or [("", {})]:
            for example in form.get("examples", {"": {"value": ""}}).values():
                value = example["value"]
                sent = (value if media_type == "text/plain" else json.dumps(value)).encode()
                headers = {"content-type": media_type} if media_type else {}
                answer = site.request(method, path.format(prefix="a"), content=sent, headers=headers)
                assert answer.status_code == 200, (path, answer.text)
                assert answer.headers["content-type"].partition(";")[0] in operation["responses"]["200"]["content"]
                n_run += 1
    assert n_run == 8
