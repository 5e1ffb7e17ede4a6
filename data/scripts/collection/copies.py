"""The planted copies: what the web does to pictures, made from the published file, as a reposter would have it.

`planted.csv` names the originals and which transforms each suffers. The label to expect of a copy is not decided here
but measured: `exact` for the same bytes, `near` where PDQ in its best orientation is within 31 and both pictures are
detailed enough for it (quality >= 50), else `similar`.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import addresses
import drawing
import numpy as np
from choice import percent
from drawing import Encoded
from originals import Original
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

SAME_BYTES = {
    "identical": "other host",
    "tracking": "tracking parameters",
    "scheme": "http for https or back",
    "upper-host": "host in upper case",
}
"""Copies whose file is the original's, byte for byte; the last three have the original's address, written otherwise."""

ADDRESS_VARIANTS: dict[str, Callable[[str], str]] = {
    "tracking": addresses.with_tracking,
    "scheme": addresses.with_other_scheme,
    "upper-host": addresses.with_upper_host,
}


@dataclass(frozen=True)
class Copy:
    """A planted copy."""

    transform: str
    parameters: str
    encoded: Encoded


def make_copy(original: Original, published: Encoded, transform: str) -> Copy:
    """The copy that `transform` makes of a published picture."""
    if transform in SAME_BYTES:
        return Copy(transform, SAME_BYTES[transform], published)
    with Image.open(io.BytesIO(published.data)) as file:
        picture = drawing.on_white(file.convert("RGBA"))
    change, parameters = TRANSFORMS[transform]
    return Copy(transform, parameters, change(picture, original))


def _scaled(image: Image.Image, factor: float) -> Image.Image:
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.BICUBIC)


def _cropped(image: Image.Image, share: float, original: Original) -> Image.Image:
    """A window of `share` of each side, anywhere."""
    width, height = round(image.width * share), round(image.height * share)
    left = (image.width - width) * percent("left", original.path) // 100
    top = (image.height - height) * percent("top", original.path) // 100
    return image.crop((left, top, left + width, top + height))


def _watermarked(image: Image.Image, text: str, share: float) -> Image.Image:
    """`text` across the middle, half transparent, letters `share` of the width high."""
    font = ImageFont.load_default(size=max(8.0, image.width * share))
    layer = Image.new("RGBA", image.size, (255, 255, 255, 0))
    place = (image.width / 2, image.height / 2)
    ImageDraw.Draw(layer).text(place, text, font=font, fill=(90, 90, 90, 128), anchor="mm")
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")


def _screenshot(image: Image.Image) -> Image.Image:
    """The picture in a page: a window's bar, grey lines of text, the picture at three fifths."""
    page = Image.new("RGB", (320, 256), (255, 255, 255))
    draw = ImageDraw.Draw(page)
    draw.rectangle((0, 0, 319, 22), fill=(222, 225, 230))
    draw.rounded_rectangle((60, 4, 300, 18), radius=7, fill=(255, 255, 255))
    for i, colour in enumerate(((255, 95, 86), (255, 189, 46), (39, 201, 63))):
        draw.ellipse((8 + 14 * i, 6, 18 + 14 * i, 16), fill=colour)
    draw.text((68, 5), "https://blogfarm.example/", font=ImageFont.load_default(size=10), fill=(95, 99, 104))
    small = ImageOps.contain(image, (154, 154), Image.Resampling.BICUBIC)
    page.paste(small, (14, 36))
    for line in range(12):
        draw.rectangle((184, 40 + 16 * line, 300 - 23 * (line % 4 == 3), 46 + 16 * line), fill=(200, 203, 208))
    for line in range(3):
        draw.rectangle((14, 206 + 14 * line, 160 - 30 * (line == 2), 212 + 14 * line), fill=(200, 203, 208))
    return page


def _shifted(image: Image.Image) -> Image.Image:
    """Colours turned a sixth round the colour circle."""
    hue, saturation, value = image.convert("HSV").split()
    turned = Image.fromarray((np.asarray(hue).astype(np.uint16) + 43).astype(np.uint8))
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")


def _bordered(image: Image.Image, share: float, colour: tuple[int, int, int]) -> Image.Image:
    return ImageOps.expand(image, border=max(1, round(max(image.size) * share)), fill=colour)


def _jpeg85(image: Image.Image) -> Encoded:
    return drawing.jpeg(image, quality=85)


TRANSFORMS: dict[str, tuple[Callable[[Image.Image, Original], Encoded], str]] = {
    "jpeg-60": (lambda p, _: drawing.jpeg(p, quality=60), "quality=60"),
    "jpeg-30": (lambda p, _: drawing.jpeg(p, quality=30), "quality=30"),
    "webp-50": (lambda p, _: drawing.webp(p, quality=50), "quality=50"),
    "png": (lambda p, _: drawing.png(p), "lossless"),
    "half": (lambda p, _: _jpeg85(_scaled(p, 0.5)), "scale=0.5 quality=85"),
    "quarter": (lambda p, _: _jpeg85(_scaled(p, 0.25)), "scale=0.25 quality=85"),
    "enlarged": (lambda p, _: drawing.jpeg(_scaled(p, 1.5), quality=75), "scale=1.5 quality=75"),
    "mirrored": (lambda p, _: _jpeg85(ImageOps.mirror(p)), "left-right quality=85"),
    "rotated-90": (lambda p, _: _jpeg85(p.transpose(Image.Transpose.ROTATE_90)), "degrees=90 quality=85"),
    "rotated-180": (lambda p, _: _jpeg85(p.transpose(Image.Transpose.ROTATE_180)), "degrees=180 quality=85"),
    "greyscale": (lambda p, _: _jpeg85(ImageOps.grayscale(p)), "quality=85"),
    "colours": (lambda p, _: _jpeg85(_shifted(p)), "hue=+60 degrees quality=85"),
    "brighter": (lambda p, _: _jpeg85(ImageEnhance.Brightness(p).enhance(1.25)), "brightness=1.25 quality=85"),
    "watermark": (lambda p, _: _jpeg85(_watermarked(p, "stickerparty.example", 0.07)), "letters=0.07 quality=85"),
    "large-watermark": (lambda p, _: _jpeg85(_watermarked(p, "SAMPLE", 0.24)), "letters=0.24 quality=85"),
    "border": (lambda p, _: _jpeg85(_bordered(p, 0.08, (32, 32, 48))), "width=0.08 quality=85"),
    "crop-80": (lambda p, o: _jpeg85(_cropped(p, 0.8, o)), "sides=0.8 quality=85"),
    "crop-60": (lambda p, o: _jpeg85(_cropped(p, 0.6, o)), "sides=0.6 quality=85"),
    "screenshot": (lambda p, _: drawing.png(_screenshot(p)), "picture=0.6 of the page"),
}
"""Name -> (what it does, its parameters for the truth table)."""
