"""Files of every odd kind, shown as a viewer would. What is expected is made without the code under test: from the
formats' own documents, by numpy, or from the pixels that went in."""

import contextlib
import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pillow_heif
import pytest
from PIL import Image, ImageCms

from heldout.errors import InputError
from heldout.pictures import decode_picture, pdq_orientations

Pixels = npt.NDArray[np.uint8]

D50 = (0.9642, 1.0, 0.8249)
DISPLAY_P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
"""Red, green and blue as XYZ under D50, from the profile that Apple publishes."""
SRGB_D50 = np.array([[0.4360, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])


def _scene(size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Smooth colours, light at the top left, with no symmetry."""
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    pixels = np.stack([40 + 180 * x, 60 + 150 * y * x, 200 - 170 * y], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


def _encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    if kind == "HEIF":
        pillow_heif.register_heif_opener(thumbnails=False)
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def _shown(data: bytes) -> npt.NDArray[np.int16]:
    image = decode_picture(data)
    assert image.mode == "RGB"
    return np.asarray(image).astype(np.int16)


def _png(width: int, height: int, depth: int, kind: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG from its specification: `rows` are the scanlines without filter bytes."""
    length = len(rows) // height
    lines = b"".join(b"\0" + rows[row * length : (row + 1) * length] for row in range(height))
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)),
        *chunks,
        (b"IDAT", zlib.compress(lines)),
        (b"IEND", b""),
    ]
    packed = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def _fixed(values: tuple[float, ...]) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def _icc(space: bytes, connection: bytes, kind: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile, version 2 (ICC.1:2001-04): header, table of tags, tags."""
    start = 128 + 4 + 12 * len(tags)
    table, body = b"", b""
    for name, data in tags.items():
        padded = data + b"\0" * (-len(data) % 4)
        table += name + struct.pack(">II", start + len(body), len(data))
        body += padded
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"test", 0x02100000, kind, space, connection)
    header += bytes(12) + b"acsp" + bytes(28) + _fixed(D50)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def _rgb_profile(primaries: tuple[tuple[float, ...], ...], gamma: float) -> bytes:
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
    names = (b"rXYZ", b"gXYZ", b"bXYZ")
    colours = {name: b"XYZ " + bytes(4) + _fixed(one) for name, one in zip(names, primaries, strict=True)}
    white = {b"wtpt": b"XYZ " + bytes(4) + _fixed(D50)}
    return _icc(b"RGB ", b"XYZ ", b"mntr", {**white, **colours, b"rTRC": curve, b"gTRC": curve, b"bTRC": curve})


def _cmyk_profile() -> bytes:
    """A press whose inks together only ever make grey: lightness is 100 - 20 x (C + M + Y) - 40 x K, a and b are 0."""
    nodes = [(c, m, y, k) for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)]
    lightness = [max(0.0, 100 - 20 * (c + m + y) - 40 * k) for c, m, y, k in nodes]
    grid = b"".join(struct.pack(">3H", round(value / 100 * 0xFF00), 0x8000, 0x8000) for value in lightness)
    straight = struct.pack(">2H", 0, 0xFFFF)
    lut = b"mft2" + bytes(4) + bytes((4, 3, 2, 0)) + _fixed((1, 0, 0, 0, 1, 0, 0, 0, 1))
    lut += struct.pack(">2H", 2, 2) + 4 * straight + grid + 3 * straight
    white = b"XYZ " + bytes(4) + _fixed(D50)
    return _icc(b"CMYK", b"Lab ", b"prtr", {b"wtpt": white, b"A2B0": lut})


def _srgb_curve(linear: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """IEC 61966-2-1, 0 to 255."""
    low, high = 12.92 * linear, 1.055 * np.clip(linear, 0.0031308, None) ** (1 / 2.4) - 0.055
    return np.asarray(np.clip(np.where(linear <= 0.0031308, low, high), 0, 1) * 255)


def test_a_wide_gamut_picture_is_shown_in_srgb() -> None:
    pixels = np.asarray(_scene())
    xyz = (pixels / 255.0) ** 2.2 @ np.array(DISPLAY_P3)
    expected = _srgb_curve(xyz @ np.linalg.inv(SRGB_D50).T)
    profile = _rgb_profile(DISPLAY_P3, 2.2)
    for kind, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})):
        shown = _shown(_encode(_scene(), kind, icc_profile=profile, **options))
        assert np.abs(shown - expected).max() <= 2, kind
    assert np.abs(expected - pixels).max() > 20  # it mattered


def test_a_profile_of_another_gamma_is_applied_to_grey_and_behind_alpha() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    expected = _srgb_curve(ramp / 255.0)
    white = b"XYZ " + bytes(4) + _fixed(D50)
    linear = b"curv" + bytes(4) + struct.pack(">I", 0)
    grey = _icc(b"GRAY", b"XYZ ", b"mntr", {b"wtpt": white, b"kTRC": linear})
    shown = _shown(_encode(Image.fromarray(ramp), "PNG", icc_profile=grey))
    assert np.abs(shown - expected[..., None]).max() <= 2
    half = Image.merge("LA", (Image.fromarray(ramp), Image.new("L", (16, 16), 51)))
    shown = _shown(_encode(half, "PNG", icc_profile=grey))
    assert np.abs(shown - (0.2 * expected + 0.8 * 255)[..., None]).max() <= 2
    rgba = Image.merge("RGBA", (*[Image.fromarray(ramp)] * 3, Image.new("L", (16, 16), 51)))
    profile = _rgb_profile(tuple(map(tuple, SRGB_D50.T)), 1.0)
    shown = _shown(_encode(rgba, "PNG", icc_profile=profile))
    assert np.abs(shown - (0.2 * expected + 0.8 * 255)[..., None]).max() <= 2


@pytest.mark.parametrize(
    "profile",
    [
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        b"no profile at all",
        b"\0" * 500,
        _cmyk_profile(),  # of other colours than the picture's
        _rgb_profile(DISPLAY_P3, 2.2)[:300],
    ],
    ids=["srgb", "text", "zeros", "foreign", "cut"],
)
def test_a_profile_that_says_nothing_new_changes_no_pixel(profile: bytes) -> None:
    assert np.array_equal(_shown(_encode(_scene(), "PNG", icc_profile=profile)), np.asarray(_scene()))


def test_cmyk_is_shown_as_its_inks_on_paper_with_and_without_adobes_marker() -> None:
    rng = np.random.default_rng(1)
    inks = np.kron(rng.integers(0, 256, (4, 4, 4)), np.ones((16, 16, 1))).astype(np.uint8)
    cmyk = Image.fromarray(inks, "CMYK")
    share = inks / 255.0
    expected = 255 * (1 - share[..., :3]) * (1 - share[..., 3:])
    assert np.abs(_shown(_encode(cmyk, "TIFF")) - expected).max() <= 1
    adobe = _encode(cmyk, "JPEG", quality=100, subsampling=0)  # inverted, with a marker, as Photoshop writes it
    at = adobe.index(b"\xff\xee")
    assert adobe[at + 4 : at + 9] == b"Adobe"
    length = int.from_bytes(adobe[at + 2 : at + 4], "big")
    # Browsers take a JPEG's CMYK for inverted without the marker, too.
    for data in (adobe, adobe[:at] + adobe[at + 2 + length :]):
        assert np.abs(_shown(data) - expected).max() <= 6


def test_a_cmyk_picture_with_a_profile_is_shown_as_its_press_prints() -> None:
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[:8, :, 3] = 255  # black ink alone: lightness 60; bare paper below
    lightness = np.where(inks[..., 3] > 0, 60.0, 100.0)
    luminance = ((lightness + 16) / 116) ** 3
    shown = _shown(_encode(Image.fromarray(inks, "CMYK"), "TIFF", icc_profile=_cmyk_profile()))
    assert np.abs(shown - _srgb_curve(luminance)[..., None]).max() <= 3


def test_sixteen_bit_colour_is_shown_by_its_high_byte() -> None:
    pixels = np.arange(3 * 256 * 16, dtype=np.uint32).reshape(16, 256, 3) * 5 % 65536
    data = _png(256, 16, 16, 2, pixels.astype(">u2").tobytes())
    assert np.abs(_shown(data) - pixels / 257).max() <= 1


@pytest.mark.parametrize("top", [65535, 200])
def test_sixteen_bit_grey_is_as_dark_as_it_says(top: int) -> None:
    ramp = np.linspace(0, top, 256).astype(np.uint16).reshape(16, 16)
    expected = np.repeat((ramp / 257)[..., None], 3, axis=2)
    assert np.abs(_shown(_png(16, 16, 16, 0, ramp.astype(">u2").tobytes())) - expected).max() <= 1
    assert np.abs(_shown(_encode(Image.fromarray(ramp), "TIFF")) - expected).max() <= 1


def test_a_colour_declared_clear_is_white_in_sixteen_bit_grey() -> None:
    ramp = np.array([[0, 30000], [30000, 65535]], dtype=">u2")
    data = _png(2, 2, 16, 0, ramp.tobytes(), (b"tRNS", struct.pack(">H", 30000)))
    assert _shown(data)[..., 0].tolist() == [[0, 255], [255, 255]]


@pytest.mark.parametrize(("kind", "top"), [(np.float32, 1.0), (np.float32, 255.0), (np.int32, 65535)])
def test_thirty_two_bit_tiffs_are_scaled(kind: Any, top: float) -> None:
    ramp = np.linspace(0, top, 256).reshape(16, 16).astype(kind)
    shown = _shown(_encode(Image.fromarray(ramp), "TIFF"))
    assert np.abs(shown[..., 0] - np.arange(256).reshape(16, 16)).max() <= 1


def test_a_palette_with_alpha_is_laid_over_white() -> None:
    rows = bytes([0, 1, 2, 3])
    palette = (b"PLTE", bytes([200, 0, 0, 0, 200, 0, 0, 0, 200, 9, 9, 9]))
    data = _png(4, 1, 8, 3, rows, palette, (b"tRNS", bytes([255, 51, 0])))
    assert _shown(data).tolist() == [[[200, 0, 0], [204, 244, 204], [255, 255, 255], [9, 9, 9]]]


def test_grey_with_alpha_and_a_clear_colour_are_laid_over_white() -> None:
    assert _shown(_png(2, 1, 8, 4, bytes([100, 255, 0, 51])))[0, :, 0].tolist() == [100, 204]
    clear = _png(2, 1, 8, 2, bytes([1, 2, 3, 4, 5, 6]), (b"tRNS", struct.pack(">3H", 1, 2, 3)))
    assert _shown(clear).tolist() == [[[255, 255, 255], [4, 5, 6]]]


def test_one_bit_is_black_and_white() -> None:
    assert _shown(_png(8, 1, 1, 0, b"\xa5"))[0, :, 0].tolist() == [255, 0, 255, 0, 0, 255, 0, 255]
    fax = Image.fromarray(np.array([[True, False], [False, True]]))
    assert _shown(_encode(fax, "TIFF", compression="group4"))[..., 0].tolist() == [[255, 0], [0, 255]]


TURNS: dict[int, Callable[[Any], Any]] = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90,
}
"""EXIF 2.3, 4.6.4 A: which side of what is stored is the top of what is shown."""


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_pictures_of_all_eight_orientations_are_upright(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"TIFF": {}, "PNG": {}, "WEBP": {"lossless": True}}.get(kind, {"quality": 95})
    shown = _shown(_encode(_scene(), kind, exif=exif.tobytes(), **options))
    expected = TURNS[orientation](np.asarray(_scene()).astype(np.int16))
    assert shown.shape == expected.shape
    assert np.abs(shown - expected).mean() <= 4


@pytest.mark.parametrize("kind", ["AVIF", "HEIF", "WEBP"])
def test_modern_formats_are_decoded_with_their_alpha(kind: str) -> None:
    picture = _scene()
    assert np.abs(_shown(_encode(picture, kind, quality=95)) - np.asarray(picture)).mean() <= 4
    picture.putalpha(51)
    expected = 0.2 * np.asarray(_scene()) + 0.8 * 255
    assert np.abs(_shown(_encode(picture, kind, quality=95)) - expected).mean() <= 4


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
def test_of_many_frames_the_first_is_shown(kind: str) -> None:
    colours = [(250, 20, 20), (20, 250, 20), (20, 20, 250)]
    frames = [Image.new("RGB", (32, 24), colour) for colour in colours]
    shown = _shown(_encode(frames[0], kind, save_all=True, append_images=frames[1:], duration=50))
    assert np.abs(shown - np.array(colours[0])).max() <= 8


def test_an_animations_first_frame_stands_on_its_canvas() -> None:
    frame = b"\x2c" + struct.pack("<4HB", 2, 1, 1, 1, 0) + b"\x02\x02\x44\x01\x00"  # one pixel of colour 0 at (2, 1)
    clear = b"\x21\xf9\x04\x01\x0a\x00\x01\x00"  # colour 1 is clear, and the background is colour 1
    gif = b"GIF89a" + struct.pack("<2H3B", 4, 3, 0x80, 1, 0) + bytes([10, 20, 30, 7, 7, 7]) + clear + frame + b"\x3b"
    expected = np.full((3, 4, 3), 255)
    expected[1, 2] = (10, 20, 30)
    assert _shown(gif).tolist() == expected.tolist()


def test_of_a_phones_double_picture_the_first_is_shown() -> None:
    other = Image.new("RGB", (64, 48), "black")
    data = _encode(_scene(), "MPO", save_all=True, append_images=[other], quality=95)
    assert np.abs(_shown(data) - np.asarray(_scene())).mean() <= 4


def test_lab_is_shown_in_srgb() -> None:
    rows = np.array([[[255, 0, 0], [0, 0, 0], [137, 0, 0]]], dtype=np.uint8)  # L* of 100, 0 and 53.7; a and b of 0
    shown = _shown(_encode(Image.fromarray(rows, "LAB"), "TIFF"))
    grey = float(_srgb_curve(np.array(((53.7 + 16) / 116) ** 3)))
    assert np.abs(shown - np.array([[[255] * 3, [0] * 3, [grey] * 3]])).max() <= 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF", "GIF"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_file_that_ends_before_its_last_pixel_is_damaged(kind: str, share: float) -> None:
    rng = np.random.default_rng(2)
    data = _encode(Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)), kind)
    with pytest.raises(InputError, match=r"mine is (damaged|not a picture)"):
        decode_picture(data[: int(len(data) * share)], name="mine")


def test_heif_damaged_anywhere_is_decoded_or_refused_and_nothing_else() -> None:
    data = _encode(_scene(), "HEIF")
    rng = np.random.default_rng(3)
    for _ in range(60):
        bad = bytearray(data)
        for place in rng.integers(0, len(bad), 6):
            bad[place] = rng.integers(0, 256)
        with contextlib.suppress(InputError):
            decode_picture(bytes(bad))


def test_fingerprints_of_pictures_without_a_profile_need_no_colour_management() -> None:
    image = _scene((200, 150))
    tagged = _encode(image, "PNG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    hashes = [pdq_orientations(decode_picture(data))[0].tobytes() for data in (_encode(image, "PNG"), tagged)]
    assert hashes == [pdq_orientations(image)[0].tobytes()] * 2


def test_a_decoder_for_heif_is_loaded_for_heif_alone() -> None:
    code = (
        "import sys, io; from PIL import Image; from heldout.pictures import decode_picture; out = io.BytesIO(); "
        "Image.new('RGB', (8, 8)).save(out, 'PNG'); decode_picture(out.getvalue()); print('pillow_heif' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == "False"
