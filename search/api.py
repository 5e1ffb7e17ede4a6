"""HTTP routes of search: parse, call one method of the engine off the event loop, return a record.

Errors are `heldout.errors`; the application maps them to problem+json. Generations change under a running server, so
whatever is cached for ever carries the generation's number in its address.
"""

from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from heldout.errors import InputError, NotFoundError
from heldout.records import DatasetInfo, Sample, SearchResult
from search.engine import DEFAULT_K, MAX_K, SearchEngine
from search.uploads import FIELD, read_picture

MAX_ID: Final = 2**63 - 1

K = Annotated[int, Query(ge=1, le=MAX_K, description="Groups a page; exact and near hits come on top.")]
Datasets = Annotated[list[str] | None, Query(description="Only in this data set; repeat for several. All by default.")]
CursorText = Annotated[str | None, Query(description="`next_cursor` of the page before.", max_length=4_096)]
Number = Annotated[int | None, Query(ge=0, description="Generation that the id is from, as search answered it.")]
SampleId = Annotated[int, Path(ge=0, le=MAX_ID)]

_UPLOAD: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {FIELD: {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}


def router(get_engine: Callable[..., SearchEngine]) -> APIRouter:
    """The routes, on the engine that the dependency `get_engine` gives for each request."""
    routes = APIRouter(tags=["search"])
    Engine = Annotated[SearchEngine, Depends(get_engine)]  # noqa: N806 - a type

    @routes.get("/v1/search", summary="Search by text, address, site or caption")
    def search(
        *,
        engine: Engine,
        text: Annotated[
            str | None, Query(description="What the picture shows, or a name.", examples=["red car"])
        ] = None,
        url: Annotated[str | None, Query(description="A picture's address, however written.")] = None,
        site: Annotated[
            str | None, Query(description="A host with its subdomains, or a profile's path.", examples=["jane.example"])
        ] = None,
        caption: Annotated[str | None, Query(description="Words of the caption; a quoted phrase as it stands.")] = None,
        dataset: Datasets = None,
        k: K = DEFAULT_K,
        cursor: CursorText = None,
    ) -> SearchResult:
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
        return door(question, k=k, datasets=dataset, cursor=cursor)

    @routes.post("/v1/search", summary="Search by picture", openapi_extra=_UPLOAD)
    async def search_picture(
        request: Request,
        engine: Engine,
        dataset: Datasets = None,
        k: K = DEFAULT_K,
        cursor: CursorText = None,
    ) -> SearchResult:
        """Copies of a picture, exact and near, then what looks alike. The picture is neither stored nor logged."""
        data = await read_picture(request)
        return await run_in_threadpool(engine.search_picture, data, k=k, datasets=dataset, cursor=cursor)

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


def _thumbnail_id(name: str) -> int:
    stem, dot, suffix = name.partition(".")
    if not (stem.isascii() and stem.isdecimal() and len(stem) < len(str(MAX_ID))) or dot + suffix != ".webp":
        raise NotFoundError(f"there is no thumbnail {name[:100]!r}: ask for a sample's id and .webp")
    return int(stem)
