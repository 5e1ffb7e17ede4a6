"""Pictures to the model's input, with Pillow and numpy alone: equal to open_clip's evaluation transform.

open_clip describes its transform by a `preprocess_cfg` (size, mean, std, interpolation, resize_mode, fill_color); the
three resize modes are its `image_transform` (open_clip 3.3). Tests compare the two pixel by pixel. One difference:
a side that would round to zero (a 2000 x 1 picture) becomes one pixel, where open_clip fails.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from heldout.errors import InputError

_RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_RESIZE_MODES = ("shortest", "longest", "squash")


@dataclass(frozen=True)
class Preprocess:
    """What a model wants done to a picture. Sizes are (height, width) in pixels."""

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
    resize_mode: str
    fill_color: int

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Preprocess":
        """Read open_clip's `preprocess_cfg`, or what `to_config` wrote.

        Raises:
            InputError: a field is missing or has a value we do not know.
        """
        try:
            size = config["size"]
            height, width = (size, size) if isinstance(size, int) else size
            mean, std = (tuple(float(value) for value in config[name]) for name in ("mean", "std"))
            preprocess = cls(
                (int(height), int(width)),
                (mean[0], mean[1], mean[2]),
                (std[0], std[1], std[2]),
                str(config.get("interpolation") or "bicubic"),
                str(config.get("resize_mode") or "shortest"),
                int(config.get("fill_color") or 0),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(
                f"the model's preprocess settings are not open_clip's ({error!r}): {dict(config)}"
            ) from error
        if preprocess.interpolation not in _RESAMPLING or preprocess.resize_mode not in _RESIZE_MODES:
            raise InputError(
                f"the model resizes by {preprocess.interpolation!r}/{preprocess.resize_mode!r}; "
                f"known are {sorted(_RESAMPLING)} and {list(_RESIZE_MODES)}"
            )
        return preprocess

    def to_config(self) -> dict[str, Any]:
        """Inverse of `from_config`, ready for JSON."""
        return {
            "size": list(self.size),
            "mean": list(self.mean),
            "std": list(self.std),
            "interpolation": self.interpolation,
            "resize_mode": self.resize_mode,
            "fill_color": self.fill_color,
        }

    def fit(self, image: Image.Image) -> Image.Image:
        """Resize, pad and crop an RGB picture to `size`."""
        height, width = self.size
        resample = _RESAMPLING[self.interpolation]
        if self.resize_mode == "squash":
            return _resize(image, height, width, resample)
        if self.resize_mode == "shortest" and height == width:
            # torchvision's Resize(int) truncates the long side, where ResizeKeepRatio rounds
            long = int(height * max(image.size) / min(image.size))
            tall = image.height > image.width
            resized = _resize(image, long if tall else height, width if tall else long, resample)
        else:
            ratios = (image.height / height, image.width / width)
            ratio = max(ratios) if self.resize_mode == "longest" else min(ratios)
            resized = _resize(image, round(image.height / ratio), round(image.width / ratio), resample)
        fill = self.fill_color if self.resize_mode == "longest" else 0
        return _crop_or_pad(resized, height, width, fill)

    def __call__(self, images: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
        """(n, 3, height, width) float32, normalised; `images` are RGB."""
        return self.normalise(self.stack(images))

    def stack(self, images: Sequence[Image.Image]) -> npt.NDArray[np.uint8]:
        """(n, height, width, 3) uint8: RGB pictures fitted to `size`."""
        pixels = np.empty((len(images), *self.size, 3), dtype=np.uint8)
        for row, image in enumerate(images):
            pixels[row] = np.asarray(self.fit(image))
        return pixels

    def normalise(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """(n, 3, height, width) float32 of (n, height, width, 3) uint8 fitted pictures."""
        out = np.empty((len(pixels), 3, *self.size), dtype=np.float32)
        for channel, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            plane = out[:, channel]
            np.multiply(pixels[..., channel], np.float32(1 / (255 * std)), out=plane)
            plane -= np.float32(mean / std)
        return out


def _resize(image: Image.Image, height: int, width: int, resample: Image.Resampling) -> Image.Image:
    size = (max(1, width), max(1, height))
    return image if image.size == size else image.resize(size, resample)


def _crop_or_pad(image: Image.Image, height: int, width: int, fill: int) -> Image.Image:
    if image.width < width or image.height < height:
        canvas = Image.new("RGB", (max(width, image.width), max(height, image.height)), (fill, fill, fill))
        canvas.paste(image, (max(0, width - image.width) // 2, max(0, height - image.height) // 2))
        image = canvas
    if image.size == (width, height):
        return image
    top, left = round((image.height - height) / 2), round((image.width - width) / 2)
    return image.crop((left, top, left + width, top + height))
