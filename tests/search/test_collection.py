"""Search on the bundled collection, against the table of copies that were planted in it."""

import csv
from collections.abc import Iterator

import pyarrow.dataset as pads
import pytest

from indexer.build import build
from indexer.encoder import load_encoder
from indexer.ingest import ingest
from search.engine import SearchEngine
from search.evaluate import evaluate_text, load_queries
from tests.collection import COLLECTION, read_pictures

STARTER = COLLECTION.parent / "models" / "starter-onnx"


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SearchEngine]:
    """The collection as `make demo` serves it, with the starter model."""
    folder = tmp_path_factory.mktemp("datasets")
    encoder = load_encoder(str(STARTER))
    ingest([COLLECTION / "webdataset"], release=folder / "collection", encoder=encoder, workers=0)
    build(folder / "collection")
    engine = SearchEngine.open(folder, encoder)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def pictures() -> dict[str, bytes]:
    """Key -> file bytes."""
    return read_pictures()


@pytest.fixture(scope="module")
def truth() -> dict[str, dict[str, str]]:
    """Key of an original -> key of a copy -> the label that a search by the original must give it."""
    with (COLLECTION / "truth.csv").open(encoding="utf-8", newline="") as file:
        found: dict[str, dict[str, str]] = {}
        for row in csv.DictReader(file):
            found.setdefault(row["original_key"], {})[row["key"]] = row["expected"]
    return found


@pytest.fixture(scope="module")
def transforms() -> dict[str, str]:
    """Key of a copy -> what was done to it."""
    with (COLLECTION / "truth.csv").open(encoding="utf-8", newline="") as file:
        return {row["key"]: row["transform"] for row in csv.DictReader(file)}


def test_exact_and_near_labels_are_those_planted_and_what_geometry_adds(
    collection: SearchEngine,
    pictures: dict[str, bytes],
    truth: dict[str, dict[str, str]],
    transforms: dict[str, str],
) -> None:
    assert sum(len(copies) for copies in truth.values()) > 250
    added = []
    for original, copies in list(truth.items())[::2]:
        hits = collection.search_picture(pictures[original], k=1).hits
        proved = {hit.sample.key: hit.label for hit in hits if hit.label in {"exact", "near"}}
        expected = {key: label for key, label in copies.items() if label in {"exact", "near"}}
        assert proved.items() >= ({original: "exact"} | expected).items(), original
        assert proved.keys() <= {original} | copies.keys(), original
        added += [proved.get(key) == "near" for key in copies if transforms[key] in {"border", "crop-80", "crop-60"}]
    assert len(added) > 8
    assert sum(added) / len(added) >= 0.75


def test_a_copy_leads_to_its_original_and_its_group_to_the_other_copies(
    collection: SearchEngine, pictures: dict[str, bytes], truth: dict[str, dict[str, str]]
) -> None:
    for original, copies in list(truth.items())[:40]:
        for key in (key for key, label in copies.items() if label == "near"):
            result = collection.search_picture(pictures[key], k=1)
            group = {sample.key for sample in result.samples_of(result.groups[0])}
            assert {original, key} <= group


def test_credited_artists_are_found_by_name_before_anybody_else(collection: SearchEngine) -> None:
    table = pads.dataset(COLLECTION / "parquet").to_table(columns=["creator"])
    artists = sorted({name for name in table["creator"].to_pylist() if name})
    assert len(artists) > 20
    for name in artists[::3]:
        named = collection.search_caption(f'"{name}"', k=1).total or 0
        hits = collection.search_text(name, k=10).hits[: min(named, 10)]
        assert all(name.casefold() in (hit.sample.caption or "").casefold() for hit in hits), name


def test_whole_sites_are_found_with_their_dead_links(collection: SearchEngine) -> None:
    with (COLLECTION / "broken.csv").open(encoding="utf-8", newline="") as file:
        dead = {row["key"] for row in csv.DictReader(file) if row["status"] != "success"}
    shown: set[str] = set()
    for site in ("example", "example.com", "example.net", "example.org"):
        cursor, here = None, set()
        while True:
            page = collection.search_site(site, k=500, cursor=cursor)
            here |= {sample.key for group in page.groups for sample in page.samples_of(group)}
            shown |= {hit.sample.key for hit in page.hits}
            cursor = page.next_cursor
            if cursor is None:
                break
        assert len(here) >= (page.total or 0) > 0
        shown |= here
    assert dead <= shown


def test_suggested_queries_are_answered_rightly_and_better_by_words_and_looks_than_by_either(
    collection: SearchEngine,
) -> None:
    figures = evaluate_text(collection, "collection", load_queries(COLLECTION / "queries.json"))
    assert figures.mean("fused") >= 0.70
    assert figures.mean("cards") >= 0.68
    assert figures.mean("fused") > max(figures.mean("clip"), figures.mean("caption"))
    assert figures.mean("clip") > 5 * figures.random
