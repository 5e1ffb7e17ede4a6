"""An answer of the search engine as sections of cards: words for people, no look-ups. Pure."""

from collections.abc import Collection, Mapping, Sequence
from urllib.parse import quote

from heldout.records import Copy, Evidence, Group, Hit, Sample, SearchResult
from indexer.samples import STATUS_CORRUPT, STATUS_NO_PICTURE, STATUS_NOT_FETCHED
from search.picks import format_picks
from web.contexts import Card, CardSample, OptedOut, Section

SampleRef = tuple[str, int]
"""(data set, id)."""

_BY_LABEL = {
    "exact": (
        "The same file or address",
        "No doubt about these. The list of copies says which are the very file, and which the same picture changed.",
    ),
    "near": (
        "The same picture, changed",
        "Another size or format, mirrored, turned, cut, framed or marked. Very rarely wrong.",
    ),
    "caption": ("Named in the caption", "Your words are in these captions."),
    "site": ("From this site", "Everything we know of that was taken from there."),
    "similar": (
        "Looks alike",
        "Found by a program that compares what pictures show. Most are not yours: look before you tick.",
    ),
}
_FOR_WORDS = {
    "caption": ("What we found", "Pictures with these words in their caption."),
    "site": ("What we found", "Taken from this site, in the order of their addresses."),
}
_FOR_TEXT = {
    "caption": ("Their captions say so", "These words, or some of them, are in the caption. Tick only what is yours."),
    "similar": (
        "Look like these words",
        "Found by a program that compares words with what pictures show. Most are not yours: look before you tick.",
    ),
}


_MISSING = {
    "failed_to_download": "Its address did not answer",
    STATUS_CORRUPT: "Its file is damaged",
    STATUS_NO_PICTURE: "Only its address is known",
    STATUS_NOT_FETCHED: "Only its address is known",
}


def sections(result: SearchResult, kind: str, opted_out: Collection[SampleRef]) -> list[Section]:
    """Cards of an answer to a question of this kind.

    A picture or an address is answered by how sure the answer is, the surest first; words by what captions say before
    what only looks like it; a name or a site in one section. Within each, the order is the engine's.
    """
    built = [
        (result.hits[group.hits[0]].label, _card(result, group, at, kind, opted_out))
        for at, group in enumerate(result.groups)
    ]
    if kind in _FOR_WORDS:
        title, explanation = _FOR_WORDS[kind]
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
            answer.append(Section(label, title, explanation, is_sure, _n_samples(cards), cards))
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
    return sample.caption or f"picture without a caption from {sample.host or 'an unknown site'}"


def _card(result: SearchResult, group: Group, position: int, kind: str, opted_out: Collection[SampleRef]) -> Card:
    hits = [result.hits[at] for at in group.hits]
    face, samples = hits[0].sample, result.samples_of(group)
    shown = next((sample for sample in samples if sample.status == "ok"), face)
    return Card(
        id=f"card-{position}",
        pick=format_picks(samples, result.generations),
        thumbnail=thumbnail_href(shown, result.generations),
        missing=_MISSING.get(shown.status, "No picture"),
        alt=alternative_text(face),
        caption=face.caption or "",
        label=hits[0].label,
        evidence=_evidence(hits[0], kind),
        host=face.host or "",
        size=_size(face),
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
        size=_size(sample),
        dataset=sample.dataset,
        label=label,
        opted_out=(sample.dataset, sample.id) in opted_out,
    )


def _evidence(hit: Hit, kind: str) -> str:
    best = hit.evidence[0]
    match best.channel:
        case "bytes":
            return "The same file, byte for byte"
        case "url":
            return "The same address"
        case "pdq":
            return f"{best.value:.0f} of 256 fingerprint bits differ"
        case "geometry":
            return "Shows the same picture, cut, framed or covered in part"
        case "clip":
            state = "unverified: its picture is not stored here" if hit.unverified else "not verified"
            return f"{'Fits the words' if kind == 'text' else 'Looks alike'}: {best.value:.2f}, {state}"
        case "caption" | "site":
            return ""  # the label says it


def _evidence_word(evidence: Evidence, label: str) -> str:
    return {"bytes": "same file", "url": "same address", "pdq": "copy", "geometry": "part"}.get(evidence.channel, label)


def _copy_word(copy: Copy) -> str:
    return "same file" if copy.channel == "bytes" else "copy"


def _size(sample: Sample) -> str:
    return f"{sample.width} \u00d7 {sample.height}" if sample.width and sample.height else ""


def _opted_out(samples: Sequence[Sample], opted_out: Collection[SampleRef]) -> OptedOut:
    n = sum((sample.dataset, sample.id) in opted_out for sample in samples)
    if n == 0:
        return "none"
    return "all" if n == len(samples) else "some"


def _n_samples(cards: Sequence[Card]) -> int:
    return sum(len(card.samples) for card in cards)
