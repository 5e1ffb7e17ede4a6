"""Links from samples to their proved copies, for grouping: groups that the index has built, and look-ups elsewhere.

Within a data set the copies of every picture were found when its index was built, so a group is read, not searched
for. Between data sets nobody could know: there the bytes and the PDQ of a group's members are looked up.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from heldout.fingerprints import MATCH_DISTANCE, distances
from heldout.records import Sample
from indexer.generation import Generation
from indexer.orientations import N_ORIENTATIONS, orientations
from search.copies import is_busy, nearest_of
from search.groups import MAX_MEMBERS, Link
from search.merge import Ref
from search.reading import Reading

Proved = tuple[Literal["bytes", "pdq"], int]
Group = dict[Ref, Proved]

_BEYOND: Final[Proved] = ("pdq", MATCH_DISTANCE)
"""Of a member that is not compared with those that prove it: it is within this, or it would not be in the group."""

MAX_COMPARED: Final = 200
"""Members of a group that each other member's distance is taken to; a card shows the nearest."""


class Links:
    """Answers for the refs of one request; each group is read once. Used by one thread."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._groups: dict[tuple[str, int], Group] = {}

    def __call__(self, refs: Sequence[Ref]) -> Iterator[Link]:
        """Links that connect each of the refs with all its copies, those of one group through its first ref."""
        by_dataset: dict[str, list[Ref]] = {}
        for ref in refs:
            by_dataset.setdefault(ref.dataset, []).append(ref)
        for dataset, its_refs in by_dataset.items():
            generation = self._reading.generations[dataset]
            hubs: dict[int, Ref] = {}
            for ref, number in zip(its_refs, generation.groups([ref.id for ref in its_refs]).tolist(), strict=True):
                group = self._group(generation, number)
                if (hub := hubs.setdefault(number, ref)) != ref:
                    yield Link(hub, ref, *group.get(ref, _BEYOND))
                else:
                    # To itself too: that is how it says what proves that it belongs there.
                    yield from (Link(hub, other, *proof) for other, proof in group.items())
        if len(self._reading.generations) > 1:
            samples = self._reading.samples(refs)
            yield from self._same_bytes_elsewhere(samples)
            yield from self._near_elsewhere(samples)

    def _group(self, generation: Generation, number: int) -> "Group":
        """Members of a group, as many as a card lists and one, and what proves that each belongs there."""
        key = generation.dataset, number
        if key not in self._groups:
            ids = generation.group_members(number)[: MAX_MEMBERS + 1].tolist()
            several = len(ids) > 1  # most pictures have no copy: nothing to read
            members = [Ref(generation.dataset, each) for each in ids] if several else []
            self._groups[key] = _nearest_proofs(self._reading.samples(members))
        return self._groups[key]

    def _same_bytes_elsewhere(self, samples: Mapping[Ref, Sample]) -> Iterator[Link]:
        for ref, sample in samples.items():
            for dataset, generation in self._reading.generations.items():
                if sample.sha256 is not None and ref.dataset != dataset:
                    for other in generation.sha256_lookup(bytes.fromhex(sample.sha256)):
                        yield Link(ref, Ref(dataset, int(other)), "bytes", 0)

    def _near_elsewhere(self, samples: Mapping[Ref, Sample]) -> Iterator[Link]:
        hashed = _hashed(samples)
        turned = dict(zip(hashed, orientations(_rows(hashed.values())), strict=True))
        for dataset, generation in self._reading.generations.items():
            askers = [ref for ref in hashed if ref.dataset != dataset]
            if not askers:
                continue
            found = generation.search_pdq(np.concatenate([turned[ref] for ref in askers]), MATCH_DISTANCE)
            for row, ref in enumerate(askers):
                nearest = nearest_of(dataset, found[row * N_ORIENTATIONS : (row + 1) * N_ORIENTATIONS])
                for other in _hashed(self._reading.samples(nearest)):
                    yield Link(ref, other, "pdq", nearest[other])


def _rows(hashes: Iterable[str]) -> npt.NDArray[np.uint8]:
    """(n, 32) uint8 of n hashes in hex."""
    return np.frombuffer(bytes.fromhex("".join(hashes)), dtype=np.uint8).reshape(-1, 32)


def _hashed(samples: Mapping[Ref, Sample]) -> dict[Ref, str]:
    """PDQ in hex of those that are busy enough for it to mean something."""
    return {ref: sample.pdq for ref, sample in samples.items() if sample.pdq is not None and is_busy(sample)}


def _nearest_proofs(samples: Mapping[Ref, Sample]) -> Group:
    """For each member of a group the proof that it shares with the member nearest to it."""
    proofs: Group = {}
    first: dict[str, Ref] = {}
    for ref, sample in samples.items():
        if sample.sha256 is not None and (twin := first.setdefault(sample.sha256, ref)) != ref:
            proofs[ref] = proofs[twin] = ("bytes", 0)
    hashed = _hashed(samples)
    left = [ref for ref in hashed if ref not in proofs]
    if left and len(hashed) > 1:
        places = {ref: place for place, ref in enumerate(islice(hashed, MAX_COMPARED))}
        upright = _rows(hashed[ref] for ref in places)
        for ref, hashes in zip(left, orientations(_rows(hashed[ref] for ref in left)), strict=True):
            far = distances(hashes, upright).min(axis=0)
            if ref in places:  # itself
                far[places[ref]] = 256
            proofs[ref] = ("pdq", int(far.min()))
    return {ref: proofs.get(ref, _BEYOND) for ref in samples}
