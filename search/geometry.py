"""Whether one picture shows all or part of another: matched keypoints propose how, the pixels of the overlap decide.

PDQ and CLIP see a picture whole; a crop, a border, a screenshot or a collage escapes the one and is no proof by the
other. Keypoints alone prove nothing either: two pages share a logo, two drawings of one series a frame, and the
keypoints on it agree perfectly. So the pictures are laid over each other and compared wherever they overlap: where they
share a part only, the rest of the overlap disagrees.

Proposals are similarities and what least squares makes of their inliers, affine at most: on the web pictures are
scaled, stretched, turned, mirrored, cut and pasted, hardly ever photographed at a slant, and every further freedom lets
more strangers fit. Each single match proposes one, for a keypoint has a place, a size and a direction; nothing is drawn
at random, and the same pictures always give the same answer. Thresholds and what they cost: `docs/adr/0016`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from search.keypoints import Floats, Keypoints, find_keypoints, match_keypoints, mirror_keypoints, to_grey

Matrix = npt.NDArray[np.float64]

QUERY_SIDE: Final = 512
"""Long side at which a query is looked at, in pixels: a picture that fills half a screenshot has a thumbnail's size."""
SAMPLE_SIDE: Final = 256
"""The same of a sample. Thumbnails have no more."""
QUERY_KEYPOINTS, SAMPLE_KEYPOINTS = 600, 300
"""At most: a query may be a page with a picture on it."""

MIN_INLIERS, MIN_AGREEMENT, MAX_CONFLICT = 14, 0.75, 0.04
"""Of a proof. See `Proof`."""
FEW_INLIERS, FEW_AGREEMENT, FEW_CONFLICT = 4, 0.85, 0.02
"""Of a proof by fewer keypoints: two thin things of one shape have some in common."""

N_PROPOSALS: Final = 3
"""Ways tried to lay one picture over another, most inliers first."""
TOLERANCE: Final = 0.03
"""Distance of an inlier from where it should be, as a share of the sample's long side."""
MAX_TURN, MAX_ZOOM = 0.5, 0.5
"""Difference of an inlier's direction (radians) and size (logarithm) from the proposal's."""
MAX_STRETCH: Final = 1.7
MAX_SCALE: Final = 16.0
MIN_LARGER_SHARE, MIN_SMALLER_SHARE = 0.2, 0.03
"""Least share of either picture, and of the other, that the overlap is."""
CERTAIN: Final = 0.9
"""Agreement above which no further proposal is tried."""

GRID: Final = 160
"""Long side of the overlap when pixels are compared."""
WINDOW: Final = 17
"""Side of the square around a pixel whose correlation is the pixel's."""
NOISE, FULL = 6.0, 24.0
"""Standard deviations in a window (of 0-255) below which nothing is drawn, and above which it counts no more."""
DISAGREES: Final = 0.3
"""Correlation below which a place is in conflict."""
REFINE_FROM, REFINE_TO = 0.5, 0.95
"""Agreements between which the overlay is refined by pixels (ECC; Evangelidis & Psarakis 2008)."""


@dataclass(frozen=True)
class Proof:
    """How one picture lies in another, and how well they agree there."""

    inliers: int
    """Matched keypoints that say so."""
    agreement: float
    """Mean local correlation of what is drawn in the overlap, 0-1."""
    conflict: float
    """Share of what is drawn in the overlap that does not correlate, 0-1."""
    query_share: float
    """Share of the query's area that the sample shows."""
    sample_share: float
    """Share of the sample's area that the query shows."""
    is_mirrored: bool


class Prepared:
    """A picture to compare with others: its keypoints are found once."""

    def __init__(self, image: Image.Image, side: int, n: int) -> None:
        """Take an RGB picture, reduced to a long side of `side`, and its `n` strongest keypoints."""
        self.upright = find_keypoints(to_grey(image, side), n)

    @cached_property
    def mirrored(self) -> Keypoints:
        """The keypoints of the mirrored picture."""
        return mirror_keypoints(self.upright)

    @property
    def is_drawn(self) -> bool:
        """Whether there are keypoints enough for a proof."""
        return len(self.upright.places) >= FEW_INLIERS


def prepare_query(image: Image.Image) -> Prepared:
    """A query picture, to compare with samples."""
    return Prepared(image, QUERY_SIDE, QUERY_KEYPOINTS)


def prepare_sample(image: Image.Image) -> Prepared:
    """A sample's picture or thumbnail, to compare with queries."""
    return Prepared(image, SAMPLE_SIDE, SAMPLE_KEYPOINTS)


def prove(query: Image.Image, candidate: Image.Image) -> Proof | None:
    """How `candidate` shows the query or a part of it, or the query a part of it; None where nothing proves it.

    Args:
        query: RGB, of any size.
        candidate: RGB, of any size; a thumbnail of 256 pixels is as good as the picture.
    """
    return prove_prepared(prepare_query(query), prepare_sample(candidate))


def prove_prepared(query: Prepared, sample: Prepared) -> Proof | None:
    """As `prove`."""
    fit = best_fit(query, sample)
    return fit if fit is not None and is_proof(fit) else None


def is_proof(fit: Proof) -> bool:
    """Whether a fit is good enough to say that the pictures are copies."""
    if fit.inliers >= MIN_INLIERS:
        return fit.agreement >= MIN_AGREEMENT and fit.conflict <= MAX_CONFLICT
    return fit.inliers >= FEW_INLIERS and fit.agreement >= FEW_AGREEMENT and fit.conflict <= FEW_CONFLICT


def best_fit(query: Prepared, sample: Prepared) -> Proof | None:
    """A proof, else the fit of best agreement; None where the pictures cannot be laid over each other."""
    best: Proof | None = None
    for is_mirrored in (False, True):
        keypoints = query.mirrored if is_mirrored else query.upright
        for transform, inliers in _proposals(keypoints, sample.upright):
            fit = _compare(keypoints.grey, sample.upright.grey, transform, inliers, is_mirrored=is_mirrored)
            if fit is not None and (best is None or _rank(fit) > _rank(best)):
                best = fit
                if best.agreement >= CERTAIN and is_proof(best):
                    return best
    return best


def _rank(fit: Proof) -> tuple[bool, float]:
    return is_proof(fit), fit.agreement


def _proposals(query: Keypoints, sample: Keypoints) -> Iterator[tuple[Matrix, int]]:
    """(2, 3) maps of places in the query to places in the sample, with their numbers of inliers, most first."""
    rows, columns = match_keypoints(query, sample)
    if len(rows) < FEW_INLIERS:
        return
    here, there = query.places[rows].astype(np.float64), sample.places[columns].astype(np.float64)
    turn = (sample.directions[columns] - query.directions[rows]).astype(np.float64)
    zoom = (sample.sizes[columns] / query.sizes[rows]).astype(np.float64)
    # each match's own similarity, applied to the place of every match
    cos, sin = zoom * np.cos(turn), zoom * np.sin(turn)
    linear = np.stack([np.stack([cos, -sin], 1), np.stack([sin, cos], 1)], 1)
    shift = there - np.einsum("mij,mj->mi", linear, here)
    miss = np.linalg.norm(np.einsum("mij,nj->mni", linear, here) + shift[:, None] - there, axis=2)
    turned = np.abs((turn[:, None] - turn + np.pi) % (2 * np.pi) - np.pi)
    zoomed = np.abs(np.log(zoom[:, None] / zoom))
    tolerance = TOLERANCE * max(sample.grey.shape)
    alike = (turned < MAX_TURN) & (zoomed < MAX_ZOOM)
    fits = (miss < 2 * tolerance) & alike  # a single keypoint's direction and size are rough
    votes = fits.sum(axis=1)
    for _ in range(N_PROPOSALS):
        first = int(votes.argmax())
        if votes[first] < 2:
            return
        votes[fits[first]] = 0
        inside, transform = fits[first], np.column_stack([linear[first], shift[first]])
        for _ in range(3):
            fitted = _least_squares(here[inside], there[inside])
            if fitted is None:
                break
            transform = fitted
            miss_now = np.linalg.norm(here @ transform[:, :2].T + transform[:, 2] - there, axis=1)
            inside = (miss_now < tolerance) & alike[first]
        if inside.sum() >= FEW_INLIERS:
            yield transform, int(inside.sum())


def _least_squares(here: Matrix, there: Matrix) -> Matrix | None:
    """The (2, 3) map of (n, 2) to (n, 2): affine where at least 6 places are spread out, else a similarity."""
    if len(here) < 2:
        return None
    middle, centre = here.mean(axis=0), there.mean(axis=0)
    one, other = here - middle, there - centre
    spread = np.linalg.svd(one, compute_uv=False)
    if len(here) >= 6 and spread[1] > 0.2 * spread[0]:
        linear = np.linalg.lstsq(one, other, rcond=None)[0].T
    elif (norm := float((one * one).sum())) > 1e-6:
        cos = float((one * other).sum()) / norm
        sin = float((one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]).sum()) / norm
        linear = np.array([[cos, -sin], [sin, cos]])
    else:
        return None
    return np.column_stack([linear, centre - linear @ middle])


class _Overlap(NamedTuple):
    """Two pictures laid over each other, where both are."""

    query: Floats
    sample: Floats
    mask: Floats
    """1 where both are."""
    to_grid: Matrix
    """(2, 3): places in the sample to places here."""
    query_share: float
    sample_share: float


def _compare(query: Floats, sample: Floats, transform: Matrix, inliers: int, *, is_mirrored: bool) -> Proof | None:
    overlap = _lay_over(query, sample, transform)
    if overlap is None:
        return None
    agreement, conflict = _agreement(overlap)
    if REFINE_FROM <= agreement < REFINE_TO:
        finer = _lay_over(query, sample, _refined(overlap, transform))
        if finer is not None:
            better, less = _agreement(finer)
            if better > agreement:
                overlap, agreement, conflict = finer, better, less
    return Proof(inliers, agreement, conflict, overlap.query_share, overlap.sample_share, is_mirrored)


def _lay_over(query: Floats, sample: Floats, transform: Matrix) -> _Overlap | None:
    """None where the map is no plausible copying: mirrored, too much stretched or scaled, or hardly any overlap."""
    linear, shift = transform[:, :2], transform[:, 2]
    large, small = np.linalg.svd(linear, compute_uv=False)
    area = float(np.linalg.det(linear))
    if area <= 0 or small < 1 / MAX_SCALE or large > MAX_SCALE or large > MAX_STRETCH * small:
        return None
    frame = _corners(sample).astype(np.float32)
    shared, outline = cv2.intersectConvexConvex((_corners(query) @ linear.T + shift).astype(np.float32), frame)
    if shared <= 0:
        return None
    query_share, sample_share = min(1.0, shared / (area * query.size)), min(1.0, shared / sample.size)
    if max(query_share, sample_share) < MIN_LARGER_SHARE or min(query_share, sample_share) < MIN_SMALLER_SHARE:
        return None
    outline = outline.reshape(-1, 2)
    low, extent = outline.min(axis=0), np.ptp(outline, axis=0)
    zoom = GRID / float(extent.max())
    width, height = (int(np.ceil(length * zoom)) for length in extent)
    if min(width, height) < WINDOW:
        return None
    inside = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(inside, np.round((outline - low) * zoom).astype(np.int32), 1)
    mask = cv2.erode(inside, np.ones((5, 5), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    to_grid = zoom * np.column_stack([np.eye(2), -low])
    from_query = zoom * np.column_stack([linear, shift - low])
    return _Overlap(
        _warp(query, from_query, (width, height)),
        _warp(sample, to_grid, (width, height)),
        mask.astype(np.float32),
        to_grid,
        query_share,
        sample_share,
    )


def _corners(picture: Floats) -> Matrix:
    height, width = picture.shape
    return np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)


def _warp(picture: Floats, to_grid: Matrix, size: tuple[int, int]) -> Floats:
    zoom = float(np.sqrt(np.linalg.det(to_grid[:, :2])))
    if zoom < 0.8:  # reduced: blur first, or single pixels would be picked
        picture = cv2.GaussianBlur(picture, (0, 0), 0.5 * float(np.sqrt(1 / zoom**2 - 1))).astype(np.float32)
    warped = cv2.warpAffine(picture, to_grid, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return warped.astype(np.float32)


def _refined(overlap: _Overlap, transform: Matrix) -> Matrix:
    """The map that lays the pixels themselves best over each other; the same one where that does not converge."""
    start = np.eye(2, 3, dtype=np.float32)
    until = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 1e-3)
    mask = overlap.mask.astype(np.uint8)
    try:
        _, found = cv2.findTransformECC(overlap.sample, overlap.query, start, cv2.MOTION_AFFINE, until, mask, 5)
        back = np.linalg.inv(_square(np.asarray(found, dtype=np.float64)))  # query's place on the grid to the sample's
    except (cv2.error, np.linalg.LinAlgError):
        return transform
    grid = _square(overlap.to_grid)
    return np.asarray((np.linalg.inv(grid) @ back @ grid @ _square(transform))[:2])


def _square(affine: Matrix) -> Matrix:
    return np.vstack([affine, [0.0, 0.0, 1.0]])


def _agreement(overlap: _Overlap) -> tuple[float, float]:
    """Mean correlation in the windows around all pixels, and the share that disagrees, weighted by what is drawn."""
    mask = overlap.mask
    one, other = (cv2.GaussianBlur(each, (0, 0), 1.2).astype(np.float32) for each in (overlap.query, overlap.sample))
    n = np.maximum(cv2.boxFilter(mask, -1, (WINDOW, WINDOW)), 1e-6)

    def mean(values: Floats) -> Floats:
        return np.asarray(cv2.boxFilter(values * mask, -1, (WINDOW, WINDOW)) / n, dtype=np.float32)

    m1, m2 = mean(one), mean(other)
    v1, v2 = np.maximum(mean(one * one) - m1 * m1, 0), np.maximum(mean(other * other) - m2 * m2, 0)
    local = (mean(one * other) - m1 * m2) / np.sqrt((v1 + NOISE**2) * (v2 + NOISE**2))
    drawn = np.sqrt(np.maximum(v1, v2))
    weight = np.where(drawn < NOISE, 0, np.minimum(drawn, FULL)) * mask
    total = float(weight.sum())
    if total <= 0:
        return 0.0, 1.0
    return float((np.clip(local, 0, 1) * weight).sum()) / total, float(weight[local < DISAGREES].sum()) / total
