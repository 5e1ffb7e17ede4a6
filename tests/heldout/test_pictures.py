"""Pictures to fingerprints: decoding as a viewer would, and PDQ as docs/formats/picture-fingerprints.md defines it."""

import contextlib
import hashlib
import io
import random
import zlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from heldout import pictures
from heldout.errors import InputError
from heldout.fingerprints import MATCH_DISTANCE, MIN_QUALITY, distances
from heldout.pictures import decode_picture, fingerprint, pdq_orientations

EXIF_ORIENTATION = 0x0112


def _colour(rng: random.Random) -> tuple[int, int, int]:
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)


def _scene(seed: int, size: tuple[int, int] = (300, 220)) -> Image.Image:
    rng = random.Random(seed)  # noqa: S311 - not a secret
    image = Image.new("RGB", size, _colour(rng))
    pen = ImageDraw.Draw(image)
    for _ in range(50):
        x, y = rng.randrange(size[0]), rng.randrange(size[1])
        box = (x, y, x + rng.randrange(5, 90), y + rng.randrange(5, 90))
        rng.choice((pen.ellipse, pen.rectangle))(box, fill=_colour(rng))
    return image


def _encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    if kind == "HEIF":
        pillow_heif.register_heif_opener(thumbnails=False)
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def _apart(one: Image.Image, other: Image.Image) -> int:
    """The distance between two pictures over the orientations of the first."""
    return int(distances(pdq_orientations(one)[0], pdq_orientations(other)[0][:1]).min())


def _reduce_by_the_document(image: Image.Image) -> npt.NDArray[np.float64]:
    """Step 2: (64, 64, 3), by a triangle filter along rows, rounded to 8 bits, then along columns."""
    pixels = np.asarray(image, dtype=np.float64)
    for axis in (1, 0):
        n = pixels.shape[axis]
        scale = max(n / 64, 1.0)
        centres = (np.arange(64) + 0.5) * n / 64
        weights = np.maximum(0.0, 1.0 - np.abs(np.arange(n)[None] + 0.5 - centres[:, None]) / scale)
        weights /= weights.sum(axis=1, keepdims=True)
        moved = np.moveaxis(np.tensordot(weights, pixels, axes=(1, axis)), 0, axis)
        pixels = np.floor(moved + 0.5)
    return pixels


def _pdq_by_the_document(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Steps 2 and 3: 256 bits of the 16 x 16 block, from the last back to the first."""
    luminance = _reduce_by_the_document(image) @ np.array([0.299, 0.587, 0.114])
    basis = np.cos(np.pi / 128 * np.outer(np.arange(1, 17), 2 * np.arange(64) + 1))
    block = basis @ luminance @ basis.T
    bits: npt.NDArray[np.uint8] = (block > np.median(block)).astype(np.uint8).reshape(-1)[::-1]
    return bits


def test_a_second_implementation_from_the_document_agrees() -> None:
    for seed in range(25):
        image = _scene(seed, (180 + 7 * seed, 400 - 11 * seed))
        ours = np.unpackbits(pdq_orientations(image)[0][0])
        assert int((ours != _pdq_by_the_document(image)).sum()) <= 2, seed


@pytest.mark.parametrize("turn", list(Image.Transpose))
def test_a_turned_or_mirrored_copy_has_one_of_the_eight_hashes(turn: Image.Transpose) -> None:
    for seed in range(20):
        image = _scene(seed)
        assert _apart(image, image.transpose(turn)) <= 6


@pytest.mark.parametrize(
    ("change", "limit"),
    [
        (lambda image: image.resize((150, 110), Image.Resampling.BICUBIC), 8),
        (lambda image: image.resize((900, 660), Image.Resampling.BICUBIC), 8),
        (lambda image: decode_picture(_encode(image, "JPEG", quality=30)), 16),
        (lambda image: image.convert("L").convert("RGB"), 8),
    ],
    ids=["half", "triple", "jpeg", "grey"],
)
def test_a_reworked_copy_stays_well_within_the_match_distance(
    change: Callable[[Image.Image], Image.Image], limit: int
) -> None:
    for seed in range(20):
        assert _apart(_scene(seed), change(_scene(seed))) <= limit < MATCH_DISTANCE


def test_different_pictures_are_far_apart() -> None:
    assert min(_apart(_scene(seed), _scene(seed + 1)) for seed in range(40)) > 2 * MATCH_DISTANCE


def test_a_plain_picture_has_too_little_quality_to_match() -> None:
    assert fingerprint(_encode(Image.new("RGB", (80, 80), "navy"))).quality < MIN_QUALITY
    assert fingerprint(_encode(_scene(1))).quality >= MIN_QUALITY


def test_a_fingerprint_is_of_the_bytes_and_of_the_picture() -> None:
    data = _encode(_scene(3))
    found = fingerprint(data)
    assert found.sha256 == hashlib.sha256(data).digest()
    assert (found.width, found.height) == (300, 220)
    assert (found.pdq.shape, str(found.pdq.dtype)) == ((8, 32), "uint8")
    other = fingerprint(_encode(_scene(3), "BMP"))
    assert other.sha256 != found.sha256
    assert np.array_equal(other.pdq, found.pdq)


def test_a_picture_is_shown_upright_as_its_exif_says() -> None:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    turned = decode_picture(_encode(_scene(4), "PNG", exif=exif.tobytes()))
    assert turned.size == (220, 300)
    assert np.array_equal(np.asarray(turned), np.asarray(_scene(4).transpose(Image.Transpose.ROTATE_270)))


def test_transparency_is_laid_over_white() -> None:
    clear = Image.new("RGBA", (10, 10), (255, 0, 0, 0))
    assert decode_picture(_encode(clear)).getpixel((5, 5)) == (255, 255, 255)
    half = Image.new("LA", (10, 10), (0, 51))
    assert decode_picture(_encode(half)).getpixel((5, 5)) == (204, 204, 204)


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    ramp = Image.fromarray(np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16))
    shown = np.asarray(decode_picture(_encode(ramp)))[..., 0].reshape(-1)
    assert np.abs(shown.astype(int) - np.arange(256)).max() <= 1


def test_an_animation_is_its_first_frame() -> None:
    frames = [_scene(seed, (60, 50)) for seed in range(3)]
    data = _encode(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert np.array_equal(np.asarray(decode_picture(data)), np.asarray(frames[0]))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
        (b"\x89PNG\r\n\x1a\n", "picture|damaged"),
        (_encode(_scene(5))[:2_000], "damaged"),
        (_encode(_scene(5), "JPEG")[:3_000], "damaged"),
    ],
)
def test_what_cannot_be_decoded_is_refused_by_name(data: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as refused:
        decode_picture(data, name="mine.png")
    assert "mine.png" in str(refused.value)


def test_a_picture_over_the_pixel_limit_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_PIXELS", 10_000)
    with pytest.raises(InputError, match="megapixels"):
        decode_picture(_encode(Image.new("1", (101, 100))))
    assert decode_picture(_encode(Image.new("1", (100, 100)))).size == (100, 100)


@pytest.mark.parametrize("kind", ["EPS", "DDS", "PPM", "TGA", "ICNS"])
def test_formats_of_other_programs_are_not_even_tried(kind: str) -> None:
    # Pillow hands EPS to Ghostscript, with the picture in a file of its own: neither is for strangers' bytes.
    with pytest.raises(InputError, match="not a picture we can read"):
        decode_picture(_encode(_scene(1, (128, 128)), kind), name="upload")


@pytest.mark.parametrize("kind", pictures.FORMATS)
def test_every_format_we_promise_is_read(kind: str) -> None:
    assert decode_picture(_encode(_scene(1), kind)).size == (300, 220)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(pictures.FORMATS),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=12),
    st.integers(0, 4000),
)
def test_damaged_bytes_are_decoded_or_refused_and_nothing_else(
    kind: str, changes: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(_encode(_scene(2, (40, 30)), kind))
    for position, value in changes:
        data[position % len(data)] = value
    data = data[: len(data) - cut % len(data)] if cut % 3 == 0 else data
    with contextlib.suppress(InputError):
        fingerprint(bytes(data))


def test_a_decoder_that_fails_in_its_own_way_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("Failed to decode image")

    monkeypatch.setattr(Image, "open", fail)  # as Pillow's AVIF decoder does on some damaged files
    with pytest.raises(InputError, match="damaged"):
        decode_picture(b"anything")


def test_a_bomb_is_called_too_large_and_not_damaged() -> None:
    header = bytearray(_encode(Image.new("1", (8, 8))))
    at = header.index(b"IHDR") + 4
    header[at : at + 8] = (20_000).to_bytes(4, "big") * 2
    header[at + 13 : at + 17] = zlib.crc32(header[at - 4 : at + 13]).to_bytes(4, "big")
    with pytest.raises(InputError, match="over the limit of 100 megapixels"):
        decode_picture(bytes(header))
