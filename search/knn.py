"""clip-retrieval's kNN service on our indexes, so that its clients work unmodified: same routes, fields and order.

Differences, all in the searcher's favour: copies of a query picture by bytes or PDQ are never hidden by `deduplicate`
or `use_safety_model` (those two act on the rest, from embeddings and the data set's own columns), counts over the
limit are capped, and what cannot be done is an error with a message. There is no aesthetic and no violence model:
those options change nothing. Bodies are parsed by hand because the clients send JSON with no or another Content-Type,
and off the event loop because a picture in base64 takes its time. Errors carry `message`, where the clients look,
besides what problem+json says.
"""

import base64
import binascii
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Annotated, Any, Final

import faiss
import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from heldout.errors import HeldoutError, InputError
from heldout.fetching import Fetcher
from heldout.pictures import decode_picture, fingerprint_image
from heldout.records import Sample
from indexer.generation import Generation
from search.engine import SearchEngine
from search.picture import MAX_PICTURE_BYTES, near_copies, same_bytes
from search.query_encoder import QueryEncoder
from search.reading import Reading
from search.remote import fetch_picture
from search.turns import in_turn
from search.words import parse_query

MAX_RESULTS: Final = 10_000
"""Most results of one answer: what clip-front asks for when it downloads."""

DUPLICATE_COSINE: Final = 0.94
"""clip-retrieval's threshold of "the same picture"."""

MAX_BODY_BYTES: Final = 2 * MAX_PICTURE_BYTES  # base64 and the other fields

ALL_PAIRS_UP_TO: Final = 2_000
"""Results of which each is compared with each; more are put into cells first, so that time does not grow with their
square. Two pictures over the threshold nearly always share a cell or are in neighbouring ones."""
_CELLS_LOOKED_AT: Final = 8
_CELL_ROUNDS: Final = 4
_NEIGHBOURS: Final = 32

_CORS: Final = {"Access-Control-Allow-Origin": "*"}
_PREFLIGHT: Final = {
    **_CORS,
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "Content-Type",
    "Access-Control-Max-Age": "86400",
}


@dataclass(frozen=True)
class KnnRequest:
    """One question in clip-retrieval's words. Of text, image, image_url and embedding, the first that is set, alone."""

    dataset: str
    n_images: int
    """Results that carry metadata."""
    n_ids: int
    """Results in all; those after the first `n_images` carry id and similarity only."""
    text: str | None
    image: bytes | None
    image_url: str | None
    embedding: npt.NDArray[np.float32] | None
    deduplicate: bool
    safe: bool


def parse_knn_request(body: bytes) -> KnnRequest:
    """Read a request as clip-retrieval's server does: nulls are absent, counts are capped.

    Raises:
        InputError: not JSON, a required field is missing, or nothing is asked.
    """
    fields = _json_object(body)
    for name in ("modality", "num_images", "indice_name"):
        if fields.get(name) is None:
            raise InputError(f"the request lacks {name!r}: give modality, num_images and indice_name")
    if fields["modality"] != "image":
        raise InputError(f"modality {str(fields['modality'])[:20]!r} is not indexed here: ask for 'image'")
    n_images = _count(fields, "num_images", None)
    text, image, image_url, embedding = fields.get("text"), None, None, None
    # What comes later in this order is not even read: clients send their leftovers along.
    if text := None if text is None else str(text):
        text = parse_query(text).text
    elif encoded := fields.get("image"):
        image = _decode_image(encoded)
    elif address := fields.get("image_url"):
        image_url = str(address)
    elif (numbers := fields.get("embedding_input")) is not None:
        embedding = _unit_row(numbers)
    else:
        raise InputError("nothing is asked: give text, image, image_url or embedding_input")
    return KnnRequest(
        dataset=str(fields["indice_name"]),
        n_images=n_images,
        n_ids=max(n_images, _count(fields, "num_result_ids", n_images)),
        text=text or None,
        image=image,
        image_url=image_url,
        embedding=embedding,
        deduplicate=bool(fields.get("deduplicate")),
        safe=bool(fields.get("use_safety_model")),
    )


def answer_knn(generation: Generation, encoder: QueryEncoder, asked: KnnRequest) -> list[dict[str, Any]]:
    """Results of one generation, most similar first, as clip-retrieval words them.

    Raises:
        InputError: the picture cannot be decoded, or the embedding has another length.
    """
    kept: set[int] = set()
    if asked.text is not None:
        embedding = encoder.embed_texts([asked.text])
    elif asked.image is not None:
        embedding, kept = _embed_image(generation, encoder, asked.image)
    else:
        embedding = asked.embedding if asked.embedding is not None else np.zeros((1, 0), dtype=np.float32)
        if embedding.shape != (1, generation.d):
            raise InputError(f"embedding_input has {embedding.shape[1]} numbers: this index needs {generation.d}")
    scores, ids = generation.search_embedding(embedding, asked.n_ids, kind="image" if asked.text is None else "text")
    found = {sample: score for score, sample in zip(scores[0].tolist(), ids[0].tolist(), strict=True) if sample >= 0}
    found = _with_copies(generation, embedding, found, kept)
    hidden = _duplicates(generation, list(found)) if asked.deduplicate else set()
    if asked.safe:
        hidden |= {sample.id for sample in generation.samples(list(found)) if sample.unsafe}
    shown = [sample for sample in found if sample in kept or sample not in hidden]
    wanted = [sample for place, sample in enumerate(shown) if place < asked.n_images or sample in kept]
    described = {sample.id: _metadata(sample) for sample in generation.samples(wanted)}
    return [{**described.get(sample, {}), "id": sample, "similarity": found[sample]} for sample in shown]


def router(get_engine: Callable[..., SearchEngine], get_fetcher: Callable[..., Fetcher]) -> APIRouter:
    """clip-retrieval's routes, on the engine and the fetcher that the two dependencies give."""
    routes = APIRouter(tags=["clip-retrieval"])
    Engine = Annotated[SearchEngine, Depends(get_engine)]  # noqa: N806 - a type
    Fetch = Annotated[Fetcher, Depends(get_fetcher)]  # noqa: N806 - a type

    @routes.get("/indices-list", summary="Names of the data sets")
    def indices_list(engine: Engine) -> Response:
        return _json([dataset.name for dataset in engine.datasets()])

    @routes.post("/knn-service", summary="Nearest samples of a text, picture or embedding")
    async def knn_service(request: Request, engine: Engine, fetcher: Fetch) -> Response:
        async def answer() -> Response:
            asked = await run_in_threadpool(parse_knn_request, await _body(request))
            if asked.image_url is not None:
                asked = replace(asked, image=await fetch_picture(fetcher, asked.image_url))
            run = run_in_threadpool if asked.image is None else in_turn
            return await run(lambda: _json(_knn(engine, asked)))

        return await _told(answer())

    @routes.post("/metadata", summary="Metadata of samples by id")
    async def metadata(request: Request, engine: Engine) -> Response:
        async def answer() -> Response:
            return await run_in_threadpool(_metadata_of, engine, await _body(request))

        return await _told(answer())

    @routes.options("/indices-list", include_in_schema=False)
    @routes.options("/knn-service", include_in_schema=False)
    @routes.options("/metadata", include_in_schema=False)
    async def preflight() -> Response:
        return Response(status_code=HTTPStatus.NO_CONTENT, headers=_PREFLIGHT)

    return routes


async def _told(answer: Awaitable[Response]) -> Response:
    """The answer, or the caller's mistake in the form that clip-retrieval's clients show."""
    try:
        return await answer
    except HeldoutError as error:
        if error.http_status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
        status = HTTPStatus(error.http_status)
        told = {"type": "about:blank", "title": status.phrase, "status": int(status), "detail": str(error)}
        return _json(told | {"message": str(error)}, status, "application/problem+json")


def _json(value: object, status: int = 200, media_type: str = "application/json") -> Response:
    content = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Response(content.encode("utf-8", "replace"), status, headers=_CORS, media_type=media_type)


def _metadata_of(engine: SearchEngine, body: bytes) -> Response:
    fields = _json_object(body)
    ids, name = fields.get("ids"), fields.get("indice_name")
    if not isinstance(ids, list) or not all(type(each) is int for each in ids) or not isinstance(name, str):
        raise InputError("the request needs ids (a list of integers) and indice_name")
    samples = engine.samples(name, ids[:MAX_RESULTS])
    return _json([{"id": each.id, "metadata": _metadata(each)} for each in samples])


def _knn(engine: SearchEngine, asked: KnnRequest) -> list[dict[str, Any]]:
    with engine.generation(asked.dataset) as generation:
        return answer_knn(generation, engine.encoder, asked)


def _embed_image(
    generation: Generation, encoder: QueryEncoder, data: bytes
) -> tuple[npt.NDArray[np.float32], set[int]]:
    """The picture's embedding, and its proved copies."""
    image = decode_picture(data)
    query = fingerprint_image(image, data)
    only = Reading({generation.dataset: generation})
    copies = {each.ref.id for each in (*same_bytes(only, query.sha256), *near_copies(only, query))}
    return encoder.embed_images([image]), copies


def _with_copies(
    generation: Generation, embedding: npt.NDArray[np.float32], found: dict[int, float], copies: set[int]
) -> dict[int, float]:
    """Samples and cosines, best first, with every proved copy among them, however many results were asked for."""
    missing = sorted(copies - found.keys())
    if not missing:
        return found
    cosines = np.nan_to_num(generation.embeddings(missing) @ embedding[0])
    joined = found | dict(zip(missing, cosines.tolist(), strict=True))
    return dict(sorted(joined.items(), key=lambda each: -each[1]))


def _duplicates(generation: Generation, ids: list[int]) -> set[int]:
    """All but the most similar of each set connected by cosine above the threshold; `ids` are best first."""
    rows = generation.embeddings(ids)
    neighbours = _all_pairs(rows) if len(ids) <= ALL_PAIRS_UP_TO else _nearest_pairs(rows)
    seen: set[int] = set()
    hidden: set[int] = set()
    for position in range(len(ids)):
        if position in seen:
            continue
        seen.add(position)
        ring = [position]
        while ring:
            ring = list({other for place in ring for other in neighbours(place).tolist()} - seen)
            seen.update(ring)
            hidden.update(ring)
    return {ids[position] for position in hidden}


Neighbours = Callable[[int], npt.NDArray[np.int64]]
"""Positions of the rows over the threshold with the row at a position."""


def _all_pairs(rows: npt.NDArray[np.float32]) -> Neighbours:
    alike = rows @ rows.T > DUPLICATE_COSINE
    return lambda place: np.flatnonzero(alike[place])


def _nearest_pairs(rows: npt.NDArray[np.float32]) -> Neighbours:
    """By the nearest rows of each, within its own cell and those around it."""
    n, d = rows.shape
    cells = faiss.IndexIVFFlat(faiss.IndexFlatIP(d), d, int(n**0.5), faiss.METRIC_INNER_PRODUCT)
    cells.cp.niter, cells.nprobe = _CELL_ROUNDS, _CELLS_LOOKED_AT
    cells.train(rows)
    cells.add(rows)
    cosines, nearest = cells.search(rows, _NEIGHBOURS)
    # Both ways: a row in a crowd is near to one whose own nearest are others.
    ones, columns = np.nonzero((cosines > DUPLICATE_COSINE) & (nearest >= 0))
    others = nearest[ones, columns]
    starts, ends = np.concatenate([ones, others]), np.concatenate([others, ones])
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], ends[order]
    limits = np.searchsorted(starts, np.arange(n + 1))
    return lambda place: ends[limits[place] : limits[place + 1]]


def _metadata(sample: Sample) -> dict[str, Any]:
    """A sample's columns under the names that LAION's metadata and its clients use."""
    return {
        "url": sample.url,
        "caption": sample.caption,
        "key": sample.key,
        "width": sample.width,
        "height": sample.height,
    }


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise InputError(f"the request is larger than {MAX_BODY_BYTES} bytes: send a smaller picture")
    return bytes(body)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InputError("the request is not JSON: send one object") from error
    if not isinstance(fields, dict):
        raise InputError("the request is not a JSON object: send one")
    return fields


def _count(fields: dict[str, Any], name: str, default: int | None) -> int:
    value = fields.get(name)
    if value is None and default is not None:
        return default
    try:
        return min(max(int(value), 1), MAX_RESULTS)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{name} is {str(value)[:20]!r}: give a whole number") from error


def _decode_image(encoded: object) -> bytes:
    try:
        return base64.b64decode(str(encoded).partition("base64,")[2] or str(encoded), validate=False)
    except (binascii.Error, ValueError) as error:
        raise InputError("image is not base64: send the file's bytes encoded so") from error


def _unit_row(numbers: object) -> npt.NDArray[np.float32]:
    try:
        row = np.asarray(numbers, dtype=np.float32).reshape(1, -1)
    except (TypeError, ValueError) as error:
        raise InputError("embedding_input is not a list of numbers") from error
    length = float(np.linalg.norm(row))
    if not np.isfinite(length) or length == 0:
        raise InputError("embedding_input is no direction: give finite numbers that are not all 0")
    return row / np.float32(length)
