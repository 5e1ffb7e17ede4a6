"""What the templates of the log's explorer may use: one frozen dataclass per page. No logic."""

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class WitnessLine:
    """A witness that the operator asks."""

    name: str
    key: str
    at: datetime | None
    """When it cosigned; None if it has not cosigned this checkpoint."""


@dataclass(frozen=True)
class KindLink:
    """One kind of entries, to look at alone."""

    words: str
    href: str
    current: bool


@dataclass(frozen=True)
class EntryLine:
    """An entry among others."""

    index: int
    at: datetime
    title: str
    words: str


@dataclass(frozen=True)
class ExplorePage:
    """`/explore`: the newest checkpoint, and entries, newest first."""

    name: str
    size: int
    root: str
    note: str
    keys: str
    """The log's key and its witnesses', a line each: what the browser is to check with."""
    kinds: list[KindLink]
    entries: list[EntryLine]
    newer_href: str | None
    older_href: str | None
    is_cut: bool
    """Whether older entries have not been looked through."""


@dataclass(frozen=True)
class EntryPage:
    """`/explore/entries/N`: one entry and its proof."""

    index: int
    size: int
    at: datetime
    title: str
    words: str
    subjects: list[str]
    n_more_subjects: int
    claim: str
    """Number of the claim it is about, or empty."""
    manifest_sha256: str
    """Of the list it is about, or empty."""
    text: str
    n_bytes: int
    leaf_hash: str
    bundle: str
    """Address of the raw file it is in."""
    place: int
    """Its place in that file, from 1."""
    root: str
    proof: list[str]
    keys: str
    base_url: str
    verification_key: str
    newer_href: str | None
    older_href: str | None


@dataclass(frozen=True)
class ListLine:
    """A version of the list."""

    version: int
    at: datetime
    index: int
    manifest_sha256: str
    size: int
    """Entries under the checkpoint of its proof."""


@dataclass(frozen=True)
class Compared:
    """What came of comparing two checkpoints."""

    problem: str
    """Why they cannot be compared, or what does not fit; empty if the newer extends the older."""
    older_size: int = 0
    newer_size: int = 0
    proof: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class CheckpointsPage:
    """`/explore/checkpoints`: the newest, who witnessed it, those of lists, and whether one extends another."""

    name: str
    size: int
    root: str
    note: str
    witnesses: list[WitnessLine]
    lists: list[ListLine]
    keys: str
    older: str
    newer: str
    compared: Compared | None
    base_url: str
    verification_key: str


@dataclass(frozen=True)
class ReceiptStep:
    """An entry that a receipt proves."""

    index: int
    at: datetime
    title: str
    words: str


@dataclass(frozen=True)
class CheckReceiptPage:
    """`/explore/receipt`: a receipt that somebody brings, checked."""

    keys: str
    receipt: str = ""
    problem: str = ""
    claim: str = ""
    """Of a receipt that is right; empty before, and for one that is not."""
    size: int = 0
    steps: list[ReceiptStep] = field(default_factory=list)
