"""The text and caption doors. Text fuses what pictures look like (CLIP) with what captions say; caption is words only.

CLIP's cosines and the full text engine's relevance cannot be compared, ranks can: reciprocal rank fusion. When
captions credit the words asked for as somebody's name, that person's captions come first: most artists first type
their own name.
"""

from dataclasses import replace
from typing import Final, NamedTuple

from search import merge, words
from search.merge import Candidate, Ref
from search.nearest import TEXT_NPROBE, TEXT_RERANK, nearest_embeddings
from search.query_encoder import QueryEncoder
from search.rankings import Answer, Listed
from search.reading import Reading
from search.words import Query

N_RANKED: Final = 500
"""Candidates that each channel of a text search gives, over all pages: fixed, or ranks would move between pages."""

N_CAPTIONS: Final = 10_000
"""Captions that the caption door lists, and among which quoted phrases are looked for."""

N_FILTERED: Final = 100_000
"""Captions looked at for those that filters let through."""

CAPTION_WEIGHT: Final = 2.0
SOME_WORDS_WEIGHT: Final = 1.0
CLIP_WEIGHT: Final = 1.0
"""Weights of fusion: the caption has all words, has some of them, and CLIP. Words are the stronger evidence: on the
bundled collection, with a weak encoder, 1.5 to 3 for the first and 1 to 1.5 for the second are best."""

MAX_WORDS: Final = 8
"""Words of a query that are looked up one by one."""

NAME_SHARE: Final = 0.2
"""Share of the captions with all words that must credit them for the words to be taken as a name: "by hand" is in
a few captions with "hand", but "by jane doe" is in many with "jane doe"."""


def answer_text(reading: Reading, encoder: QueryEncoder, text: str) -> Answer:
    """Pictures that look like the text, or whose caption says it or a part of it.

    Quoted phrases must stand in the caption, so then only captions answer, ranked with CLIP's help.

    Raises:
        InputError: the text is empty or too long.
    """
    query = words.parse_query(text)
    embedding = encoder.embed_texts([query.text])
    alike = nearest_embeddings(
        reading.generations,
        embedding,
        N_RANKED,
        nprobe=TEXT_NPROBE,
        rerank=max(TEXT_RERANK, N_RANKED),
        masks=reading.masks,
    )
    said, texts, _ = _captions(reading, query, N_RANKED)
    if query.phrases:
        allowed = {candidate.ref for candidate in said}
        alike = [candidate for candidate in alike if candidate.ref in allowed]
        some = []
    else:
        some = _some_words(reading, query, {candidate.ref for candidate in said})
    ranked = merge.by_rank(said, some, alike, weights=(CAPTION_WEIGHT, SOME_WORDS_WEIGHT, CLIP_WEIGHT))
    name = words.fold(query.text)
    credited = sum(words.credits_name(texts[candidate.ref], name) for candidate in said)
    if credited and credited >= NAME_SHARE * len(said):
        ranked = merge.first(ranked, frozenset(candidate.ref for candidate in said))
    return Answer(Listed(ranked))


def answer_caption(reading: Reading, text: str) -> Answer:
    """Samples whose caption has every word, and every quoted phrase as it stands, best first.

    Raises:
        InputError: the text is empty or too long.
    """
    said = _captions(reading, words.parse_query(text), N_CAPTIONS)
    if not said.is_cut:
        return Answer(Listed(said.candidates, total=len(said.candidates)))
    note = f"More than {N_CAPTIONS} captions have these words; only the best {N_CAPTIONS} were looked at: add words."
    return Answer(Listed(said.candidates), notes=(note,))


class _Said(NamedTuple):
    """What captions answer."""

    candidates: list[Candidate]
    """Best first."""
    texts: dict[Ref, str]
    """Captions of the first `N_RANKED` of them."""
    is_cut: bool
    """Whether there may be more than were looked at."""


def _captions(reading: Reading, query: Query, k: int) -> _Said:
    """The k best captions; of the first `N_RANKED`, those with the last word whole before those that only begin so."""
    found = _search(reading, query.text, N_CAPTIONS if query.phrases else k)
    is_cut = len(found) >= N_CAPTIONS
    if query.phrases:
        folded = {ref: words.fold(text) for ref, text in reading.captions(ref for ref, _ in found).items()}
        found = [pair for pair in found if words.has_all_words(folded[pair[0]], query.phrases)]
    found = found[:k]
    texts = reading.captions(ref for ref, _ in found[:N_RANKED])
    asked = words.fold(query.text).split()
    whole = {ref for ref, text in texts.items() if words.has_all_words(words.fold(text), asked)}
    found.sort(key=lambda pair: 0 if pair[0] in whole else 1 if pair[0] in texts else 2)
    return _Said(merge.captioned(found), texts, is_cut)


def _search(reading: Reading, words_of_it: str, k: int) -> list[tuple[Ref, float]]:
    """The k captions of all data sets that have every word, among what filters let through, best first."""
    found: list[tuple[Ref, float]] = []
    for dataset, generation in reading.generations.items():
        mask = None if reading.masks is None else reading.masks[dataset]
        scores, ids = generation.search_caption(words_of_it, k if mask is None else max(k, N_FILTERED))
        pairs = zip(scores.tolist(), ids.tolist(), strict=True)
        found += [(Ref(dataset, sample), score) for score, sample in pairs if mask is None or mask[sample]]
    found.sort(key=lambda pair: (-pair[1], pair[0]))
    return found[:k] if reading.masks is not None else found


def _some_words(reading: Reading, query: Query, known: set[Ref]) -> list[Candidate]:
    """Captions by the words of the query that they have, rare words counting more: "coffee mug" for "cup of coffee".

    Empty for a single word, which `_captions` looks for already. Those in `known` carry no evidence of their own.
    """
    asked = words.content_words(query.text)[:MAX_WORDS]
    if len(asked) < 2:
        return []
    relevance: dict[Ref, float] = {}
    for word in asked:
        for ref, score in _search(reading, word, N_RANKED):
            relevance[ref] = relevance.get(ref, 0.0) + score
    best = sorted(relevance.items(), key=lambda pair: (-pair[1], pair[0]))[:N_RANKED]
    return [replace(each, evidence=()) if each.ref in known else each for each in merge.captioned(best)]
