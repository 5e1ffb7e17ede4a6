"""Questions about the list over HTTP: Spawning's own form, many addresses, single items, private ranges.

A key is never needed and never limited; without one, an address of the network has an allowance. docs/online.md tells
callers, and what the server learns by each way of asking.
"""

import hashlib
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Body, Depends, Path, Query, Request, Response
from fastapi.openapi.models import Example
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from heldout.errors import NotFoundError, TooOftenError
from heldout.lookup_records import LookupRequest, LookupResult, RangeFacts, RangeSpaceFacts
from heldout.lookups import list_facts, look_up
from heldout.records import Assurance
from registry.api import account_of
from registry.bulk import MAX_BITMAP_LINES, MAX_JSON_LINES, Answered, answer_bitmap, answer_json, count_lines
from registry.online import OnlineList, OnlineLists
from web.visitors import client_digest

if TYPE_CHECKING:
    from registry.service import Registry
    from web.rates import Allowances

OPEN_PATHS: Final = ("/api/v2/query/urls", "/v1/check", "/v1/range")
"""Where scripts of any site may ask."""
OPEN_HEADERS: Final = (
    "Heldout-List-Version",
    "Heldout-List-Manifest",
    "Heldout-Lines",
    "Heldout-Unreadable",
    "Retry-After",
)
RANGE_LIFETIME: Final = "public, max-age=300, no-transform"
"""No compression on the way: its size would tell padding from entries."""

_NO_STORE: Final = {"Cache-Control": "no-store"}
_PDQ = "f8f8f0cee0f4a84f06370a22038f63f0b36e2ed596621e1d33e6b39c4e9c9b22"
LOOKUP_EXAMPLES: dict[str, Example] = {
    "address": {
        "summary": "One address",
        "value": {"urls": ["https://jane.example/art/castle.jpg"]},
    },
    "picture": {
        "summary": "A picture, by its fingerprints",
        "value": {"sha256": ["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]}
        | {"pdq": [{"pdq": [_PDQ], "quality": 100}]},
    },
    "proved": {
        "summary": "Only what somebody proved to be theirs",
        "value": {"urls": ["https://jane.example/", "https://art.example/jane/1.png"], "min_assurance": "account"},
    },
}
LINES_EXAMPLES: dict[str, Example] = {
    "lines": {
        "summary": "Addresses, one a line, not percent-encoded any further",
        "value": "https://jane.example/art/castle.jpg\nhttps://elsewhere.example/\u00e9xample.png",
    },
}
_PROBLEM: Final[dict[str, Any]] = {"content": {"application/problem+json": {}}}
_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    401: {"description": "The key is wrong, has ended or was removed; or this server answers keys only.", **_PROBLEM},
    403: {"description": "The key has not the scope `list:check`.", **_PROBLEM},
    413: {"description": "Too many lines, or too many bytes.", **_PROBLEM},
    422: {"description": "Something that does not fit, and what.", **_PROBLEM},
    429: {"description": "Without a key: asked too much. Never with a key. `Retry-After` says when.", **_PROBLEM},
    503: {"description": "No list is at hand here yet.", **_PROBLEM},
}

MinAssurance = Annotated[Assurance, Query(description="Leave out what is proved less well than this.")]
routes = APIRouter(tags=["list"])


async def get_lists(request: Request) -> OnlineLists:  # not waited for in a thread, as all here that is quick
    """The list that is held."""
    lists: OnlineLists = request.app.state.lists
    return lists


class Caller:
    """Who asks: somebody with a key, or an address of the network."""

    def __init__(self, request: Request) -> None:
        state = request.app.state
        self._given = request.headers.get("authorization", "")
        self._registry: Registry = state.registry
        self._client = client_digest(request, state.settings)
        self._allowances: Allowances | None = state.allowances

    def admit(self, n: int) -> None:
        """Let n questions pass. Reads the database where there is a key.

        Raises:
            HTTPException: 401, the key does not work, or there is none and one is needed here.
            AccessError: the key is for other things.
            TooOftenError: there is no key, and the allowance is used up.
        """
        scheme, _, text = self._given.strip().partition(" ")
        text = text.strip()
        if text or scheme.lower() not in {"", "api"}:  # datadiligence sends "API " when it has no key
            key = self._registry.accounts.check_key(text) if scheme.lower() in {"api", "bearer"} else None
            if key is None:
                raise _unauthorised("This key is wrong, has ended or was removed: make one on your account's page.")
            account_of(key, "list:check")
            return
        if self._allowances is None:
            raise _unauthorised("This server answers with a key only: make one on your account's page.")
        wait = self._allowances.take(self._client, n)
        if wait:
            raise TooOftenError(
                f"without a key you have asked as much as you may for now: ask again in {wait} seconds, or make a key "
                "on your account's page, which has no limit",
                retry_after_s=wait,
            )


async def get_caller(request: Request) -> Caller:
    """Who asks."""
    return Caller(request)


ListsDep = Annotated[OnlineLists, Depends(get_lists)]
CallerDep = Annotated[Caller, Depends(get_caller)]


def lines_body(limit: int) -> dict[str, Any]:
    """How a body of lines is described."""
    description = f"Up to {limit:,} addresses, UTF-8, separated by line ends: n - 1 line ends make n lines."
    content = {"schema": {"type": "string"}, "examples": dict(LINES_EXAMPLES)}
    return {"requestBody": {"required": True, "description": description, "content": {"text/plain": content}}}


@routes.post(
    "/api/v2/query/urls/",
    openapi_extra=lines_body(MAX_JSON_LINES),
    responses={200: {"description": "One answer per line, in order."}, **_REFUSALS},
    response_model=None,
)
async def query_urls(
    request: Request, lists: ListsDep, caller: CallerDep, min_assurance: MinAssurance = "declared"
) -> Response:
    """Which addresses are opted out, in the form of Spawning's API: `datadiligence` works once its address is set here.

    `{"urls": [{"url": ..., "optOut": true, "optIn": false}, ...]}`: one answer a line, in the order asked, repeated
    lines repeated, `url` byte for byte as it was sent. `optOut` holds whatever `optIn` says; that is an explicit grant.
    A line that is no address has `"unreadable": true` besides, and is not known to be opted out.
    The key goes into `Authorization: API heldout_...`.
    """
    body = await request.body()

    def answer() -> Response:
        caller.admit(count_lines(body, MAX_JSON_LINES))
        held = newest(lists)
        exclusions = held.exclusions
        answered = answer_json(exclusions, exclusions.grants, body, min_assurance)
        return _lines_answer(answered, held, "application/json")

    return await run_in_threadpool(answer)


@routes.post(
    "/v1/check/bulk",
    openapi_extra=lines_body(MAX_BITMAP_LINES),
    responses={200: {"description": "Bits.", "content": {"application/octet-stream": {}}}, **_REFUSALS},
    response_model=None,
)
async def check_bulk(
    request: Request, lists: ListsDep, caller: CallerDep, min_assurance: MinAssurance = "declared"
) -> Response:
    """Which of up to 100,000 addresses are opted out, as bits: the fastest way to ask a server.

    Bit i % 8, counted from the lowest, of byte i // 8 is 1 where line i is opted out, as in Arrow's bitmaps; what is
    left over of the last byte is 0. `Heldout-Lines` repeats the number of lines; `Heldout-Unreadable` says how many of
    them are no address, and so are not known to be opted out. Bytes that are no UTF-8 make an unreadable line.
    """
    body = await request.body()

    def answer() -> Response:
        caller.admit(count_lines(body, MAX_BITMAP_LINES))
        held = newest(lists)
        return _lines_answer(answer_bitmap(held.exclusions, body, min_assurance), held, "application/octet-stream")

    return await run_in_threadpool(answer)


@routes.post("/v1/check", responses=_REFUSALS)
def check(
    question: Annotated[LookupRequest, Body(openapi_examples=LOOKUP_EXAMPLES)],
    response: Response,
    lists: ListsDep,
    caller: CallerDep,
) -> LookupResult:
    """Which of up to 1,000 addresses and pictures are opted out, by which entry, how well proved, and since when.

    The server learns what is asked, and keeps none of it. To ask without telling: `/v1/range`, or pull the list.
    """
    caller.admit(len(question.urls) + len(question.sha256) + len(question.pdq))
    held = newest(lists)
    response.headers.update(held.headers | _NO_STORE)
    return look_up(held.exclusions, question)


@routes.get("/v1/range", responses={503: _REFUSALS[503]})
def range_facts(response: Response, lists: ListsDep) -> RangeFacts:
    """How to look up privately now: how many digits to ask with, and which files to fetch whole."""
    held = newest(lists)
    response.headers.update(held.headers | {"Cache-Control": RANGE_LIFETIME})
    version = held.exclusions.version
    files = version.manifest.files
    return RangeFacts(
        exclusion_list=list_facts(version),
        manifest_path=f"/list/targets/{version.manifest_sha256.hex()}.manifest.json",
        url=_space_facts(
            held, "url", "/v1/range/", "SHA-256 of the canonical address (heldout-url/1), its first 64 bits"
        ),
        sha256=_space_facts(held, "sha256", "/v1/range/sha256/", "SHA-256 of the picture's file"),
        files={
            name: f"/list/files/{file.sha256.hex()}.parquet"
            for name, file in files.items()
            if not name.startswith("urls/")
        },
    )


Prefix = Annotated[str, Path(description="The first hexadecimal digits of the digest; `/v1/range` says how many.")]
_LINES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "`SUFFIX:CODE:SINCE` lines.", "content": {"text/plain": {}}},
    422: _REFUSALS[422],
    429: _REFUSALS[429],
    503: _REFUSALS[503],
}


@routes.get("/v1/range/{prefix}", responses=_LINES, response_model=None)
def url_range(request: Request, prefix: Prefix, lists: ListsDep, caller: CallerDep) -> Response:
    """All addresses of the list whose digest begins so, and padding: every answer of a list has the same length.

    Lines are in order; `SUFFIX` completes the prefix to the first 64 bits of the digest. `CODE` is one digit: 1
    (declared) to 5 (reviewed) of an opt-out, 6 to a likewise of a grant, 0 of padding. Compare at home: the server does
    not learn which address was meant. Hosts and folders are not here: their names are public, in files that
    `/v1/range` names.
    """
    return _range(request, "url", prefix, lists, caller)


@routes.get("/v1/range/sha256/{prefix}", responses=_LINES, response_model=None)
def picture_range(request: Request, prefix: Prefix, lists: ListsDep, caller: CallerDep) -> Response:
    """All pictures of the list whose file's SHA-256 begins so, and padding; lines as in `/v1/range/{prefix}`.

    Copies cannot be asked for by range: near fingerprints share no prefix. For those fetch the file of pictures whole.
    """
    return _range(request, "sha256", prefix, lists, caller)


def newest(lists: OnlineLists) -> OnlineList:
    """The list that answers.

    Raises:
        HTTPException: 503, there is none yet: nothing here may be taken for "not opted out".
    """
    try:
        return lists.newest()
    except NotFoundError as error:
        detail = "No list is at hand here yet, so nothing can be looked up. Ask again later."
        raise HTTPException(503, detail, headers={"Retry-After": "30"}) from error


def _lines_answer(answered: Answered, held: OnlineList, media_type: str) -> Response:
    counts = {"Heldout-Lines": str(answered.n_lines), "Heldout-Unreadable": str(answered.n_unreadable)}
    return Response(answered.content, media_type=media_type, headers=held.headers | counts | _NO_STORE)


def _space_facts(held: OnlineList, name: str, path: str, digest: str) -> RangeSpaceFacts:
    shape = held.spaces[name].shape
    return RangeSpaceFacts(
        path=path,
        digest=digest,
        prefix_chars=shape.prefix_chars,
        suffix_chars=shape.suffix_chars,
        n_lines=shape.n_lines,
    )


def _range(request: Request, space: str, prefix: str, lists: OnlineLists, caller: Caller) -> Response:
    caller.admit(1)
    held = newest(lists)
    content = held.spaces[space].answer(prefix)
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = held.headers | {"Cache-Control": RANGE_LIFETIME, "ETag": tag}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type="text/plain; charset=us-ascii", headers=headers)


def _unauthorised(detail: str) -> HTTPException:
    return HTTPException(401, detail, headers={"WWW-Authenticate": 'Bearer realm="heldout", API realm="heldout"'})
