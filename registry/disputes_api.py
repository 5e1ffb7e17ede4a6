"""`/v1/disputes`: counter-claims, for their two sides. Parse, call, return."""

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Body, Depends, Header, Query, Response, params
from fastapi.openapi.models import Example
from pydantic import Field

from heldout.records import MAX_STATEMENT_CHARS, Dispute, DisputePage, DisputeRequest, Record
from registry.api import account_of, caller_with, needed_account
from registry.api_keys import ApiKey
from registry.disputes import MAX_PAGE, MIN_STATEMENT_CHARS
from registry.idempotency import MAX_KEY_CHARS
from registry.service import Registry

DISPUTE_EXAMPLES: dict[str, Example] = {
    "part": {
        "summary": "About one address of a claim",
        "value": {
            "claim": "mzxw6ytboi2dcmrtgq2tmnzyha",
            "basis": "mine",
            "statement": "I painted this in 2019. It is on my own site since then, signed, with the sketches.",
            "subjects": [{"kind": "url", "url": "https://jane.example/holiday.jpg"}],
        },
    },
    "whole": {
        "summary": "About all of a claim",
        "value": {
            "claim": "mzxw6ytboi2dcmrtgq2tmnzyha",
            "basis": "agreement",
            "statement": "The claimant sold me all rights in these works by contract of 3 May 2021.",
        },
    },
}
ANSWER_EXAMPLES: dict[str, Example] = {
    "answer": {
        "summary": "Of a claim without an account",
        "value": {
            "statement": "I made it: the layered file is at hand, and the first upload was mine.",
            "secret": "mzxw6ytboi2dcmrtgq2tmnzyha4tamjs",
        },
    },
}


class AnswerRequest(Record):
    """A claimant's statement."""

    statement: str = Field(
        min_length=MIN_STATEMENT_CHARS,
        max_length=MAX_STATEMENT_CHARS,
        description="Who disputes it and the reviewers read it; it is not public and never in the log.",
    )
    secret: str | None = Field(
        default=None, max_length=64, description="Of a claim without an account; not needed with a key of its account."
    )


ClaimSecret = Annotated[str | None, Header(max_length=64, description="Of a claim without an account.")]


def router(get_registry: Callable[..., Registry], get_client: Callable[..., bytes]) -> APIRouter:
    """Routes over a registry, and a digest of the network address that asks, which dependencies give."""
    api = APIRouter(prefix="/v1/disputes", tags=["registry"])
    registry = Depends(get_registry)
    caller = Depends(caller_with(registry))
    _add_filing(api, registry, caller, Depends(get_client))
    _add_changing(api, registry, caller)
    _add_reading(api, registry, caller)
    return api


def _add_filing(
    api: APIRouter,
    registry_dependency: params.Depends,
    caller_dependency: params.Depends,
    client_dependency: params.Depends,
) -> None:
    @api.post("", status_code=201)
    def file_dispute(
        *,
        request: Annotated[DisputeRequest, Body(openapi_examples=DISPUTE_EXAMPLES)],
        response: Response,
        registry: Annotated[Registry, registry_dependency],
        key: Annotated[ApiKey | None, caller_dependency],
        client: Annotated[bytes, client_dependency],
        idempotency_key: Annotated[
            str | None,
            Header(
                min_length=1,
                max_length=MAX_KEY_CHARS,
                description="Any text of your own, new for each new request: sending both again files no second one.",
            ),
        ] = None,
    ) -> Dispute:
        """Dispute a claim of somebody else, with a key of your account: you must be reachable.

        Nothing is taken out of force. The claimant is told and may answer; then a reviewer decides.
        """
        account_id = needed_account(key, "claims:write")
        dispute = registry.disputing.file(request, account_id, client=client, idempotency_key=idempotency_key)
        response.headers["Location"] = f"/v1/disputes/{dispute.id}"
        response.headers["Cache-Control"] = "no-store"
        return dispute


def _add_changing(api: APIRouter, registry_dependency: params.Depends, caller_dependency: params.Depends) -> None:
    @api.post("/{dispute_id}/answer")
    def answer_dispute(
        dispute_id: str,
        request: Annotated[AnswerRequest, Body(openapi_examples=ANSWER_EXAMPLES)],
        response: Response,
        registry: Annotated[Registry, registry_dependency],
        key: Annotated[ApiKey | None, caller_dependency],
    ) -> Dispute:
        """The claimant's statement, once. The same again changes nothing."""
        response.headers["Cache-Control"] = "no-store"
        return registry.disputing.answer(
            dispute_id, request.statement, account_id=account_of(key, "claims:write"), secret=request.secret
        )

    @api.post("/{dispute_id}/withdraw")
    def withdraw_dispute(
        dispute_id: str,
        response: Response,
        registry: Annotated[Registry, registry_dependency],
        key: Annotated[ApiKey | None, caller_dependency],
    ) -> Dispute:
        """Take your dispute back. Again changes nothing."""
        response.headers["Cache-Control"] = "no-store"
        return registry.disputing.withdraw(dispute_id, account_id=needed_account(key, "claims:write"))


def _add_reading(api: APIRouter, registry_dependency: params.Depends, caller_dependency: params.Depends) -> None:
    @api.get("")
    def list_disputes(
        *,
        response: Response,
        registry: Annotated[Registry, registry_dependency],
        key: Annotated[ApiKey | None, caller_dependency],
        side: Annotated[
            Literal["filed", "received"], Query(description="Those you filed, or those against your claims.")
        ] = "filed",
        cursor: Annotated[str | None, Query(max_length=100, description="`next_cursor` of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = MAX_PAGE,
    ) -> DisputePage:
        """The disputes of your account, newest first."""
        response.headers["Cache-Control"] = "no-store"
        read = registry.disputing.filed_by if side == "filed" else registry.disputing.against
        return read(needed_account(key, "claims:read"), cursor=cursor, limit=limit)

    @api.get("/{dispute_id}")
    def get_dispute(
        dispute_id: str,
        response: Response,
        registry: Annotated[Registry, registry_dependency],
        key: Annotated[ApiKey | None, caller_dependency],
        heldout_claim_secret: ClaimSecret = None,
    ) -> Dispute:
        """A dispute as it stands; with what was said, for its two sides."""
        response.headers["Cache-Control"] = "no-store"
        return registry.disputing.get(
            dispute_id, account_id=account_of(key, "claims:read"), secret=heldout_claim_secret
        )
