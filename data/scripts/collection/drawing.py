"""From a clip art file to the picture a web site would serve: trimmed, long side 256, as JPEG, PNG or WebP."""

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import resvg_py
from choice import percent, pick
from originals import Original
from PIL import Image

Image.MAX_IMAGE_PIXELS = 200_000_000  # the packages' largest rendering has 169 million

LONG_SIDE = 256
"""In pixels, of every original in the collection."""

LARGE = 1200
"""In pixels. Renderings with a longer side (the packages have some of 13,000) are reduced before anything else."""

MARGIN = 0.04
"""White kept round a trimmed drawing, as a share of its long side."""

RENDERING_AGREES = 6.0
"""Largest mean difference (0-255) between our rendering of the SVG and the package's for ours to be used."""

MAX_PNG_BYTES = 18_000
"""A PNG over this size is saved with a palette instead, as web sites do."""


@dataclass(frozen=True)
class Encoded:
    """A picture file."""

    data: bytes
    extension: str
    width: int
    height: int


def draw(original: Original) -> Image.Image:
    """The drawing, RGBA, trimmed to its ink plus a margin, long side at most `LONG_SIDE`.

    The packages' renderings serve where they are large enough; a small one is drawn again from the SVG when the two
    agree, else it stays small, as icons on the web are.
    """
    with Image.open(original.png) as file:
        image = file.convert("RGBA")
    if max(image.size) > LARGE:
        image = image.reduce(max(image.size) // LARGE + 1)
    box = _ink(image)
    ink = max(box[2] - box[0], box[3] - box[1])
    if ink < LONG_SIDE:
        zoom = -(-2 * LONG_SIDE // ink)
        larger = _render(original, image, zoom)
        if larger is not None:
            image, box = larger, _ink(larger)
            ink = max(box[2] - box[0], box[3] - box[1])
    margin = round(ink * MARGIN)
    canvas = Image.new("RGBA", (box[2] - box[0] + 2 * margin, box[3] - box[1] + 2 * margin), (255, 255, 255, 0))
    canvas.paste(image.crop(box), (margin, margin))
    if max(canvas.size) > LONG_SIDE:
        scale = LONG_SIDE / max(canvas.size)
        size = (max(1, round(canvas.width * scale)), max(1, round(canvas.height * scale)))
        canvas = canvas.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return canvas


def on_white(image: Image.Image) -> Image.Image:
    """RGB, transparency on white."""
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def _ink(image: Image.Image) -> tuple[int, int, int, int]:
    dark: npt.NDArray[np.bool_] = np.asarray(on_white(image)).min(axis=2) < 250
    rows, columns = np.flatnonzero(dark.any(axis=1)), np.flatnonzero(dark.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _render(original: Original, reference: Image.Image, zoom: int) -> Image.Image | None:
    try:
        data = resvg_py.svg_to_bytes(svg_path=str(original.svg), width=reference.width * zoom)
    except ValueError:  # "SVG has an invalid size": its width is in units that resvg does not take
        return None
    image = Image.open(io.BytesIO(bytes(data))).convert("RGBA")
    back = np.asarray(on_white(image).resize(reference.size, Image.Resampling.BOX), dtype=np.int16)
    box = _ink(reference)
    difference = np.abs(back - np.asarray(on_white(reference), dtype=np.int16))[box[1] : box[3], box[0] : box[2]]
    return image if float(difference.mean()) <= RENDERING_AGREES else None


def encode_for_web(image: Image.Image, name: str) -> Encoded:
    """A JPEG (55 %), PNG (18 %) or WebP (27 %) as `name` decides; half of the latter two keep their transparency."""
    share = percent("format", name)
    keep_alpha = percent("alpha", name) < 50 and image.getchannel("A").getextrema()[0] < 255
    if share < 55:
        quality = pick((75, 80, 85, 90), "quality", name)
        return jpeg(on_white(image), quality=quality, progressive=percent("progressive", name) < 40)
    picture = image if keep_alpha else on_white(image)
    return png(picture) if share < 73 else webp(picture, quality=pick((75, 80, 85), "quality", name))


def jpeg(image: Image.Image, *, quality: int, progressive: bool = False) -> Encoded:
    """A JPEG file."""
    return _save(image, "jpg", "JPEG", quality=quality, progressive=progressive, optimize=True)


def webp(image: Image.Image, *, quality: int) -> Encoded:
    """A lossy WebP file."""
    return _save(image, "webp", "WEBP", quality=quality, method=4)


def png(image: Image.Image) -> Encoded:
    """A PNG file, with a palette where true colour would be large."""
    full = _save(image, "png", "PNG", optimize=True)
    if len(full.data) <= MAX_PNG_BYTES:
        return full
    method = Image.Quantize.FASTOCTREE if image.mode == "RGBA" else Image.Quantize.MEDIANCUT
    return _save(image.quantize(colors=128, method=method), "png", "PNG", optimize=True)


def _save(image: Image.Image, extension: str, kind: str, **options: object) -> Encoded:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return Encoded(buffer.getvalue(), extension, image.width, image.height)
