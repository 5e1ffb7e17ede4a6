"""The text and caption doors. Text fuses what pictures look like (CLIP) with what captions say; caption is words only.

CLIP's cosines and the full text engine's relevance cannot be compared, ranks can: reciprocal rank fusion. When
captions credit the words asked for as somebody's name, that person's captions come first: most artists first type
their own name.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from heldout.records import HitLabel
from search import merge, words
from search.merge import RRF_CONSTANT, Candidate, Proof, Ref
from search.nearest import nearest_pairs
from search.query_encoder import QueryEncoder
from search.rankings import Answer, Listed, Mask, Shown
from search.reading import Reading
from search.words import Query

N_RANKED: Final = 500
"""Candidates that each channel of a text search gives, over all pages: fixed, or ranks would move between pages."""

N_CAPTIONS: Final = 10_000
"""Captions that the caption door lists."""

N_FILTERED: Final = 100_000
"""Captions looked at for those that filters let through."""

MAX_WORDS: Final = 8
"""Words of a query that are looked up one by one."""

NAME_SHARE: Final = 0.2
"""Share of the captions with all words that must credit them for the words to be taken as a name: "by hand" is in
a few captions with "hand", but "by jane doe" is in many with "jane doe"."""

N_CREDITS: Final = 100
"""Captions looked at for that share, the best."""

Pairs = list[tuple[Ref, float]]
"""Samples and what a channel measured, best first."""


class Weights(NamedTuple):
    """Of the channels in the fusion."""

    caption: float
    """The caption has all the words."""
    some_words: float
    """It has some of them."""
    look: float
    """The picture is near to the words by CLIP."""


WEIGHTS: Final = Weights(caption=2.0, some_words=1.0, look=1.0)
"""Words are the stronger evidence. `python -m search evaluate` chooses weights on one half of the queries and measures
them on the other; docs/benchmarks.md has what came of it."""


def answer_text(reading: Reading, encoder: QueryEncoder, text: str) -> Answer:
    """Pictures that look like the text, or whose caption says it or a part of it.

    Quoted phrases must stand in the caption, so then only captions answer, ranked with CLIP's help.

    Raises:
        InputError: the text is empty or too long.
    """
    return Answer(fuse(ask_channels(reading, encoder, text), WEIGHTS))


def answer_caption(reading: Reading, text: str) -> Answer:
    """Samples whose caption has every word, and every quoted phrase as it stands, best first.

    Raises:
        InputError: the text is empty or too long.
    """
    query = words.parse_query(text)
    said, is_cut = _captions(reading, query.text, N_CAPTIONS, query.phrases)
    candidates = merge.captioned(said)
    if not is_cut:
        return Answer(Listed(candidates, total=len(candidates)))
    n_seen = N_CAPTIONS if reading.masks is None else N_FILTERED
    note = f"More than {n_seen:,} captions have these words; only the best {n_seen:,} were looked at: add words."
    return Answer(Listed(candidates), notes=(note,))


@dataclass(frozen=True)
class Channels:
    """What each channel of a text search answers, before they are fused."""

    said: Pairs
    """Captions with all words, with their relevance."""
    some: Pairs
    """Captions with some of them."""
    look: Pairs
    """Pictures near to them, with their cosine."""
    is_name: bool
    """Whether captions credit somebody by these words."""


def ask_channels(reading: Reading, encoder: QueryEncoder, text: str) -> Channels:
    """Ask every channel. Raises as `answer_text`."""
    query = words.parse_query(text)
    look = nearest_pairs(
        reading.generations,
        encoder.embed_texts([query.text]),
        N_RANKED,
        kind="text",
        masks=reading.masks,
    )
    said, _ = _captions(reading, query.text, N_RANKED, query.phrases)
    some: Pairs = []
    if query.phrases:
        allowed = {ref for ref, _ in said}
        look = [pair for pair in look if pair[0] in allowed]
    else:
        some = _some_words(reading, query)
    return Channels(said, some, look, _is_name(reading, query, said))


def fuse(channels: Channels, weights: Weights) -> "Fused":
    """One ranking: the sum over channels of weight / (60 + rank); a name's captions before all others."""
    scores: dict[Ref, float] = {}
    for weight, channel in zip(weights, (channels.said, channels.some, channels.look), strict=True):
        if weight:
            for rank, (ref, _) in enumerate(channel, start=1):
                scores[ref] = scores.get(ref, 0.0) + weight / (RRF_CONSTANT + rank)
    said = dict(channels.said)
    if channels.is_name:
        for ref in said.keys() & scores.keys():
            scores[ref] += 1.0  # over 1 says so
    order = sorted(scores, key=lambda ref: (-scores[ref], ref))
    return Fused(order, scores, said, dict(channels.some), dict(channels.look))


@dataclass(frozen=True)
class Fused:
    """A ranking of the text door: candidates are made for the pages that are shown only. See `rankings.Ranking`."""

    order: Sequence[Ref]
    scores: Mapping[Ref, float]
    said: Mapping[Ref, float]
    some: Mapping[Ref, float]
    look: Mapping[Ref, float]
    total: None = field(default=None, init=False)

    def window(self, start: int, stop: int) -> list[Candidate]:
        """As `Ranking`."""
        return [self._candidate(ref) for ref in self.order[start:stop]]

    def shown_before(self, rank: int) -> Shown:
        """As `Ranking`."""
        before = set(self.order[:rank])
        return lambda refs: any(ref in before for ref in refs)

    def sifted(self, masks: Mapping[str, Mask] | None, labels: Collection[HitLabel]) -> tuple["Fused", list[Candidate]]:
        """As `Ranking`; nothing here is proved."""
        kept = [
            ref
            for ref in self.order
            if (masks is None or masks[ref.dataset][ref.id]) and (not labels or self._label(ref) in labels)
        ]
        return Fused(kept, self.scores, self.said, self.some, self.look), []

    def _label(self, ref: Ref) -> HitLabel:
        return "caption" if ref in self.said or ref in self.some else "similar"

    def _candidate(self, ref: Ref) -> Candidate:
        relevance = self.said.get(ref, self.some.get(ref))
        proofs = [] if relevance is None else [Proof("caption", round(relevance, 6))]
        if ref in self.look:
            proofs.append(Proof("clip", round(self.look[ref], 6)))
        return Candidate(ref, self._label(ref), self.scores[ref], tuple(proofs))


def _is_name(reading: Reading, query: Query, said: Pairs) -> bool:
    """Whether captions credit somebody by these words."""
    name = words.fold(query.text)
    captions = reading.captions(ref for ref, _ in said[:N_CREDITS]).values()
    credited = sum(words.credits_name(caption, name) for caption in captions)
    return credited > 0 and credited >= NAME_SHARE * len(captions)


def _captions(reading: Reading, text: str, k: int, phrases: Sequence[str] = ()) -> tuple[Pairs, bool]:
    """The k captions of all data sets that have every word and phrase, among what filters let through, best first.

    Returns:
        They, and whether there may be more.
    """
    found: Pairs = []
    is_cut = False
    for dataset, generation in reading.generations.items():
        reach = k if reading.masks is None else max(k, N_FILTERED)
        scores, ids = generation.search_caption(text, reach, phrases=phrases)
        is_cut |= len(ids) == reach
        if reading.masks is not None:
            is_let_through = reading.masks[dataset][ids]
            scores, ids = scores[is_let_through], ids[is_let_through]
        found += [(Ref(dataset, sample), score) for score, sample in zip(scores.tolist(), ids.tolist(), strict=True)]
    found.sort(key=lambda pair: (-pair[1], pair[0]))
    return found[:k], is_cut or len(found) > k


def _some_words(reading: Reading, query: Query) -> Pairs:
    """Captions by the words of the query that they have, rare words counting more: "coffee mug" for "cup of coffee".

    Empty for a single word, which is looked for already.
    """
    asked = words.content_words(query.text)[:MAX_WORDS]
    if len(asked) < 2:
        return []
    relevance: dict[Ref, float] = {}
    for word in asked:
        for ref, score in _captions(reading, word, N_RANKED)[0]:
            relevance[ref] = relevance.get(ref, 0.0) + score
    return sorted(relevance.items(), key=lambda pair: (-pair[1], pair[0]))[:N_RANKED]
