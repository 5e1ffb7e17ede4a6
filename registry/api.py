"""The registry's HTTP API: parse, call, return. Errors are raised as they are; the app makes problem+json of them."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, HTTPException, Query, Response, params
from fastapi.openapi.models import Example
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import Field

from heldout.errors import AccessError
from heldout.records import Claim, ClaimPage, ClaimPreview, ClaimRequest, Record
from registry.api_keys import ApiKey, Scope
from registry.claims import MAX_PAGE
from registry.idempotency import MAX_KEY_CHARS
from registry.service import Registry

_BEARER = HTTPBearer(auto_error=False, description="A key from your account's page: `heldout_...`.")
_PDQ = "f8f8f0cee0f4a84f06370a22038f63f0b36e2ed596621e1d33e6b39c4e9c9b22"

CLAIM_EXAMPLES: dict[str, Example] = {
    "works": {
        "summary": "An address, and a picture wherever it is",
        "value": {
            "subjects": [
                {"kind": "url", "url": "https://jane.example/art/castle.jpg"},
                {"kind": "image", "pdq": _PDQ, "quality": 100},
            ],
            "acting_as": "artist",
        },
    },
    "places": {
        "summary": "A site and a profile, which count once they are proved",
        "value": {
            "subjects": [
                {"kind": "host", "host": "jane.example"},
                {"kind": "prefix", "prefix": "https://art.example/jane/"},
            ],
            "contact": "jane@jane.example",
        },
    },
    "grant": {
        "summary": "A grant: this may be trained on",
        "value": {
            "subjects": [{"kind": "url", "url": "https://jane.example/free.jpg"}],
            "preference": "train-ai=y",
            "acting_as": "estate",
        },
    },
}
PREVIEW_EXAMPLES: dict[str, Example] = {
    **CLAIM_EXAMPLES,
    "mistakes": {
        "summary": "With mistakes: said twice, and nobody's own",
        "value": {
            "subjects": [
                {"kind": "url", "url": "https://jane.example/a.jpg"},
                {"kind": "url", "url": "http://JANE.example/a.jpg?utm_source=x"},
                {"kind": "host", "host": "github.io"},
            ]
        },
    },
}


class SecretBody(Record):
    """What lets somebody change a claim that belongs to no account."""

    secret: str | None = Field(
        default=None, max_length=64, description="Given with the claim; not needed with a key of its account."
    )


SECRET_EXAMPLES: dict[str, Example] = {
    "secret": {
        "summary": "A claim without an account",
        "value": {"secret": "mzxw6ytboi2dcmrtgq2tmnzyha4tamjs"},
    },
}


def router(get_registry: Callable[..., Registry], get_client: Callable[..., bytes]) -> APIRouter:
    """Routes over a registry, and a digest of the network address that asks, which dependencies give."""
    api = APIRouter(prefix="/v1", tags=["registry"])
    registry = Depends(get_registry)
    caller = Depends(caller_with(registry))
    _add_making(api, registry, caller, Depends(get_client))
    _add_changing(api, registry, caller)
    _add_reading(api, registry, caller)
    return api


def caller_with(registry_dependency: params.Depends) -> Callable[..., ApiKey | None]:
    """A dependency that gives the key somebody calls with."""

    def caller(
        registry: Annotated[Registry, registry_dependency],
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
        authorization: Annotated[str | None, Header(include_in_schema=False)] = None,
    ) -> ApiKey | None:
        """The key somebody calls with; None without one. A key that does not work is never no key."""
        if credentials is None:
            if authorization is not None:
                raise _unauthorised("Give a key of your account as Authorization: Bearer heldout_...")
            return None
        key = registry.accounts.check_key(credentials.credentials)
        if key is None:
            raise _unauthorised("This key is wrong, has ended or was removed: make a new one on your account's page.")
        return key

    return caller


def _add_making(
    api: APIRouter,
    registry_dependency: params.Depends,
    caller_dependency: params.Depends,
    client_dependency: params.Depends,
) -> None:
    @api.post("/claims", status_code=201)
    def submit_claim(
        *,
        request: Annotated[ClaimRequest, Body(openapi_examples=CLAIM_EXAMPLES)],
        response: Response,
        registry: Annotated[Registry, registry_dependency],
        key: Annotated[ApiKey | None, caller_dependency],
        client: Annotated[bytes, client_dependency],
        idempotency_key: Annotated[
            str | None,
            Header(
                min_length=1,
                max_length=MAX_KEY_CHARS,
                description="Any random text of your own, new for each new request: sending both again makes no second "
                "claim. Keep it to yourself: the answer holds the claim's secret.",
            ),
        ] = None,
    ) -> Claim:
        """Opt works out, or grant their use.

        Addresses and pictures are in force at once, and in the log unless `log_indices` is empty; places wait for
        proof. With a key the claim belongs to its account; without one its `secret` is in this answer only. What is
        more than a day's limit is stored and held for review (`quarantined`, with a note).
        """
        account_id = account_of(key, "claims:write")
        claim = registry.submit(request, idempotency_key=idempotency_key, account_id=account_id, client=client)
        response.headers["Location"] = f"/v1/claims/{claim.id}"
        response.headers["Cache-Control"] = "no-store"
        return claim

    @api.post("/claims/preview")
    def preview_claim(
        request: Annotated[ClaimRequest, Body(openapi_examples=PREVIEW_EXAMPLES)],
        registry: Annotated[Registry, registry_dependency],
    ) -> ClaimPreview:
        """What a claim would hold, what it says twice, and what it cannot hold. Nothing is stored."""
        return registry.preview(request)


def _add_changing(api: APIRouter, registry_dependency: params.Depends, caller_dependency: params.Depends) -> None:
    @api.post("/claims/{claim_id}/withdraw")
    def withdraw_claim(
        claim_id: str,
        registry: Annotated[Registry, registry_dependency],
        key: Annotated[ApiKey | None, caller_dependency],
        body: Annotated[SecretBody | None, Body(openapi_examples=SECRET_EXAMPLES)] = None,
    ) -> Claim:
        """Take a claim back, for ever; the log keeps both. Again changes nothing."""
        account_id = account_of(key, "claims:write")
        return registry.withdraw_own(claim_id, account_id=account_id, secret=body.secret if body else None)

    @api.post("/claims/{claim_id}/adopt")
    def adopt_claim(
        claim_id: str,
        registry: Annotated[Registry, registry_dependency],
        key: Annotated[ApiKey | None, caller_dependency],
        body: Annotated[SecretBody, Body(openapi_examples=SECRET_EXAMPLES)],
    ) -> Claim:
        """Move a claim that was made without an account into yours. Again changes nothing."""
        return registry.adopt(claim_id, needed_account(key, "claims:write"), secret=body.secret or "")


def _add_reading(api: APIRouter, registry_dependency: params.Depends, caller_dependency: params.Depends) -> None:
    @api.get("/claims")
    def list_claims(
        registry: Annotated[Registry, registry_dependency],
        key: Annotated[ApiKey | None, caller_dependency],
        cursor: Annotated[str | None, Query(max_length=100, description="`next_cursor` of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = MAX_PAGE,
    ) -> ClaimPage:
        """The claims of your account, newest first."""
        return registry.claims_of(needed_account(key, "claims:read"), cursor=cursor, limit=limit)

    @api.get("/claims/{claim_id}")
    def get_claim(claim_id: str, registry: Annotated[Registry, registry_dependency]) -> Claim:
        """A claim as it stands. Personal data is not part of it."""
        return registry.claim(claim_id)

    @api.get("/receipts/{claim_id}")
    def get_receipt(claim_id: str, registry: Annotated[Registry, registry_dependency]) -> dict[str, Any]:
        """Every log entry about a claim, with proofs (heldout-receipt/1). Check it with `heldout verify`."""
        return registry.receipt(claim_id)


def account_of(key: ApiKey | None, scope: Scope) -> str | None:
    """The account a key acts for; None without a key. Raises AccessError: the key may not do this."""
    return None if key is None else needed_account(key, scope)


def needed_account(key: ApiKey | None, scope: Scope) -> str:
    """The account a key acts for, where there is no doing without.

    Raises:
        HTTPException: 401, there is no key.
        AccessError: the key may not do this.
    """
    if key is None:
        raise _unauthorised("Give a key of your account: Authorization: Bearer heldout_...")
    if scope not in key.scopes:
        raise AccessError(f"key {key.prefix} has not the scope {scope}: make one that has on your account's page")
    return key.account_id


def _unauthorised(detail: str) -> HTTPException:
    return HTTPException(401, detail, headers={"WWW-Authenticate": "Bearer"})
