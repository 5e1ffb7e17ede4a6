"""The pictures of a claim that the data sets searched here have: found by the fingerprints that its log entry shows."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from heldout.fingerprints import MATCH_DISTANCE, MIN_QUALITY, distances
from heldout.leaves import ImageDigest
from heldout.records import Sample
from indexer.orientations import orientations
from registry.service import Registry
from search.engine import SearchEngine
from web.cards import alternative_text, thumbnail_href
from web.contexts import ClaimPicture

MAX_LOOKED_AT: Final = 240
"""Files of a claim; several are copies of one picture."""
MAX_SHOWN: Final = 24


def pictures_of_claim(registry: Registry, engine: SearchEngine, claim_id: str) -> list[ClaimPicture]:
    """Thumbnails of a claim's pictures, each picture once."""
    return [
        ClaimPicture(thumbnail_href(sample, generations) or "", alternative_text(sample), sample.unsafe)
        for sample, generations in samples_of_claim(registry, engine, claim_id)
    ]


def samples_of_claim(registry: Registry, engine: SearchEngine, claim_id: str) -> list[tuple[Sample, dict[str, int]]]:
    """Samples that show a claim's pictures, each picture once, and the generations they are of."""
    files = registry.pictures_of_claim(claim_id, limit=MAX_LOOKED_AT)
    marks = np.frombuffer(b"".join(_distinct(files)), np.uint8).reshape(-1, 32)
    found, generations = engine.showing(marks)
    return [(sample, generations) for sample in found if sample is not None]


def _distinct(files: Sequence[ImageDigest]) -> list[bytes]:
    """PDQ of the first file of each picture."""
    kept: list[bytes] = []
    turned = np.empty((0, 32), np.uint8)
    for file in files:
        mark = np.frombuffer(file.pdq, np.uint8).reshape(1, 32)
        is_copy = len(turned) and distances(mark, turned).min() <= MATCH_DISTANCE
        if file.quality < MIN_QUALITY or is_copy:
            continue
        kept.append(file.pdq)
        turned = np.concatenate([turned, orientations(mark).reshape(-1, 32)])
        if len(kept) == MAX_SHOWN:
            break
    return kept
