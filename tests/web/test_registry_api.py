"""The registry's API as the site serves it: errors of one shape that tell no internals, a description that runs."""

import copy
import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from heldout.receipts import verify_receipt
from heldout.records import MAX_SUBJECTS, Claim, ClaimPage, ClaimPreview
from registry.service import Registry
from tests.web.accounts import WORK, bearer, csrf_of, sign_in
from web.settings import Settings


@pytest.fixture
def site(own_site: TestClient) -> TestClient:
    return own_site


@pytest.fixture
def key(site: TestClient, settings: Settings, registry: Registry) -> str:
    """An API key of somebody's."""
    sign_in(site, settings.state_dir, "jane@mail.example")
    assert csrf_of(site)
    token = registry.accounts.link_token("jane@mail.example", client=bytes(32), next_path="/")
    account = registry.accounts.use_link(token or "").account_id
    site.cookies.clear()
    return registry.accounts.make_key(account, name="k", scopes=["claims:read", "claims:write"], days=1).text


def operations(site: TestClient) -> dict[tuple[str, str], dict[str, Any]]:
    """(method, path) of the registry's operations, as described."""
    paths = site.get("/v1/openapi.json").json()["paths"]
    return {
        (method, path): operation
        for path, methods in paths.items()
        for method, operation in methods.items()
        if "registry" in operation.get("tags", [])
    }


def examples(operation: dict[str, Any]) -> dict[str, Any]:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return {name: each["value"] for name, each in content.get("examples", {}).items()}


def test_everything_is_described_with_examples_of_what_to_send(site: TestClient) -> None:
    described = operations(site)
    assert set(described) == {
        ("post", "/v1/claims"),
        ("get", "/v1/claims"),
        ("post", "/v1/claims/preview"),
        ("get", "/v1/claims/{claim_id}"),
        ("post", "/v1/claims/{claim_id}/withdraw"),
        ("post", "/v1/claims/{claim_id}/adopt"),
        ("get", "/v1/receipts/{claim_id}"),
    }
    for (_, path), operation in described.items():
        assert operation["description"], path
        assert bool(examples(operation)) == ("requestBody" in operation), path


def test_every_example_of_the_description_runs(site: TestClient, registry: Registry, key: str) -> None:
    """A placeholder for what nobody can know beforehand, a claim's id and secret, is filled in; nothing else is."""
    answers: dict[tuple[str, str], type[Any]] = {
        ("post", "/v1/claims"): Claim,
        ("post", "/v1/claims/preview"): ClaimPreview,
        ("post", "/v1/claims/{claim_id}/withdraw"): Claim,
        ("post", "/v1/claims/{claim_id}/adopt"): Claim,
        ("get", "/v1/claims/{claim_id}"): Claim,
        ("get", "/v1/claims"): ClaimPage,
    }
    n_run = 0
    for (method, path), operation in operations(site).items():
        for body in list(examples(operation).values()) or [None]:
            made = site.post("/v1/claims", json=WORK).json()
            sent = copy.deepcopy(body)
            if sent and "secret" in sent:
                sent["secret"] = made["secret"]
            headers = bearer(key) if path in {"/v1/claims", "/v1/claims/{claim_id}/adopt"} else {}
            answer = site.request(method, path.format(claim_id=made["id"]), json=sent, headers=headers)
            assert answer.is_success, (path, answer.text)
            assert str(answer.status_code) in operation["responses"]
            if (method, path) in answers:
                answers[method, path].model_validate_json(answer.content)
            else:
                assert verify_receipt(answer.json(), registry.vkey)
            n_run += 1
    assert n_run >= 12


def test_the_schemas_own_example_runs(site: TestClient) -> None:
    schemas = site.get("/v1/openapi.json").json()["components"]["schemas"]
    (example,) = schemas["ClaimRequest"]["examples"]
    assert site.post("/v1/claims", json=example).status_code == 201


def test_a_preview_names_every_mistake_by_its_place_and_stores_nothing(site: TestClient, registry: Registry) -> None:
    subjects = [
        {"kind": "url", "url": "https://jane.example/a.jpg"},
        {"kind": "host", "host": "github.io"},
        {"kind": "url", "url": "http://JANE.example:80/a.jpg#x"},
        {"kind": "url", "url": "nonsense"},
        {"kind": "prefix", "prefix": "https://art.example/jane"},
        {"kind": "image", "pdq": "0" * 64, "quality": 3},
        {"kind": "image", "pdq": "0" * 64, "quality": 3, "sha256": "0" * 64},
    ]
    found = ClaimPreview.model_validate(site.post("/v1/claims/preview", json={"subjects": subjects}).json())
    assert [each.index for each in found.unusable] == [1, 3, 5]
    assert [(each.index, each.same_as, each.reason) for each in found.duplicates] == [
        (2, 0, "says the same as subject 1")
    ]
    assert (found.n_subjects, found.n_url_subjects, found.n_prefix_subjects, found.n_image_subjects) == (3, 1, 1, 1)
    assert (found.n_pending, found.n_plain) == (1, 1)
    assert registry.sequence().size == 0
    refused = site.post("/v1/claims", json={"subjects": subjects})
    assert refused.status_code == 422
    assert all(f"subject {index + 1}:" in refused.json()["detail"].lower() for index in (1, 3, 5))


def test_a_claim_takes_ten_thousand_subjects_and_no_more(site: TestClient) -> None:
    many = [{"kind": "url", "url": f"https://jane.example/{i}.jpg"} for i in range(MAX_SUBJECTS + 1)]
    answer = site.post("/v1/claims", json={"subjects": many[:-1]})
    assert (answer.status_code, answer.json()["n_subjects"]) == (201, MAX_SUBJECTS)
    assert site.post("/v1/claims", json={"subjects": many}).status_code == 422


PROBLEMS: list[tuple[str, str, Any, dict[str, str], int]] = [
    ("GET", "/v1/claims", None, {}, 401),
    ("GET", "/v1/claims", None, {"Authorization": "Bearer nonsense"}, 401),
    ("POST", "/v1/claims", WORK, {"Authorization": "Bearer nonsense"}, 401),
    ("POST", "/v1/claims/{id}/withdraw", None, {}, 403),
    ("POST", "/v1/claims/{id}/withdraw", {"secret": "a" * 32}, {}, 403),
    ("POST", "/v1/claims/{id}/withdraw", {"secret": 5}, {}, 422),
    ("POST", "/v1/claims/{id}/adopt", {"secret": "a"}, {}, 401),
    ("POST", "/v1/claims/nobody/withdraw", {"secret": "a"}, {}, 404),
    ("GET", "/v1/claims/nobody", None, {}, 404),
    ("GET", "/v1/receipts/nobody", None, {}, 404),
    ("POST", "/v1/claims", {"subjects": []}, {}, 422),
    ("POST", "/v1/claims", {"subjects": [{"kind": "host", "host": "co.uk"}]}, {}, 422),
    ("POST", "/v1/claims", {"subjects": [{"kind": "place"}]}, {}, 422),
    ("POST", "/v1/claims", WORK, {"Idempotency-Key": "used"}, 409),
    ("PUT", "/v1/claims", WORK, {}, 405),
]


@pytest.mark.parametrize(("method", "path", "body", "headers", "status"), PROBLEMS)
def test_every_error_has_one_shape_and_tells_no_internals(
    site: TestClient, settings: Settings, *, method: str, path: str, body: Any, headers: dict[str, str], status: int
) -> None:
    other = {"subjects": [{"kind": "url", "url": "https://jane.example/other.jpg"}]}
    site.post("/v1/claims", json=other, headers={"Idempotency-Key": "used"})
    made = site.post("/v1/claims", json=WORK).json()
    answer = site.request(method, path.format(id=made["id"]), json=body, headers=headers)
    check_problem(answer, status, settings)


def check_problem(answer: Any, status: int, settings: Settings) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert set(problem) <= {"type", "title", "status", "detail", "errors"}
    assert (problem["type"], problem["status"]) == ("about:blank", status)
    for word in (str(settings.state_dir), settings.state_dir.name + "/", "python -m", "registry.db", "sqlite", "tile/"):
        assert word not in answer.text


def damage_checkpoint(registry: Registry) -> None:
    (registry.public_dir / "log" / "checkpoint").write_text("nonsense")


def lose_checkpoint(registry: Registry) -> None:
    (registry.public_dir / "log" / "checkpoint").unlink()


def lose_tiles(registry: Registry) -> None:
    shutil.rmtree(registry.public_dir / "log" / "tile")


@pytest.mark.parametrize(
    ("damage", "statuses"), [(damage_checkpoint, {500}), (lose_checkpoint, {404}), (lose_tiles, {503})]
)
def test_a_damaged_log_is_our_fault_and_told_to_nobody(
    site: TestClient, settings: Settings, registry: Registry, damage: Callable[[Registry], None], statuses: set[int]
) -> None:
    for _ in range(3):
        made = site.post("/v1/claims", json=WORK).json()
    damage(registry)
    answer = site.get(f"/v1/receipts/{made['id']}")
    assert answer.status_code in statuses
    check_problem(answer, answer.status_code, settings)
    page = site.get(f"/claims/{made['id']}", headers={"accept": "text/html"})
    assert str(settings.state_dir) not in page.text
    assert "python -m" not in page.text
    again = site.post("/v1/claims", json=WORK)
    assert (again.status_code, again.json()["state"]) == (201, "in_force")


def test_no_answer_of_the_api_but_the_first_holds_a_secret(site: TestClient) -> None:
    made = site.post("/v1/claims", json=WORK)
    assert made.headers["cache-control"] == "no-store"
    secret = made.json()["secret"]
    for path in (f"/v1/claims/{made.json()['id']}", f"/v1/receipts/{made.json()['id']}"):
        assert secret not in site.get(path).text
    assert secret not in json.dumps(site.get("/v1/openapi.json").json())
