"""How to apply which list: the options of a filter run, and opening the list they name."""

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Final, Literal

from heldout.exclusion import ExclusionList
from heldout.records import ASSURANCES, Assurance

Emit = Literal["removal", "url-list", "datacomp-uids"]
EMITS: Final[tuple[Emit, ...]] = ("removal", "url-list", "datacomp-uids")
"""What can be written besides the shards, `heldout.filtering_emit`."""

Preference = Literal["train-ai=n", "train-ai=y"]
PREFERENCES: Final[tuple[Preference, ...]] = ("train-ai=n", "train-ai=y")
"""Which samples a run goes by, in IETF AIPREF's words: drop those that are opted out (`train-ai=n`), or keep only those
that are granted expressly, and not opted out (`train-ai=y`, opt-in only)."""

Writes = Literal["shards", "masks"]
"""What a run writes for each shard: itself, minus what is dropped, or a mask that says what that is."""


@dataclass(frozen=True)
class FilterOptions:
    """How to apply which list. Hashable and picklable."""

    list_path: Path
    min_assurance: Assurance = "declared"
    allow_unverified: bool = False
    url_column: str | None = None
    now: datetime | None = None
    """For tests of freshness."""
    list_version: str | None = None
    """Name of a version folder; the one in force if None."""
    as_of: date | None = None
    """Leave out entries that are younger."""
    emit: frozenset[Emit] = frozenset()
    dry_run: bool = False
    """Write neither shards nor masks."""
    writes: Writes = "shards"
    preference: Preference = "train-ai=n"
    min_grant_assurance: Assurance = "account"
    """For opt-in only: leave out grants that are proved less well. Anybody can declare one."""

    @property
    def opt_in(self) -> Assurance | None:
        """How well a grant has to be proved; None if what is not opted out is kept without.

        What is weaker than `min_assurance` is left out of the list, grants like opt-outs.
        """
        if self.preference != "train-ai=y":
            return None
        return max(self.min_assurance, self.min_grant_assurance, key=ASSURANCES.index)


def open_list(options: FilterOptions) -> ExclusionList:
    """Verify and load the list that the options name.

    Raises:
        HeldoutError: as `ExclusionList.open`.
    """
    return ExclusionList.open(
        options.list_path,
        min_assurance=options.min_assurance,
        allow_unverified=options.allow_unverified,
        now=options.now,
        version=options.list_version,
        as_of=options.as_of,
    )
