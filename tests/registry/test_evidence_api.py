"""`/v1/evidence` over a real registry, and the command that looks again."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from heldout.errors import HeldoutError
from heldout.records import Proof, ProofList
from registry.__main__ import app as command
from registry.api import router as claims_router
from registry.evidence_api import EVIDENCE_EXAMPLES, EvidenceRequest, router
from registry.service import Registry
from tests.registry.builders import Clock, host, request
from tests.registry.world import World, open_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path) as made:
        yield made


@pytest.fixture
def client(registry: Registry, world: World) -> Iterator[TestClient]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with world.prober() as app.state.prober:
            yield

    app = FastAPI(lifespan=lifespan)
    app.include_router(claims_router(lambda: registry, lambda: bytes(32)))
    app.include_router(router(lambda: registry, lambda: app.state.prober))

    @app.exception_handler(HeldoutError)
    def answer(_: Request, error: HeldoutError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, error.http_status)

    with TestClient(app) as made:
        yield made


def new_claim(client: TestClient, **headers: str) -> dict[str, Any]:
    answer = client.post("/v1/claims", json=request(host()).model_dump(), headers=headers)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def ask(client: TestClient, claim: dict[str, Any], **fields: str) -> Any:
    body = {"claim": claim["id"], "method": "dns", "target": "jane.example", "secret": claim["secret"]} | fields
    return client.post("/v1/evidence", json=body)


def test_a_place_is_proved_with_a_code_and_a_look(client: TestClient, world: World) -> None:
    claim = new_claim(client)
    answer = ask(client, claim)
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    proof = Proof.model_validate(answer.json())
    assert answer.headers["location"] == f"/v1/evidence/{proof.id}"
    missing = client.post(f"/v1/evidence/{proof.id}/check").json()
    assert (missing["state"], missing["code"]) == ("waiting", "no_such_name")
    assert client.post(f"/v1/evidence/{proof.id}/check").status_code == 429
    world.put_txt("jane.example", proof.token)
    assert client.get(f"/v1/evidence/{proof.id}").json() == missing
    listed = client.get(
        "/v1/evidence", params={"claim": claim["id"]}, headers={"Heldout-Claim-Secret": claim["secret"]}
    )
    assert ProofList.model_validate(listed.json()).proofs[0].id == proof.id


def test_a_found_proof_is_seen_in_the_claim(client: TestClient, world: World, registry: Registry) -> None:
    claim = new_claim(client)
    proof = ask(client, claim).json()
    world.put_txt("jane.example", proof["token"])
    assert client.post(f"/v1/evidence/{proof['id']}/check").json()["state"] == "proved"
    after = client.get(f"/v1/claims/{claim['id']}").json()
    assert (after["state"], after["assurance"], len(after["log_indices"])) == ("in_force", "host", 3)
    assert proof["token"] not in json.dumps(after) + json.dumps(registry.receipt(claim["id"]))


def test_only_who_made_a_claim_gets_codes_and_sees_them(client: TestClient) -> None:
    claim, other = new_claim(client), new_claim(client)
    assert ask(client, claim, secret=other["secret"]).status_code == 403
    assert ask(client, claim, secret="").status_code == 403
    assert client.get("/v1/evidence", params={"claim": claim["id"]}).status_code == 403
    assert client.get("/v1/evidence/nothing").status_code == 404
    assert client.post("/v1/evidence/%00/check").status_code == 404


def test_a_key_of_the_claims_account_serves_as_well(client: TestClient, registry: Registry) -> None:
    token = registry.accounts.link_token("jane@mail.example", client=b"c" * 32, next_path="/")
    account = registry.accounts.use_link(token or "").account_id
    keys = {
        scope: registry.accounts.make_key(account, name="s", scopes=[scope], days=1).text
        for scope in ("claims:read", "claims:write")
    }
    headers = {scope: {"Authorization": f"Bearer {key}"} for scope, key in keys.items()}
    claim = new_claim(client, **headers["claims:write"])
    body = {"claim": claim["id"], "method": "well-known", "target": "jane.example"}
    assert client.post("/v1/evidence", json=body, headers=headers["claims:write"]).status_code == 201
    assert client.post("/v1/evidence", json=body, headers=headers["claims:read"]).status_code == 403
    assert client.post("/v1/evidence", json=body).status_code == 403
    listed = client.get("/v1/evidence", params={"claim": claim["id"]}, headers=headers["claims:read"])
    assert len(listed.json()["proofs"]) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"method": "e-mail"},
        {"target": "github.io"},
        {"target": "mallory.example"},
        {"target": "\0"},
        {"method": "account", "target": "https://jane.example/"},
        {"method": "credential", "target": "0" * 64},
    ],
)
def test_what_proves_nothing_is_refused(client: TestClient, fields: dict[str, str]) -> None:
    assert ask(client, new_claim(client), **fields).status_code == 422


def test_a_picture_is_not_taken_for_a_place(client: TestClient) -> None:
    proof = ask(client, new_claim(client)).json()
    answer = client.post(f"/v1/evidence/{proof['id']}/picture", files={"picture": ("a.jpg", b"", "image/jpeg")})
    assert answer.status_code == 422


def test_the_examples_are_requests() -> None:
    for example in EVIDENCE_EXAMPLES.values():
        EvidenceRequest.model_validate(example["value"])


def test_the_command_looks_again_for_what_is_due(
    registry: Registry, world: World, tmp_path: Path, database_url: str, clock: Clock
) -> None:
    claim = registry.submit(request(host()))
    proof = registry.proving.create(claim.id, "dns", "jane.example")
    clock.advance(days=-3)  # long before the command's own clock
    world.check(registry, proof.id)
    world.put_txt("jane.example", proof.token)
    where = ["recheck", "--state-dir", str(tmp_path / "state"), "--database-url", database_url]
    servers = ["--resolvers", ",".join(zone.address for zone in world.zones)]
    done = CliRunner().invoke(command, [*where, *servers, "--json"])
    assert json.loads(done.output) == {"n_checked": 1, "n_proved": 1, "n_missing": 0, "n_lost": 0}
    assert registry.claim(claim.id).state == "in_force"
    assert "Looked for 0 proofs" in CliRunner().invoke(command, [*where, *servers]).output
    for wrong in (["--resolvers", "dns.example"], [*servers, "--fetch-networks", "x"]):
        assert CliRunner().invoke(command, [*where, *wrong]).exit_code != 0
