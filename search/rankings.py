"""A door's whole answer, best first, as something pages are cut from.

Two kinds: `Listed`, where every candidate is at hand (channels that score), and `Ranged`, where millions may match in
address order (a site) and only ids are at hand. A rank means the same on every page of one answer.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from search.merge import Candidate, Proof, Ref


class Ranking(Protocol):
    """Candidates by rank, from 0."""

    @property
    def total(self) -> int | None:
        """How many samples match, where that is known."""

    def window(self, start: int, stop: int) -> list[Candidate]:
        """Candidates of ranks start..stop-1; fewer at the end."""

    def is_shown(self, refs: Iterable[Ref], rank: int) -> bool:
        """Whether any of `refs` has a rank before `rank`."""


@dataclass(frozen=True)
class Listed:
    """A ranking held in memory."""

    candidates: Sequence[Candidate]
    total: int | None = None

    def window(self, start: int, stop: int) -> list[Candidate]:
        """As `Ranking`."""
        return list(self.candidates[start:stop])

    def is_shown(self, refs: Iterable[Ref], rank: int) -> bool:
        """As `Ranking`."""
        before = {candidate.ref for candidate in self.candidates[:rank]}
        return any(ref in before for ref in refs)


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

    def is_shown(self, refs: Iterable[Ref], rank: int) -> bool:
        """As `Ranking`."""
        refs = list(refs)
        for dataset, ids in self.ids.items():
            wanted = [ref.id for ref in refs if ref.dataset == dataset]
            if wanted and bool(np.isin(ids[: max(0, rank)], wanted).any()):
                return True
            rank -= len(ids)
        return False


@dataclass(frozen=True)
class Answer:
    """What a door says before it is cut into pages."""

    ranking: Ranking
    copies_of_query: tuple[Ref, ...] = ()
    """Proved copies of the query picture, which makes them copies of each other."""
    notes: tuple[str, ...] = ()
    """What it could not do, in plain words."""
