"""A door's whole answer, best first, as something pages are cut from.

Two kinds: `Listed`, where every candidate is at hand (channels that score), and `Ranged`, where millions may match in
address order (a site) and only ids are at hand. A rank means the same on every page of one answer.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from heldout.records import HitLabel
from search.merge import Candidate, Proof, Ref

Shown = Callable[[Iterable[Ref]], bool]
Mask = npt.NDArray[np.bool_]
"""(n,) over the ids of a data set: whether a filter lets them through."""

PROVED: Final = frozenset({"exact", "near"})
"""Labels of hits that nothing leaves out without saying so."""


class Ranking(Protocol):
    """Candidates by rank, from 0."""

    @property
    def total(self) -> int | None:
        """How many samples match, where that is known."""

    def window(self, start: int, stop: int) -> list[Candidate]:
        """Candidates of ranks start..stop-1; fewer at the end."""

    def shown_before(self, rank: int) -> Shown:
        """A test of whether any of some samples has a rank before `rank`."""

    def sifted(
        self, masks: Mapping[str, Mask] | None, labels: Collection[HitLabel]
    ) -> tuple["Ranking", list[Candidate]]:
        """What masks (by data set) and labels let through, all when there are none, and the proved among the rest."""


@dataclass(frozen=True)
class Listed:
    """A ranking held in memory."""

    candidates: Sequence[Candidate]
    total: int | None = None

    def window(self, start: int, stop: int) -> list[Candidate]:
        """As `Ranking`."""
        return list(self.candidates[start:stop])

    def shown_before(self, rank: int) -> Shown:
        """As `Ranking`."""
        before = {candidate.ref for candidate in self.candidates[:rank]}
        return lambda refs: any(ref in before for ref in refs)

    def sifted(
        self, masks: Mapping[str, Mask] | None, labels: Collection[HitLabel]
    ) -> tuple["Listed", list[Candidate]]:
        """As `Ranking`."""
        kept, left_out = [], []
        for each in self.candidates:
            if (masks is None or masks[each.ref.dataset][each.ref.id]) and (not labels or each.label in labels):
                kept.append(each)
            elif each.label in PROVED:
                left_out.append(each)
        return Listed(kept, None if self.total is None else len(kept)), left_out


@dataclass(frozen=True)
class Ranged:
    """Samples of whole address ranges, data set after data set, all labelled `site`."""

    ids: dict[str, npt.NDArray[np.int64]]
    """Data set -> ids in address order."""

    @property
    def total(self) -> int:
        """How many samples match."""
        return sum(len(ids) for ids in self.ids.values())

    def window(self, start: int, stop: int) -> list[Candidate]:
        """As `Ranking`."""
        out = []
        for dataset, ids in self.ids.items():
            out += [
                Candidate(Ref(dataset, int(sample)), "site", 1.0, (Proof("site", 0.0),))
                for sample in ids[max(0, start) : max(0, stop)]
            ]
            start, stop = start - len(ids), stop - len(ids)
        return out

    def shown_before(self, rank: int) -> Shown:
        """As `Ranking`."""
        before: dict[str, npt.NDArray[np.int64]] = {}
        for dataset, ids in self.ids.items():
            before[dataset] = np.sort(ids[: max(0, rank)])
            rank -= len(ids)

        def is_before(ref: Ref) -> bool:
            ids = before.get(ref.dataset)
            if ids is None:
                return False
            place = int(np.searchsorted(ids, ref.id))
            return place < len(ids) and int(ids[place]) == ref.id

        return lambda refs: any(map(is_before, refs))

    def sifted(
        self, masks: Mapping[str, Mask] | None, labels: Collection[HitLabel]
    ) -> tuple["Ranged", list[Candidate]]:
        """As `Ranking`; nothing here is proved."""
        if labels and "site" not in labels:
            return Ranged({}), []
        if masks is None:
            return self, []
        return Ranged({dataset: ids[masks[dataset][ids]] for dataset, ids in self.ids.items()}), []


@dataclass(frozen=True)
class Answer:
    """What a door says before it is cut into pages."""

    ranking: Ranking
    copies_of_query: tuple[Ref, ...] = ()
    """Proved copies of the query picture, which makes them copies of each other."""
    notes: tuple[str, ...] = ()
    """What it could not do, in plain words."""
