"""`/v1/evidence`: codes that prove a place or a picture to be a claimant's. Parse, call, return."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Body, Depends, File, Header, Query, Response, UploadFile, params
from fastapi.openapi.models import Example
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from heldout.errors import AccessError
from heldout.records import Proof, ProofList, Record
from registry.api import account_of, caller_with
from registry.api_keys import ApiKey
from registry.evidence_checks import Prober
from registry.evidence_targets import Method
from registry.service import Registry

EVIDENCE_EXAMPLES: dict[str, Example] = {
    "dns": {
        "summary": "A site, by a DNS record",
        "value": {
            "claim": "mzxw6ytboi2dcmrtgq2tmnzyha",
            "method": "dns",
            "target": "jane.example",
            "secret": "mzxw6ytboi2dcmrtgq2tmnzyha4tamjs",
        },
    },
    "account": {
        "summary": "A profile, by its description",
        "value": {
            "claim": "mzxw6ytboi2dcmrtgq2tmnzyha",
            "method": "account",
            "target": "https://art.example/jane/",
        },
    },
}


class EvidenceRequest(Record):
    """What somebody wants to prove, and how."""

    claim: str = Field(max_length=64)
    method: Method
    target: str = Field(
        max_length=2_100,
        description="A host for `dns` and `well-known`, the address of a page for `meta` and `account`, the PDQ of a "
        "picture of the claim for `credential`.",
    )
    secret: str | None = Field(
        default=None, max_length=64, description="Of a claim without an account; not needed with a key of its account."
    )


def router(get_registry: Callable[..., Registry], get_prober: Callable[..., Prober]) -> APIRouter:
    """Routes over a registry and what looks for codes, which dependencies give."""
    api = APIRouter(prefix="/v1/evidence", tags=["evidence"])
    registry = Depends(get_registry)
    caller = Depends(caller_with(registry))
    _add_claims(api, registry, caller)
    _add_checks(api, registry, Depends(get_prober))
    return api


def _add_claims(api: APIRouter, registry_dependency: params.Depends, caller_dependency: params.Depends) -> None:
    @api.post("", status_code=201)
    def create_evidence(
        request: Annotated[EvidenceRequest, Body(openapi_examples=EVIDENCE_EXAMPLES)],
        response: Response,
        registry: Annotated[Registry, registry_dependency],
        key: Annotated[ApiKey | None, caller_dependency],
    ) -> Proof:
        """Ask for a code, and what to put where. The same again gives the same."""
        _check_may(registry, request.claim, account_of(key, "claims:write"), request.secret)
        proof = registry.proving.create(request.claim, request.method, request.target)
        response.headers["Location"] = f"/v1/evidence/{proof.id}"
        response.headers["Cache-Control"] = "no-store"
        return proof

    @api.get("")
    def list_evidence(
        claim: Annotated[str, Query(max_length=64)],
        response: Response,
        registry: Annotated[Registry, registry_dependency],
        key: Annotated[ApiKey | None, caller_dependency],
        heldout_claim_secret: Annotated[
            str | None, Header(max_length=64, description="Of a claim without an account.")
        ] = None,
    ) -> ProofList:
        """The proofs of a claim of yours."""
        _check_may(registry, claim, account_of(key, "claims:read"), heldout_claim_secret)
        response.headers["Cache-Control"] = "no-store"
        return ProofList(proofs=registry.proving.of_claim(claim))


def _add_checks(api: APIRouter, registry_dependency: params.Depends, prober_dependency: params.Depends) -> None:
    @api.get("/{evidence_id}")
    def get_evidence(evidence_id: str, response: Response, registry: Annotated[Registry, registry_dependency]) -> Proof:
        """A proof as it stands. Who knows its id may see it."""
        response.headers["Cache-Control"] = "no-store"
        return registry.proving.get(evidence_id)

    @api.post("/{evidence_id}/check")
    async def check_evidence(
        evidence_id: str,
        response: Response,
        registry: Annotated[Registry, registry_dependency],
        prober: Annotated[Prober, prober_dependency],
    ) -> Proof:
        """Look for the code now, a few times an hour; what was found is in `code` and `result`."""
        response.headers["Cache-Control"] = "no-store"
        return await registry.proving.check(evidence_id, prober)

    @api.post("/{evidence_id}/picture")
    async def check_evidence_picture(
        evidence_id: str,
        picture: Annotated[UploadFile, File(description="The file, signed together with the code. It is not kept.")],
        response: Response,
        registry: Annotated[Registry, registry_dependency],
    ) -> Proof:
        """Hand in the signed picture of a `credential` proof."""
        response.headers["Cache-Control"] = "no-store"
        return await run_in_threadpool(registry.proving.check_picture, evidence_id, await picture.read())


def _check_may(registry: Registry, claim_id: str, account_id: str | None, secret: str | None) -> None:
    if not registry.may_change(claim_id, account_id=account_id, secret=secret):
        raise AccessError(
            f"claim {claim_id} is not yours: give a key of its account or, if it belongs to none, its secret"
        )
