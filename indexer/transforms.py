"""Eleven ways in which copies on the web differ from their original, for measuring who still finds them."""

import io
from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

WHITE: Final = (255, 255, 255)
Transform = Callable[[Image.Image, Random], Image.Image]


def _jpeg(image: Image.Image, _: Random) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=30)
    return Image.open(io.BytesIO(out.getvalue())).convert("RGB")


def _crop(share_of_side: float) -> Transform:
    def crop(image: Image.Image, rng: Random) -> Image.Image:
        width, height = (max(8, int(side * share_of_side)) for side in image.size)
        left = rng.randint(0, max(0, image.width - width))
        top = rng.randint(0, max(0, image.height - height))
        return image.crop((left, top, left + width, top + height))

    return crop


def _shrink(image: Image.Image, _: Random) -> Image.Image:
    return image.resize((max(4, image.width // 4), max(4, image.height // 4)), Image.Resampling.BILINEAR)


def _rotate(image: Image.Image, _: Random) -> Image.Image:
    return image.rotate(5, Image.Resampling.BICUBIC, expand=True, fillcolor=WHITE)


def _shift_colour(image: Image.Image, _: Random) -> Image.Image:
    hsv = np.array(image.convert("HSV"))
    hsv[..., 0] += 18  # of 256; wraps around the colour circle
    height, width, _ = hsv.shape
    shifted = Image.frombytes("HSV", (width, height), hsv.tobytes()).convert("RGB")
    return ImageEnhance.Color(ImageEnhance.Brightness(shifted).enhance(0.85)).enhance(1.3)


def _watermark(image: Image.Image, _: Random) -> Image.Image:
    marked = image.copy()
    font = ImageFont.load_default(max(10, image.width // 9))
    place = (image.width * 0.05, image.height * 0.4)
    ImageDraw.Draw(marked, "RGBA").text(place, "(c) SAMPLE SITE", fill=(90, 90, 90, 170), font=font)
    return marked


def _flip(image: Image.Image, _: Random) -> Image.Image:
    return ImageOps.mirror(image)


def _stretch(image: Image.Image, _: Random) -> Image.Image:
    return image.resize((max(8, int(image.width * 1.25)), image.height))


def _grey(image: Image.Image, _: Random) -> Image.Image:
    return image.convert("L").convert("RGB")


def _border(image: Image.Image, _: Random) -> Image.Image:
    return ImageOps.expand(image, (image.width * 15 // 100, image.height * 15 // 100), fill=WHITE)


TRANSFORMS: Final[Mapping[str, Transform]] = MappingProxyType(
    {
        "JPEG q30": _jpeg,
        "crop 60 % of area": _crop(0.775),
        "crop 60 % of side": _crop(0.6),
        "rescale to 25 %": _shrink,
        "rotate 5 deg": _rotate,
        "colour shift": _shift_colour,
        "watermark text": _watermark,
        "horizontal flip": _flip,
        "stretch 125 %": _stretch,
        "grayscale": _grey,
        "white border 15 %": _border,
    }
)
"""Name -> function of an RGB picture and a seeded generator."""
