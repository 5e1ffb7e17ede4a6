"""Filters of an answer: which hits it has. Made ready once per request, then asked for each candidate.

Filters choose hits, never copies: a card that is shown lists every copy of its picture. Exact and near hits that a
filter leaves out are counted, and the answer says how many. Columns (host, size, safety) are looked up as one mask
per generation, so that channels can search on until they have enough; whether something is opted out only the
registry knows, so it is asked page by page through a function that the application gives.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from heldout.errors import InputError
from heldout.records import HitLabel, Sample, SearchFilters
from heldout.urls import surt_range
from indexer.generation import Generation
from search.merge import Ref
from search.rankings import Mask
from search.reading import Reading

OptedOut = Callable[[Sequence[Sample]], Sequence[bool]]
"""For each sample, whether an opt-out in force covers it."""

MAX_HOSTS: Final = 100
"""Hosts of one question: each is a look-up in every data set."""


def column_masks(filters: SearchFilters, generations: Mapping[str, Generation]) -> dict[str, Mask] | None:
    """Data set -> (n,) bool over its ids: what host, size and safety let through; None when none of them is set.

    Raises:
        InputError: a host is none, or there are too many.
    """
    if len(filters.hosts) > MAX_HOSTS:
        raise InputError(f"{len(filters.hosts)} hosts are given to filter by: give at most {MAX_HOSTS}")
    ranges = [surt_range(host) for host in filters.hosts]
    sizes = {"width": filters.min_width, "height": filters.min_height}
    wanted = {name: least for name, least in sizes.items() if least is not None}
    if not ranges and not wanted and filters.safety == "any":
        return None
    return {name: _mask(generation, ranges, wanted, filters) for name, generation in generations.items()}


def _mask(
    generation: Generation, ranges: Sequence[tuple[str, str]], sizes: Mapping[str, int], filters: SearchFilters
) -> Mask:
    mask = np.full(generation.n, fill_value=not ranges)
    for low, high in ranges:
        mask[generation.url_range(low, high, limit=generation.n)] = True
    for name, least in sizes.items():
        mask &= generation.column(name) >= least
    if filters.safety != "any":
        mask &= generation.column("unsafe") == (filters.safety == "unsafe")
    return mask


def not_opted_out(reading: Reading, opted_out: OptedOut) -> Callable[[Sequence[Ref]], list[bool]]:
    """A test of candidates, asked once for each."""
    known: dict[Ref, bool] = {}

    def keep(refs: Sequence[Ref]) -> list[bool]:
        missing = [ref for ref in dict.fromkeys(refs) if ref not in known]
        if missing:
            samples = reading.samples(missing)
            states = opted_out([samples[ref] for ref in missing])
            known.update({ref: not is_out for ref, is_out in zip(missing, states, strict=True)})
        return [known[ref] for ref in refs]

    return keep


def notes_of(left_out: Mapping[HitLabel, int], n_passed_over: int) -> list[str]:
    """What the filters left out, in plain words."""
    notes = []
    if left_out:
        kinds = " and ".join(f"{n} {label}" for label, n in sorted(left_out.items()))
        notes.append(f"The filters leave out sure copies: {kinds}. Search without filters to see them.")
    if n_passed_over:
        notes.append(f"{n_passed_over} on the way to this page are opted out already, and were passed over.")
    return notes
