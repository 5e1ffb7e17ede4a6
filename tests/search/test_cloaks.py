"""Cloaked pictures: the encoder is fooled, the copy is found all the same."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from PIL import Image

from heldout.fingerprints import MATCH_DISTANCE, distances
from heldout.pictures import decode_picture, pdq_orientations
from search.geometry import prove
from tests.collection import COLLECTION, read_pictures

STARTER = COLLECTION.parent / "models" / "starter"
WORKS = ("000010104", "000010012", "000040000")


def _load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def cloaks() -> Any:
    """The benchmark's cloaks, on open_clip imported past a torchvision that does not load beside a CPU-only torch."""
    _load(COLLECTION.parent / "scripts" / "starter" / "torchvision_shim.py").ensure_torchvision()
    return _load(COLLECTION.parents[1] / "benchmarks" / "cloaks.py")


@pytest.fixture(scope="module")
def works() -> list[Image.Image]:
    """Pictures to cloak."""
    pictures = read_pictures()
    return [decode_picture(pictures[key]) for key in WORKS]


def _is_near(query: Image.Image, original: Image.Image) -> bool:
    hashed = int(distances(pdq_orientations(query)[0], pdq_orientations(original)[0][:1]).min())
    return hashed <= MATCH_DISTANCE or prove(query, original) is not None


def test_a_picture_cloaked_against_the_encoder_itself_is_near(cloaks: Any, works: list[Image.Image]) -> None:
    from indexer.openclip import OpenClipEncoder

    encoder = OpenClipEncoder.load(f"local-dir:{STARTER}")
    for image in works:
        cloaked, cosine = cloaks.cloak_against(encoder, image, 8, seed=1)
        assert cosine < 0.85
        assert _is_near(cloaked, image)


@pytest.mark.parametrize("change", [lambda image: image, lambda image: image.crop((30, 20, *image.size))])
def test_a_picture_under_low_frequency_noise_is_near_whole_and_cut(
    cloaks: Any, works: list[Image.Image], change: Callable[[Image.Image], Image.Image]
) -> None:
    for image in works:
        assert _is_near(change(cloaks.add_low_noise(image, Random(1), 16)), image)  # noqa: S311 - not a secret
