"""What happens to clip art on the web, done to a batch at once: crops, borders, backgrounds, colours, overlays."""

import torch
from recipe import IMAGE_SIZE, MEAN, STD
from torch import Tensor
from torch.nn import functional


class Augmenter:
    """Makes training views of pictures.  Not safe for use by two threads at once: each takes one of its own."""

    def __init__(self, pictures: Tensor, silhouette: Tensor, seed: int) -> None:
        """Keep the pictures.

        Args:
            pictures: (n, side, side, 4) uint8 premultiplied RGBA.
            silhouette: (n,) bool, pictures of one colour, which are painted in another.
            seed: of this object's random numbers.
        """
        self._pictures = pictures
        self._silhouette = silhouette
        self._random = torch.Generator().manual_seed(seed)
        self._mean, self._std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))

    def _uniform(self, n: int, low: float, high: float) -> Tensor:
        return torch.rand(n, 1, 1, 1, generator=self._random) * (high - low) + low

    def _chance(self, n: int, share: float) -> Tensor:
        return torch.rand(n, 1, 1, 1, generator=self._random) < share

    def _normalised(self, pictures: Tensor) -> Tensor:
        return ((pictures.clamp(0, 1) - self._mean) / self._std).contiguous(memory_format=torch.channels_last)

    def plain(self, index: Tensor) -> Tensor:
        """(n, 3, IMAGE_SIZE, IMAGE_SIZE): the pictures on white, unchanged, as a model takes them."""
        picture = self._pictures[index].permute(0, 3, 1, 2).float() / 255
        white = picture[:, :3] + 1 - picture[:, 3:]
        return self._normalised(
            functional.interpolate(white, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bicubic", antialias=True)
        )

    def views(self, index: Tensor) -> Tensor:
        """(n, 3, IMAGE_SIZE, IMAGE_SIZE): one random view of each picture."""
        n = len(index)
        picture = self._warp(self._pictures[index].permute(0, 3, 1, 2).float() / 255)
        colour, alpha = picture[:, :3], picture[:, 3:]
        ground = self._grounds(n)
        ink = self._inks(n, ground.mean((2, 3), keepdim=True))
        colour = torch.where(self._silhouette[index].view(n, 1, 1, 1), ink * alpha, colour)
        return self._normalised(self._overlay(self._jitter(colour + (1 - alpha) * ground)))

    def _warp(self, picture: Tensor) -> Tensor:
        """Crop or shrink, stretch, turn and mirror; what is outside the picture is transparent."""
        n = len(picture)
        which = torch.rand(n, 1, 1, 1, generator=self._random)
        scale = torch.where(which < 0.3, self._uniform(n, 0.5, 0.8), self._uniform(n, 0.8, 1.12))
        scale = torch.where(which > 0.9, self._uniform(n, 1.12, 1.5), scale).flatten()
        stretch = self._uniform(n, -0.15, 0.15).exp().flatten()
        angle = torch.where(self._chance(n, 0.4), self._uniform(n, -0.2, 0.2), 0.0).flatten()
        mirror = torch.where(self._chance(n, 0.4), -1.0, 1.0).flatten()
        reach = (1 - scale).abs().clamp(min=0.05)
        right, down = (self._uniform(n, -1, 1).flatten() * reach for _ in range(2))
        cos, sin, wide, high = angle.cos(), angle.sin(), scale * stretch, scale / stretch
        rows = ((cos * wide * mirror, -sin * high, right), (sin * wide * mirror, cos * high, down))
        theta = torch.stack([torch.stack(row, 1) for row in rows], 1)
        grid = functional.affine_grid(theta, [n, 4, IMAGE_SIZE, IMAGE_SIZE], align_corners=False)
        return functional.grid_sample(picture, grid, align_corners=False)

    def _grounds(self, n: int) -> Tensor:
        """White 62 %, black 7 %, one colour 17 %, a soft pattern 14 %."""
        which = torch.rand(n, 1, 1, 1, generator=self._random)
        ground = torch.rand(n, 3, 1, 1, generator=self._random)
        ground = torch.where(which < 0.69, torch.where(which < 0.62, 1.0, 0.0), ground)
        ground = ground.expand(n, 3, IMAGE_SIZE, IMAGE_SIZE).clone()
        soft = (which.flatten() > 0.86).nonzero().flatten()
        if len(soft):
            cells = int(torch.randint(2, 7, (1,), generator=self._random))
            coarse = torch.rand(len(soft), 3, cells, cells, generator=self._random)
            ground[soft] = functional.interpolate(coarse, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bilinear")
        return ground

    def _inks(self, n: int, ground: Tensor) -> Tensor:
        """A colour for silhouettes, black in 40 %, that can be told from the ground's mean."""
        ink = torch.rand(n, 3, 1, 1, generator=self._random) * torch.where(self._chance(n, 0.4), 0.0, 1.0)
        alike = (ink - ground).abs().amax(1, keepdim=True) < 0.3
        return torch.where(alike, (ground.mean(1, keepdim=True) < 0.5).float(), ink)

    def _jitter(self, picture: Tensor) -> Tensor:
        """Brightness, contrast, saturation and tint in 70 %; gray, blur and noise now and then."""
        n = len(picture)
        some = self._chance(n, 0.7).float()
        picture = picture * (1 + some * self._uniform(n, -0.25, 0.25))
        mean = picture.mean((1, 2, 3), keepdim=True)
        picture = (picture - mean) * (1 + some * self._uniform(n, -0.25, 0.25)) + mean
        gray = picture.mean(1, keepdim=True)
        saturation = torch.where(self._chance(n, 0.1), 0.0, 1 + some * self._uniform(n, -0.4, 0.4))
        picture = gray + (picture - gray) * saturation
        picture = picture + some * (torch.rand(n, 3, 1, 1, generator=self._random) - 0.5) * 0.16
        blurred = self._chance(n, 0.12).flatten().nonzero().flatten()
        if len(blurred):
            picture[blurred] = functional.avg_pool2d(picture[blurred], 3, 1, 1, count_include_pad=False)
        return picture + torch.randn(picture.shape, generator=self._random) * self._chance(n, 0.15) * 0.05

    def _overlay(self, picture: Tensor) -> Tensor:
        """Cover a box of 15 % of the pictures: a stamp or a bar of text."""
        for i in self._chance(len(picture), 0.15).flatten().nonzero().flatten().tolist():
            high, wide, a, b = torch.rand(4, generator=self._random).tolist()
            height = 4 + int(high * (IMAGE_SIZE // 4 - 4))
            width = 8 + int(wide * (IMAGE_SIZE // 2 - 8))
            top, left = int(a * (IMAGE_SIZE - height)), int(b * (IMAGE_SIZE - width))
            picture[i, :, top : top + height, left : left + width] = torch.rand(3, 1, 1, generator=self._random)
        return picture
