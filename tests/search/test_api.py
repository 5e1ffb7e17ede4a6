"""The HTTP routes on a real application and engine."""

import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from heldout.records import SearchResult
from search import api, knn, uploads
from search.engine import SearchEngine

if TYPE_CHECKING:
    from tests.search.conftest import World


@pytest.fixture(scope="module")
def client(engine: SearchEngine, app_of: Callable[..., FastAPI]) -> Iterator[TestClient]:
    with TestClient(app_of(engine, api.router, knn.router)) as opened:
        yield opened


@pytest.mark.parametrize(
    ("name", "question", "label"),
    [
        ("text", "blue shapes", "caption"),
        ("url", "https://jane.example/art/000.png", "exact"),
        ("site", "pins.example", "site"),
        ("caption", "shapes by jane doe", "caption"),
    ],
)
def test_each_door_answers_what_the_engine_does(
    client: TestClient, engine: SearchEngine, name: str, question: str, label: str
) -> None:
    response = client.get("/v1/search", params={name: question, "k": 4, "dataset": "art"})
    assert response.status_code == 200
    result = SearchResult.model_validate_json(response.content)
    assert result == getattr(engine, f"search_{name}")(question, k=4, datasets=["art"])
    assert result.hits[0].label == label


def test_a_picture_is_posted_as_a_form(client: TestClient, engine: SearchEngine, world: "World") -> None:
    data = world.picture(world.works[0])
    response = client.post("/v1/search", params={"k": 2}, files={"picture": ("mine.png", data, "image/png")})
    assert response.status_code == 200
    assert SearchResult.model_validate_json(response.content) == engine.search_picture(data, k=2)


def test_pages_are_asked_for_by_cursor(client: TestClient) -> None:
    first = client.get("/v1/search", params={"site": "example", "k": 5}).json()
    second = client.get("/v1/search", params={"site": "example", "k": 5, "cursor": first["next_cursor"]}).json()
    assert second["hits"]
    assert not {hit["sample"]["key"] for hit in first["hits"]} & {
        hit["sample"]["key"] for hit in second["hits"] if hit["sample"]["dataset"] == "art"
    }


@pytest.mark.parametrize(
    "params", [{}, {"text": "a", "url": "b"}, {"text": ""}, {"site": "://"}, {"text": "a", "cursor": "x"}]
)
def test_bad_questions_are_422_with_a_reason(client: TestClient, params: dict[str, str]) -> None:
    response = client.get("/v1/search", params=params)
    assert response.status_code == 422
    assert response.json()["detail"]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "multipart/form-data; boundary=x"),
        (b"{}", "application/json"),
        (
            b'--x\r\nContent-Disposition: form-data; name="other"\r\n\r\n1\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="picture"\r\n\r\n1\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
        ),
        (b"garbage", "multipart/form-data; boundary=x"),
        (b"garbage", "multipart/form-data"),
    ],
)
def test_uploads_that_are_no_picture_form_are_422(client: TestClient, content: bytes, kind: str) -> None:
    response = client.post("/v1/search", content=content, headers={"Content-Type": kind})
    assert response.status_code == 422
    assert "picture" in response.json()["detail"]


def test_an_upload_over_the_limit_is_refused_before_it_is_read_whole(client: TestClient) -> None:
    sent = 0

    def body() -> Iterator[bytes]:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a"\r\n\r\n'
        for _ in range(60):
            sent += 1
            yield bytes(1024 * 1024)

    response = client.post("/v1/search", content=body(), headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert response.status_code == 422
    assert "MB" in response.json()["detail"]


def test_a_query_picture_touches_neither_disk_nor_log(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    written: list[str] = []

    def spill(*_: object, **__: object) -> None:
        written.append("a spooled file went to disk")
        raise OSError(written[-1])

    monkeypatch.setattr(tempfile, "TemporaryFile", spill)
    large = b"\x89PNG\r\n\x1a\n" + b"secretpicture" * 400_000
    with caplog.at_level(logging.DEBUG):
        response = client.post("/v1/search", files={"picture": ("secretname.png", large, "image/png")})
    assert (response.status_code, written) == (422, [])
    assert list(tmp_path.iterdir()) == []
    assert "secret" not in caplog.text
    assert uploads._InMemory.spool_max_size > len(large)


def test_data_sets_are_listed(client: TestClient, engine: SearchEngine) -> None:
    names = [dataset["name"] for dataset in client.get("/v1/datasets").json()]
    assert names == ["art", "more"] == [dataset.name for dataset in engine.datasets()]


def test_one_sample_is_shown(client: TestClient, engine: SearchEngine) -> None:
    assert client.get("/v1/samples/art/3").json() == engine.samples("art", [3])[0].model_dump(mode="json")
    assert client.get("/v1/samples/art/999999").status_code == 404
    assert client.get("/v1/samples/none/1").status_code == 404
    assert client.get("/v1/samples/art/3", params={"generation": 77}).status_code == 409


def test_a_thumbnail_is_cacheable_per_generation(client: TestClient) -> None:
    plain = client.get("/v1/thumbnails/art/0.webp")
    assert plain.status_code == 200
    assert plain.headers["content-type"] == "image/webp"
    assert plain.content[8:12] == b"WEBP"
    assert plain.headers["cache-control"] == "no-cache"
    named = client.get("/v1/thumbnails/art/0.webp", params={"generation": 1})
    assert "immutable" in named.headers["cache-control"]
    cached = client.get("/v1/thumbnails/art/0.webp", headers={"If-None-Match": plain.headers["etag"]})
    assert (cached.status_code, cached.content) == (304, b"")


@pytest.mark.parametrize("name", ["0.png", "x.webp", "-1.webp", "99999.webp", "1" * 5_000 + ".webp", "²۳.webp"])
def test_other_thumbnails_are_not_found(client: TestClient, name: str) -> None:
    assert client.get(f"/v1/thumbnails/art/{name}").status_code == 404


def test_a_sample_without_picture_has_no_thumbnail(client: TestClient, engine: SearchEngine) -> None:
    (lost,) = engine.search_caption("lost castle", datasets=["art"]).hits
    response = client.get(f"/v1/thumbnails/art/{lost.sample.id}.webp")
    assert response.status_code == 404
    assert "no picture" in response.json()["detail"]


def test_a_picture_is_searched_with_by_its_address(
    client: TestClient, engine: SearchEngine, world: "World", web_of: Callable[[dict[str, bytes]], str]
) -> None:
    data = world.picture(world.works[0])
    address = web_of({"/mine.png": data})
    response = client.post("/v1/search", params={"k": 2}, files={"picture_url": (None, f"{address}/mine.png")})
    assert response.status_code == 200, response.text
    assert SearchResult.model_validate_json(response.content) == engine.search_picture(data, k=2)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://10.0.0.1/a.png", "not on the public Internet"),
        ("http://169.254.169.254/latest/meta-data/", "not on the public Internet"),
        ("http://[::ffff:10.0.0.1]/a.png", "not on the public Internet"),
        ("http://0x0a000001/a.png", "not on the public Internet"),
        ("file:///etc/passwd", "not a web address"),
        ("gopher://example.org/", "not a web address"),
        ("http://" + "a" * 20_000, "characters long"),
    ],
)
def test_addresses_that_are_not_fetched_from_are_422(client: TestClient, url: str, says: str) -> None:
    response = client.post("/v1/search", files={"picture_url": (None, url)})
    assert response.status_code == 422
    assert says in response.json()["detail"]


def test_a_file_and_an_address_at_once_are_refused(client: TestClient) -> None:
    files: list[Any] = [("picture", ("a.png", b"x")), ("picture_url", (None, "http://example.org/a.png"))]
    assert client.post("/v1/search", files=files).status_code == 422


def test_examples_of_the_documentation_are_answered(client: TestClient) -> None:
    """Every example of every parameter, run as it stands; those of a filter beside an example of a question."""
    document = client.get("/openapi.json").json()
    parameters = document["paths"]["/v1/search"]["get"]["parameters"]
    examples = {
        each["name"]: [example["value"] for example in each.get("examples", {}).values()] for each in parameters
    }
    doors = ("text", "url", "site", "caption")
    assert all(examples[door] for door in doors)
    asked = [{door: value} for door in doors for value in examples[door]]
    asked += [
        {"site": "jane.example", name: value} for name in examples if name not in doors for value in examples[name]
    ]
    assert len(asked) > 10
    for params in asked:
        response = client.get("/v1/search", params=params)
        assert response.status_code == 200, (params, response.text)
        assert SearchResult.model_validate_json(response.content).generations


def test_every_route_documents_what_it_can_refuse(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path, method in (("/v1/search", "get"), ("/v1/search", "post"), ("/v1/search/check", "post")):
        assert {"200", "404", "409", "422", "503"} <= paths[path][method]["responses"].keys()
