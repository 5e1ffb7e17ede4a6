"""What the decoding processes do: bytes to fingerprints, thumbnail and the encoder's input, decoded once.

Imports neither pyarrow nor an encoder, so that a process starts quickly and stays small.
"""

import hashlib
import io
import multiprocessing.process
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageOps

from heldout.errors import InputError
from heldout.pictures import decode_picture, pdq_orientations
from indexer.iscc import image_code
from indexer.preprocess import Preprocess

THUMBNAIL_SIDE = 256
"""Long side of a thumbnail in pixels, at most."""
THUMBNAIL_QUALITY = 80


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
    size: tuple[int, int] = (0, 0)
    """(width, height) of `pixels`."""
    pixels: bytes = b""
    """RGB, as the encoder wants it."""


def die_with_parent() -> None:
    """End this process when the one that started it is killed; a pool's idle workers would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()


def _exit_after(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)


def look(pictures: Sequence[tuple[str, bytes]], preprocess: Preprocess | None) -> list[Looked]:
    """Fingerprint named pictures; a damaged one is an answer, not an error.

    With `preprocess`, `pixels` are already of the model's size, so that little travels between processes.
    """
    return [_look(name, data, preprocess) for name, data in pictures]


def _look(name: str, data: bytes, preprocess: Preprocess | None) -> Looked:
    digest = hashlib.sha256(data).digest()
    try:
        image = decode_picture(data, name=name)
    except InputError as error:
        return Looked(digest, reason=str(error))
    pdq, quality = pdq_orientations(image)
    fitted = image if preprocess is None else preprocess.fit(image)
    return Looked(
        digest,
        width=image.width,
        height=image.height,
        pdq=pdq[0].tobytes(),
        quality=quality,
        iscc=image_code(image),
        thumbnail=make_thumbnail(image),
        size=fitted.size,
        pixels=fitted.tobytes(),
    )


def make_thumbnail(image: Image.Image) -> bytes:
    """WebP bytes of an RGB picture, long side at most `THUMBNAIL_SIDE`, never enlarged."""
    if max(image.size) > THUMBNAIL_SIDE:
        image = ImageOps.contain(image, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    image.save(out, "WEBP", quality=THUMBNAIL_QUALITY, method=2)  # method 4 takes half as long again for 5 %
    return out.getvalue()
