"""What becomes of a batch of samples: kept, or dropped by which rule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from heldout.exclusion import Kind, Matches

KINDS: Final[tuple[Kind, ...]] = ("url", "sha256", "pdq")
"""In order of precedence: a sample that several rules exclude is dropped by the first."""


class Rule(NamedTuple):
    """Why one sample was dropped."""

    kind: Kind
    assurance: int
    """Position in `records.ASSURANCES`."""
    since: int
    """Days since 1970-01-01."""


@dataclass(frozen=True)
class Decision:
    """About n samples, d of them dropped."""

    kept: npt.NDArray[np.bool_]
    """(n,)"""
    rows: npt.NDArray[np.int64]
    """(d,) Positions of what is dropped, ascending."""
    rules: list[Rule]
    """d of them."""

    def or_else(self, keys: Sequence[str | None], rules: Mapping[str, Rule]) -> "Decision":
        """Drop also those of the n samples whose key is in `rules`."""
        found = {
            i: rules[key] for i in np.flatnonzero(self.kept).tolist() if (key := keys[i]) is not None and key in rules
        }
        if not found:
            return self
        found |= dict(zip(self.rows.tolist(), self.rules, strict=True))
        rows = np.array(sorted(found), dtype=np.int64)
        kept = self.kept.copy()
        kept[rows] = False
        return Decision(kept, rows, [found[int(row)] for row in rows])

    def by_key(self, keys: Sequence[str | None]) -> dict[str, Rule]:
        """The rules of what is dropped, by the samples' keys."""
        pairs = zip(self.rows, self.rules, strict=True)
        return {key: rule for row, rule in pairs if (key := keys[row]) is not None}


def decide(answers: Mapping[Kind, Matches], n: int) -> Decision:
    """Decide about n samples by the list's answers to each kind of question about them."""
    kept = np.ones(n, dtype=np.bool_)
    dropped: dict[int, Rule] = {}
    for kind in KINDS:
        if kind not in answers:
            continue
        matches = answers[kind]
        found = np.flatnonzero(kept & matches.found)
        kept[found] = False
        columns = (found.tolist(), matches.assurance[found].tolist(), matches.since[found].tolist())
        for row, assurance, since in zip(*columns, strict=True):
            dropped[row] = Rule(kind, assurance, since)
    rows = np.flatnonzero(~kept)
    return Decision(kept, rows, [dropped[row] for row in rows.tolist()])
