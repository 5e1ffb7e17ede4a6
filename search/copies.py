"""Samples near to a picture by PDQ in any orientation, and which pictures are busy enough for that to mean a copy."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from heldout.fingerprints import MIN_QUALITY
from heldout.pictures import pdq_orientations
from heldout.records import Sample
from indexer.generation import Generation
from indexer.parts import trim_page
from search.merge import Ref
from search.reading import Reading

Found = Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]]
"""Ids and distances for each of a picture's orientations."""

PART_DISTANCE: Final = 64
"""PDQ distance up to which a part of a sample's picture is worth a look: parts are cut out of thumbnails, roughly."""
MAX_HOLDING: Final = 16


def within(reading: Reading, pdq: npt.NDArray[np.uint8], radius: int) -> list[tuple[Ref, int]]:
    """Samples whose PDQ is within `radius` of a picture's orientations (8, 32), with distances, nearest first.

    Qualities are not looked at: this alone proves nothing.
    """
    return _nearest_first(reading, lambda generation: generation.search_pdq(pdq, radius))


def holding(reading: Reading, image: Image.Image, pdq: npt.NDArray[np.uint8]) -> list[Ref]:
    """Samples that may show a picture among other things, as a screenshot or a collage does, likeliest first.

    Args:
        reading: Where to look.
        image: The picture, RGB; it is also looked for without its empty margins, as parts are cut out.
        pdq: Its orientations, (8, 32).
    """
    trimmed = trim_page(image)
    hashes = pdq if trimmed is None else np.concatenate([pdq, pdq_orientations(trimmed)[0]])
    found = _nearest_first(reading, lambda generation: generation.search_parts(hashes, PART_DISTANCE))
    return [ref for ref, _ in found[:MAX_HOLDING]]


def busy(reading: Reading, refs: Iterable[Ref]) -> list[Ref]:
    """Those of the samples in which there is enough to see for their PDQ to mean something."""
    return [ref for ref, sample in reading.samples(refs).items() if is_busy(sample)]


def is_busy(sample: Sample) -> bool:
    """Whether there is enough in the picture for its PDQ to mean something."""
    return sample.pdq_quality is not None and sample.pdq_quality >= MIN_QUALITY


def nearest_of(dataset: str, found: Found) -> dict[Ref, int]:
    """Sample -> its smallest distance to any of the orientations."""
    nearest: dict[Ref, int] = {}
    for ids, distances in found:
        for sample, distance in zip(ids.tolist(), distances.tolist(), strict=True):
            ref = Ref(dataset, sample)
            nearest[ref] = min(distance, nearest.get(ref, distance))
    return nearest


def _nearest_first(reading: Reading, look_up: Callable[[Generation], Found]) -> list[tuple[Ref, int]]:
    found: dict[Ref, int] = {}
    for dataset, generation in reading.generations.items():
        found |= nearest_of(dataset, look_up(generation))
    return sorted(found.items(), key=lambda copy: (copy[1], copy[0]))
