"""What became of shards: of one, of a run, and as a summary for a person."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from indexer.samples import STATUS_CORRUPT

MAX_REASONS: Final = 100
"""Different reasons counted; what is left goes under `OTHER_REASON`."""
OTHER_REASON: Final = "other reasons"


@dataclass
class Outcome:
    """What became of one shard."""

    shard: str
    statuses: Counter[str] = field(default_factory=Counter)
    """Samples by status."""
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Samples that are not `ok` by status and reason; the reason is empty where none is known."""
    notes: Counter[str] = field(default_factory=Counter)
    """What was odd in its source -> in how many rows."""
    mapping: str = ""
    """How columns were understood."""
    seconds: float = 0.0
    set_aside: str | None = None
    """Why it could not be ingested."""

    @property
    def n_samples(self) -> int:
        """Samples of the shard."""
        return self.statuses.total()

    def to_event(self) -> dict[str, Any]:
        """Fields of the log's line."""
        rate = self.n_samples / max(self.seconds, 1e-9)
        return {
            "shard": self.shard,
            "samples": self.n_samples,
            "statuses": dict(self.statuses),
            "notes": dict(self.notes),
            "seconds": round(self.seconds, 3),
            "samples_per_s": round(rate, 1),
        }


def short_reason(reason: str | None, status: str) -> str:
    """A reason without what is particular to its sample, so that equal ones can be counted.

    >>> short_reason("00000/000000007 is damaged (image file is truncated (27 bytes not processed)): ...", "corrupt")
    'damaged (image file is truncated (N bytes not processed))'
    """
    if reason is None:
        return ""
    if status != STATUS_CORRUPT:
        return reason[:200]
    text = re.sub(r"^\S+/\S+ (is|ends) ", lambda found: "" if found[1] == "is" else "ends ", reason)
    return re.sub(r"\d[\d,.]*", "N", text.partition(": ")[0])[:200]


@dataclass
class IngestReport:
    """What a run did."""

    ingested: list[str] = field(default_factory=list)
    """Shards, in name order."""
    skipped: list[str] = field(default_factory=list)
    """Done by an earlier run."""
    set_aside: dict[str, str] = field(default_factory=dict)
    """Shard -> why it could not be ingested."""
    statuses: Counter[str] = field(default_factory=Counter)
    """Samples of the ingested shards by status."""
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Those that are not `ok` by status and reason."""
    notes: Counter[str] = field(default_factory=Counter)
    """What was odd in the sources -> in how many rows."""
    n_passed_over: int = 0
    """Pictures that lie loose beside shards, and are in none."""
    mappings: dict[str, list[str]] = field(default_factory=dict)
    """How columns were understood -> the shards with those columns."""
    seconds: float = 0.0

    @property
    def n_samples(self) -> int:
        """Samples of the ingested shards."""
        return self.statuses.total()

    def add(self, outcome: Outcome) -> None:
        """Count a shard in."""
        if outcome.set_aside is not None:
            self.set_aside[outcome.shard] = outcome.set_aside
            return
        self.ingested.append(outcome.shard)
        self.statuses += outcome.statuses
        self.notes += outcome.notes
        for (status, reason), n in outcome.reasons.items():
            known = (status, reason) in self.reasons or len(self.reasons) < MAX_REASONS
            self.reasons[status, reason if known else OTHER_REASON] += n
        self.mappings.setdefault(outcome.mapping, []).append(outcome.shard)

    def sort(self) -> None:
        """Put shards in name order, whichever was done first."""
        self.ingested.sort()
        self.set_aside = dict(sorted(self.set_aside.items()))
        self.mappings = {mapping: sorted(shards) for mapping, shards in sorted(self.mappings.items())}

    def to_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        reasons = [
            {"status": status, "reason": reason, "samples": n} for (status, reason), n in self.reasons.most_common()
        ]
        return {**vars(self), "reasons": reasons, "n_samples": self.n_samples}

    def lines(self) -> Iterator[str]:
        """The summary: how columns were understood, how much was done, how it ended by status and reason."""
        for mapping, shards in self.mappings.items():
            yield f"columns of {len(shards)} shards: {mapping}"
        rate = self.n_samples / max(self.seconds, 1e-9)
        yield f"{self.n_samples:,} samples of {len(self.ingested)} shards in {self.seconds:.1f} s ({rate:,.0f}/s)"
        if self.skipped:
            yield f"{len(self.skipped)} shards were done before"
        if self.n_passed_over:
            yield f"{self.n_passed_over:,} pictures lie beside shards and are in none: give their folder as a source"
        for status, n in sorted(self.statuses.items(), key=lambda item: (-item[1], item[0])):
            yield f"  {n:>9,}  {status}"
            for (of, reason), m in self.reasons.most_common():
                if of == status and reason:
                    yield f"  {m:>9,}    {reason}"
        for note, n in self.notes.most_common():
            yield f"  {n:>9,}  rows: {note}"
