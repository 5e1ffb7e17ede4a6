"""The registry's HTTP API: parse, call, return. Errors are raised as they are; the app makes problem+json of them."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Response

from heldout.records import Claim, ClaimRequest
from registry.idempotency import MAX_KEY_CHARS
from registry.service import Registry


def router(get_registry: Callable[..., Registry]) -> APIRouter:
    """Routes over a registry that a dependency gives."""
    api = APIRouter(prefix="/v1", tags=["registry"])
    registry_dependency = Depends(get_registry)

    @api.post("/claims", status_code=201)
    def submit_claim(
        request: ClaimRequest,
        response: Response,
        registry: Annotated[Registry, registry_dependency],
        idempotency_key: Annotated[
            str | None,
            Header(
                min_length=1,
                max_length=MAX_KEY_CHARS,
                description="Any text of your own, new for each new request: sending both again makes no second claim.",
            ),
        ] = None,
    ) -> Claim:
        """Opt works out. In force at once, and in the log unless `log_indices` is empty."""
        claim = registry.submit(request, idempotency_key=idempotency_key)
        response.headers["Location"] = f"/v1/claims/{claim.id}"
        return claim

    @api.get("/claims/{claim_id}")
    def get_claim(claim_id: str, registry: Annotated[Registry, registry_dependency]) -> Claim:
        """A claim as it stands. Personal data is not part of it."""
        return registry.claim(claim_id)

    @api.get("/receipts/{claim_id}")
    def get_receipt(claim_id: str, registry: Annotated[Registry, registry_dependency]) -> dict[str, Any]:
        """Every log entry about a claim, with proofs (heldout-receipt/1). Check it with `heldout verify`."""
        return registry.receipt(claim_id)

    return api
