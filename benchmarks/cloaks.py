"""Cloaks: pictures changed little to the eye and much to an encoder, as artists' tools do it, and worse.

`cloak_against` is projected gradient descent (Madry et al. 2018) on the very encoder that search uses, through its
resizing: the strongest attack within a bound on every pixel. `add_low_noise` is smooth noise of random colour such as
Glaze-like tools leave behind; those optimise it against other encoders than ours, so it is drawn at random here.
"""

from random import Random
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

from heldout.errors import InputError
from indexer.openclip import OpenClipEncoder

STEPS: Final = 30
LONGEST: Final = 384
"""Long side, in pixels, to which pictures are reduced before they are cloaked, for time's sake."""
CELLS: Final = 12
"""Knots of low-frequency noise along the long side."""


def cloak_against(encoder: OpenClipEncoder, image: Image.Image, bound: int, seed: int) -> tuple[Image.Image, float]:
    """An RGB picture with every value changed by at most `bound` of 255, and its cosine to what it was."""
    if encoder.preprocess.resize_mode != "longest":
        raise InputError("cloaks are made for encoders that fit pictures whole: this one cuts or squashes them")
    small = image.copy()
    small.thumbnail((LONGEST, LONGEST))
    clean = torch.from_numpy(np.array(small)).permute(2, 0, 1)[None].float() / 255
    limit = bound / 255
    with torch.no_grad():
        original = _embed(encoder, clean)
    generator = torch.Generator().manual_seed(seed)
    change = (torch.rand(clean.shape, generator=generator) * 2 - 1) * limit
    for _ in range(STEPS):
        change = change.detach().requires_grad_()
        cosine = (_embed(encoder, (clean + change).clamp(0, 1)) * original).sum()
        (slope,) = torch.autograd.grad(cosine, change)
        with torch.no_grad():
            change = (change - 2.5 * limit / STEPS * slope.sign()).clamp(-limit, limit)
    pixels = ((clean + change).clamp(0, 1)[0].permute(1, 2, 0) * 255).round().byte().numpy()
    cloaked = Image.fromarray(pixels)
    one, other = encoder.embed_images([small, cloaked])
    return cloaked, float(one @ other)


def _embed(encoder: OpenClipEncoder, pixels: torch.Tensor) -> Any:  # noqa: ANN401 - torch's own types are loose
    """Unit row of (1, 3, height, width) in 0-1, differentiable, by the encoder's own settings."""
    settings = encoder.preprocess
    height, width = pixels.shape[2:]
    scale = settings.size[0] / max(height, width)
    fitted = max(1, round(height * scale)), max(1, round(width * scale))
    resized = torch.nn.functional.interpolate(pixels, size=fitted, mode="bicubic", antialias=True)
    down, across = settings.size[0] - fitted[0], settings.size[1] - fitted[1]
    margins = (across // 2, across - across // 2, down // 2, down - down // 2)
    padded = torch.nn.functional.pad(resized, margins, value=settings.fill_color / 255)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (settings.mean, settings.std))
    return torch.nn.functional.normalize(encoder.model.encode_image((padded - mean) / std).float(), dim=-1)


def add_low_noise(image: Image.Image, rng: Random, bound: int) -> Image.Image:
    """An RGB picture with smooth coloured noise of at most `bound` of 255 added."""
    scale = CELLS / max(image.size)
    columns, rows = (max(2, round(side * scale)) for side in image.size)
    knots = np.array([rng.uniform(-1, 1) for _ in range(rows * columns * 3)], np.float32).reshape(rows, columns, 3)
    planes = [Image.fromarray(knots[..., plane]).resize(image.size, Image.Resampling.BICUBIC) for plane in range(3)]
    noise = np.stack([np.asarray(plane) for plane in planes], axis=2)
    noise *= bound / max(1e-6, float(np.abs(noise).max()))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).round().astype(np.uint8))
