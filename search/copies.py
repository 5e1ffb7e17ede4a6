"""Who is a proved copy of whom, asked of the open generations: the same bytes, or PDQ in any orientation."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from heldout.fingerprints import MATCH_DISTANCE, MIN_QUALITY
from heldout.records import Sample
from indexer.generation import Generation
from search.groups import Link
from search.merge import Ref
from search.orientations import N_ORIENTATIONS, orientations


def samples_of(generations: Mapping[str, Generation], refs: Iterable[Ref]) -> dict[Ref, Sample]:
    """The samples of `refs`; one batch per data set."""
    by_dataset: dict[str, list[int]] = {}
    for ref in dict.fromkeys(refs):
        by_dataset.setdefault(ref.dataset, []).append(ref.id)
    return {
        Ref(dataset, sample.id): sample
        for dataset, ids in by_dataset.items()
        for sample in generations[dataset].samples(ids)
    }


def links_of(generations: Mapping[str, Generation], refs: Sequence[Ref]) -> Iterator[Link]:
    """Links from each of `refs` to its copies in all of `generations`, itself left out."""
    samples = samples_of(generations, refs)
    yield from _same_bytes(generations, samples)
    yield from _near(generations, samples)


def _same_bytes(generations: Mapping[str, Generation], samples: Mapping[Ref, Sample]) -> Iterator[Link]:
    for ref, sample in samples.items():
        if sample.sha256 is None:
            continue
        digest = bytes.fromhex(sample.sha256)
        for dataset, generation in generations.items():
            for other in generation.sha256_lookup(digest):
                if (found := Ref(dataset, int(other))) != ref:
                    yield Link(ref, found, "bytes", 0)


def _near(generations: Mapping[str, Generation], samples: Mapping[Ref, Sample]) -> Iterator[Link]:
    hashed = [(ref, sample.pdq) for ref, sample in samples.items() if sample.pdq is not None and is_busy(sample)]
    if not hashed:
        return
    upright = np.array([np.frombuffer(bytes.fromhex(pdq), dtype=np.uint8) for _, pdq in hashed])
    queries = orientations(upright).reshape(-1, 32)
    for dataset, generation in generations.items():
        found = generation.search_pdq(queries, MATCH_DISTANCE)
        nearest = [_nearest(found[start : start + N_ORIENTATIONS]) for start in range(0, len(queries), N_ORIENTATIONS)]
        busy = _busy(generation, {sample for by_sample in nearest for sample in by_sample})
        for (ref, _), by_sample in zip(hashed, nearest, strict=True):
            for other, distance in by_sample.items():
                if other in busy and (copy := Ref(dataset, other)) != ref:
                    yield Link(ref, copy, "pdq", distance)


def nearest_of(
    generation: Generation, found: Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]]
) -> list[tuple[int, int]]:
    """One picture's hits over its orientations as (id, smallest distance), nearest first; plain pictures left out."""
    nearest = _nearest(found)
    busy = _busy(generation, nearest)
    return sorted(((sample, distance) for sample, distance in nearest.items() if sample in busy), key=_by_distance)


def is_busy(sample: Sample) -> bool:
    """Whether there is enough in the picture for its PDQ to mean something."""
    return sample.pdq_quality is not None and sample.pdq_quality >= MIN_QUALITY


def _nearest(found: Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]]) -> dict[int, int]:
    """Sample -> its smallest distance to any of the orientations."""
    nearest: dict[int, int] = {}
    for ids, distances in found:
        for sample, distance in zip(ids.tolist(), distances.tolist(), strict=True):
            nearest[sample] = min(distance, nearest.get(sample, distance))
    return nearest


def _busy(generation: Generation, ids: Iterable[int]) -> set[int]:
    return {sample.id for sample in generation.samples(list(ids)) if is_busy(sample)}


def _by_distance(pair: tuple[int, int]) -> tuple[int, int]:
    return pair[1], pair[0]
