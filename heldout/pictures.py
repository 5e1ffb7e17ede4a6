"""Pictures to fingerprints: decode once, safely, as a viewer would show them; SHA-256 and PDQ.

Needs the extra `images` (Pillow, pdqhash). PDQ is Meta's perceptual hash: Davis & Rosen, "The TMK+PDQF video-hashing
algorithm and the PDQ image-hashing algorithm" (2019); 256 bits, matched at Hamming distance <= 31 with quality >= 50.
"""

import hashlib
import io
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pdqhash
from PIL import Image, ImageOps, UnidentifiedImageError

from heldout.colours import to_srgb
from heldout.errors import InputError

MAX_PIXELS = 100_000_000
"""Largest picture decoded, in pixels. Beyond it a file is more likely a decompression bomb than a work."""

FORMATS = ("AVIF", "BMP", "GIF", "HEIF", "JPEG", "PNG", "TIFF", "WEBP")
"""What the web's pictures come as. Pillow knows many more; some of those start other programs (EPS) or are seldom
fuzzed, and what is decoded here comes from strangers."""

PDQ_SIDE = 64
"""In pixels. PDQ hashes a 64 x 64 reduction. Reference implementations pick single pixels of a blurred picture for it,
off centre, so that copies of other sizes and mirrored ones come out 10 to 40 bits apart. We reduce with a triangle
filter, which is symmetric: 0 to 4 bits apart, and 10 (median) to 16 bits from the reference hash of a photo."""


@dataclass(frozen=True)
class Fingerprint:
    """What is known of a picture without keeping it."""

    sha256: bytes
    """SHA-256 of the original bytes, 32 bytes."""
    pdq: npt.NDArray[np.uint8]
    """(8, 32) uint8: PDQ of the 8 orientations, the upright one first."""
    quality: int
    """PDQ quality, 0-100."""
    width: int
    height: int


_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""ISO 23008-12; AVIF has brands of its own."""


def decode_picture(data: bytes, *, name: str = "the picture") -> Image.Image:
    """Decode to an upright sRGB image, as a viewer would show it: transparency on white, first frame of an animation.

    A file that ends before its last pixel is damaged, though a browser may show its upper part.

    Raises:
        InputError: empty, not a picture of `FORMATS`, truncated or corrupt, or over `MAX_PIXELS`. Nothing else is
            raised, whatever the bytes are.
    """
    if not data:
        raise InputError(f"{name} is empty (0 bytes): give a JPEG, PNG, WebP, GIF, HEIC or AVIF file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own bomb warning; the limit below is ours and is an error
            image = Image.open(io.BytesIO(data), formats=_formats_of(data))
            _check_size(image, name)
            image.load()
            return to_srgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError as error:
        raise InputError(
            f"{name} is not a picture we can read: give a JPEG, PNG, WebP, GIF, HEIC or AVIF file"
        ) from error
    except InputError:
        raise
    except Image.DecompressionBombError as error:  # Pillow's limit is beyond ours, and it refuses before we can look
        raise InputError(_too_large(name, "far")) from error
    except Exception as error:  # decoders raise what they like: struct.error, RuntimeError, KeyError, ...
        raise InputError(f"{name} is damaged ({str(error)[:200]}): give an intact file") from error


def _formats_of(data: bytes) -> tuple[str, ...]:
    """The formats to try. HEIF's decoder is loaded with the first file that needs it."""
    if data[4:8] != b"ftyp" or data[8:12] not in _HEIF_BRANDS:
        return tuple(name for name in FORMATS if name != "HEIF")
    import pillow_heif

    pillow_heif.options.DECODE_THREADS = 1  # whoever decodes many has processes for it
    pillow_heif.register_heif_opener(thumbnails=False)
    return ("HEIF", "AVIF")


def _check_size(image: Image.Image, name: str) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise InputError(_too_large(name, f"at {image.width} x {image.height} pixels"))


def _too_large(name: str, how: str) -> str:
    return f"{name} is {how} over the limit of {MAX_PIXELS // 1_000_000} megapixels: give a smaller copy"


def pdq_orientations(image: Image.Image) -> tuple[npt.NDArray[np.uint8], int]:
    """PDQ of an RGB picture and of its 7 rotations and reflections.

    Returns:
        ((8, 32) uint8, upright first; quality 0-100).
    """
    small = image.resize((PDQ_SIDE, PDQ_SIDE), Image.Resampling.BILINEAR)
    hashes, quality = pdqhash.compute_dihedral(np.asarray(small))
    return np.packbits(np.asarray(hashes, dtype=np.uint8), axis=1), int(quality)


def fingerprint_image(image: Image.Image, data: bytes) -> Fingerprint:
    """Fingerprint an already decoded picture; `data` are the original bytes."""
    pdq, quality = pdq_orientations(image)
    return Fingerprint(hashlib.sha256(data).digest(), pdq, quality, image.width, image.height)


def fingerprint(data: bytes, *, name: str = "the picture") -> Fingerprint:
    """Decode and fingerprint a picture's bytes.

    Raises:
        InputError: as `decode_picture`.
    """
    return fingerprint_image(decode_picture(data, name=name), data)
