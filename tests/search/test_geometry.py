"""Proofs by geometry, on the bundled collection's pictures: what is a copy, and what only looks like one."""

from random import Random

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont, ImageOps

from heldout.pictures import decode_picture
from indexer.transforms import COPIES, collage
from search.geometry import Proof, prepare_query, prove, prove_prepared
from search.keypoints import find_keypoints, mirror_keypoints, to_grey
from tests.collection import read_pictures

WORKS = ("000010104", "000040107", "000010012")
SIBLINGS = [
    ("000040208", "000000268"),  # smileys: one cries, one laughs
    ("000010048", "000010272"),  # a monkey, angry and not
    ("000000073", "000010232"),  # a face with hair, and without
    ("000040107", "000030007"),  # a smiley with a halo, and without
    ("000010312", "000020030"),  # muffins
    ("000040000", "000030107"),  # ice creams: other scoops
    ("000030214", "000010013"),  # computers
    ("000000118", "000040172"),  # the moon, full and half
    ("000010104", "000030113"),  # a man with a beard, and without
    ("000010069", "000040311"),  # a pen and a clarinet: thin things
]


@pytest.fixture(scope="module")
def pictures() -> dict[str, bytes]:
    """Key -> file bytes."""
    return read_pictures()


def _changed(image: Image.Image, name: str) -> Image.Image:
    return COPIES[name](image, Random(7))  # noqa: S311 - not a secret


@pytest.mark.parametrize("name", [name for name in COPIES if name != "watermark text"])
def test_a_changed_copy_is_proved_on_the_thumbnail(name: str, pictures: dict[str, bytes]) -> None:
    for key in WORKS:
        image = decode_picture(pictures[key])
        thumbnail = image.copy()
        thumbnail.thumbnail((256, 256))
        proof = prove(_changed(image, name), thumbnail)
        assert proof is not None, key
        assert proof.is_mirrored == (name == "mirror")


@pytest.mark.parametrize(("one", "other"), SIBLINGS)
def test_drawings_of_one_series_are_not_copies(one: str, other: str, pictures: dict[str, bytes]) -> None:
    first, second = decode_picture(pictures[one]), decode_picture(pictures[other])
    assert prove(first, second) is None
    assert prove(second, first) is None


def _logo(side: int) -> Image.Image:
    logo = Image.new("RGB", (side, side), "white")
    pen = ImageDraw.Draw(logo)
    pen.ellipse((2, 2, side - 3, side - 3), fill=(200, 30, 60), outline="black", width=4)
    pen.text((side // 8, side // 4), "ART", font=ImageFont.load_default(side // 3), fill="white")
    pen.line((0, side - 1, side, side // 2), fill=(20, 40, 90), width=5)
    return logo


def _with_logo(image: Image.Image) -> Image.Image:
    marked = image.resize((300, 300))
    marked.paste(_logo(130), (165, 165))
    return marked


def _framed(image: Image.Image) -> Image.Image:
    frame = Image.new("RGB", (300, 300), (120, 80, 40))
    pen = ImageDraw.Draw(frame)
    for place in range(0, 300, 20):
        for x, y in ((place, 0), (place, 280), (0, place), (280, place)):
            pen.polygon([(x, y + 19), (x + 10, y + place % 7), (x + 19, y + 19)], fill=(230, 190, place % 255))
    frame.paste(image.resize((260, 260)), (20, 20))
    return frame


def _on_a_page(image: Image.Image) -> Image.Image:
    return COPIES["screenshot"](image.resize((300, 300)), Random(3))  # noqa: S311


def _captioned(image: Image.Image) -> Image.Image:
    page = ImageOps.expand(image.resize((300, 300)), (0, 0, 0, 120), "white")
    words = "WHEN THE CODE WORKS\nTHE FIRST TIME"
    ImageDraw.Draw(page).multiline_text((5, 310), words, font=ImageFont.load_default(25), fill="black")
    return page


@pytest.mark.parametrize("dress", [_with_logo, _framed, _on_a_page, _captioned])
def test_what_two_pictures_share_besides_does_not_make_them_copies(dress: object, pictures: dict[str, bytes]) -> None:
    assert callable(dress)
    one, other = (dress(decode_picture(pictures[key])) for key in WORKS[:2])
    assert prove(one, other) is None
    assert prove(one, dress(decode_picture(pictures[WORKS[0]]))) is not None


def test_shares_say_how_much_each_shows_of_the_other(pictures: dict[str, bytes]) -> None:
    whole = decode_picture(pictures[WORKS[0]])
    half = _changed(whole, "crop 50 % off")
    proof, back = prove(half, whole), prove(whole, half)
    assert proof is not None
    assert back is not None
    assert (proof.query_share, proof.sample_share) == pytest.approx((1.0, 0.5), abs=0.05)
    assert (back.query_share, back.sample_share) == pytest.approx((0.5, 1.0), abs=0.05)


def test_each_tile_of_a_collage_is_proved(pictures: dict[str, bytes]) -> None:
    tiles = [decode_picture(pictures[key]) for key in (*WORKS, SIBLINGS[0][0])]
    query = collage(tiles)
    proofs = [prove(query, tile) for tile in tiles]
    assert all(proof is not None and proof.query_share < 0.3 for proof in proofs)


def test_a_picture_is_compared_the_same_way_each_time(pictures: dict[str, bytes]) -> None:
    one, other = (decode_picture(pictures[key]) for key in SIBLINGS[0])
    query = prepare_query(one)
    found = {prove_prepared(query, prepare_query(other)) for _ in range(3)}
    assert len(found) == 1


def test_keypoints_of_the_mirrored_picture_are_those_mirrored(pictures: dict[str, bytes]) -> None:
    image = decode_picture(pictures[WORKS[2]])
    mirrored = mirror_keypoints(find_keypoints(to_grey(image, 256), 300))
    found = find_keypoints(to_grey(ImageOps.mirror(image), 256), 300)
    apart = np.linalg.norm(mirrored.places[:, None] - found.places, axis=2)
    alike = mirrored.descriptors @ found.descriptors.T
    assert np.mean(np.where(apart < 1.5, alike, 0).max(axis=1) > 0.95) > 0.8
    assert np.abs(mirrored.grey - found.grey).max() <= 1.0


def _noise(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(width)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    "odd",
    [
        Image.new("RGB", (1, 1)),
        Image.new("RGB", (300, 300), "white"),
        Image.new("RGB", (2000, 3), "red"),
        _noise(9, 7),
        _noise(4000, 12),
        _noise(200, 200),
    ],
    ids=["one pixel", "blank", "a line", "tiny", "a strip", "noise"],
)
def test_odd_pictures_prove_nothing_and_break_nothing(odd: Image.Image, pictures: dict[str, bytes]) -> None:
    picture = decode_picture(pictures[WORKS[0]])
    answers: list[Proof | None] = [prove(odd, picture), prove(picture, odd)]
    assert answers == [None, None]
    prove(odd, odd)
