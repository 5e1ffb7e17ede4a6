"""What one request reads: the generations it holds open, each sample at most once."""

from collections.abc import Iterable, Mapping

from heldout.records import Sample
from indexer.generation import Generation
from search.merge import Ref
from search.rankings import Mask


class Reading:
    """The generations that answer one request, and what its filters let through. Used by one thread.

    `masks`, by data set, are None where nothing is filtered: channels that score search on until they have enough.
    """

    def __init__(self, generations: Mapping[str, Generation], masks: Mapping[str, Mask] | None = None) -> None:
        self.generations = generations
        self.masks = masks
        self._samples: dict[Ref, Sample] = {}

    def samples(self, refs: Iterable[Ref]) -> dict[Ref, Sample]:
        """The samples of `refs`."""
        wanted = list(dict.fromkeys(refs))
        missing: dict[str, list[int]] = {}
        for ref in wanted:
            if ref not in self._samples:
                missing.setdefault(ref.dataset, []).append(ref.id)
        for dataset, ids in missing.items():
            for sample in self.generations[dataset].samples(ids):
                self._samples[Ref(dataset, sample.id)] = sample
        return {ref: self._samples[ref] for ref in wanted}

    def captions(self, refs: Iterable[Ref]) -> dict[Ref, str]:
        """The captions of `refs`, empty where there is none."""
        wanted: dict[str, list[int]] = {}
        for ref in dict.fromkeys(refs):
            wanted.setdefault(ref.dataset, []).append(ref.id)
        return {
            Ref(dataset, sample): caption or ""
            for dataset, ids in wanted.items()
            for sample, caption in zip(ids, self.generations[dataset].captions(ids), strict=True)
        }
