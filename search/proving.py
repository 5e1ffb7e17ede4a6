"""Copies that a perceptual hash misses: candidates from several channels, proved one by one on their thumbnails.

Candidates come from the picture as a whole (hashes a little too far apart, embeddings nearest by cosine), from the
guises in which copies of it may go and, where none shows it whole, from its parts. Looking at a thumbnail costs some
10 ms of a core, so how many are looked at is bounded, likeliest first, and ends early where all are strangers.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from heldout.pictures import pdq_orientations
from indexer.fingerprint import open_thumbnail
from indexer.parts import find_panes
from search import merge
from search.copies import within
from search.crops import find_parts, make_guises
from search.geometry import Prepared, Proof, prepare_query, prepare_sample, prove_prepared
from search.merge import Candidate, Ref
from search.nearest import nearest_embeddings
from search.query_encoder import QueryEncoder
from search.reading import Reading

WIDE_DISTANCE: Final = 48
"""PDQ distance up to which a sample is worth a look: what an overlay or a small cut leaves alike."""
MAX_LOOKED_AT: Final = 48
"""Samples looked at because of the whole picture, and again because of its parts."""
PATIENCE: Final = 24
"""Strangers in a row after which no further sample is looked at because of the whole picture."""
DEPTH: Final = 8
"""Samples nearest to each guise, by embedding, and to each part, by hash and by embedding."""
EXPLAINED: Final = 0.75
"""Share of the query that one copy shows, from which on it is a known picture: of its parts only the hashes are looked
up."""


def prove_copies(
    reading: Reading,
    encoder: QueryEncoder,
    image: Image.Image,
    likely: Sequence[Sequence[Ref]],
    proved: Collection[Ref],
) -> list[Candidate]:
    """Samples that show the query or a part of it, or a part of which it shows, each with its proof; best first.

    Args:
        reading: Where to look.
        encoder: Embeds the picture's parts.
        image: The query, RGB.
        likely: Samples that may be, by each channel, likeliest first.
        proved: Samples known to be copies; they are not looked at.
    """
    query = prepare_query(image)
    if not query.is_drawn:
        return []
    looker = _Looker(reading, query, proved)
    guises = _nearest(reading, encoder.embed_images(make_guises(image)))
    looker.look(_in_turns([*likely, *guises]), patience=PATIENCE)
    is_known = bool(proved) or any(proof.query_share >= EXPLAINED for _, proof in looker.found)
    # A page that the data set holds, too, may still show pictures that it holds: their hashes are soon looked up.
    parts = [image.crop(box) for box in (find_panes(image) if is_known else find_parts(image))]
    channels = [_near_hashes(reading, part) for part in parts]
    if not is_known:
        channels += _nearest(reading, encoder.embed_images(parts))
    looker.look(_in_turns(channels), patience=MAX_LOOKED_AT)
    return merge.shown((ref, evidence_of(proof)) for ref, proof in looker.found)


class _Looker:
    """Compares the query with thumbnails, each once."""

    def __init__(self, reading: Reading, query: Prepared, proved: Collection[Ref]) -> None:
        self._reading = reading
        self._query = query
        self._seen = set(proved)
        self.found: list[tuple[Ref, Proof]] = []

    def look(self, refs: Iterable[Ref], *, patience: int) -> None:
        looked = strangers = 0
        for ref in refs:
            if looked == MAX_LOOKED_AT or strangers == patience:
                return
            if ref in self._seen:
                continue
            self._seen.add(ref)
            thumbnail = open_thumbnail(self._reading.generations[ref.dataset].thumbnail(ref.id))
            if thumbnail is None:
                continue
            looked += 1
            proof = prove_prepared(self._query, prepare_sample(thumbnail))
            if proof is None:
                strangers += 1
            else:
                strangers = 0
                self.found.append((ref, proof))


def _near_hashes(reading: Reading, part: Image.Image) -> list[Ref]:
    return [ref for ref, _ in within(reading, pdq_orientations(part)[0], WIDE_DISTANCE)[:DEPTH]]


def _nearest(reading: Reading, embeddings: npt.NDArray[np.float32]) -> list[list[Ref]]:
    return [
        [candidate.ref for candidate in nearest_embeddings(reading.generations, embedding[np.newaxis], DEPTH)]
        for embedding in embeddings
    ]


def _in_turns(channels: Sequence[Sequence[Ref]]) -> Iterator[Ref]:
    """The first of every channel before the second of any."""
    for rank in zip_longest(*channels):
        yield from (ref for ref in rank if ref is not None)


def evidence_of(proof: Proof) -> merge.Proof:
    """What geometry measured, rounded as answers have it."""
    shares = round(proof.query_share, 4), round(proof.sample_share, 4)
    return merge.Proof("geometry", round(proof.agreement, 4), proof.inliers, *shares)
