"""What is done to one picture: bytes to fingerprints, thumbnail and the encoder's input, decoded once.

Imports neither pyarrow nor an encoder, so that a decoding process starts quickly and stays small.
"""

import hashlib
import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from heldout.errors import InputError
from heldout.pictures import decode_picture, pdq_orientations
from indexer.iscc import image_code
from indexer.preprocess import Preprocess

THUMBNAIL_SIDE = 256
"""Long side of a thumbnail in pixels, at most."""
THUMBNAIL_QUALITY = 80
THUMBNAIL_EFFORT = 2
"""WebP's method: 4 takes twice as long for 5 % less, 0 saves a quarter of the time for a tenth more."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found in one picture; `reason` is set, and nothing else but the digest, when it does not decode."""

    sha256: bytes
    reason: str | None = None
    width: int = 0
    height: int = 0
    pdq: bytes = b""
    """Upright hash, 32 bytes."""
    quality: int = 0
    iscc: str = ""
    thumbnail: bytes = b""


def look(name: str, data: bytes, preprocess: Preprocess, pixels: npt.NDArray[np.uint8]) -> Looked:
    """Fingerprint a picture; a damaged one is an answer, not an error.

    Writes the encoder's input to `pixels`, (height, width, 3) of the model's size; leaves it as it is when damaged.
    """
    digest = hashlib.sha256(data).digest()
    try:
        image = decode_picture(data, name=name)
    except InputError as error:
        return Looked(digest, reason=str(error))
    pixels[:] = np.asarray(preprocess.fit(image))
    pdq, quality = pdq_orientations(image)
    return Looked(
        digest,
        width=image.width,
        height=image.height,
        pdq=pdq[0].tobytes(),
        quality=quality,
        iscc=image_code(image),
        thumbnail=make_thumbnail(image),
    )


def make_thumbnail(image: Image.Image) -> bytes:
    """WebP bytes of an RGB picture, long side at most `THUMBNAIL_SIDE`, never enlarged."""
    if max(image.size) > THUMBNAIL_SIDE:
        # Whole pixels are averaged first, down to no less than the side: a quarter of the work of resampling them all.
        small = image.reduce(max(1, max(image.size) // THUMBNAIL_SIDE))
        image = ImageOps.contain(small, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    image.save(out, "WEBP", quality=THUMBNAIL_QUALITY, method=THUMBNAIL_EFFORT)
    return out.getvalue()


def open_thumbnail(webp: bytes | None) -> Image.Image | None:
    """A stored thumbnail, RGB; None where there is none, or where the disk has damaged it: others can still be seen."""
    try:
        return None if webp is None else decode_picture(webp, name="a thumbnail")
    except InputError:
        return None
