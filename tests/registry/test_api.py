"""The HTTP API over a real registry, in an app that only adds the mapping of errors."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient

from heldout.errors import HeldoutError
from heldout.leaves import OptOutLeaf
from heldout.receipts import verify_receipt
from heldout.records import Claim
from registry.api import router
from registry.service import Registry
from tests.registry.builders import digest, image, request, url


@pytest.fixture
def client(registry: Registry) -> Iterator[TestClient]:
    app = FastAPI()
    app.include_router(router(lambda: registry, lambda: bytes(32)))

    @app.exception_handler(HeldoutError)
    def answer(_: Request, error: HeldoutError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, error.http_status)

    with TestClient(app) as made:
        yield made


def submit(client: TestClient, *subjects: object, key: str | None = None) -> Any:
    body = request(*(subjects or (url("a"), image("b"))), contact="jane@jane.example")  # type: ignore[arg-type]
    return client.post("/v1/claims", json=body.model_dump(), headers={"Idempotency-Key": key} if key else {})


def test_a_claim_is_created_logged_and_found_again(client: TestClient) -> None:
    answer = submit(client)
    assert answer.status_code == 201
    claim = Claim.model_validate(answer.json())
    assert (claim.state, claim.n_subjects, claim.log_indices) == ("in_force", 2, [0])
    assert answer.headers["Location"] == f"/v1/claims/{claim.id}"
    assert client.get(answer.headers["Location"]).json() == answer.json() | {"secret": None}
    assert "jane" not in answer.text


def test_the_receipt_is_there_at_once_and_verifies_with_the_logs_key_alone(
    client: TestClient, registry: Registry
) -> None:
    submit(client)
    claim_id = submit(client, url("other")).json()["id"]
    receipt = client.get(f"/v1/receipts/{claim_id}")
    assert receipt.status_code == 200
    (leaf,) = verify_receipt(receipt.json(), registry.vkey)
    assert isinstance(leaf, OptOutLeaf)
    assert leaf.claim == claim_id
    registry.withdraw(claim_id, reason="by-claimant")
    assert len(verify_receipt(client.get(f"/v1/receipts/{claim_id}").json(), registry.vkey)) == 2


def test_a_claim_of_many_parts_has_one_receipt(client: TestClient, registry: Registry) -> None:
    claim = submit(client, *(url(str(i)) for i in range(700))).json()
    assert claim["log_indices"] == [0, 1, 2]
    leaves = verify_receipt(client.get(f"/v1/receipts/{claim['id']}").json(), registry.vkey)
    assert sum(len(leaf.subjects) for leaf in leaves if isinstance(leaf, OptOutLeaf)) == 700


def test_sending_twice_with_a_key_makes_one_claim(client: TestClient) -> None:
    first, second = submit(client, key="k"), submit(client, key="k")
    assert first.json() == second.json()
    assert submit(client, url("other"), key="k").status_code == 409
    assert submit(client).json()["id"] != first.json()["id"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"subjects": []},
        {"subjects": [{"kind": "host", "host": "github.io"}]},
        {"subjects": [{"kind": "host", "host": "co.uk"}]},
        {"subjects": [{"kind": "host", "host": "localhost"}]},
        {"subjects": [{"kind": "prefix", "prefix": "https://jane.example/"}]},
        {"subjects": [{"kind": "prefix", "prefix": "https://jane.example/a?b"}]},
        {"subjects": [{"kind": "url", "url": "not a url"}]},
        {"subjects": [{"kind": "url", "url": "https://jane.example/" + "a" * 17_000}]},
        {"subjects": [{"kind": "image", "pdq": "00", "quality": 50}]},
        {"subjects": [{"kind": "image", "pdq": digest("a").hex(), "quality": 101}]},
        {"subjects": [{"kind": "image", "pdq": digest("a").hex(), "quality": 10}]},
        {"subjects": [{"kind": "url", "url": "https://jane.example/a"}], "preference": "search=n"},
        {"subjects": [{"kind": "url", "url": "https://jane.example/a"}], "assurance": "reviewed"},
        {"subjects": [{"kind": "url", "url": "https://jane.example/a"}], "name": "nul\0"},
    ],
)
def test_what_is_no_claim_is_refused_and_leaves_nothing(
    client: TestClient, registry: Registry, body: dict[str, object]
) -> None:
    assert client.post("/v1/claims", json=body).status_code == 422
    assert registry.sequence().size == 0


@pytest.mark.parametrize(
    "path", ["/v1/claims/nosuchclaim", "/v1/receipts/nosuchclaim", "/v1/claims/%00", "/v1/receipts/%00"]
)
def test_what_is_not_there_is_not_found(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_a_key_too_long_is_refused(client: TestClient) -> None:
    assert submit(client, key="k" * 256).status_code == 422
