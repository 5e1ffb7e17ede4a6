"""Ways in which copies on the web differ from their original, for measuring who still finds them."""

import io
from collections.abc import Callable, Mapping, Sequence
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


def _cut_off(share_of_area: float) -> Transform:
    """As copies are measured since Copydays (Douze et al. 2009): named by what is cut off."""
    return _crop((1.0 - share_of_area) ** 0.5)


def _shrink(times: int) -> Transform:
    def shrink(image: Image.Image, _: Random) -> Image.Image:
        size = max(4, image.width // times), max(4, image.height // times)
        return image.resize(size, Image.Resampling.BILINEAR)

    return shrink


def _turn(image: Image.Image, _: Random) -> Image.Image:
    return image.transpose(Image.Transpose.ROTATE_90)


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


def _screenshot(image: Image.Image, rng: Random) -> Image.Image:
    """A post on a site, seen in a browser: bars, a menu, the picture at under half the width, comments beside it."""
    page = Image.new("RGB", (1280, 800), rng.choice([WHITE, (243, 244, 246)]))
    pen = ImageDraw.Draw(page)
    font = ImageFont.load_default(16)
    pen.rectangle((0, 0, 1279, 44), fill=(222, 225, 230))
    pen.rounded_rectangle((140, 8, 1100, 36), radius=14, fill=WHITE)
    pen.text((160, 12), "https://pins.example/post/31415", font=font, fill=(95, 99, 104))
    pen.rectangle((0, 45, 1279, 104), fill=(38, 62, 110))
    for item, word in enumerate(("Home", "New", "Popular", "Tags", "About")):
        pen.text((40 + 110 * item, 66), word, font=font, fill=WHITE)
    for line in range(9):
        pen.text((36, 150 + 44 * line), ("animals", "people", "food and drink")[line % 3], font=font, fill=(60, 70, 90))
    left, top = rng.randint(220, 300), rng.randint(120, 180)
    shown = ImageOps.contain(image, (560, 560), Image.Resampling.BICUBIC)
    page.paste(shown, (left, top))
    pen.text((left, top + shown.height + 12), "1,024 likes   Save   Share", font=font, fill=(60, 70, 90))
    for line in range(11):
        y = 130 + 56 * line
        pen.ellipse((900, y, 932, y + 32), fill=tuple(rng.randint(80, 220) for _ in range(3)))
        said = " ".join(rng.choice(("lovely", "so", "nice", "thanks", "where", "is", "this", "from")) for _ in range(5))
        pen.text((944, y + 6), said, font=font, fill=(30, 30, 30))
    return page


def collage(pictures: Sequence[Image.Image], *, side: int = 400) -> Image.Image:
    """Four pictures as 2 x 2 tiles, each whole on white, with a gutter."""
    gutter = side // 50
    page = Image.new("RGB", (2 * side + 3 * gutter,) * 2, WHITE)
    for place, picture in enumerate(pictures):
        tile = ImageOps.pad(picture, (side, side), Image.Resampling.BICUBIC, color=WHITE)
        page.paste(tile, (gutter + place % 2 * (side + gutter), gutter + place // 2 * (side + gutter)))
    return page


TRANSFORMS: Final[Mapping[str, Transform]] = MappingProxyType(
    {
        "JPEG q30": _jpeg,
        "crop 60 % of area": _crop(0.775),
        "crop 60 % of side": _crop(0.6),
        "rescale to 25 %": _shrink(4),
        "rotate 5 deg": _rotate,
        "colour shift": _shift_colour,
        "watermark text": _watermark,
        "horizontal flip": _flip,
        "stretch 125 %": _stretch,
        "grayscale": _grey,
        "white border 15 %": _border,
    }
)
"""Name -> function of an RGB picture and a seeded generator. What encoders are compared by: model cards say these."""

COPIES: Final[Mapping[str, Transform]] = MappingProxyType(
    {
        "JPEG q30": _jpeg,
        "rescale to 50 %": _shrink(2),
        "crop 10 % off": _cut_off(0.1),
        "crop 30 % off": _cut_off(0.3),
        "crop 50 % off": _cut_off(0.5),
        "rotate 5 deg": _rotate,
        "rotate 90 deg": _turn,
        "mirror": _flip,
        "colour shift": _shift_colour,
        "grayscale": _grey,
        "watermark text": _watermark,
        "white border 15 %": _border,
        "screenshot": _screenshot,
    }
)
"""What a search for copies is measured by, besides `collage` and cloaks."""
