"""Check these, on the site: the offer beside results, the form that comes back, and the page that says what was found.

The site keeps no picture, so the one searched with goes along in the form: its fingerprints and a small copy, made for
the browser and sent back by it. Works without JavaScript.
"""

import base64
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from heldout.errors import InputError
from heldout.records import Check, CheckResult, Evidence, Group, Hit, ImageSubject, SearchResult
from search.checking import MAX_CHECKED, Query, query_from_copy
from search.picks import Pick, format_picks, parse_picks
from search.uploads import Form
from web.cards import SampleRef, sections
from web.contexts import Asked, Card, CheckForm, ResultsPage, SearchBox, Section
from web.results import own_words, preview, small_copy, subject_of
from web.said import sentence
from web.selection import format_picture, parse_selection
from web.words import gettext, gettext_noop, ngettext

SEEN_SIDE: Final = 512
"""In pixels: what local features are looked for at."""

_TITLES: Final = {
    "different": (
        gettext_noop("Compared, and no copy"),
        gettext_noop("We fetched these just now. Nothing proves that they are your picture."),
    ),
    "not_fetched": (
        gettext_noop("Could not be fetched"),
        gettext_noop(
            "Their pictures are gone or could not be read, so nobody can compare them here. They may be copies or not."
        ),
    ),
}


@dataclass(frozen=True)
class CheckQuestion:
    """A check that somebody asked for."""

    query: Query
    picture: ImageSubject
    seen: str
    picks: Sequence[Pick]


def offer_check(query: Query, result: SearchResult) -> CheckForm | None:
    """The form, when something that looks alike has no picture here to compare."""
    samples = [hit.sample for hit in result.hits if hit.unverified]
    if not samples:
        return None
    picks = [format_picks([sample], result.generations) for sample in samples]
    return _form(picks, subject_of(query), small_copy(query.image, SEEN_SIDE))


def read_check(upload: Form) -> CheckQuestion:
    """The form that came back.

    Raises:
        InputError: it is not one this site made.
    """
    selection = parse_selection([("picture", value) for value in upload.fields.get("picture", ())])
    picks = parse_picks(upload.fields.get("pick", ()))
    (picture, *_), seen = selection.pictures, upload.one("seen")
    try:
        query = query_from_copy(base64.b64decode(seen, validate=True), bytes.fromhex(picture.sha256 or ""))
    except ValueError as error:  # not base64: binascii's error is one too
        raise InputError("This page sent something that does not fit: search again with the picture.") from error
    return CheckQuestion(query, picture, seen, picks)


def checked_page(
    box: SearchBox, question: CheckQuestion, result: CheckResult, opted_out: Collection[SampleRef]
) -> ResultsPage:
    """What was found: copies on one card, then what is none, then what could not be fetched."""
    copies = [check for check in result.checks if check.outcome in {"exact", "near"}]
    copies.sort(key=lambda check: check.outcome)
    hits = [
        Hit(
            sample=check.sample, label="exact" if check.outcome == "exact" else "near", score=0, evidence=check.evidence
        )
        for check in copies
    ]
    group = Group(
        hits=list(range(len(hits))),
        copies=[],
        hosts=sorted({hit.sample.host for hit in hits if hit.sample.host}),
        n_samples=len(hits),
    )
    answer = SearchResult(hits=hits, groups=[group] if hits else [], generations=result.generations)
    found = sections(answer, "picture", opted_out)
    for outcome, (title, explanation) in _TITLES.items():
        checks = [check for check in result.checks if check.outcome == outcome]
        cards = [_card(check, result, place, opted_out) for place, check in enumerate(checks)]
        if cards:
            found.append(
                Section(outcome, gettext(title), gettext(explanation), is_sure=False, n_samples=len(cards), cards=cards)
            )
    return ResultsPage(
        box=box,
        asked=_asked(question),
        readings=[],
        sections=found,
        summary=_summary(len(copies), len(result.checks)),
        notes=[],
        first_href=None,
        next_href=None,
        wide_href=None,
        check=_form(_left(question.picks, result), question.picture, question.seen),
        fetch_url="",
        site="",
    )


def _card(check: Check, result: CheckResult, place: int, opted_out: Collection[SampleRef]) -> Card:
    found_by = [Evidence(channel="clip", value=0)]  # said otherwise below
    hit = Hit(sample=check.sample, label="similar", score=0, evidence=found_by)
    group = Group(hits=[0], copies=[], hosts=[check.sample.host] if check.sample.host else [], n_samples=1)
    alone = SearchResult(hits=[hit], groups=[group], generations=result.generations)
    (section,) = sections(alone, "picture", opted_out)
    why = sentence(check.reason) if check.reason else gettext("No proof that it is a copy")
    return replace(section.cards[0], id=f"{check.outcome}-{place}", evidence=why.removesuffix("."))


def _asked(question: CheckQuestion) -> Asked:
    return Asked(
        kind="picture",
        title=gettext("Your picture, checked"),
        words="",
        preview=preview(question.query.image),
        extra_name="picture",
        extra_value=format_picture(question.picture),
        extra_words=own_words(question.picture.quality),
    )


def _summary(n_copies: int, n_checked: int) -> str:
    checked = ngettext("We checked %(n)s picture", "We checked %(n)s pictures", n_checked)
    if n_copies == 0:
        return gettext("%(checked)s: none is proved to be a copy.", checked=checked)
    copies = ngettext("%(n)s is a copy", "%(n)s are copies", n_copies)
    return gettext("%(checked)s: %(copies)s.", checked=checked, copies=copies)


def _left(picks: Sequence[Pick], result: CheckResult) -> list[str]:
    """Picks of what was asked for and is still to be checked."""
    every = [Pick(pick.dataset, pick.generation, (each,)) for pick in picks for each in pick.ids]
    return [str(pick) for pick in every[len(result.checks) :]]


def _form(picks: Sequence[str], picture: ImageSubject, seen: str) -> CheckForm | None:
    if not picks:
        return None
    n, now = len(picks), min(len(picks), MAX_CHECKED)
    words = ngettext(
        "One of what looks alike is known here by address only, so nobody has compared it with your picture yet. We "
        "can fetch it now and look.",
        "%(n)s of what looks alike are known here by address only, so nobody has compared them with your picture yet. "
        "We can fetch them now and look.",
        n,
    )
    button = gettext("Check it") if n == 1 else gettext("Check these")
    if now < n:
        button = gettext("Check the first %(n)s", n=now)
    return CheckForm(words, button, format_picture(picture), seen, list(picks))
