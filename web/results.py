"""An answer of the search engine as a results page: the question said back, what was found, ways on. Pure."""

import base64
import hashlib
import io
from collections import Counter
from collections.abc import Mapping
from urllib.parse import urlencode

from PIL import Image, ImageOps

from heldout.fingerprints import MIN_QUALITY
from heldout.records import ImageSubject, SearchResult
from heldout.urls import canonical_key
from search.checking import Query
from web.cards import sections
from web.contexts import Asked, CheckForm, ReadingLink, ResultsPage, SearchBox, Section
from web.questions import Question, Reading
from web.said import sentence
from web.selection import format_picture
from web.words import count, gettext, gettext_noop, ngettext

SURE = ("exact", "near")
"""Labels that say it is the same picture."""
MAIN_SITE_SHARE = 1 / 3
PREVIEW_SIDE = 320
"""In pixels: the picture somebody asked with, shown beside its results."""

_READING_WORDS: dict[Reading, str] = {
    "text": gettext_noop("What it shows or says"),
    "caption": gettext_noop("Only captions with these words"),
    "url": gettext_noop("As an address"),
    "site": gettext_noop("As a site"),
}


def results_page(
    box: SearchBox,
    asked: Asked,
    result: SearchResult,
    *,
    registry_refs: set[tuple[str, int]],
    ways_on: list[ReadingLink] | None = None,
    first_href: str | None = None,
    next_href: str | None = None,
    wide_href: str | None = None,
    check: CheckForm | None = None,
    fetch_url: str = "",
) -> ResultsPage:
    """An answer as a page."""
    page = hashlib.sha256((next_href or "").encode()).hexdigest()[:6] if first_href else ""
    built = sections(result, asked.kind, registry_refs, page=page)
    return ResultsPage(
        box=box,
        asked=asked,
        readings=ways_on or [],
        sections=built,
        summary=summary(
            asked.kind,
            built,
            result.total,
            is_whole=not first_href and not box.narrowing.is_used,
            has_pages=bool(first_href or next_href),
        ),
        notes=[sentence(note) for note in result.notes],
        first_href=first_href,
        next_href=next_href,
        wide_href=wide_href,
        check=check,
        fetch_url=fetch_url,
        site=asked.words if asked.kind == "site" else "",
    )


def summary(kind: str, found: list[Section], total: int | None, *, is_whole: bool, has_pages: bool) -> str:
    """What was found, in one or two sentences."""
    cards = [card for section in found for card in section.cards]
    if not cards:
        return gettext("Nothing found.")
    if kind == "picture":
        return _summary_of_copies(found)
    n_samples = sum(section.n_samples for section in found)
    said = [ngettext("%(n)s picture", "%(n)s pictures", len(cards))]
    if n_samples != len(cards):
        said.append(gettext("%(n)s with their copies", n=count(n_samples)))
    if has_pages:
        said.append(gettext("on this page") if total is None else gettext("on this page; %(n)s in all", n=count(total)))
    text = ", ".join(said)
    # Captions come first: if the first page has none, no page has.
    if kind == "text" and is_whole and not any(section.label == "caption" for section in found):
        return gettext(
            "No caption has these words. %(found)s: what looks most like them, if anything does.", found=text
        )
    return text + "."


def _summary_of_copies(found: list[Section]) -> str:
    copies = [sample for section in found if section.label in SURE for card in section.cards for sample in card.samples]
    n_alike = sum(len(section.cards) for section in found if section.label not in SURE)
    alike = ngettext("One other looks alike, not verified.", "%(n)s others look alike, not verified.", n_alike)
    if copies:
        n_sites = len({sample.host for sample in copies if sample.host})
        said = gettext(
            "%(copies)s found, on %(sites)s.",
            copies=ngettext("%(n)s copy", "%(n)s copies", len(copies)),
            sites=ngettext("%(n)s site", "%(n)s sites", n_sites),
        )
    else:
        said = gettext("No copy of it was found.")
    return f"{said} {alike}" if n_alike else said


def asked_words(question: Question, result: SearchResult) -> Asked:
    """The question, said back. An address that nothing was found at can be opted out all the same."""
    has_quotes = any(mark in question.words for mark in '"\u201c\u201d\u201e\u00ab\u00bb')
    quoted = question.words if has_quotes else f"\u201c{question.words}\u201d"
    titles: dict[Reading, str] = {
        "text": quoted,
        "caption": gettext("Captions with %(words)s", words=quoted),
        "url": gettext("This address"),
        "site": gettext("Pictures from %(site)s", site=question.words),
    }
    address = ""
    if question.reading == "url" and not result.hits:
        address = question.words if "://" in question.words else f"https://{question.words.removeprefix('//')}"
        canonical_key(address)
    return Asked(
        kind=question.reading,
        title=titles[question.reading],
        words=question.words,
        preview=None,
        extra_name="address" if address else "",
        extra_value=address,
        extra_words="",
    )


def asked_picture(query: Query, result: SearchResult) -> Asked:
    """The picture, shown back small, and its fingerprints in case it is to be opted out itself."""
    is_known = any(evidence.channel == "bytes" for hit in result.hits for evidence in hit.evidence)
    return Asked(
        kind="picture",
        title=gettext("Your picture"),
        words="",
        preview=preview(query.image),
        extra_name="" if is_known else "picture",
        extra_value="" if is_known else format_picture(subject_of(query)),
        extra_words=own_words(query.quality),
    )


def own_words(quality: int) -> str:
    """The offer to opt out the picture searched with, whatever was found."""
    if quality >= MIN_QUALITY:
        return gettext(
            "Also opt out the picture I searched with and its copies, in data sets that are not searched here."
        )
    return gettext(
        "Also opt out the picture I searched with (this very file: it is too plain for its copies), in data sets that "
        "are not searched here."
    )


def subject_of(query: Query) -> ImageSubject:
    """The picture searched with, as what a claim may be about."""
    return ImageSubject(pdq=query.pdq[0].tobytes().hex(), quality=query.quality, sha256=query.sha256.hex())


def preview(image: Image.Image) -> str:
    """A picture, small, as a data: address."""
    return "data:image/webp;base64," + small_copy(image, PREVIEW_SIDE)


def small_copy(image: Image.Image, side: int) -> str:
    """A picture with sides of at most so many pixels, as WebP in base64."""
    out = io.BytesIO()
    smaller = ImageOps.contain(image, (side, side)) if max(image.size) > side else image
    smaller.save(out, "WEBP", quality=80)
    return base64.b64encode(out.getvalue()).decode()


def main_site(result: SearchResult) -> str | None:
    """The site that most of the results are from, if one is: an artist's own, when the words are her name."""
    hosts = Counter(hit.sample.host for hit in result.hits if hit.sample.host)
    if not hosts:
        return None
    host, n = hosts.most_common(1)[0]
    return host.removeprefix("www.") if n >= MAIN_SITE_SHARE * len(result.hits) else None


def readings(question: Question, kept: Mapping[str, str], site: str | None) -> list[ReadingLink]:
    """Other ways to take the same words, where there are any, and a way on from a name to its site.

    `kept` are the fields that hold for those too: the data set, and what the answer was narrowed down to.
    """
    ways: list[Reading] = ["text", "caption"]
    if question.reading in {"url", "site"}:
        ways = ["site", "caption"] if question.reading == "site" else ["url", "site", "caption"]
    links = [
        ReadingLink(
            words=gettext(_READING_WORDS[way]),
            href=href({"q": question.words, "as": way, **kept}),
            current=way == question.reading,
        )
        for way in ways
    ]
    if site is not None:
        links.append(
            ReadingLink(
                gettext("Everything from %(site)s", site=site), href({"q": site, **kept, "host": ""}), current=False
            )
        )
    return links


def href(query: Mapping[str, str | None]) -> str:
    """Address of a page of results; what is empty is left out."""
    return "/search?" + urlencode({name: value for name, value in query.items() if value})
