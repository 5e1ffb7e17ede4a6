"""An answer of the search engine as sections of cards: words for people, no look-ups. Pure."""

from collections.abc import Collection, Mapping, Sequence
from urllib.parse import quote

from heldout.fingerprints import MATCH_DISTANCE
from heldout.records import Copy, Evidence, Group, Hit, Sample, SearchResult
from indexer.samples import STATUS_CORRUPT, STATUS_NO_PICTURE, STATUS_NOT_FETCHED
from search.picks import format_picks
from web.contexts import Card, CardSample, OptedOut, Section
from web.words import decimal, gettext, gettext_noop

SampleRef = tuple[str, int]
"""(data set, id)."""

_BY_LABEL = {
    "exact": (
        gettext_noop("The same file or address"),
        gettext_noop(
            "No doubt about these. The list of copies says which are the very file, and which the same picture changed."
        ),
    ),
    "near": (
        gettext_noop("The same picture, changed"),
        gettext_noop("Another size or format, mirrored, turned, cut, framed or marked. Very rarely wrong."),
    ),
    "caption": (gettext_noop("Named in the caption"), gettext_noop("Your words are in these captions.")),
    "site": (gettext_noop("From this site"), gettext_noop("Everything we know of that was taken from there.")),
    "similar": (
        gettext_noop("Looks alike"),
        gettext_noop("Found by a program that compares what pictures show. Most are not yours: look before you tick."),
    ),
}
_FOR_WORDS = {
    "caption": (gettext_noop("What we found"), gettext_noop("Pictures with these words in their caption.")),
    "site": (gettext_noop("What we found"), gettext_noop("Taken from this site, in the order of their addresses.")),
}
_FOR_TEXT = {
    "caption": (
        gettext_noop("Their captions say so"),
        gettext_noop("These words, or some of them, are in the caption. Tick only what is yours."),
    ),
    "similar": (
        gettext_noop("Look like these words"),
        gettext_noop(
            "Found by a program that compares words with what pictures show. Most are not yours: look before you tick."
        ),
    ),
}
_LABELS = {
    "exact": gettext_noop("exact"),
    "near": gettext_noop("near"),
    "similar": gettext_noop("similar"),
    "caption": gettext_noop("caption"),
    "site": gettext_noop("site"),
}


_MISSING = {
    "failed_to_download": gettext_noop("Its address did not answer"),
    STATUS_CORRUPT: gettext_noop("Its file is damaged"),
    STATUS_NO_PICTURE: gettext_noop("Only its address is known"),
    STATUS_NOT_FETCHED: gettext_noop("Only its address is known"),
}


def sections(result: SearchResult, kind: str, opted_out: Collection[SampleRef], *, page: str = "") -> list[Section]:
    """Cards of an answer to a question of this kind.

    A picture or an address is answered by how sure the answer is, the surest first; words by what captions say before
    what only looks like it; a name or a site in one section. Within each, the order is the engine's. `page` keeps the
    ids of one page's cards apart from another's, for both may come to stand on one.
    """
    built = [
        (result.hits[group.hits[0]].label, _card(result, group, f"card{page}-{at}", kind, opted_out))
        for at, group in enumerate(result.groups)
    ]
    if kind in _FOR_WORDS:
        title, explanation = map(gettext, _FOR_WORDS[kind])
        cards = [card for _, card in built]
        return (
            [Section("all", title, explanation, is_sure=True, n_samples=_n_samples(cards), cards=cards)]
            if cards
            else []
        )
    answer = []
    for label, (title, explanation) in (_FOR_TEXT if kind == "text" else _BY_LABEL).items():
        cards = [card for card_label, card in built if card_label == label]
        if cards:
            is_sure = kind != "text" and label != "similar"
            answer.append(Section(label, gettext(title), gettext(explanation), is_sure, _n_samples(cards), cards))
    return answer


def thumbnail_href(sample: Sample, generations: Mapping[str, int]) -> str | None:
    """Address of a sample's thumbnail, cacheable for ever; None where there is no picture."""
    if sample.status != "ok":
        return None
    return thumbnail_address(sample.dataset, sample.id, generations[sample.dataset])


def thumbnail_address(dataset: str, sample_id: int, generation: int) -> str:
    """Address of the thumbnail of a sample that has one, cacheable for ever."""
    return f"/v1/thumbnails/{quote(dataset, safe='')}/{sample_id}.webp?generation={generation}"


def alternative_text(sample: Sample) -> str:
    """What a picture is called where it cannot be seen."""
    if sample.caption:
        return sample.caption
    if sample.host:
        return gettext("picture without a caption from %(host)s", host=sample.host)
    return gettext("picture without a caption")


def label_in_words(label: str) -> str:
    """A label as a card says it."""
    return gettext(_LABELS[label])


def _card(result: SearchResult, group: Group, card_id: str, kind: str, opted_out: Collection[SampleRef]) -> Card:
    hits = [result.hits[at] for at in group.hits]
    face, samples = hits[0].sample, result.samples_of(group)
    shown = next((sample for sample in samples if sample.status == "ok"), face)
    return Card(
        id=card_id,
        pick=format_picks(samples, result.generations),
        thumbnail=thumbnail_href(shown, result.generations),
        missing=gettext(_MISSING.get(shown.status, gettext_noop("No picture"))),
        alt=alternative_text(face),
        caption=face.caption or "",
        face=format_picks([shown], result.generations),
        label=hits[0].label,
        label_words=label_in_words(hits[0].label),
        evidence=_evidence(hits[0], kind),
        host=face.host or "",
        size=sample_size(face),
        dataset=face.dataset,
        unsafe=any(sample.unsafe for sample in samples),
        opted_out=_opted_out(samples, opted_out),
        n_sites=len(group.hosts),
        samples=[
            *(_sample(hit.sample, _evidence_word(hit.evidence[0], hit.label), result, opted_out) for hit in hits),
            *(_sample(copy.sample, _copy_word(copy), result, opted_out) for copy in group.copies),
        ],
        complete=group.complete,
    )


def _sample(sample: Sample, label: str, result: SearchResult, opted_out: Collection[SampleRef]) -> CardSample:
    return CardSample(
        pick=format_picks([sample], result.generations),
        host=sample.host or "",
        url=sample.url,
        caption=sample.caption or "",
        size=sample_size(sample),
        dataset=sample.dataset,
        label=label,
        opted_out=(sample.dataset, sample.id) in opted_out,
    )


def _evidence(hit: Hit, kind: str) -> str:
    best = hit.evidence[0]
    match best.channel:
        case "bytes":
            return gettext("The same file, byte for byte")
        case "url":
            return gettext("The same address")
        case "pdq":
            return fingerprint_words(int(best.value))
        case "geometry":
            return gettext("Shows the same picture, cut, framed or covered in part")
        case "clip":
            return _likeness(hit, best, kind)
        case "caption" | "site":
            return ""  # the label says it


def _likeness(hit: Hit, best: Evidence, kind: str) -> str:
    value = decimal(best.value, 2)
    if hit.unverified:
        return gettext("Looks alike: %(value)s, unverified: its picture is not stored here", value=value)
    if kind == "text":
        return gettext("Fits the words: %(value)s, not verified", value=value)
    return gettext("Looks alike: %(value)s, not verified", value=value)


def fingerprint_words(distance: int) -> str:
    """How far two pictures' PDQ are apart."""
    if distance == 0:
        return gettext("The same fingerprint")
    if distance <= MATCH_DISTANCE:
        return gettext("Nearly the same fingerprint: %(n)s of 256 bits differ", n=distance)
    return gettext("Another fingerprint: %(n)s of 256 bits differ", n=distance)


def _evidence_word(evidence: Evidence, label: str) -> str:
    words = {
        "bytes": gettext("same file"),
        "url": gettext("same address"),
        "pdq": gettext("copy"),
        "geometry": gettext("part"),
    }
    return words.get(evidence.channel, label_in_words(label))


def _copy_word(copy: Copy) -> str:
    return gettext("same file") if copy.channel == "bytes" else gettext("copy")


def sample_size(sample: Sample) -> str:
    """Width and height of a sample, in pixels; empty where they are not known."""
    return f"{sample.width} \u00d7 {sample.height}" if sample.width and sample.height else ""


def _opted_out(samples: Sequence[Sample], opted_out: Collection[SampleRef]) -> OptedOut:
    n = sum((sample.dataset, sample.id) in opted_out for sample in samples)
    if n == 0:
        return "none"
    return "all" if n == len(samples) else "some"


def _n_samples(cards: Sequence[Card]) -> int:
    return sum(len(card.samples) for card in cards)
