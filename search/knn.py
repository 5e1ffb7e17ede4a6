"""clip-retrieval's kNN service on our indexes, so that its clients work unmodified: same routes, fields and order.

Differences, all in the searcher's favour: copies of a query picture are never hidden by `deduplicate` or
`use_safety_model` (those two act on the rest, from embeddings and the data set's own columns), counts over the limit
are capped, and what cannot be done is an error with a message. There is no aesthetic and no violence model: those
options change nothing. Bodies are parsed by hand because the clients send JSON with no or another Content-Type.
"""

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from heldout.errors import InputError
from heldout.pictures import decode_picture, fingerprint_image
from heldout.records import Sample
from indexer.encoder import Encoder
from indexer.generation import Generation
from search.engine import SearchEngine
from search.nearest import TEXT_NPROBE, TEXT_RERANK
from search.picture import MAX_PICTURE_BYTES, near_copies, same_bytes
from search.reading import Reading
from search.words import parse_query

MAX_RESULTS: Final = 10_000
"""Most results of one answer: what clip-front asks for when it downloads."""

DUPLICATE_COSINE: Final = 0.94
"""clip-retrieval's threshold of "the same picture"."""

MAX_BODY_BYTES: Final = 2 * MAX_PICTURE_BYTES  # base64 and the other fields

_CORS: Final = {"Access-Control-Allow-Origin": "*"}


@dataclass(frozen=True)
class KnnRequest:
    """One question in clip-retrieval's words. The first of text, image and embedding that is set is asked."""

    dataset: str
    n_images: int
    """Results that carry metadata."""
    n_ids: int
    """Results in all; those after the first `n_images` carry id and similarity only."""
    text: str | None
    image: bytes | None
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
    image = None
    if encoded := fields.get("image"):
        image = _decode_image(encoded)
    embedding = None
    if fields.get("embedding_input") is not None:
        embedding = _unit_row(fields["embedding_input"])
    text = fields.get("text") or None
    if text is None and image is None and fields.get("image_url"):
        raise InputError("pictures are not fetched from image_url here: send the file's bytes as base64 in image")
    if text is None and image is None and embedding is None:
        raise InputError("nothing is asked: give text, image or embedding_input")
    return KnnRequest(
        dataset=str(fields["indice_name"]),
        n_images=n_images,
        n_ids=max(n_images, _count(fields, "num_result_ids", n_images)),
        text=None if text is None else parse_query(str(text)).text,
        image=image,
        embedding=embedding,
        deduplicate=bool(fields.get("deduplicate")),
        safe=bool(fields.get("use_safety_model")),
    )


def answer_knn(generation: Generation, encoder: Encoder, asked: KnnRequest) -> list[dict[str, Any]]:
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
    of_text = {"nprobe": TEXT_NPROBE, "rerank": max(TEXT_RERANK, asked.n_ids)} if asked.text is not None else {}
    scores, ids = generation.search_embedding(embedding, asked.n_ids, **of_text)
    found = {sample: score for score, sample in zip(scores[0].tolist(), ids[0].tolist(), strict=True) if sample >= 0}
    found = _with_copies(generation, embedding, found, kept)
    hidden = _duplicates(generation, list(found)) if asked.deduplicate else set()
    if asked.safe:
        hidden |= {sample.id for sample in generation.samples(list(found)) if sample.unsafe}
    shown = [sample for sample in found if sample in kept or sample not in hidden]
    wanted = [sample for place, sample in enumerate(shown) if place < asked.n_images or sample in kept]
    described = {sample.id: _metadata(sample) for sample in generation.samples(wanted)}
    return [{**described.get(sample, {}), "id": sample, "similarity": found[sample]} for sample in shown]


def router(get_engine: Callable[..., SearchEngine]) -> APIRouter:
    """clip-retrieval's routes, on the engine that the dependency `get_engine` gives."""
    routes = APIRouter(tags=["clip-retrieval"])
    Engine = Annotated[SearchEngine, Depends(get_engine)]  # noqa: N806 - a type

    @routes.get("/indices-list", summary="Names of the data sets")
    def indices_list(engine: Engine) -> JSONResponse:
        return JSONResponse([dataset.name for dataset in engine.datasets()], headers=_CORS)

    @routes.post("/knn-service", summary="Nearest samples of a text, picture or embedding")
    async def knn_service(request: Request, engine: Engine) -> JSONResponse:
        asked = parse_knn_request(await _body(request))
        return JSONResponse(await run_in_threadpool(_knn, engine, asked), headers=_CORS)

    @routes.post("/metadata", summary="Metadata of samples by id")
    async def metadata(request: Request, engine: Engine) -> JSONResponse:
        fields = _json_object(await _body(request))
        ids, name = fields.get("ids"), fields.get("indice_name")
        if not isinstance(ids, list) or not all(type(each) is int for each in ids) or not isinstance(name, str):
            raise InputError("the request needs ids (a list of integers) and indice_name")
        samples = await run_in_threadpool(engine.samples, name, ids[:MAX_RESULTS])
        return JSONResponse([{"id": each.id, "metadata": _metadata(each)} for each in samples], headers=_CORS)

    return routes


def _knn(engine: SearchEngine, asked: KnnRequest) -> list[dict[str, Any]]:
    with engine.generation(asked.dataset) as generation:
        return answer_knn(generation, engine.encoder, asked)


def _embed_image(generation: Generation, encoder: Encoder, data: bytes) -> tuple[npt.NDArray[np.float32], set[int]]:
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
    hidden = np.zeros(len(ids), dtype=bool)
    seen = np.zeros(len(ids), dtype=bool)
    for position in range(len(ids)):
        if seen[position]:
            continue
        seen[position] = True
        ring = [position]
        while ring:
            alike = (rows @ rows[ring].T > DUPLICATE_COSINE).any(axis=1) & ~seen
            seen |= alike
            hidden |= alike
            ring = np.flatnonzero(alike).tolist()
    return {sample for sample, is_hidden in zip(ids, hidden.tolist(), strict=True) if is_hidden}


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
