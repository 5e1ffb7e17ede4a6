"""Copies that only geometry proves, through the engine."""

import io
import shutil
from contextlib import closing
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
from PIL import Image, ImageOps

from heldout.pictures import decode_picture
from heldout.records import Hit, SearchFilters, SearchResult
from indexer.transforms import COPIES, collage
from search.engine import SearchEngine
from search.picture import SAME_PICTURE

if TYPE_CHECKING:
    from tests.search.conftest import PatchEncoder, World


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _hit(result: SearchResult, key: str) -> Hit:
    return next(hit for hit in result.hits if hit.sample.key == key)


@pytest.fixture
def lone(world: "World") -> str:
    """Key of a work without planted copies."""
    return next(key for key in world.works if key not in world.copies)


@pytest.mark.parametrize("name", ["crop 30 % off", "rotate 5 deg", "white border 15 %", "screenshot"])
def test_copies_that_hashes_miss_are_near_with_their_evidence(
    engine: SearchEngine, world: "World", lone: str, name: str
) -> None:
    query = COPIES[name](decode_picture(world.picture(lone)), Random(2))  # noqa: S311 - not a secret
    result = engine.search_picture(_png(query), datasets=["art"])
    proved = [hit for hit in result.hits if hit.label in {"exact", "near"}]
    assert [hit.sample.key for hit in proved] == [lone]
    best = proved[0].evidence[0]
    assert best.channel == "geometry"
    assert 0.75 <= best.value <= 1.0
    assert best.inliers is not None
    assert best.inliers >= 4
    assert best.query_share is not None
    assert best.sample_share is not None
    assert result.hits[0] == proved[0]


def test_a_crop_stands_on_one_card_with_all_copies_of_what_it_was_cut_from(
    engine: SearchEngine, world: "World"
) -> None:
    work = world.works[0]
    query = COPIES["crop 30 % off"](decode_picture(world.picture(work)), Random(2))  # noqa: S311
    result = engine.search_picture(_png(query), datasets=["art"])
    on_card = {sample.key for sample in result.samples_of(result.groups[0])}
    assert {work, *world.copies[work].values()} <= on_card


def test_tiles_of_a_collage_are_near_but_no_copies_of_each_other(engine: SearchEngine, world: "World") -> None:
    works = [key for key in world.works if key not in world.copies][:4]
    query = collage([decode_picture(world.picture(key)) for key in works], side=200)
    result = engine.search_picture(_png(query), datasets=["art"])
    assert {hit.sample.key for hit in result.hits if hit.label == "near"} == set(works)
    assert all((_hit(result, key).evidence[0].query_share or 1.0) < SAME_PICTURE for key in works)
    for key in works:
        card = next(group for group in result.groups if key in {each.key for each in result.samples_of(group)})
        assert not {each.key for each in result.samples_of(card)} & (set(works) - {key})


def test_no_filter_hides_what_geometry_proves(engine: SearchEngine, world: "World", lone: str) -> None:
    query = _png(COPIES["crop 30 % off"](decode_picture(world.picture(lone)), Random(2)))  # noqa: S311
    filters = SearchFilters(hosts=("nowhere.example",))
    result = engine.search_picture(query, datasets=["art"], filters=filters)
    listed = {sample.key for group in result.groups for sample in result.samples_of(group)}
    assert lone in listed or result.left_out.get("near", 0) >= 1


def test_a_picture_of_nothing_has_no_copies_by_geometry(engine: SearchEngine) -> None:
    for blank in (Image.new("RGB", (200, 100), "white"), ImageOps.expand(Image.new("RGB", (20, 20)), 40, "white")):
        hits = engine.search_picture(_png(blank)).hits
        assert not [hit for hit in hits if hit.evidence[0].channel == "geometry"]


def test_pages_of_one_answer_agree_on_what_geometry_proved(engine: SearchEngine, world: "World", lone: str) -> None:
    query = _png(COPIES["rotate 5 deg"](decode_picture(world.picture(lone)), Random(2)))  # noqa: S311
    first = engine.search_picture(query, k=3, datasets=["art"])
    second = engine.search_picture(query, k=3, datasets=["art"], cursor=first.next_cursor)
    assert lone in {hit.sample.key for hit in first.hits}
    assert lone not in {sample.key for group in second.groups for sample in second.samples_of(group)}


def test_a_thumbnail_that_the_disk_damaged_costs_no_answer(
    datasets_dir: Path, encoder: "PatchEncoder", world: "World", lone: str, tmp_path: Path
) -> None:
    copy = shutil.copytree(datasets_dir / "art", tmp_path / "art")
    query = _png(COPIES["crop 30 % off"](decode_picture(world.picture(lone)), Random(2)))  # noqa: S311
    with closing(SearchEngine.open(tmp_path, encoder)) as engine:
        result = engine.search_picture(query)
        hit = _hit(result, lone)
        assert hit.label == "near"
        with engine.generation("art") as generation:
            webp = generation.thumbnail(hit.sample.id)
    assert webp is not None
    (path,) = [each for each in copy.glob("shards/*/thumbnails.arrow") if webp in each.read_bytes()]
    path.write_bytes(path.read_bytes().replace(webp, bytes(len(webp))))
    with closing(SearchEngine.open(tmp_path, encoder)) as engine:
        again = engine.search_picture(query)
    assert len(again.hits) == len(result.hits)
    assert _hit(again, lone).label == "similar"
