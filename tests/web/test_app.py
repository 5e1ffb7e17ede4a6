"""The application as a whole: headers, errors, limits, health, static files, logs."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from registry.service import Registry
from web.app import create_app
from web.logs import JsonLines
from web.settings import Settings
from web.static_files import ListFiles, LogFiles

PATHS = [
    "/",
    "/search?q=red",
    "/labs",
    "/about",
    "/nowhere",
    "/v1/datasets",
    "/static/site.css",
    "/healthz",
    "/v1/claims/x",
]


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_carries_the_security_headers(site: TestClient, path: str) -> None:
    headers = site.get(path, headers={"accept": "text/html"}).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"


def test_no_page_has_an_inline_script_style_or_foreign_address(site: TestClient) -> None:
    for path in ("/", "/search?q=red", "/search?q=jane.example", "/labs", "/about", "/nowhere"):
        text = site.get(path, headers={"accept": "text/html"}).text
        assert "<style" not in text
        assert " style=" not in text
        assert " onclick=" not in text
        assert text.count("<script") == 1
        for attribute in ("src", "href", "action"):
            assert f'{attribute}="http' not in text
            assert f'{attribute}="//' not in text


def test_https_is_asked_for_again_where_it_is_served(
    settings: Settings, open_site: Callable[[Settings], TestClient], site: TestClient
) -> None:
    assert "strict-transport-security" not in site.get("/healthz").headers
    secure = settings.model_copy(update={"base_url": "https://testserver"})
    assert "max-age=" in open_site(secure).get("/healthz").headers["strict-transport-security"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/claims/nobody", None, 404),
        ("GET", "/v1/receipts/nobody", None, 404),
        ("GET", "/nowhere", None, 404),
        ("GET", "/list/nothing", None, 404),
        ("GET", "/log/tile/0/000", None, 404),
        ("DELETE", "/v1/claims/nobody", None, 405),
        ("GET", "/v1/search", None, 422),
        ("GET", "/v1/search?text=a&k=0", None, 422),
        ("GET", "/v1/search?text=a&dataset=nowhere", None, 404),
        ("GET", "/v1/search?text=a&cursor=rubbish", None, 422),
        ("POST", "/v1/claims", {"subjects": []}, 422),
        ("POST", "/v1/claims", {"subjects": [{"kind": "url", "url": "javascript:alert(1)"}]}, 422),
        ("GET", "/v1/thumbnails/shapes/x.webp", None, 404),
    ],
)
def test_every_error_is_problem_json(site: TestClient, method: str, path: str, body: object, status: int) -> None:
    answer = site.request(method, path, json=body) if body is not None else site.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert {"type", "title", "status", "detail"} <= problem.keys()
    assert problem["status"] == status
    assert problem["detail"].endswith((".", "!", "?"))


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"])
def test_the_api_takes_no_claim_that_another_site_could_send(site: TestClient, kind: str) -> None:
    body = '{"subjects": [{"kind": "url", "url": "https://jane.example/a.png"}]}'
    assert site.post("/v1/claims", content=body, headers={"content-type": kind}).status_code == 422


def test_a_browser_gets_the_same_words_on_a_page(site: TestClient) -> None:
    detail = site.get("/v1/claims/nobody").json()["detail"]
    page = site.get("/v1/claims/nobody", headers={"accept": "text/html,*/*;q=0.8"})
    assert page.headers["content-type"].startswith("text/html")
    assert detail.split("'")[0] in page.text


@pytest.mark.parametrize("accept", ["text/html", "*/*"])
@pytest.mark.parametrize("path", ["/search", "/v1/search"])
def test_an_upload_over_the_limit_is_refused_in_words(site: TestClient, path: str, accept: str) -> None:
    files = {"picture": ("big.png", b"\0" * 20_000_000, "image/png")}
    answer = site.post(path, files=files, headers={"accept": accept})
    assert answer.status_code == 413
    assert "over the limit of 15 MB" in answer.text


def test_an_upload_that_does_not_say_its_length_is_cut_off_at_the_limit(site: TestClient) -> None:
    sent = 0

    def chunks() -> Iterator[bytes]:
        nonlocal sent
        yield b'--b\r\ncontent-disposition: form-data; name="picture"; filename="a.png"\r\n\r\n'
        for _ in range(300):
            sent += 100_000
            yield b"\0" * 100_000

    answer = site.post("/search", content=chunks(), headers={"content-type": "multipart/form-data; boundary=b"})
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


def test_pages_stay_out_of_shared_caches_and_search_engines(site: TestClient) -> None:
    for path in ("/", "/search?q=red", "/nowhere"):
        assert site.get(path, headers={"accept": "text/html"}).headers["cache-control"] == "private, no-cache"
    assert "Disallow: /search" in site.get("/robots.txt").text


def test_health_and_readiness(site: TestClient) -> None:
    assert site.get("/healthz").json() == {"status": "ok"}
    assert site.get("/readyz").json() == {"status": "ok", "datasets": 1}


def test_it_is_not_ready_without_its_database(settings: Settings, open_site: Callable[[Settings], TestClient]) -> None:
    site = open_site(settings)
    for path in settings.state_dir.glob("registry.db*"):
        path.unlink()
    settings.state_dir.joinpath("registry.db").mkdir()
    answer = site.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "not ready")


@pytest.mark.parametrize("accept", ["text/html", "*/*"])
def test_what_fails_on_our_side_is_told_to_the_log_alone(
    settings: Settings, open_site: Callable[[Settings], TestClient], caplog: pytest.LogCaptureFixture, accept: str
) -> None:
    elsewhere = "postgresql://heldout:password@127.0.0.1:9/registry"
    open_site(settings)  # makes the keys
    # Only production starts without asking its database.
    site = open_site(settings.model_copy(update={"database_url": elsewhere, "environment": "production"}))
    answer = site.get(f"/v1/claims/{'a' * 26}", headers={"accept": accept})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
    for secret in ("127.0.0.1", "port 9", "postgres", "migrate", str(settings.state_dir)):
        assert secret not in answer.text
    assert "not answering" in answer.text
    (line,) = [vars(record) for record in caplog.records if record.message == "request_failed"]
    assert line["error"] == "UnavailableError"
    assert "127.0.0.1" in line["reason"]
    assert "password" not in line["reason"]


def test_an_unforeseen_error_is_a_plain_500_and_its_message_is_not_logged(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(settings)

    @app.get("/breaks")
    def breaks() -> None:
        raise RuntimeError("what somebody searched for")

    client = TestClient(app, raise_server_exceptions=False)
    with caplog.at_level(logging.INFO):
        answer = client.get("/breaks?q=private")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert "content-security-policy" in answer.headers
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records if record.name == "web.requests"]
    assert lines[0]["error"] == "RuntimeError"
    assert "test_app.py" in lines[0]["frames"][-1]
    assert "searched for" not in json.dumps(lines)
    assert "private" not in json.dumps(lines)


def test_the_log_has_no_query_and_no_address(site: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="web"):
        site.get("/search?q=secretwords")
        site.get("/claims/secretclaim")
        site.get("/secretpath")
        site.get("/list/files/secretfile")
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records if record.name.startswith("web")]
    assert [line["route"] for line in lines] == ["/search", "/claims/{claim_id}", "unmatched", "/list/*"]
    assert {"method", "status", "milliseconds", "at", "level", "event"} <= lines[0].keys()
    assert "secret" not in json.dumps(lines)


def test_own_files_are_cached_for_ever_by_version_only(site: TestClient) -> None:
    assert site.get("/static/site.css").headers["cache-control"] == "no-cache"
    assert site.get("/static/site.css?v=old").headers["cache-control"] == "no-cache"
    path = site.get("/").text.split('rel="stylesheet" href="')[1].split('"')[0]
    assert "immutable" in site.get(path).headers["cache-control"]


def published(settings: Settings) -> None:
    with Registry(settings.state_dir) as registry:
        registry.publish()


def test_the_list_and_the_log_are_static_and_cached_by_what_they_are(own_site: TestClient, settings: Settings) -> None:
    published(settings)
    public = settings.state_dir / "public"
    lifetimes: dict[str, str] = {}
    for path in sorted(public.rglob("*")):
        if path.is_file():
            name = path.relative_to(public).as_posix()
            answer = own_site.get(f"/{name}")
            assert answer.content == path.read_bytes()
            assert answer.headers["access-control-allow-origin"] == "*"
            lifetimes[name] = answer.headers["cache-control"]
    fresh = {"log/checkpoint", "list/metadata/timestamp.json", "list/metadata/root.json"}
    assert {name for name, lifetime in lifetimes.items() if lifetime == "no-cache"} == fresh
    assert len(lifetimes) > len(fresh) + 5


def test_types_of_public_files(own_site: TestClient, settings: Settings) -> None:
    published(settings)
    kinds: dict[str, str] = {
        "log/checkpoint": "text/plain; charset=utf-8",
        "list/metadata/timestamp.json": "application/json",
    }
    for name, kind in kinds.items():
        assert own_site.get(f"/{name}").headers["content-type"] == kind
    manifest = own_site.get("/labs").text.split('href="/list/targets/')[1].split('"')[0]
    assert own_site.get(f"/list/targets/{manifest}").headers["content-type"] == "application/json"
    unchanged = own_site.get(
        "/log/checkpoint", headers={"if-none-match": own_site.get("/log/checkpoint").headers["etag"]}
    )
    assert (unchanged.status_code, unchanged.headers["cache-control"]) == (304, "no-cache")


@pytest.mark.parametrize(
    ("path", "lifetime"),
    [
        ("tile/0/000", "immutable"),
        ("tile/entries/x001/234", "immutable"),
        ("tile/0/001.p/5", "86400"),
        ("checkpoint", "no-cache"),
    ],
)
def test_full_tiles_never_change(path: str, lifetime: str) -> None:
    assert lifetime in LogFiles(Path("log")).lifetime(path)


@pytest.mark.parametrize(
    ("path", "lifetime"),
    [
        ("metadata/1.root.json", "immutable"),
        ("metadata/root.json", "no-cache"),
        ("metadata/timestamp.json", "no-cache"),
        (f"targets/{'a' * 64}.manifest.json", "immutable"),
        (f"files/{'a' * 64}.parquet", "immutable"),
    ],
)
def test_what_is_named_by_digest_or_version_never_changes(path: str, lifetime: str) -> None:
    assert lifetime in ListFiles(Path("list")).lifetime(path)


def test_nothing_outside_the_public_folders_is_served(site: TestClient) -> None:
    for path in (
        "/list/../../keys/log.skey",
        "/list/%2e%2e/%2e%2e/keys/log.skey",
        "/static/../settings.py",
        "/keys/log.skey",
    ):
        assert site.get(path).status_code == 404


def test_the_api_is_described_without_scripts_from_elsewhere(site: TestClient) -> None:
    paths = site.get("/v1/openapi.json").json()["paths"]
    assert {"/v1/search", "/v1/claims", "/v1/receipts/{claim_id}", "/knn-service"} <= paths.keys()
    assert "/search" not in paths
    assert site.get("/docs").status_code == 404
