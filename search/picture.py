"""The picture door: bytes, PDQ in 8 orientations and CLIP, three channels merged into one labelled ranking.

The picture is decoded once, in memory, and let go of; nothing of it is stored or logged.
"""

from typing import Final

from heldout.fingerprints import MIN_QUALITY
from heldout.pictures import Fingerprint, decode_picture, fingerprint_image
from indexer.encoder import Encoder
from search import merge
from search.copies import near_copies_of
from search.merge import Candidate, Ref
from search.nearest import nearest_embeddings
from search.rankings import Answer, Listed
from search.reading import Reading

MAX_PICTURE_BYTES: Final = 20 * 1024 * 1024
"""Largest query picture taken. Dataset pictures are seldom above 1 MB."""

N_SIMILAR: Final = 500
"""Similar pictures ranked, over all pages. Copies are not bounded by it."""

MAX_COPIES: Final = 10_000
"""Exact and near hits listed, nearest first. A logo may have more; the answer then says so."""


def answer_picture(reading: Reading, encoder: Encoder, data: bytes) -> Answer:
    """Everything that has the picture's bytes, is a copy of it by PDQ, or looks alike.

    Raises:
        InputError: not a picture that can be decoded.
    """
    image = decode_picture(data)
    query = fingerprint_image(image, data)
    embedding = encoder.embed_images([image])
    exact, near = same_bytes(reading, query.sha256), near_copies(reading, query)
    copies = merge.by_confidence(exact, near)
    notes = []
    if query.quality < MIN_QUALITY:
        notes.append(
            f"The picture is too plain to recognise its copies by perceptual hash (quality {query.quality} of 100, "
            f"{MIN_QUALITY} needed): copies with other bytes are among the similar ones, not verified."
        )
    if len(copies) > MAX_COPIES:
        notes.append(f"{len(copies)} copies were found; the {MAX_COPIES} nearest are listed.")
        copies = copies[:MAX_COPIES]
    alike = nearest_embeddings(reading.generations, embedding, N_SIMILAR, masks=reading.masks)
    ranking = merge.by_confidence(copies, alike)
    return Answer(Listed(ranking), tuple(candidate.ref for candidate in copies), tuple(notes))


def same_bytes(reading: Reading, digest: bytes) -> list[Candidate]:
    """Samples whose picture's bytes have this SHA-256."""
    return merge.exact(
        Ref(dataset, int(sample))
        for dataset, generation in reading.generations.items()
        for sample in generation.sha256_lookup(digest)
    )


def near_copies(reading: Reading, query: Fingerprint) -> list[Candidate]:
    """Samples within PDQ 31 of any orientation of the query, both busy enough; none for a plain query."""
    if query.quality < MIN_QUALITY:
        return []
    return merge.near(near_copies_of(reading, query.pdq))
