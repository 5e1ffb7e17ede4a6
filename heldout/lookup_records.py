"""Wire records of the questions a server answers about its exclusion list, and of its answers. docs/online.md.

A picture is asked about by its fingerprints: nobody sends a picture.
"""

from datetime import date
from typing import Annotated, Final, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from heldout.records import Assurance, Hex256, Record

MAX_LOOKUPS = 1_000
"""Items of one request, of all kinds together."""

RuleKind = Literal["url", "prefix", "host", "sha256", "pdq"]

PADDING: Final = 0
"""Code of a line of a range that stands for nothing."""
OPTED_OUT: Final = range(1, 6)
"""Codes of opt-outs, by the position of their assurance in `records.ASSURANCES`."""
GRANTED: Final = range(6, 11)
"""Codes of grants, likewise. A code is one hexadecimal digit."""

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$", to_lower=True)]


class PictureMark(Record):
    """A picture's PDQ fingerprint."""

    pdq: list[Hex256] = Field(
        min_length=1,
        max_length=8,
        description="PDQ hashes, 256 bits as hex: of the picture upright, and of its rotations and mirror images where "
        "copies that were turned are to be found as well.",
    )
    quality: int = Field(ge=0, le=100, description="PDQ quality. Below 50 a picture is too plain to have copies.")


class LookupRequest(Record):
    """What to look up: addresses, SHA-256 digests of pictures' bytes, PDQ fingerprints; 1,000 in all."""

    urls: list[str] = Field(default=[], max_length=MAX_LOOKUPS, description="Addresses, in any spelling.")
    sha256: list[Digest] = Field(default=[], max_length=MAX_LOOKUPS, description="Digests of pictures' files, as hex.")
    pdq: list[PictureMark] = Field(default=[], max_length=MAX_LOOKUPS)
    min_assurance: Assurance = Field(default="declared", description="Leave out what is proved less well than this.")

    @model_validator(mode="after")
    def _not_too_many(self) -> Self:
        n = len(self.urls) + len(self.sha256) + len(self.pdq)
        if not 1 <= n <= MAX_LOOKUPS:
            raise ValueError(f"it holds {n} questions: ask 1 to {MAX_LOOKUPS:,} at a time")
        return self


class ListRule(Record):
    """The entry of the list that something met."""

    kind: RuleKind = Field(
        description="How: this address, its folder, its host, these bytes, or a copy of the picture by PDQ."
    )
    assurance: Assurance = Field(description="How well it is proved that the claimant may say so.")
    since: date = Field(description="When it was first declared.")
    place: str | None = Field(default=None, description="The folder or host, for `prefix` and `host`.")


class Lookup(Record):
    """The answer about one item."""

    is_opted_out: bool
    rule: ListRule | None = Field(default=None, description="Why; the first of several, in the order of the kinds.")
    is_granted: bool = Field(
        default=False, description="Whether an entry grants its use (`train-ai=y`). An opt-out still holds."
    )
    problem: str | None = Field(
        default=None, description="Why it could not be looked up. It is then *not known* whether it is opted out."
    )


class ListFacts(Record):
    """The version of the list that answered."""

    version: int
    manifest_sha256: Hex256
    as_of: str | None = Field(description="Time of the last log entry it has; null if the log was empty.")
    log_size: int


class LookupResult(Record):
    """One answer per item, in the order asked."""

    exclusion_list: ListFacts
    urls: list[Lookup] = Field(default=[])
    sha256: list[Lookup] = Field(default=[])
    pdq: list[Lookup] = Field(default=[])


class RangeSpaceFacts(Record):
    """How to ask for one kind of digest by range."""

    path: str = Field(description="Followed by the prefix.")
    digest: str = Field(description="What is hashed, and how much of it counts.")
    prefix_chars: int = Field(description="Hexadecimal digits to ask with.")
    suffix_chars: int = Field(description="Hexadecimal digits of each line of the answer.")
    n_lines: int = Field(description="Lines of every answer, padding among them.")


class RangeFacts(Record):
    """How to look up privately: by range, and in the parts of the list that are public text."""

    exclusion_list: ListFacts
    manifest_path: str = Field(description="Names the files below; its SHA-256 is `manifest_sha256`.")
    url: RangeSpaceFacts
    sha256: RangeSpaceFacts
    files: dict[str, str] = Field(description="Files of the list to fetch whole -> their paths: places and PDQ hashes.")
