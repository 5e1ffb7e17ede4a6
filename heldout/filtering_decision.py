"""What becomes of a batch of samples: kept, or dropped by which rule."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from heldout.exclusion import Kind, Matches

KINDS: Final[tuple[Kind, ...]] = ("url", "prefix", "host", "sha256", "pdq")
"""In order of precedence: a sample that several rules exclude is dropped by the first."""

Reason = Kind | Literal["not-granted"]
REASONS: Final[tuple[Reason, ...]] = (*KINDS, "not-granted")
"""Why a sample is dropped: a rule, or, opt-in only, that there is none which grants it."""
NOT_GRANTED: Final = len(KINDS)


class Rule(NamedTuple):
    """Why one sample was dropped."""

    kind: Reason
    assurance: int
    """Position in `records.ASSURANCES`; 0 of what is not granted."""
    since: int
    """Days since 1970-01-01; 0 of what is not granted."""


@dataclass(frozen=True)
class Linked:
    """What one form of a shard's samples tells the other: which it drops, by their keys."""

    rules: Mapping[str, Rule]
    keys: AbstractSet[str]
    """Of all its samples."""
    are_numbers: bool = False
    """Keys are integers there, and in the other form such as `000000001`."""

    def key(self, name: str) -> str:
        """The key of a sample of the other form."""
        return str(int(name)) if self.are_numbers and name.isascii() and name.isdigit() else name


ALONE: Final = Linked({}, frozenset())
"""There is no other form."""


@dataclass(frozen=True)
class Decision:
    """About n samples, d of them dropped."""

    kept: npt.NDArray[np.bool_]
    """(n,)"""
    rows: npt.NDArray[np.int64]
    """(d,) Positions of what is dropped, ascending."""
    kind: npt.NDArray[np.uint8]
    """(d,) Position in `REASONS`."""
    assurance: npt.NDArray[np.uint8]
    """(d,)"""
    since: npt.NDArray[np.int32]
    """(d,)"""

    @property
    def rules(self) -> list[Rule]:
        """Of what is dropped: d rules."""
        columns = (self.kind.tolist(), self.assurance.tolist(), self.since.tolist())
        return [Rule(REASONS[kind], assurance, since) for kind, assurance, since in zip(*columns, strict=True)]

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
            np.array([REASONS.index(name) for name in kind], np.uint8),
            np.array(assurance, np.uint8),
            np.array(since, np.int32),
        )

    def by_key(self, keys: Sequence[str | None]) -> dict[str, Rule]:
        """The rules of what is dropped, by the samples' keys."""
        pairs = zip(self.rows.tolist(), self.rules, strict=True)
        return {key: rule for row, rule in pairs if (key := keys[row]) is not None}


def decide(answers: Mapping[Kind, Matches], n: int, granted: npt.NDArray[np.bool_] | None = None) -> Decision:
    """Decide about n samples by the list's answers to each kind of question about them.

    Args:
        answers: which rules exclude them.
        n: number of samples.
        granted: (n,) opt-in only: the others are dropped.
    """
    kept = np.ones(n, dtype=np.bool_)
    parts = []
    for code, kind in enumerate(KINDS):
        if kind in answers:
            matches = answers[kind]
            rows = np.flatnonzero(kept & matches.found)
            kept[rows] = False
            parts.append((rows, np.full(len(rows), code), matches.assurance[rows], matches.since[rows]))
    if granted is not None:
        rows = np.flatnonzero(kept & ~granted)
        kept[rows] = False
        none = np.zeros(len(rows), np.uint8)
        parts.append((rows, np.full(len(rows), NOT_GRANTED), none, none.astype(np.int32)))
    rows, kinds, assurance, since = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(rows)
    return Decision(
        kept,
        rows[order],
        kinds[order].astype(np.uint8),
        assurance[order].astype(np.uint8),
        since[order].astype(np.int32),
    )
