"""Who is a proved copy of whom, asked of the open generations: the same bytes, or PDQ in any orientation."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from heldout.fingerprints import MATCH_DISTANCE, MIN_QUALITY
from heldout.records import Sample
from indexer.orientations import N_ORIENTATIONS, orientations
from search.groups import Link
from search.merge import Ref
from search.reading import Reading

Found = Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]]
"""Ids and distances for each of a picture's orientations."""


def links_of(reading: Reading, refs: Sequence[Ref]) -> Iterator[Link]:
    """Links from each of `refs` to its copies in all data sets read, itself left out."""
    samples = reading.samples(refs)
    yield from _same_bytes(reading, samples)
    yield from _near(reading, samples)


def _same_bytes(reading: Reading, samples: Mapping[Ref, Sample]) -> Iterator[Link]:
    for ref, sample in samples.items():
        if sample.sha256 is None:
            continue
        digest = bytes.fromhex(sample.sha256)
        for dataset, generation in reading.generations.items():
            for other in generation.sha256_lookup(digest):
                if (found := Ref(dataset, int(other))) != ref:
                    yield Link(ref, found, "bytes", 0)


def _near(reading: Reading, samples: Mapping[Ref, Sample]) -> Iterator[Link]:
    hashed = [(ref, sample.pdq) for ref, sample in samples.items() if sample.pdq is not None and is_busy(sample)]
    if not hashed:
        return
    upright = np.array([np.frombuffer(bytes.fromhex(pdq), dtype=np.uint8) for _, pdq in hashed])
    queries = orientations(upright).reshape(-1, 32)
    for dataset, generation in reading.generations.items():
        found = generation.search_pdq(queries, MATCH_DISTANCE)
        for row, (ref, _) in enumerate(hashed):
            nearest = _nearest(dataset, found[row * N_ORIENTATIONS : (row + 1) * N_ORIENTATIONS])
            nearest.pop(ref, None)
            for other in busy(reading, nearest):
                yield Link(ref, other, "pdq", nearest[other])


def within(reading: Reading, pdq: npt.NDArray[np.uint8], radius: int) -> list[tuple[Ref, int]]:
    """Samples whose PDQ is within `radius` of a picture's orientations (8, 32), with distances, nearest first.

    Qualities are not looked at: this alone proves nothing.
    """
    found: dict[Ref, int] = {}
    for dataset, generation in reading.generations.items():
        found |= _nearest(dataset, generation.search_pdq(pdq, radius))
    return sorted(found.items(), key=lambda copy: (copy[1], copy[0]))


def busy(reading: Reading, refs: Iterable[Ref]) -> list[Ref]:
    """Those of the samples in which there is enough to see for their PDQ to mean something."""
    return [ref for ref, sample in reading.samples(refs).items() if is_busy(sample)]


def is_busy(sample: Sample) -> bool:
    """Whether there is enough in the picture for its PDQ to mean something."""
    return sample.pdq_quality is not None and sample.pdq_quality >= MIN_QUALITY


def _nearest(dataset: str, found: Found) -> dict[Ref, int]:
    """Sample -> its smallest distance to any of the orientations."""
    nearest: dict[Ref, int] = {}
    for ids, distances in found:
        for sample, distance in zip(ids.tolist(), distances.tolist(), strict=True):
            ref = Ref(dataset, sample)
            nearest[ref] = min(distance, nearest.get(ref, distance))
    return nearest
