"""What somebody has put together to opt out: a basket's content, and what it stands for as subjects of a claim. Pure.

A basket outlives the index it was filled from, so it holds what a claim needs (addresses, fingerprints, places) and
only remembers which sample showed each, for its thumbnail.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from heldout.errors import InputError
from heldout.fingerprints import MIN_QUALITY
from heldout.records import (
    MAX_SUBJECTS,
    HostSubject,
    ImageSubject,
    PrefixSubject,
    Sample,
    Subject,
    UrlSubject,
)
from heldout.urls import canonical_key
from web.cards import alternative_text
from web.selection import Selection, count_pictures
from web.words import gettext_noop

FORMAT: Final = 1
MAX_KEPT_PROBLEMS: Final = 50
"""Lines of a file that could not be used, named; the others are counted."""

Place = Literal["prefix", "host"]


@dataclass(frozen=True)
class Seen:
    """The sample that showed a work."""

    dataset: str
    generation: int
    id: int


@dataclass(frozen=True)
class Work:
    """One thing in a basket: a copy of a picture at an address, a picture alone, an address alone, or a place."""

    url: str | None = None
    picture: ImageSubject | None = None
    place: tuple[Place, str] | None = None
    seen: Seen | None = None
    alt: str = ""
    host: str = ""
    unsafe: bool = False

    @property
    def key(self) -> str:
        """What it is known by in forms; the same for what claims the same."""
        marks = None if self.picture is None else (self.picture.pdq, self.picture.sha256)
        address = None if self.url is None else canonical_key(self.url)
        return hashlib.sha256(json.dumps([address, marks, self.place]).encode()).hexdigest()[:24]

    @property
    def subjects(self) -> list[Subject]:
        """What it claims."""
        found: list[Subject] = [] if self.url is None else [UrlSubject(url=self.url)]
        if self.picture is not None:
            found.append(self.picture)
        if self.place is not None:
            kind, text = self.place
            found.append(HostSubject(host=text) if kind == "host" else PrefixSubject(prefix=text))
        return found


@dataclass(frozen=True)
class Problem:
    """A line that could not be used."""

    where: str
    what: str


@dataclass(frozen=True)
class Contents:
    """A basket."""

    works: dict[str, Work] = field(default_factory=dict)
    """By key, in the order they were put in."""
    problems: tuple[Problem, ...] = ()
    """Of the last file or list that was handed in."""
    n_problems: int = 0
    done: tuple[str, str, str] | None = None
    """Of the last form that was confirmed: its seal, its digest, and where it led. Sent twice it leads there again."""

    @property
    def n_subjects(self) -> int:
        """How many subjects a claim of all of it has, at most."""
        return sum(len(work.subjects) for work in self.works.values())

    @property
    def digest(self) -> str:
        """Another one whenever what is claimed would be another."""
        return hashlib.sha256(" ".join(sorted(self.works)).encode()).hexdigest()

    def with_works(self, works: Iterable[Work]) -> "Contents":
        """With more in it; what is in it already stays where it is.

        Raises:
            InputError: over what one opt-out takes.
        """
        held = dict(self.works)
        for work in works:
            held.setdefault(work.key, work)
        changed = replace(self, works=held)
        if changed.n_subjects > MAX_SUBJECTS:
            raise InputError(
                f"That would be {changed.n_subjects:,} addresses and pictures, and one opt-out takes {MAX_SUBJECTS:,}: "
                "opt out what is in your basket first, then the rest."
            )
        return changed

    def without(self, keys: Collection[str]) -> "Contents":
        """With these taken out."""
        held = {key: work for key, work in self.works.items() if key not in keys}
        return replace(self, works=held, problems=(), n_problems=0)

    def with_problems(self, problems: Sequence[Problem]) -> "Contents":
        """With what could not be used of a list, instead of what could not be used of the one before."""
        return replace(self, problems=tuple(problems[:MAX_KEPT_PROBLEMS]), n_problems=len(problems))


@dataclass(frozen=True)
class Wanted:
    """What a basket stands for."""

    addresses: list[UrlSubject]
    """One per canonical address."""
    pictures: list[ImageSubject]
    """One per file; several may be copies of one picture."""
    places: list[Subject]
    n_pictures: int
    """Pictures, copies counted once."""
    n_plain: int
    """Of `n_pictures`, those too plain for their copies to be recognised."""

    def chosen(self, scopes: Collection[str]) -> list[Subject]:
        """Those of the ticked scopes, `picture`, `address` and `place`."""
        addresses: list[Subject] = list(self.addresses) if "address" in scopes else []
        pictures: list[Subject] = list(self.pictures) if "picture" in scopes else []
        return addresses + pictures + (self.places if "place" in scopes else [])


def works_of(selection: Selection, samples: Sequence[Sample], generations: dict[str, int]) -> tuple[list[Work], int]:
    """What was ticked, and how many samples have neither a usable address nor a picture.

    `samples` are those of the selection's picks, `generations` the ones the picks name.
    """
    works = [Work(picture=picture, alt=gettext_noop("The picture you searched with")) for picture in selection.pictures]
    works += [Work(url=address, host=_host(address)) for address in selection.addresses]
    n_unusable = 0
    for sample in samples:
        work = work_of_sample(sample, generations[sample.dataset])
        if work is None:
            n_unusable += 1
        else:
            works.append(work)
    return works, n_unusable


def work_of_sample(sample: Sample, generation: int) -> Work | None:
    """A sample as a work; None where nothing could ever match it."""
    picture, url = _picture(sample), _usable(sample.url)
    if picture is None and url is None:
        return None
    return Work(
        url=url,
        picture=picture,
        seen=Seen(sample.dataset, generation, sample.id) if sample.status == "ok" else None,
        alt=alternative_text(sample)[:300],
        host=sample.host or "",
        unsafe=sample.unsafe,
    )


def work_of_subject(subject: Subject) -> Work:
    """A line of somebody's own list as a work.

    Raises:
        InputError: an address that is none.
    """
    match subject:
        case UrlSubject():
            canonical_key(subject.url)
            return Work(url=subject.url, host=_host(subject.url))
        case ImageSubject():
            return Work(picture=subject, alt=gettext_noop("A picture of your list"))
        case PrefixSubject():
            return Work(place=("prefix", subject.prefix), host=_host(subject.prefix))
        case HostSubject():
            return Work(place=("host", subject.host), host=subject.host)


def wanted_of(contents: Contents) -> Wanted:
    """What a basket stands for, each thing once."""
    addresses: dict[str, UrlSubject] = {}
    pictures: dict[tuple[str, str | None], ImageSubject] = {}
    places: list[Subject] = []
    for work in contents.works.values():
        if work.url is not None:
            addresses.setdefault(canonical_key(work.url), UrlSubject(url=work.url))
        if work.picture is not None:
            pictures.setdefault((work.picture.pdq, work.picture.sha256), work.picture)
        if work.place is not None:
            places += work.subjects
    n_pictures, n_plain = count_pictures(list(pictures.values()))
    return Wanted(list(addresses.values()), list(pictures.values()), places, n_pictures, n_plain)


def dump(contents: Contents) -> bytes:
    """A basket as bytes."""
    body = {
        "format": FORMAT,
        "works": [_dump_work(work) for work in contents.works.values()],
        "problems": [asdict(problem) for problem in contents.problems],
        "n_problems": contents.n_problems,
        "done": contents.done,
    }
    return json.dumps(body, separators=(",", ":")).encode()


def load(data: bytes | None) -> Contents:
    """Inverse of `dump`; empty where there is nothing, or what another version of this program wrote."""
    body: dict[str, Any] = json.loads(data) if data else {}
    if body.get("format") != FORMAT:
        return Contents()
    works = [_load_work(each) for each in body["works"]]
    return Contents(
        works={work.key: work for work in works},
        problems=tuple(Problem(**each) for each in body["problems"]),
        n_problems=body["n_problems"],
        done=None if body["done"] is None else tuple(body["done"]),
    )


def _dump_work(work: Work) -> dict[str, Any]:
    facts: dict[str, Any] = {"url": work.url, "alt": work.alt, "host": work.host, "unsafe": work.unsafe}
    facts["place"] = work.place
    facts["seen"] = None if work.seen is None else [work.seen.dataset, work.seen.generation, work.seen.id]
    facts["picture"] = None if work.picture is None else work.picture.model_dump(exclude={"kind"})
    return {name: value for name, value in facts.items() if value}


def _load_work(facts: dict[str, Any]) -> Work:
    place, seen, picture = facts.get("place"), facts.get("seen"), facts.get("picture")
    return Work(
        url=facts.get("url"),
        picture=None if picture is None else ImageSubject(**picture),
        place=None if place is None else (place[0], place[1]),
        seen=None if seen is None else Seen(*seen),
        alt=facts.get("alt", ""),
        host=facts.get("host", ""),
        unsafe=facts.get("unsafe", False),
    )


def _picture(sample: Sample) -> ImageSubject | None:
    """None also for a picture that nothing could ever match: too plain, and its bytes not known."""
    if sample.pdq is None or sample.pdq_quality is None:
        return None
    if sample.pdq_quality < MIN_QUALITY and sample.sha256 is None:
        return None
    return ImageSubject(pdq=sample.pdq, quality=sample.pdq_quality, sha256=sample.sha256)


def _usable(url: str | None) -> str | None:
    if url is None:
        return None
    try:
        canonical_key(url)
    except InputError:  # data sets hold addresses that are none
        return None
    return url


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""
