"""What a request is about, read: distinct subjects as the log has them, and what is wrong with the others."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from publicsuffixlist import PublicSuffixList

from heldout.errors import InputError
from heldout.fingerprints import MIN_QUALITY
from heldout.leaves import ImageDigest, LoggedSubject, UrlDigest, kind_of
from heldout.places import host_rule, prefix_rule
from heldout.records import (
    ClaimPreview,
    HostSubject,
    ImageSubject,
    PrefixSubject,
    Subject,
    SubjectProblem,
    UrlSubject,
)
from heldout.states import is_enough
from heldout.urls import canonical_key, key_digest

MAX_NAMED = 5
"""Unusable subjects that one message names."""


@dataclass
class Reading:
    """Subjects of a request."""

    subjects: dict[LoggedSubject, str | None] = field(default_factory=dict)
    """Distinct, first mention first; with the canonical key of a URL."""
    duplicates: list[SubjectProblem] = field(default_factory=list)
    unusable: list[SubjectProblem] = field(default_factory=list)


def read_subjects(given: Sequence[Subject]) -> Reading:
    """Read all of them; mistakes are data, so that a preview can name every one."""
    reading = Reading()
    first: dict[LoggedSubject, int] = {}
    for index, subject in enumerate(given):
        try:
            logged, url = _read(subject)
        except InputError as error:
            reading.unusable.append(SubjectProblem(index=index, reason=str(error)))
            continue
        if logged in first:
            reason = f"says the same as subject {first[logged] + 1}"
            reading.duplicates.append(SubjectProblem(index=index, reason=reason, same_as=first[logged]))
            continue
        first[logged] = index
        reading.subjects[logged] = url
    return reading


def require_usable(reading: Reading) -> None:
    """Accept a reading without mistakes.

    Raises:
        InputError: there are some; the message names the first few.
    """
    if not reading.unusable:
        return
    named = "; ".join(f"subject {each.index + 1}: {each.reason}" for each in reading.unusable[:MAX_NAMED])
    n_more = len(reading.unusable) - MAX_NAMED
    raise InputError(f"{named}{f'; and {n_more} more' if n_more > 0 else ''}")


def preview_of(reading: Reading) -> ClaimPreview:
    """What a claim of this reading would hold."""
    kinds = Counter(kind_of(subject) for subject in reading.subjects)
    n_pending = sum(n for kind, n in kinds.items() if not is_enough(kind, "declared"))
    return ClaimPreview(
        n_subjects=len(reading.subjects),
        n_url_subjects=kinds["url"],
        n_image_subjects=kinds["image"],
        n_prefix_subjects=kinds["prefix"],
        n_host_subjects=kinds["host"],
        n_pending=n_pending,
        n_plain=sum(isinstance(each, ImageDigest) and each.quality < MIN_QUALITY for each in reading.subjects),
        duplicates=reading.duplicates,
        unusable=reading.unusable,
        notes=notes_on_places(n_pending=n_pending),
    )


def notes_on_places(*, n_pending: int) -> list[str]:
    """What does not count yet and why, for whoever claims places."""
    if not n_pending:
        return []
    what = "One place waits" if n_pending == 1 else f"{n_pending:,} places wait"
    return [f"{what} for proof: a site or a profile counts once it is shown that it is yours."]


def _read(subject: Subject) -> tuple[LoggedSubject, str | None]:
    match subject:
        case UrlSubject():
            key = canonical_key(subject.url)
            return UrlDigest(key_digest(key)), key
        case ImageSubject():
            _check_can_match(subject)
            sha256 = None if subject.sha256 is None else bytes.fromhex(subject.sha256)
            return ImageDigest(bytes.fromhex(subject.pdq), subject.quality, sha256), None
        case PrefixSubject():
            return prefix_rule(subject.prefix), None
        case HostSubject():
            rule = host_rule(subject.host)
            check_is_of_one_owner(rule.host)
            return rule, None


def check_is_of_one_owner(host: str) -> None:
    """Accept a host that is nobody else's too.

    Raises:
        InputError: it is a public suffix, as `co.uk` or `github.io`, below which everybody can have a host.
    """
    if public_suffixes().is_public(host):
        raise InputError(f"{host} is shared by many (a public suffix): claim your own host below it, as you.{host}")


@cache
def public_suffixes() -> PublicSuffixList:
    """Mozilla's Public Suffix List as bundled with its package, private section included. publicsuffix.org."""
    return PublicSuffixList(only_icann=False)


def _check_can_match(subject: ImageSubject) -> None:
    if subject.quality < MIN_QUALITY and subject.sha256 is None:
        raise InputError(
            f"the picture of PDQ {subject.pdq} can match nothing: its quality {subject.quality} is under "
            f"{MIN_QUALITY}, too plain to tell from others; give the file's SHA-256 too"
        )
