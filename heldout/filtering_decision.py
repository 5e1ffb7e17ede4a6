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
    kind: npt.NDArray[np.uint8]
    """(d,) Position in `KINDS`."""
    assurance: npt.NDArray[np.uint8]
    """(d,)"""
    since: npt.NDArray[np.int32]
    """(d,)"""

    @property
    def rules(self) -> list[Rule]:
        """Of what is dropped: d rules."""
        columns = (self.kind.tolist(), self.assurance.tolist(), self.since.tolist())
        return [Rule(KINDS[kind], assurance, since) for kind, assurance, since in zip(*columns, strict=True)]

    def or_else(self, keys: Sequence[str | None], rules: Mapping[str, Rule]) -> "Decision":
        """Drop also those of the n samples whose key is in `rules`."""
        more = [i for i in np.flatnonzero(self.kept).tolist() if keys[i] in rules]
        if not more:
            return self
        found = dict(zip(self.rows.tolist(), self.rules, strict=True)) | {i: rules[keys[i] or ""] for i in more}
        rows = np.array(sorted(found), dtype=np.int64)
        kept = self.kept.copy()
        kept[rows] = False
        kind, assurance, since = zip(*(found[row] for row in rows.tolist()), strict=True)
        return Decision(
            kept,
            rows,
            np.array([KINDS.index(name) for name in kind], np.uint8),
            np.array(assurance, np.uint8),
            np.array(since, np.int32),
        )

    def by_key(self, keys: Sequence[str | None]) -> dict[str, Rule]:
        """The rules of what is dropped, by the samples' keys."""
        pairs = zip(self.rows.tolist(), self.rules, strict=True)
        return {key: rule for row, rule in pairs if (key := keys[row]) is not None}


def decide(answers: Mapping[Kind, Matches], n: int) -> Decision:
    """Decide about n samples by the list's answers to each kind of question about them."""
    kept = np.ones(n, dtype=np.bool_)
    parts = []
    for code, kind in enumerate(KINDS):
        if kind in answers:
            matches = answers[kind]
            rows = np.flatnonzero(kept & matches.found)
            kept[rows] = False
            parts.append((rows, np.full(len(rows), code), matches.assurance[rows], matches.since[rows]))
    rows, kinds, assurance, since = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(rows)
    return Decision(
        kept,
        rows[order],
        kinds[order].astype(np.uint8),
        assurance[order].astype(np.uint8),
        since[order].astype(np.int32),
    )
