"""clip-retrieval's routes, asked as its unmodified clients ask: no Content-Type, nulls, absurd counts."""

import base64
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from search import knn
from search.engine import SearchEngine

if TYPE_CHECKING:
    from tests.search.conftest import PatchEncoder, World


@pytest.fixture(scope="module")
def client(engine: SearchEngine, app_of: Callable[..., FastAPI]) -> Iterator[TestClient]:
    with TestClient(app_of(engine, knn.router)) as opened:
        yield opened


def _clip_client(**fields: Any) -> bytes:
    """The body that clip-retrieval's ClipClient sends by default."""
    body = {
        "text": None,
        "image": None,
        "image_url": None,
        "embedding_input": None,
        "deduplicate": True,
        "use_safety_model": True,
        "use_violence_detector": True,
        "indice_name": "art",
        "use_mclip": False,
        "aesthetic_score": 9,
        "aesthetic_weight": 0.5,
        "modality": "image",
        "num_images": 40,
        "num_result_ids": 40,
    }
    return json.dumps(body | fields).encode()


def _ask(client: TestClient, **fields: Any) -> Any:
    request = client.build_request("POST", "/knn-service", content=_clip_client(**fields))
    assert "content-type" not in request.headers
    response = client.send(request)
    assert response.status_code == 200, response.text
    return response.json()


def test_indices_are_listed_by_name(client: TestClient) -> None:
    response = client.get("/indices-list")
    assert response.json() == ["art", "more"]
    assert response.headers["access-control-allow-origin"] == "*"


def test_a_text_is_answered_best_first_with_metadata(client: TestClient, engine: SearchEngine) -> None:
    results = _ask(client, text="red", deduplicate=False)
    assert len(results) == 40
    assert {"url", "caption", "id", "similarity"} <= results[0].keys()
    assert type(results[0]["id"]) is int
    similarities = [result["similarity"] for result in results]
    assert similarities == sorted(similarities, reverse=True)
    sample = engine.samples("art", [results[0]["id"]])[0]
    assert (results[0]["url"], results[0]["caption"]) == (sample.url, sample.caption)


def test_a_picture_and_its_embedding_have_one_answer(
    client: TestClient, encoder: "PatchEncoder", world: "World"
) -> None:
    from heldout.pictures import decode_picture

    data = world.picture(world.works[1])
    by_image = _ask(client, image=base64.b64encode(data).decode(), deduplicate=False)
    row = encoder.embed_images([decode_picture(data)])[0].tolist()
    by_embedding = _ask(client, embedding_input=row, deduplicate=False)
    assert [result["id"] for result in by_image] == [result["id"] for result in by_embedding]
    assert by_image[0]["similarity"] == pytest.approx(1.0, abs=2e-3)


def test_text_goes_before_image(client: TestClient, world: "World") -> None:
    image = base64.b64encode(world.picture(world.works[1])).decode()
    assert _ask(client, text="red", image=image) == _ask(client, text="red")
    assert _ask(client, text="", image=image) == _ask(client, image=image)


def test_results_beyond_the_images_asked_for_carry_id_and_similarity_only(client: TestClient, world: "World") -> None:
    results = _ask(client, text="blue", num_images=3, num_result_ids=3_000, deduplicate=False)
    assert len(results) == sum(row.data is not None for row in world.rows)
    assert "url" in results[2]
    assert all(result.keys() == {"id", "similarity"} for result in results[3:])


def test_absurd_counts_are_capped(client: TestClient) -> None:
    assert _ask(client, text="blue", num_images=10**12, num_result_ids=-5)


def test_deduplication_hides_lookalikes_but_no_copy_of_the_query(
    client: TestClient, engine: SearchEngine, world: "World"
) -> None:
    work = world.works[3]
    image = base64.b64encode(world.picture(work)).decode()
    every = _ask(client, image=image, num_result_ids=3_000, deduplicate=False)
    fewer = _ask(client, image=image, num_result_ids=3_000)
    assert len(fewer) < len(every)
    keys = {sample.key for sample in engine.samples("art", [result["id"] for result in fewer])}
    assert {work, *world.copies[work].values()} <= keys
    copies = {
        hit.sample.id
        for hit in engine.search_picture(world.picture(work), datasets=["art"]).hits
        if hit.label != "similar"
    }
    with engine.generation("art") as generation:
        rows = generation.embeddings([result["id"] for result in fewer if result["id"] not in copies])
    cosines = rows @ rows.T - 2 * np.eye(len(rows))
    assert cosines.max() <= knn.DUPLICATE_COSINE


def test_copies_of_the_picture_are_answered_however_few_results_were_asked_for(
    client: TestClient, engine: SearchEngine, world: "World"
) -> None:
    work = world.works[3]
    image = base64.b64encode(world.picture(work)).decode()
    results = _ask(client, image=image, num_images=1, num_result_ids=1, deduplicate=False)
    proved = {
        hit.sample.id
        for hit in engine.search_picture(world.picture(work), datasets=["art"]).hits
        if hit.label != "similar"
    }
    assert len(proved) > 1
    assert proved <= {result["id"] for result in results if "url" in result}
    assert [result["similarity"] for result in results] == sorted((r["similarity"] for r in results), reverse=True)


def test_metadata_is_given_by_id(client: TestClient, engine: SearchEngine) -> None:
    body = json.dumps({"ids": [5, 2, 5], "indice_name": "art"}).encode()
    response = client.send(client.build_request("POST", "/metadata", content=body))
    assert [entry["id"] for entry in response.json()] == [5, 2, 5]
    assert response.json()[1]["metadata"]["url"] == engine.samples("art", [2])[0].url
    empty = client.post(
        "/metadata", content=b'{"ids": [], "indice_name": "art"}', headers={"Content-Type": "text/plain"}
    )
    assert empty.json() == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff",
        _clip_client(),
        _clip_client(text="red", indice_name=None),
        _clip_client(text="red", modality="text"),
        _clip_client(text="red", num_images="many"),
        _clip_client(image="!"),
        _clip_client(image_url="http://10.0.0.1/a.png"),
        _clip_client(image_url="file:///etc/passwd"),
        _clip_client(text="\x00\x1b"),
        _clip_client(text="a" * 10_000),
        _clip_client(embedding_input=[1.0, 2.0]),
        _clip_client(embedding_input=[0.0] * 48),
        _clip_client(embedding_input="x"),
        json.dumps({"text": "red"}).encode(),
    ],
)
def test_what_cannot_be_answered_is_422_with_a_reason(client: TestClient, body: bytes) -> None:
    response = client.post("/knn-service", content=body)
    assert response.status_code == 422
    assert response.json()["message"] == response.json()["detail"] != ""
    assert response.headers["access-control-allow-origin"] == "*"


def test_what_comes_first_is_asked_and_the_rest_not_even_read(client: TestClient, world: "World") -> None:
    image = base64.b64encode(world.picture(world.works[1])).decode()
    rubbish = {"image": "!", "image_url": "file:///etc/passwd", "embedding_input": "x"}
    assert _ask(client, **rubbish | {"text": "red"}) == _ask(client, text="red")
    assert _ask(client, **rubbish | {"image": image}) == _ask(client, image=image)
    assert client.post("/knn-service", content=_clip_client(**rubbish | {"image": None})).status_code == 422


def test_a_picture_is_fetched_from_image_url(
    client: TestClient, world: "World", web_of: Callable[[dict[str, bytes]], str]
) -> None:
    data = world.picture(world.works[1])
    address = web_of({"/mine.png": data})
    by_bytes = _ask(client, image=base64.b64encode(data).decode())
    assert _ask(client, image_url=f"{address}/mine.png", embedding_input=[1.0]) == by_bytes
    missing = client.post("/knn-service", content=_clip_client(image_url=f"{address}/none.png"))
    assert missing.status_code == 422
    assert "status 404" in missing.json()["message"]


def test_a_page_elsewhere_may_ask(client: TestClient) -> None:
    for path in ("/knn-service", "/metadata", "/indices-list"):
        response = client.options(path, headers={"Origin": "https://front.example"})
        assert response.status_code == 204
        assert response.headers["access-control-allow-origin"] == "*"
        assert "Content-Type" in response.headers["access-control-allow-headers"]


@pytest.mark.parametrize("number", [2**53 + 1, 2**63 - 1, 2**80])
def test_ids_are_not_rounded(client: TestClient, number: int) -> None:
    response = client.post("/metadata", content=json.dumps({"ids": [number], "indice_name": "art"}))
    assert response.status_code == 404
    assert str(number) in response.json()["message"]


def test_duplicates_among_many_results_are_found_as_among_few() -> None:
    rng = np.random.default_rng(4)
    rows = rng.standard_normal((6_000, 32)).astype(np.float32)
    rows[3_000:] = rows[:3_000] + 0.1 * rng.standard_normal((3_000, 32)).astype(np.float32)  # a copy of each
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    every, few = knn._all_pairs(rows), knn._nearest_pairs(rows)
    expected = {(one, int(other)) for one in range(6_000) for other in every(one) if other != one}
    found = {(one, int(other)) for one in range(6_000) for other in few(one) if other != one}
    assert len(expected) >= 6_000
    assert found <= expected
    assert len(found) >= 0.99 * len(expected)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"ids": ["1"], "indice_name": "art"}', b'{"ids": [1]}'])
def test_bad_metadata_requests_are_422(client: TestClient, body: bytes) -> None:
    assert client.post("/metadata", content=body).status_code == 422


def test_an_unknown_index_is_404(client: TestClient) -> None:
    assert client.post("/knn-service", content=_clip_client(text="red", indice_name="laion5B")).status_code == 404
    assert client.post("/metadata", content=b'{"ids": [], "indice_name": "laion5B"}').status_code == 404
