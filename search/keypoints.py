"""SIFT keypoints of a picture, and which of two pictures' are the same.

Lowe, "Distinctive image features from scale-invariant keypoints" (2004), by OpenCV, on luminance; distances are of
root descriptors (Arandjelović & Zisserman 2012). Drawings are flat and repeat themselves, so more and weaker keypoints
are taken, and more doubtful matches, than is usual on photographs: `search.geometry` sorts them out.
"""

from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

Floats = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]

MIN_SIDE: Final = 192
"""Long side to which a smaller picture is enlarged, or it would have hardly a keypoint."""
N_LAYERS: Final = 2
"""Of SIFT's octaves, one fewer than its default: a third of the work less, and as many copies proved."""
CONTRAST: Final = 0.02
"""SIFT's threshold, half its default."""
MAX_RATIO: Final = 0.95
"""Largest distance to the nearest keypoint, of that to the second nearest. Lowe has 0.8; petals are alike."""


class Keypoints(NamedTuple):
    """Keypoints of one picture, and the picture they were found in."""

    grey: Floats
    """(height, width), 0-255, at the size looked at."""
    places: Floats
    """(n, 2), x and y."""
    sizes: Floats
    """(n,)."""
    directions: Floats
    """(n,), radians."""
    descriptors: Floats
    """(n, 128), unit rows."""


def to_grey(image: Image.Image, side: int) -> Floats:
    """(height, width) luminance of an RGB picture, reduced to a long side of `side`; a tiny one is enlarged."""
    longest = max(image.size)
    scale = side / longest if longest > side else max(1.0, MIN_SIDE / longest)
    width, height = (max(8, round(length * scale)) for length in image.size)
    sized = image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.asarray(sized.convert("L"), dtype=np.float32)


def find_keypoints(grey: Floats, n: int) -> Keypoints:
    """The `n` strongest keypoints of a luminance picture; none where nothing is drawn."""
    sift = cv2.SIFT_create(nfeatures=n, nOctaveLayers=N_LAYERS, contrastThreshold=CONTRAST)  # type: ignore[attr-defined]
    points, descriptors = sift.detectAndCompute(grey.astype(np.uint8), None)
    if not points:
        none = np.empty(0, np.float32)
        return Keypoints(grey, none.reshape(0, 2), none, none, none.reshape(0, 128))
    rows = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6))
    return Keypoints(
        grey,
        np.array([point.pt for point in points], np.float32),
        np.array([point.size for point in points], np.float32),
        np.radians(np.array([point.angle for point in points], np.float32)),
        rows.astype(np.float32),
    )


def mirror_keypoints(found: Keypoints) -> Keypoints:
    """Keypoints of the mirrored picture, without looking for them again.

    A descriptor holds 4 x 4 places of 8 directions each, relative to its keypoint's own: mirrored, its rows of places
    and its directions run the other way round.
    """
    width = found.grey.shape[1]
    cells = found.descriptors.reshape(-1, 4, 4, 8)[:, ::-1][..., -np.arange(8) % 8]
    return Keypoints(
        np.ascontiguousarray(found.grey[:, ::-1]),
        np.array([width - 1, 0], np.float32) + found.places * np.array([-1, 1], np.float32),
        found.sizes,
        np.float32(np.pi) - found.directions,
        np.ascontiguousarray(cells).reshape(-1, 128),
    )


def match_keypoints(one: Keypoints, other: Keypoints) -> tuple[Positions, Positions]:
    """Positions in `one` and in `other` of keypoints that are each other's nearest, clearly nearer than the second."""
    if len(one.places) < 2 or len(other.places) < 2:
        none = np.empty(0, np.int64)
        return none, none
    alike = one.descriptors @ other.descriptors.T
    forth, back = alike.argmax(axis=1), alike.argmax(axis=0)
    rows = np.flatnonzero(back[forth] == np.arange(len(forth)))
    columns = forth[rows]
    rivals = alike[rows]
    best = rivals[np.arange(len(rows)), columns]
    rivals[np.arange(len(rows)), columns] = -1.0
    near, far = (np.sqrt(np.maximum(2.0 - 2.0 * cosine, 0.0)) for cosine in (best, rivals.max(axis=1)))
    clear = near < MAX_RATIO * far
    return rows[clear], columns[clear]
