"""The picture door: bytes, PDQ in 8 orientations, proofs by geometry and CLIP, merged into one labelled ranking.

The picture is decoded once, in memory, and let go of; nothing of it is stored or logged.
"""

from collections.abc import Sequence
from typing import Final

from heldout.fingerprints import MATCH_DISTANCE, MIN_QUALITY
from heldout.pictures import Fingerprint, decode_picture, fingerprint_image
from search import merge
from search.copies import busy, holding, within
from search.merge import Candidate, Ref
from search.nearest import nearest_embeddings
from search.proving import MAX_LOOKED_AT, WIDE_DISTANCE, prove_copies
from search.query_encoder import QueryEncoder
from search.rankings import Answer, Listed
from search.reading import Reading

MAX_PICTURE_BYTES: Final = 20 * 1024 * 1024
"""Largest query picture taken. Dataset pictures are seldom above 1 MB."""

N_SIMILAR: Final = 500
"""Similar pictures ranked, over all pages. Copies are not bounded by it."""

MAX_COPIES: Final = 10_000
"""Exact and near hits listed, nearest first. A logo may have more; the answer then says so."""

SAME_PICTURE: Final = 0.3
"""Share of the query that a sample shows, from which on it stands on one card with the query's copies. Below, it may be
one tile of a collage and have nothing to do with what shows the others."""


def answer_picture(reading: Reading, encoder: QueryEncoder, data: bytes) -> Answer:
    """Everything that has the picture's bytes, is a copy of it by PDQ or by geometry, or looks alike.

    Raises:
        InputError: not a picture that can be decoded.
    """
    image = decode_picture(data)
    query = fingerprint_image(image, data)
    embedding = encoder.embed_images([image])
    alike = nearest_embeddings(reading.generations, embedding, N_SIMILAR, masks=reading.masks)
    hashed = within(reading, query.pdq, WIDE_DISTANCE) if query.quality >= MIN_QUALITY else []
    whole = merge.by_confidence(same_bytes(reading, query.sha256), _near(reading, hashed))
    # no filter hides a copy, so copies are looked for among everything
    everything = alike if reading.masks is None else nearest_embeddings(reading.generations, embedding, MAX_LOOKED_AT)
    likely = [[ref for ref, _ in hashed], holding(reading, image, query.pdq), [each.ref for each in everything]]
    shown = prove_copies(reading, encoder, image, likely, {each.ref for each in whole})
    copies = merge.by_confidence(whole, shown)
    notes = []
    if query.quality < MIN_QUALITY:
        notes.append(
            "The picture is too plain for its copies to be told from other pictures. Only the very same file is sure; "
            "changed copies may be among what looks alike, not verified."
        )
    if len(copies) > MAX_COPIES:
        notes.append(f"{len(copies)} copies were found; the {MAX_COPIES} nearest are listed.")
        copies = copies[:MAX_COPIES]
    ranking = merge.by_confidence(copies, alike)
    same = {each.ref for each in whole} | {each.ref for each in shown if _shows_the_query(each)}
    return Answer(Listed(ranking), tuple(each.ref for each in copies if each.ref in same), tuple(notes))


def same_bytes(reading: Reading, digest: bytes) -> list[Candidate]:
    """Samples whose picture's bytes have this SHA-256."""
    return merge.exact(
        Ref(dataset, int(sample))
        for dataset, generation in reading.generations.items()
        for sample in generation.sha256_lookup(digest)
    )


def near_copies(reading: Reading, query: Fingerprint) -> list[Candidate]:
    """Samples within PDQ 31 of any orientation of the query, both busy enough; none for a plain query."""
    return _near(reading, within(reading, query.pdq, MATCH_DISTANCE)) if query.quality >= MIN_QUALITY else []


def _near(reading: Reading, hashed: Sequence[tuple[Ref, int]]) -> list[Candidate]:
    distances = {ref: distance for ref, distance in hashed if distance <= MATCH_DISTANCE}
    return merge.near((ref, distances[ref]) for ref in busy(reading, distances))


def _shows_the_query(candidate: Candidate) -> bool:
    return any((proof.query_share or 0.0) >= SAME_PICTURE for proof in candidate.evidence)
