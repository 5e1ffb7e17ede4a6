"""PDQ of turned pictures from the bits alone, against the hashes computed from pixels."""

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image, ImageDraw, ImageFilter

from heldout.fingerprints import MATCH_DISTANCE, distances
from heldout.pictures import pdq_orientations
from indexer.orientations import orientations

HASHES = npst.arrays(np.uint8, (1, 32), elements=st.integers(0, 255))


def _colour(rng: random.Random) -> tuple[int, int, int]:
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)


def _scene(seed: int) -> Image.Image:
    rng = random.Random(seed)  # noqa: S311 - not a secret
    image = Image.new("RGB", (240, 200), _colour(rng))
    draw = ImageDraw.Draw(image)
    for _ in range(40):
        x, y = rng.randrange(240), rng.randrange(200)
        draw.ellipse((x, y, x + rng.randrange(5, 70), y + rng.randrange(5, 70)), fill=_colour(rng))
    return image.filter(ImageFilter.GaussianBlur(1))


def test_derived_orientations_are_those_computed_from_pixels() -> None:
    close = 0
    for seed in range(40):
        computed, _ = pdq_orientations(_scene(seed))
        derived = orientations(computed[:1])[0]
        apart = distances(derived, computed)
        assert np.array_equal(derived[0], computed[0])
        assert sorted(apart.argmin(axis=1).tolist()) == list(range(8)), (
            "each derived one is nearest another computed one"
        )
        close += int(apart.min(axis=1).max() <= MATCH_DISTANCE)
    assert close >= 36


@given(hashes=HASHES)
def test_the_orientations_form_a_group(hashes: np.ndarray) -> None:
    turned = orientations(hashes)[0]
    expected = {row.tobytes() for row in turned}
    for row in turned:
        assert {again.tobytes() for again in orientations(row[None])[0]} == expected


@given(one=HASHES, other=HASHES)
def test_the_distance_over_orientations_is_symmetric(one: np.ndarray, other: np.ndarray) -> None:
    assert distances(orientations(one)[0], other).min() == distances(orientations(other)[0], one).min()


def test_many_hashes_are_turned_as_one_by_one() -> None:
    hashes = np.random.default_rng(0).integers(0, 256, (5, 32), dtype=np.uint8)
    assert np.array_equal(orientations(hashes), np.concatenate([orientations(row[None]) for row in hashes]))
