"""What each page's template may use: one frozen dataclass per page, rendered as it is. No logic, no queries.

A test renders every page and compares the context a template was given with its dataclass, and the names a template
uses with the fields; so neither can drift.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from web.dispute_contexts import DisputeBox
from web.narrowing import Narrowing

OptedOut = Literal["none", "some", "all"]


@dataclass(frozen=True)
class Suggestion:
    """A query worth trying, with the picture it finds first."""

    words: str
    href: str
    thumbnail: str | None


@dataclass(frozen=True)
class DatasetLine:
    """One data set that is searched."""

    name: str
    n_samples: int
    chosen: bool = False


@dataclass(frozen=True)
class SearchBox:
    """The one box, on the first page and above results."""

    words: str
    dataset: str
    datasets: list[DatasetLine]
    max_picture_bytes: int
    narrowing: Narrowing
    sides: list[str]
    """Least sizes offered, in pixels."""


@dataclass(frozen=True)
class SearchPage:
    """`/`: the box, things to try, what is searched."""

    box: SearchBox
    suggestions: list[Suggestion]
    wall: list[str]
    """Thumbnails that hang beside the box; nine, or none."""
    n_samples: int


@dataclass(frozen=True)
class CardSample:
    """One sample of a card: one copy of the picture, at one address, in one data set."""

    pick: str
    """Value of its checkbox."""
    host: str
    url: str | None
    caption: str
    size: str
    dataset: str
    label: str
    opted_out: bool


@dataclass(frozen=True)
class Card:
    """One picture and its copies."""

    id: str
    """Unique on the page; an HTML id."""
    pick: str
    """Value of the checkbox that takes all copies."""
    thumbnail: str | None
    missing: str
    """Why there is no thumbnail, in words."""
    alt: str
    caption: str
    face: str
    """Pick of the sample whose picture is shown."""
    label: str
    label_words: str
    evidence: str
    """Why it is here, in words."""
    host: str
    size: str
    dataset: str
    unsafe: bool
    opted_out: OptedOut
    n_sites: int
    samples: list[CardSample]
    complete: bool
    """False when there are more copies than an answer lists."""


@dataclass(frozen=True)
class Section:
    """Cards with the same label, strongest evidence first."""

    label: str
    title: str
    explanation: str
    is_sure: bool
    """Whether one click may select all of it. Never what only looks alike: most of that is somebody else's."""
    n_samples: int
    cards: list[Card]


@dataclass(frozen=True)
class ReadingLink:
    """Another way to read the same words."""

    words: str
    href: str
    current: bool


@dataclass(frozen=True)
class Asked:
    """The question, as the results page repeats it."""

    kind: Literal["text", "caption", "url", "site", "picture"]
    title: str
    words: str
    preview: str | None
    """The picture asked with, small, as a data: address; only in this answer, never stored."""
    extra_name: str
    """Name of the form field that also opts the question itself out (`picture`, `address`), or empty."""
    extra_value: str
    extra_words: str


@dataclass(frozen=True)
class CheckForm:
    """Offers to fetch and compare what looks alike and is not stored here."""

    words: str
    button: str
    picture: str
    """The picture searched with, by its fingerprints."""
    seen: str
    """A small copy of it in base64: it goes to the browser and comes back, and is kept nowhere."""
    picks: list[str]


@dataclass(frozen=True)
class ResultsPage:
    """`/search`: what was found."""

    box: SearchBox
    asked: Asked
    readings: list[ReadingLink]
    sections: list[Section]
    summary: str
    """What was found, in one or two sentences."""
    notes: list[str]
    """What the answer could not do, in plain words."""
    first_href: str | None
    next_href: str | None
    wide_href: str | None
    """The same question without filters, where there are any and it has an address."""
    check: CheckForm | None
    fetch_url: str
    """An address whose picture may be fetched to search with, or empty."""
    site: str
    """The site this answer is all about, which may be taken as a whole; else empty."""


@dataclass(frozen=True)
class ComparePage:
    """`/search/compare`: the picture searched with, beside one that was found."""

    mine: str
    """As a data: address; only in this answer, never stored."""
    theirs: str
    theirs_alt: str
    theirs_words: str
    pick: str
    caption: str
    url: str
    size: str
    dataset: str
    verdict: str
    """What their fingerprints say, in words; empty where one is too plain to tell."""


@dataclass(frozen=True)
class ClaimFacts:
    """A claim, as its pages show it."""

    id: str
    state: str
    state_words: str
    assurance: str
    assurance_words: str
    acting_as_words: str
    received_at: datetime
    what: str
    """What it covers, in words."""
    is_grant: bool
    positions: str
    receipt_href: str
    receipt_name: str


@dataclass(frozen=True)
class ClaimPicture:
    """A picture of a claim, as a data set has it."""

    src: str
    alt: str
    unsafe: bool


@dataclass(frozen=True)
class EvidencePage:
    """`/claims/{id}/evidence`: what was claimed, when, where that is proved, and how to check it."""

    claim: ClaimFacts
    standing: str
    """That it does not count, where it does not; else empty."""
    meaning: str
    """What is known of who spoke."""
    notes: list[str]
    in_lists: str
    """Versions of the list it is in, in words."""
    pictures: list[ClaimPicture]
    fingerprints: list[tuple[str, int]]
    """PDQ and quality of the first of its pictures."""
    n_fingerprints: int
    origin: str
    tree_size: int
    root_hash: str
    checkpoint: str
    verification_key: str
    receipt_sha256: str
    page_url: str
    pdf_href: str


@dataclass(frozen=True)
class DonePage:
    """`/claims/{id}/done`: just recorded."""

    claim: ClaimFacts
    publishing: str
    verification_key: str
    page_url: str
    manage_url: str
    """Private: who has it can take the claim back. Empty where the claim belongs to an account."""
    is_owned: bool
    """Whether the claim belongs to the account of whoever looks."""
    n_places: int
    """Sites and profiles, which wait for proof."""
    prove_href: str
    manage_path: str
    """Where signing in leads to, to move the claim into the account."""
    may_sign_in: bool
    """Whether an account is on offer: the site sends mail, and nobody is signed in."""


@dataclass(frozen=True)
class ClaimPage:
    """`/claims/{id}`: a claim and its receipt, checked again as the page is made."""

    claim: ClaimFacts
    notes: list[str]
    """What does not count yet and why."""
    tree_size: int
    root_hash: str
    checkpoint: str
    verification_key: str
    entries: list[tuple[int, int]]
    """Log position and number of hashes in its proof, per entry."""
    pictures: list[ClaimPicture]
    disputes: DisputeBox


@dataclass(frozen=True)
class AboutPage:
    """`/about`: what this is, and what it cannot do."""

    datasets: list[DatasetLine]
    contact: str
    """An e-mail address, or the address of a page; empty where the operator gives none."""


@dataclass(frozen=True)
class ErrorPage:
    """Any error, in words."""

    status: int
    title: str
    detail: str
    detail_language: str
    box: SearchBox | None
    """To put the question otherwise, where it was one."""
