"""The answer to "was this opt-out in the list that was applied?", as commands print and pages show it."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from heldout.records import Assurance, Preference, Record, SubjectKind

AppliedAnswer = Literal["yes", "no", "unknown"]
AppliedReason = Literal[
    "listed",  # yes: seen in the list
    "listed-by-another",  # yes: seen in the list, thanks to another claim about the same
    "logged",  # yes: by the log that the list was made from
    "later",
    "grant",
    "pending",
    "quarantined",
    "rejected",
    "withdrawn",
    "weaker",
    "younger",
    "overruled",
    "absent",  # not in the list; the receipt is too old to say why
    "lacking",  # not in the list, though by the receipt it should be
    "other-log",
    "old-receipt",  # unknown
    "unverified-list",  # unknown
]


class AppliedSubject(Record):
    """The answer about one work or place of a claim."""

    position: int = Field(description="Among the claim's subjects, from 0.")
    kind: SubjectKind
    name: str = Field(description="What it is, as far as the log tells: an address or picture by its digest.")
    answer: AppliedAnswer
    reason: AppliedReason
    words: str = Field(description="The answer as a sentence.")
    needs: str | None = Field(default=None, description="If unknown: what would tell.")


class Applied(Record):
    """The answer about a claim."""

    claim: str
    claimed_at: datetime
    preference: Preference
    answer: Literal["yes", "no", "partly", "unknown"] = Field(
        description="`yes` or `no` if so for all of it, `partly` if some of it was in the list."
    )
    words: str
    list_version: int
    list_as_of: str | None = Field(description="Time of the last log entry that the list took in.")
    manifest_sha256: str
    log: str
    log_size: int = Field(description="The list was made from this many first entries of the log.")
    min_assurance: Assurance
    signed_by: list[str] = Field(description="Keys, of those given, that signed the report.")
    n_yes: int
    n_no: int
    n_unknown: int
    subjects: list[AppliedSubject]
    proved: list[str] = Field(description="What follows from signatures and digests alone.")
    believed: list[str] = Field(description="What somebody has to be believed, and who.")
    notes: list[str]
