"""Check these: hits known by address and embedding alone are fetched, compared, and nothing else is."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from heldout.pictures import decode_picture
from heldout.records import CheckResult, SearchResult
from indexer.build import build
from indexer.ingest import ingest
from search import api, checking
from search.engine import SearchEngine

if TYPE_CHECKING:
    from tests.search.conftest import PatchEncoder, World


def variant(data: bytes, kind: str) -> bytes:
    """A picture's file after a change."""
    image, out = decode_picture(data), io.BytesIO()
    if kind == "crop":
        width, height = image.size
        image = image.crop((width // 6, height // 6, width, height)).resize((400, 320), Image.Resampling.BICUBIC)
    elif kind == "mirror":
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image.save(out, "JPEG", quality=80)
    return out.getvalue()


@pytest.fixture
def links(
    tmp_path: Path,
    world: "World",
    encoder: "PatchEncoder",
    web_of: Callable[[dict[str, bytes]], str],
    app_of: Callable[..., Any],
) -> Iterator[tuple[TestClient, bytes, list[str]]]:
    """A site over a data set of addresses and embeddings; the picture to search with, and the paths of its samples."""
    work, other = world.picture(world.works[0]), world.picture(world.works[4])
    files = {
        "/same.png": work,
        "/small.jpg": variant(work, "jpeg"),
        "/mirror.jpg": variant(work, "mirror"),
        "/crop.jpg": variant(work, "crop"),
        "/other.png": other,
        "/page.html": b"<!doctype html>",
    }
    address = web_of(files)
    urls = [*(address + path for path in files), f"{address}/gone.png", "http://10.0.0.1/a.png"]
    row = encoder.embed_images([decode_picture(work)])[0]
    folder = tmp_path / "set"
    (folder / "img_emb").mkdir(parents=True)
    (folder / "metadata").mkdir()
    rng = np.random.default_rng(1)
    rows = row + 0.02 * rng.standard_normal((len(urls), len(row))).astype(np.float32)
    np.save(folder / "img_emb" / "img_emb_0.npy", rows.astype(np.float16))
    table = pa.table({"url": urls, "caption": [f"pinned {number}" for number in range(len(urls))]})
    pq.write_table(table, folder / "metadata" / "metadata_0.parquet")
    release = tmp_path / "datasets" / "links"
    ingest([folder], release=release, encoder=encoder, workers=0)
    build(release)
    engine = SearchEngine.open(tmp_path / "datasets", encoder)
    with TestClient(app_of(engine, api.router)) as client:
        yield client, work, urls
    engine.close()


def search(client: TestClient, data: bytes) -> SearchResult:
    response = client.post("/v1/search", files={"picture": ("mine.png", data)})
    return SearchResult.model_validate_json(response.content)


def check(client: TestClient, data: bytes, picks: list[str]) -> CheckResult:
    files: list[Any] = [("picture", ("mine.png", data)), *(("pick", (None, pick)) for pick in picks)]
    response = client.post("/v1/search/check", files=files)
    assert response.status_code == 200, response.text
    return CheckResult.model_validate_json(response.content)


def test_what_has_only_an_embedding_is_similar_and_unverified_until_it_is_checked(
    links: tuple[TestClient, bytes, list[str]],
) -> None:
    client, data, urls = links
    found = search(client, data)
    assert len(found.hits) == len(urls)
    assert {(hit.label, hit.unverified) for hit in found.hits} == {("similar", True)}
    result = check(client, data, [f"links@1:{hit.sample.id}" for hit in found.hits])
    outcomes = {str(each.sample.url).rpartition("/")[2]: each for each in result.checks}
    assert {name: each.outcome for name, each in outcomes.items()} == {
        "same.png": "exact",
        "small.jpg": "near",
        "mirror.jpg": "near",
        "crop.jpg": "near",
        "other.png": "different",
        "page.html": "not_fetched",
        "gone.png": "not_fetched",
        "a.png": "not_fetched",
    }
    assert [proof.channel for proof in outcomes["mirror.jpg"].evidence] == ["pdq"]
    (crop,) = outcomes["crop.jpg"].evidence
    assert crop.channel == "geometry"
    assert crop.inliers, "what proves it is told as in a search"
    assert crop.query_share
    assert crop.sample_share
    assert outcomes["gone.png"].reason == "its server answered with status 404"
    assert outcomes["a.png"].reason == "it is not on the public Internet"
    assert "not a picture" in (outcomes["page.html"].reason or "")
    assert search(client, data).hits == found.hits, "nothing was stored"


def test_a_check_is_bounded_and_says_what_is_left(
    links: tuple[TestClient, bytes, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, data, urls = links
    monkeypatch.setattr(checking, "MAX_CHECKED", 3)
    result = check(client, data, [f"links@1:{','.join(map(str, range(len(urls))))}"])
    assert (len(result.checks), result.n_left) == (3, len(urls) - 3)
    beyond = check(client, data, ["links@1:0,1,2," + ",".join(map(str, range(1_000_000, 1_002_000)))])
    assert (len(beyond.checks), beyond.n_left) == (3, 2_000), "what is left is not even read"


def test_a_check_ends_in_time_and_says_what_it_did_not_reach(
    links: tuple[TestClient, bytes, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, data, _ = links
    monkeypatch.setattr(checking, "CHECK_S", 0.0)
    result = check(client, data, ["links@1:0,1"])
    assert [each.outcome for each in result.checks] == ["not_fetched", "not_fetched"]
    assert "within 0 seconds" in (result.checks[0].reason or "")


@pytest.mark.parametrize(
    ("picks", "status"),
    [([], 422), (["links"], 422), (["none@1:0"], 404), (["links@9:0"], 409), (["links@1:99999"], 404)],
)
def test_what_cannot_be_checked_is_refused_with_a_reason(
    links: tuple[TestClient, bytes, list[str]], picks: list[str], status: int
) -> None:
    client, data, _ = links
    files: list[Any] = [("picture", ("mine.png", data)), *(("pick", (None, pick)) for pick in picks)]
    response = client.post("/v1/search/check", files=files)
    assert response.status_code == status
    assert response.json()["detail"]


def test_pictures_that_are_stored_are_not_fetched_again(
    engine: SearchEngine, app_of: Callable[..., Any], world: "World"
) -> None:
    with TestClient(app_of(engine, api.router)) as client:
        (only,) = check(client, world.picture(world.works[0]), ["art@1:0"]).checks
    assert only.outcome == "not_fetched"
    assert "compared when it was found" in (only.reason or "")
