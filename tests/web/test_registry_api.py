"""The registry's API as the site serves it: errors of one shape that tell no internals, a description that runs."""

import copy
import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from heldout.receipts import verify_receipt
from heldout.records import MAX_SUBJECTS, Claim, ClaimPage, ClaimPreview, Dispute, DisputePage
from registry.service import Registry
from tests.web.accounts import WORK, bearer, csrf_of, sign_in
from web.settings import Settings

pytestmark = pytest.mark.opts_out


@pytest.fixture
def key(site: TestClient, settings: Settings, registry: Registry) -> str:
    """An API key of somebody's."""
    sign_in(site, settings.state_dir, "jane@mail.example")
    assert csrf_of(site)
    token = registry.accounts.link_token("jane@mail.example", client=bytes(32), next_path="/")
    account = registry.accounts.use_link(token or "").account_id
    site.cookies.clear()
    return registry.accounts.make_key(account, name="k", scopes=["claims:read", "claims:write"], days=1).text


def dispute(claim: dict[str, Any], **fields: object) -> dict[str, object]:
    """A request to dispute a claim."""
    words = "I painted this in 2019, and the sketches are on my own site."
    return {"claim": claim["id"], "basis": "mine", "statement": words, **fields}


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
        ("post", "/v1/disputes"),
        ("get", "/v1/disputes"),
        ("get", "/v1/disputes/{dispute_id}"),
        ("post", "/v1/disputes/{dispute_id}/answer"),
        ("post", "/v1/disputes/{dispute_id}/withdraw"),
    }
    for (_, path), operation in described.items():
        assert operation["description"], path
        assert bool(examples(operation)) == ("requestBody" in operation), path


def test_every_example_of_the_description_runs(site: TestClient, registry: Registry, key: str) -> None:
    """A placeholder for what nobody can know beforehand, an id or a claim's secret, is filled in; nothing else is."""
    answers: dict[tuple[str, str], type[Any]] = {
        ("post", "/v1/claims"): Claim,
        ("post", "/v1/claims/preview"): ClaimPreview,
        ("post", "/v1/claims/{claim_id}/withdraw"): Claim,
        ("post", "/v1/claims/{claim_id}/adopt"): Claim,
        ("get", "/v1/claims/{claim_id}"): Claim,
        ("get", "/v1/claims"): ClaimPage,
        ("post", "/v1/disputes"): Dispute,
        ("get", "/v1/disputes"): DisputePage,
        ("get", "/v1/disputes/{dispute_id}"): Dispute,
        ("post", "/v1/disputes/{dispute_id}/answer"): Dispute,
        ("post", "/v1/disputes/{dispute_id}/withdraw"): Dispute,
    }
    needs_key = {"/v1/claims", "/v1/claims/{claim_id}/adopt", "/v1/disputes", "/v1/disputes/{dispute_id}/withdraw"}
    n_run = 0
    for (method, path), operation in operations(site).items():
        for body in list(examples(operation).values()) or [None]:
            made = site.post("/v1/claims", json=WORK).json()
            sent = copy.deepcopy(body)
            for name, value in (("secret", made["secret"]), ("claim", made["id"])):
                if sent and name in sent:
                    sent[name] = value
            ids = {"claim_id": made["id"]}
            if "{dispute_id}" in path:
                ids["dispute_id"] = site.post("/v1/disputes", json=dispute(made), headers=bearer(key)).json()["id"]
            answer = site.request(
                method, path.format(**ids), json=sent, headers=bearer(key) if path in needs_key else {}
            )
            assert answer.is_success, (path, answer.text)
            assert str(answer.status_code) in operation["responses"]
            if (method, path) in answers:
                answers[method, path].model_validate_json(answer.content)
            else:
                assert verify_receipt(answer.json(), registry.vkey)
            n_run += 1
    assert n_run >= 18


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


DISPUTE = {"claim": "{id}", "basis": "mine", "statement": "I painted this, and I can show it."}
OTHER = {"subjects": [{"kind": "url", "url": "https://jane.example/other.jpg"}]}
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
    ("POST", "/v1/disputes", DISPUTE, {}, 401),
    ("POST", "/v1/disputes", DISPUTE, {"Authorization": "Bearer nonsense"}, 401),
    ("POST", "/v1/disputes", {**DISPUTE, "statement": "no"}, {"Authorization": "key"}, 422),
    ("POST", "/v1/disputes", {**DISPUTE, "basis": "envy"}, {"Authorization": "key"}, 422),
    ("POST", "/v1/disputes", {**DISPUTE, "claim": "nobody"}, {"Authorization": "key"}, 404),
    ("POST", "/v1/disputes", {**DISPUTE, "subjects": OTHER["subjects"]}, {"Authorization": "key"}, 422),
    ("GET", "/v1/disputes", None, {}, 401),
    ("GET", "/v1/disputes?cursor=5", None, {"Authorization": "key"}, 422),
    ("GET", "/v1/disputes/nobody", None, {}, 404),
    ("POST", "/v1/disputes/nobody/withdraw", None, {}, 401),
    ("POST", "/v1/disputes/nobody/answer", {"statement": "It is mine, and I can show it."}, {}, 404),
]


@pytest.mark.parametrize(("method", "path", "body", "headers", "status"), PROBLEMS)
def test_every_error_has_one_shape_and_tells_no_internals(
    site: TestClient,
    settings: Settings,
    key: str,
    *,
    method: str,
    path: str,
    body: Any,
    headers: dict[str, str],
    status: int,
) -> None:
    site.post("/v1/claims", json=OTHER, headers={"Idempotency-Key": "used"})
    made = site.post("/v1/claims", json=WORK).json()
    if body and body.get("claim") == "{id}":
        body = {**body, "claim": made["id"]}
    if headers.get("Authorization") == "key":
        headers = bearer(key)
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


def test_a_dispute_over_the_api_and_its_pages(site: TestClient, key: str) -> None:
    made = [site.post("/v1/claims", json=WORK).json() for _ in range(3)]
    ids = []
    for claim in made:
        answer = site.post("/v1/disputes", json=dispute(claim), headers=bearer(key) | {"Idempotency-Key": claim["id"]})
        again = site.post("/v1/disputes", json=dispute(claim), headers=bearer(key) | {"Idempotency-Key": claim["id"]})
        assert answer.json() == again.json()
        assert answer.headers["location"] == f"/v1/disputes/{answer.json()['id']}"
        ids.append(answer.json()["id"])
    assert site.post("/v1/disputes", json=dispute(made[0]), headers=bearer(key)).status_code == 409
    first = DisputePage.model_validate(site.get("/v1/disputes?limit=2", headers=bearer(key)).json())
    rest = DisputePage.model_validate(
        site.get(f"/v1/disputes?limit=2&cursor={first.next_cursor}", headers=bearer(key)).json()
    )
    assert sorted(each.id for each in (*first.disputes, *rest.disputes)) == sorted(ids)
    assert rest.next_cursor is None
    public = Dispute.model_validate(site.get(f"/v1/disputes/{ids[0]}").json())
    assert (public.state, public.statement) == ("open", None)
    theirs = site.get(f"/v1/disputes/{ids[0]}", headers={"Heldout-Claim-Secret": made[0]["secret"]})
    assert Dispute.model_validate(theirs.json()).statement == dispute(made[0])["statement"]
    assert theirs.headers["cache-control"] == "no-store"
    said = {"statement": "It is mine, and I can show the first upload.", "secret": made[0]["secret"]}
    assert site.post(f"/v1/disputes/{ids[0]}/answer", json=said).status_code == 200
    assert site.post(f"/v1/disputes/{ids[0]}/answer", json=said | {"secret": made[1]["secret"]}).status_code == 403
    assert site.get(f"/v1/disputes/{ids[0]}", headers=bearer(key)).json()["answer"] == said["statement"]
    assert site.post(f"/v1/disputes/{ids[0]}/withdraw", headers=bearer(key)).json()["state"] == "withdrawn"
    assert site.get(f"/v1/claims/{made[0]['id']}").json()["state"] == "in_force"
    assert site.get("/v1/disputes?side=received", headers=bearer(key)).json()["disputes"] == []


def test_more_than_a_days_limit_is_held_and_not_lost_and_far_more_is_refused(
    settings: Settings, open_site: Callable[[Settings], TestClient]
) -> None:
    site = open_site(settings.model_copy(update={"daily_subjects": 3, "daily_claims": 100}))
    works = {"subjects": [{"kind": "url", "url": f"https://jane.example/{number}.jpg"} for number in range(3)]}
    place = {"kind": "host", "host": "jane.example"}
    assert site.post("/v1/claims", json=works).json()["state"] == "in_force"
    held = site.post("/v1/claims", json={"subjects": [*works["subjects"], place]}).json()
    assert (held["state"], held["subject_states"]) == ("quarantined", {"quarantined": 3, "pending": 1})
    assert "held until a person has looked" in " ".join(held["notes"])
    assert len(held["log_indices"]) == 2
    many = {"subjects": [{"kind": "url", "url": f"https://jane.example/n{number}.jpg"} for number in range(9)]}
    refused = site.post("/v1/claims", json=many)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 86_400
    assert site.post("/v1/claims", json=works).json()["state"] == "quarantined"
