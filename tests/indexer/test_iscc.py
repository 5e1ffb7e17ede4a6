"""ISCC Image-Codes: the published vectors, and the standard's normalisation."""

import importlib.resources
import json

import iscc_lib
import pytest
from PIL import Image

from indexer.iscc import image_code, trim_border

VECTORS = json.loads((importlib.resources.files("iscc_core") / "data.json").read_text())["gen_image_code_v0"]


@pytest.mark.parametrize("name", VECTORS)
def test_published_vectors_pass(name: str) -> None:
    pixels, bits = VECTORS[name]["inputs"]
    assert iscc_lib.gen_image_code_v0(bytes(pixels), bits)["iscc"] == VECTORS[name]["outputs"]["iscc"]


def test_a_picture_made_of_a_vectors_pixels_has_its_code() -> None:
    pixels = next(vector["inputs"][0] for name, vector in VECTORS.items() if "img" in name)
    image = Image.frombytes("L", (32, 32), bytes(pixels)).convert("RGB")
    assert image_code(image) == "ISCC:EEA4GQZQTY6J5DTH"


def test_black_has_the_published_code() -> None:
    assert image_code(Image.new("RGB", (300, 200))) == "ISCC:EEAQAAAAAAAAAAAA"


def test_a_border_does_not_change_the_code() -> None:
    image = Image.effect_mandelbrot((120, 90), (-2, -1.5, 1, 1.5), 50).convert("RGB")
    framed = Image.new("RGB", (200, 160), image.getpixel((0, 0)))
    framed.paste(image, (31, 17))
    assert image_code(framed) == image_code(image)
    assert trim_border(Image.new("RGB", (5, 4), "red")).size == (5, 4)
