"""A decoded picture's colours as a viewer would show them: 8 bit sRGB on white, whatever the file held.

Needs the extra `images`. An embedded ICC profile (wide gamut, CMYK, grey) is applied by Little CMS, as browsers do; one
that is damaged, or of other colours than the picture, is ignored, as they do.
"""

import hashlib
import io
import threading
from collections import OrderedDict
from typing import Final

import numpy as np
from PIL import Image, ImageCms

_PROFILE_MODES: Final = {"RGB ": ("RGB",), "CMYK": ("CMYK",), "GRAY": ("L",)}
"""ICC colour space -> Pillow modes that have it."""
_MAX_PROFILE_BYTES: Final = 8 * 1024 * 1024
"""The largest profiles of printing presses have 3 MB."""
_MAX_TRANSFORMS: Final = 16
_LIGHTNESS: Final = 3
"""Largest error of a channel, of 255, by which a profile is still sRGB: vendors' versions differ by rounding."""

_lock = threading.Lock()
_transforms: "OrderedDict[tuple[bytes, str], ImageCms.ImageCmsTransform | None]" = OrderedDict()
"""Digest of a profile and mode -> its transform, None where there is nothing to do; the most recent ones last."""


def to_srgb(image: Image.Image) -> Image.Image:
    """An RGB image of a decoded one: transparency on white, 16 and 32 bit samples scaled, its profile applied."""
    if image.mode.startswith("I") or image.mode == "F":  # Pillow's convert would clip, not scale
        return _scale(image)
    if image.mode == "LAB":
        return _from_lab(image)
    profile = image.info.get("icc_profile")
    rgba: Image.Image | None = None
    if not {"A", "a"}.isdisjoint(image.getbands()) or "transparency" in image.info:
        rgba = image.convert("RGBA")
    if image.mode == "LA":
        image = image.getchannel("L")
    elif rgba is not None or image.mode not in {"RGB", "CMYK", "L"}:
        image = (rgba or image).convert("RGB")  # a palette's colours are the profile's too
    shown = _by_profile(image, profile) if isinstance(profile, bytes) else None
    if rgba is None:
        return (shown or image).convert("RGB")
    if shown is not None:
        shown.putalpha(rgba.getchannel("A"))
        rgba = shown
    # White is white in every profile: colours are turned into sRGB first and laid over it then, as browsers do.
    return Image.alpha_composite(Image.new("RGBA", rgba.size, (255, 255, 255, 255)), rgba).convert("RGB")


def _scale(image: Image.Image) -> Image.Image:
    """8 bit RGB of 16 or 32 bit grey."""
    grey = np.asarray(image, dtype=np.float64)
    greatest = grey.max(initial=0.0)
    if image.mode.startswith("I;16"):
        top = 65535.0
    elif image.mode == "F" and greatest <= 1:
        top = 1.0
    else:  # 32 bits, of which files use as many as they like
        top = next(top for top in (255.0, 65535.0, np.inf) if greatest <= top)
        top = greatest if np.isinf(top) else top
    shown = np.clip(np.nan_to_num(grey) / top * 255.0 + 0.5, 0, 255).astype(np.uint8)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        shown[grey == clear] = 255
    return Image.fromarray(shown).convert("RGB")


def _by_profile(image: Image.Image, profile: bytes) -> Image.Image | None:
    """The picture in sRGB by its profile; None where the profile is sRGB already, or of no use."""
    transform = _transform_of(profile, image.mode)
    if transform is None:
        return None
    return transform.apply(image)


def _transform_of(profile: bytes, mode: str) -> "ImageCms.ImageCmsTransform | None":
    if len(profile) > _MAX_PROFILE_BYTES:
        return None
    key = (hashlib.sha256(profile).digest(), mode)
    with _lock:
        if key in _transforms:
            _transforms.move_to_end(key)
            return _transforms[key]
    try:
        transform = _make_transform(ImageCms.getOpenProfile(io.BytesIO(profile)), mode)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        transform = None
    with _lock:
        _transforms[key] = transform
        if len(_transforms) > _MAX_TRANSFORMS:
            _transforms.popitem(last=False)
    return transform


def _make_transform(profile: "ImageCms.ImageCmsProfile", mode: str) -> "ImageCms.ImageCmsTransform | None":
    if mode not in _PROFILE_MODES.get(profile.profile.xcolor_space, ()):
        return None
    # Little CMS would make a grey profile's curve a table of few points, 10 off in the shadows of a linear one.
    flags = ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.NONE
    transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB", flags=flags)
    if mode == "CMYK":
        return transform
    return None if _does_nothing(transform, mode) else transform


def _does_nothing(transform: "ImageCms.ImageCmsTransform", mode: str) -> bool:
    """Whether a transform leaves a sample of all colours as it is, but for rounding."""
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    if mode == "L":
        before = Image.fromarray(steps[None])
    else:
        before = Image.fromarray(np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3))
    after = np.asarray(transform.apply(before), dtype=int)
    return bool(np.abs(after - np.asarray(before.convert("RGB"), dtype=int)).max() <= _LIGHTNESS)


def _from_lab(image: Image.Image) -> Image.Image:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    shown = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    if shown is None:
        raise ValueError("a picture in Lab that Little CMS does not turn into RGB")
    return shown
