"""What the templates of the researchers' pages may use: one frozen dataclass per page. No logic."""

from dataclasses import dataclass
from datetime import datetime

from heldout.audit_sections import Section


@dataclass(frozen=True)
class ListCited:
    """The version of the exclusion list that a count was made with."""

    version: int
    as_of: str
    """Time of the last opt-out in it, RFC 3339; empty before the first."""
    manifest_sha256: str
    manifest_href: str


@dataclass(frozen=True)
class DatasetCounted:
    """A data set in the table of all."""

    name: str
    href: str
    n_samples: int
    n_sites: int
    n_opted_out: int
    share: float
    """Per cent of the samples opted out."""
    n_signalling: int


@dataclass(frozen=True)
class SharedLine:
    """What two data sets have in common."""

    left: str
    right: str
    n_addresses: int
    n_files: int


@dataclass(frozen=True)
class ResearchPage:
    """`/research`: all data sets."""

    datasets: list[DatasetCounted]
    failed: list[str]
    """Names of data sets that could not be counted."""
    shared: list[SharedLine]
    exclusion_list: ListCited | None
    base_url: str
    is_behind: bool
    """Whether there is a newer index or list that is not counted yet."""


@dataclass(frozen=True)
class FactLine:
    """A number."""

    words: str
    value: str


@dataclass(frozen=True)
class FileLink:
    """A table to take along."""

    name: str
    n_rows: int
    parquet_href: str
    """Empty where the files were removed."""
    csv_href: str


@dataclass(frozen=True)
class DatasetPage:
    """`/research/DATASET` and `/research/DATASET/g3-l12`: one data set, counted."""

    name: str
    generation: int
    exclusion_list: ListCited
    made_at: datetime
    facts: list[FactLine]
    sections: list[Section]
    files: dict[str, FileLink]
    """By name of the table."""
    shared: list[SharedLine]
    cite_url: str
    is_cited: bool
    """Whether this is the address that never changes."""
    is_newest: bool
    others: list[str]
    """Names of other results of this data set, the newest first."""
