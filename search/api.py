"""HTTP routes of search: parse, call one method of the engine off the event loop, return a record.

Errors are `heldout.errors`; the application maps them to problem+json. Generations change under a running server, so
whatever is cached for ever carries the generation's number in its address. Answers are written by pydantic directly:
validating our own records again would cost as much as the search.
"""

from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.openapi.models import Example
from pydantic import BaseModel

from heldout.errors import InputError, NotFoundError
from heldout.fetching import Fetcher
from heldout.records import CheckResult, DatasetInfo, HitLabel, Safety, Sample, SearchFilters, SearchResult
from search.checking import check_copies, query_of
from search.engine import DEFAULT_K, MAX_K, PageOptions, SearchEngine
from search.picks import parse_picks
from search.remote import picture_of
from search.turns import in_turn
from search.uploads import FIELD, URL_FIELD, read_upload

MAX_ID: Final = 2**63 - 1

PICK_FIELD: Final = "pick"


def _examples(**values: str) -> dict[str, Example]:
    return {name: {"summary": name.replace("_", " "), "value": value} for name, value in values.items()}


K = Annotated[int, Query(ge=1, le=MAX_K, description="Groups a page; exact and near hits come on top.")]
Datasets = Annotated[list[str] | None, Query(description="Only in this data set; repeat for several. All by default.")]
CursorText = Annotated[str | None, Query(description="`next_cursor` of the page before.", max_length=4_096)]
Number = Annotated[int | None, Query(ge=0, description="Generation that the id is from, as search answered it.")]
SampleId = Annotated[int, Path(ge=0, le=MAX_ID)]
Text = Annotated[
    str | None,
    Query(
        description="What the picture shows, or a name. A quoted phrase must stand in the caption.",
        openapi_examples=_examples(what_it_shows="red car", a_name="Jane Doe", a_phrase='boat "at sea"', kana="海の絵"),
    ),
]
Url = Annotated[
    str | None,
    Query(
        description="A picture's address, however written.",
        openapi_examples=_examples(address="https://jane.example/art/1.png", without_scheme="jane.example/art/1.png"),
    ),
]
Site = Annotated[
    str | None,
    Query(
        description="A host with its subdomains, or a profile's path.",
        openapi_examples=_examples(host="jane.example", profile="pins.example/jane/"),
    ),
]
Caption = Annotated[
    str | None,
    Query(
        description="Words of the caption; a quoted phrase as it stands.",
        openapi_examples=_examples(words="castle by jane doe", phrase='"jane doe"'),
    ),
]

_PROBLEM: Final = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong, which one, and what to do."},
    },
}


def _problems(**why: str) -> dict[int | str, dict[str, Any]]:
    content = {"application/problem+json": {"schema": _PROBLEM}}
    return {int(status.removeprefix("s")): {"description": words, "content": content} for status, words in why.items()}


_SEARCHED: Final = _problems(
    s404="No such data set",
    s409="The cursor's index is gone: ask for the first page",
    s422="The question, a filter or the cursor cannot be used",
    s503="Too many questions at once: try again",
)

_SEARCHED_WITH: Final = _SEARCHED | _problems(s413="The picture is over the limit: a smaller copy finds the same")


def _form(description: str, **fields: dict[str, Any]) -> dict[str, Any]:
    properties = {
        FIELD: {"type": "string", "format": "binary", "description": "The picture's file."},
        URL_FIELD: {"type": "string", "description": "Or the address to fetch it from."},
        **fields,
    }
    form = {"schema": {"type": "object", "properties": properties}}
    return {"requestBody": {"required": True, "description": description, "content": {"multipart/form-data": form}}}


_PICK: Final = {
    "type": "array",
    "items": {"type": "string"},
    "description": "Samples of an answer, as `dataset@generation:id,id`; repeat for several data sets.",
}


def filters_of(
    *,
    host: Annotated[
        list[str] | None,
        Query(
            description="Only from this host or its subdomains; repeat for several.",
            openapi_examples={"host": {"value": ["pins.example"]}},
        ),
    ] = None,
    min_width: Annotated[int | None, Query(ge=1, description="In pixels; unknown widths are left out.")] = None,
    min_height: Annotated[int | None, Query(ge=1, description="In pixels; unknown heights are left out.")] = None,
    label: Annotated[
        list[HitLabel] | None,
        Query(
            description="Only with this label; repeat for several.",
            openapi_examples={"sure": {"value": ["exact", "near"]}},
        ),
    ] = None,
    safety: Annotated[Safety, Query(description="By the data set's own columns.")] = "any",
    not_opted_out: Annotated[bool, Query(description="Only what no opt-out covers yet.")] = False,
) -> SearchFilters:
    """The filters of a question. They choose hits: a card that is shown still lists every copy of its picture."""
    return SearchFilters(
        hosts=tuple(host or ()),
        min_width=min_width,
        min_height=min_height,
        labels=tuple(label or ()),
        safety=safety,
        not_opted_out=not_opted_out,
    )


def _options(
    filters: Annotated[SearchFilters, Depends(filters_of)],
    dataset: Datasets = None,
    k: K = DEFAULT_K,
    cursor: CursorText = None,
) -> PageOptions:
    return PageOptions(k=k, datasets=dataset, cursor=cursor, filters=filters)


Options = Annotated[PageOptions, Depends(_options)]


def router(get_engine: Callable[..., SearchEngine], get_fetcher: Callable[..., Fetcher]) -> APIRouter:
    """The routes, on the engine and the fetcher that the two dependencies give for each request."""
    routes = APIRouter(tags=["search"])
    Engine = Annotated[SearchEngine, Depends(get_engine)]  # noqa: N806 - a type
    Fetch = Annotated[Fetcher, Depends(get_fetcher)]  # noqa: N806 - a type

    @routes.get(
        "/v1/search",
        summary="Search by text, address, site or caption",
        response_model=SearchResult,
        responses=_SEARCHED,
    )
    def search(
        *,
        engine: Engine,
        options: Options,
        text: Text = None,
        url: Url = None,
        site: Site = None,
        caption: Caption = None,
    ) -> Response:
        """Hits labelled by how sure they are, with evidence, copies of one picture grouped. Give one question."""
        doors = (
            (engine.search_text, text),
            (engine.search_url, url),
            (engine.search_site, site),
            (engine.search_caption, caption),
        )
        asked = [(door, question) for door, question in doors if question is not None]
        if len(asked) != 1:
            raise InputError(f"{len(asked)} questions were asked: give exactly one of text, url, site or caption")
        door, question = asked[0]
        return _json(door(question, **options))

    @routes.post(
        "/v1/search",
        summary="Search by picture",
        response_model=SearchResult,
        responses=_SEARCHED_WITH,
        openapi_extra=_form("A picture, as a file or by its address."),
    )
    async def search_picture(request: Request, engine: Engine, fetcher: Fetch, options: Options) -> Response:
        """Copies of a picture, exact and near, then what looks alike. The picture is neither stored nor logged."""
        data = await picture_of(await read_upload(request), fetcher)
        return await in_turn(lambda: _json(engine.search_picture(data, **options)))

    @routes.post(
        "/v1/search/check",
        summary="Check which similar, unverified hits are copies",
        response_model=CheckResult,
        responses=_SEARCHED_WITH,
        openapi_extra=_form("The picture of the search, and hits that are `unverified`.", **{PICK_FIELD: _PICK}),
    )
    async def check(request: Request, engine: Engine, fetcher: Fetch) -> Response:
        """Fetches just these samples' pictures and compares them: bytes, PDQ, geometry. Nothing is stored."""
        upload = await read_upload(request)
        picks = parse_picks(upload.fields.get(PICK_FIELD, ()))
        data = await picture_of(upload, fetcher)
        query = await in_turn(lambda: query_of(data))
        return _json(await check_copies(engine, fetcher, query, picks))

    @routes.get("/v1/datasets", summary="Data sets that can be searched")
    def datasets(engine: Engine) -> list[DatasetInfo]:
        return engine.datasets()

    @routes.get("/v1/samples/{dataset}/{sample_id}", summary="One sample")
    def sample(engine: Engine, dataset: str, sample_id: SampleId, generation: Number = None) -> Sample:
        return engine.samples(dataset, [sample_id], generation=generation)[0]

    @routes.get(
        "/v1/thumbnails/{dataset}/{name}",
        summary="A sample's thumbnail, `{id}.webp`",
        response_class=Response,
        responses={200: {"content": {"image/webp": {}}}, 304: {"description": "Not changed"}},
    )
    def thumbnail(request: Request, engine: Engine, dataset: str, name: str, generation: Number = None) -> Response:
        webp, number = engine.thumbnail(dataset, _thumbnail_id(name), generation=generation)
        etag = f'"{number}-{name}"'
        headers = {
            "ETag": etag,
            "Cache-Control": "no-cache" if generation is None else "public, max-age=31536000, immutable",
        }
        if etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(webp, media_type="image/webp", headers=headers)

    return routes


def _json(record: BaseModel) -> Response:
    return Response(record.model_dump_json(), media_type="application/json")


def _thumbnail_id(name: str) -> int:
    stem, dot, suffix = name.partition(".")
    if not (stem.isascii() and stem.isdecimal() and len(stem) < len(str(MAX_ID))) or dot + suffix != ".webp":
        raise NotFoundError(f"there is no thumbnail {name[:100]!r}: ask for a sample's id and .webp")
    return int(stem)
