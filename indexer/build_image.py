"""The image index of a new generation: centroids trained, given or taken over, codes written, widths measured."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from heldout.errors import InputError
from indexer import vectors
from indexer.image_index import ImageIndex
from indexer.manifest import Manifest
from indexer.tuning import Tuning, tune

Before = tuple[Path, Manifest, npt.NDArray[np.int64]]
"""Folder and manifest of the generation before, and the row that each of its embeddings has now, or -1."""


@dataclass(frozen=True)
class BuiltImage:
    """What was built."""

    factory: str
    trained_for: int
    tuning: Tuning | None


def build_image(
    rows: vectors.Rows, work: Path, *, exact_up_to: int, given: Path | None, before: Before | None, memory_bytes: int
) -> BuiltImage:
    """Write the image index over (n, d) float16 `rows` into `work`.

    Raises:
        InputError: the centroids `given` are no (lists, d) array.
    """
    n, d = rows.shape
    factory = vectors.factory_string(n, exact_up_to=exact_up_to)
    if factory == "Flat":
        vectors.write_image_index(rows, work, factory)
        return BuiltImage(factory, 0, None)
    carried = None
    if given is not None:
        centroids, trained_for = _given(given, d), n
    elif before is not None and _still_serves(before[1], n):
        folder, manifest, positions = before
        centroids, trained_for = vectors.load_centroids(folder), manifest.trained_for
        kept = vectors.factory_string(n, exact_up_to=exact_up_to, lists=len(centroids))
        carried = (folder, positions) if kept == manifest.image_index else None
    else:
        centroids, trained_for = vectors.train_centroids(rows, vectors.n_lists(n)), n
    np.save(work / vectors.CENTROIDS_FILE, centroids)
    factory = vectors.factory_string(n, exact_up_to=exact_up_to, lists=len(centroids))
    vectors.write_image_index(rows, work, factory, centroids=centroids, carried=carried, memory_bytes=memory_bytes)
    return BuiltImage(factory, trained_for, tune(ImageIndex(work, rows), rows))


def _still_serves(before: Manifest, n: int) -> bool:
    """Whether as many embeddings fit the centroids trained for that generation."""
    return before.trained_for > 0 and n <= vectors.MAX_GROWTH * before.trained_for <= vectors.MAX_GROWTH**2 * n


def _given(path: Path, d: int) -> vectors.Centroids:
    try:
        centroids = np.load(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} holds no centroids ({error}): give the centroids.npy of a generation") from error
    if centroids.ndim != 2 or centroids.shape[1] != d or centroids.dtype != np.float32 or len(centroids) == 0:
        raise InputError(
            f"{path} holds {centroids.dtype} {centroids.shape}: centroids for these embeddings are float32 (lists, {d})"
        )
    return np.asarray(centroids, dtype=np.float32)
