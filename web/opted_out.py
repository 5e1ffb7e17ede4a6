"""Which samples are opted out already, asked of the registry in one go."""

from collections.abc import Sequence

from heldout.records import Sample, SearchResult
from registry.service import Registry


def opted_out_of(registry: Registry, samples: Sequence[Sample]) -> set[tuple[str, int]]:
    """(data set, id) of the samples that an opt-out in force covers."""
    states = registry.opted_out(samples)
    return {(sample.dataset, sample.id) for sample, is_out in zip(samples, states, strict=True) if is_out}


def opted_out_in(registry: Registry, result: SearchResult) -> set[tuple[str, int]]:
    """The same for every sample an answer shows."""
    return opted_out_of(registry, [sample for group in result.groups for sample in result.samples_of(group)])
