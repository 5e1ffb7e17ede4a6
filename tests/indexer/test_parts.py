"""Pictures within pictures: found in thumbnails, hashed at build, carried over to the next generation."""

import io
import shutil
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from heldout.errors import InputError
from heldout.fingerprints import distances
from heldout.pictures import decode_picture, pdq_orientations
from indexer.build import build
from indexer.build_parts import hash_parts
from indexer.fingerprint import make_thumbnail
from indexer.generation import Generation
from indexer.ingest import ingest
from indexer.onnx_encoder import OnnxEncoder
from indexer.parts import Box, find_panes, overlap, trim_page
from indexer.transforms import COPIES, collage
from tests.collection import read_pictures
from tests.indexer.tars import pack

WORKS = ("000000020", "000010003", "000020155", "000030024")


@pytest.fixture(scope="module")
def works() -> list[Image.Image]:
    pictures = read_pictures()
    return [decode_picture(pictures[key]) for key in WORKS]


def _nearest(work: Image.Image, page: Image.Image) -> int:
    """PDQ distance between a work, whole or without its margins, and the nearest part of a page's thumbnail."""
    found = hash_parts(make_thumbnail(page))
    assert len(found)
    trimmed = trim_page(work)
    asked = [pdq_orientations(each)[0] for each in (work, trimmed) if each is not None]
    return int(distances(np.concatenate(asked), found).min())


@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 80), st.integers(1, 60)), max_size=5),
)
def test_panes_and_trimmed_pictures_lie_within_the_picture(
    width: int, height: int, squares: list[tuple[int, int, int]]
) -> None:
    image = Image.new("RGB", (width, height), "white")
    for left, top, side in squares:
        image.paste((left * 3, 30, 255 - top * 3), (left, top, left + side, top + side))
    for left, top, right, bottom in find_panes(image):
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
    trimmed = trim_page(image)
    assert trimmed is None or 0 < trimmed.width * trimmed.height < width * height


def _scaled(box: Box, scale: float) -> Box:
    left, top, right, bottom = (round(each * scale) for each in box)
    return left, top, right, bottom


def test_a_page_is_cut_into_its_drawings_at_any_size() -> None:
    boxes = [(100, 60, 420, 300), (520, 100, 760, 420), (140, 380, 300, 540)]
    for scale in (0.3, 1, 3):
        page = Image.new("RGB", (round(840 * scale), round(600 * scale)), (245, 246, 248))
        for place, box in enumerate(boxes):
            page.paste((30, 120, 60 + 60 * place), _scaled(box, scale))
        found = find_panes(page)
        for box in boxes:
            assert max(overlap(_scaled(box, scale), each) for each in found) > 0.9, (scale, box, found)


def test_a_picture_without_page_or_parts_has_none() -> None:
    assert find_panes(Image.effect_noise((200, 200), 90).convert("RGB")) == []
    assert find_panes(Image.new("RGB", (64, 64), "navy")) == []
    assert trim_page(Image.new("RGB", (64, 64), "navy")) is None
    assert find_panes(Image.new("RGB", (1, 1))) == []


def test_a_work_is_near_to_its_part_of_a_screenshot(works: list[Image.Image]) -> None:
    rng = Random(7)  # noqa: S311
    for work in works:
        assert _nearest(work, COPIES["screenshot"](work, rng)) <= 64


def test_each_work_is_near_to_its_tile_of_a_collage(works: list[Image.Image]) -> None:
    page = collage(works)
    for work in works:
        assert _nearest(work, page) <= 64


def test_thumbnails_that_cannot_be_read_have_no_parts() -> None:
    assert hash_parts(None).shape == (0, 32)
    assert hash_parts(b"not a picture").shape == (0, 32)
    assert hash_parts(make_thumbnail(Image.new("RGB", (40, 40)))).dtype == np.uint8


def _write_tar(path: Path, pages: dict[str, Image.Image]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    files = []
    for key, page in pages.items():
        png = io.BytesIO()
        page.save(png, "PNG")
        files += [(f"{key}.png", png.getvalue()), (f"{key}.txt", b"a page")]
    return pack(path, files)


def _near(generation: Generation, work: Image.Image) -> set[str]:
    trimmed = trim_page(work)
    hashes = np.concatenate([pdq_orientations(each)[0] for each in (work, trimmed) if each is not None])
    ids = {int(each) for found, _ in generation.search_parts(hashes, 64) for each in found}
    return {sample.key for sample in generation.samples(sorted(ids))}


def test_parts_of_a_release_are_served_and_carried_over(
    works: list[Image.Image], encoder: OnnxEncoder, tmp_path: Path
) -> None:
    release, rng = tmp_path / "pages", Random(7)  # noqa: S311
    shots = {f"0000100{place}": COPIES["screenshot"](work, rng) for place, work in enumerate(works)}
    ingest([_write_tar(tmp_path / "b.tar", shots)], release=release, encoder=encoder, workers=0)
    build(release)
    before = [_near(Generation.open(release), work) for work in works]
    assert all(key in near for key, near in zip(shots, before, strict=True))

    pages = {"000000000": collage(works), "000000001": works[0]}
    ingest([_write_tar(tmp_path / "a.tar", pages)], release=release, encoder=encoder, workers=0)
    build(release)
    grown = Generation.open(release)
    assert [near | {"000000000"} for near in before] == [_near(grown, work) | {"000000000"} for work in works]
    assert all("000000000" in _near(grown, work) for work in works)

    shutil.rmtree(release / "generations")
    (release / "CURRENT").unlink()
    build(release)
    anew = Generation.open(release)
    assert anew.manifest.n_parts == grown.manifest.n_parts
    assert [_near(anew, work) for work in works] == [_near(grown, work) for work in works]
    with pytest.raises(InputError, match="PDQ queries"):
        anew.search_parts(np.zeros((1, 31), np.uint8), 64)
