"""How to apply which list: the options of a filter run, and opening the list they name."""

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Final, Literal

from heldout.exclusion import ExclusionList
from heldout.records import Assurance

Emit = Literal["removal", "url-list", "datacomp-uids"]
EMITS: Final[tuple[Emit, ...]] = ("removal", "url-list", "datacomp-uids")
"""What can be written besides the shards, `heldout.filtering_emit`."""


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
    """Write no shards."""


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
