"""Two pictures beside each other: the one searched with, which the form brings back small, and one that was found."""

import base64

import numpy as np

from heldout.errors import InputError
from heldout.fingerprints import MIN_QUALITY, distances
from heldout.pictures import decode_picture, pdq_orientations
from search.engine import SearchEngine
from search.picks import parse_picks
from web.cards import alternative_text, fingerprint_words, sample_size, thumbnail_href
from web.contexts import ComparePage
from web.results import preview


def compare_page(engine: SearchEngine, pick: str, seen: str) -> ComparePage:
    """The page. `seen` is the small copy in base64.

    Raises:
        InputError: the form is not one this site made.
        NotFoundError, ConflictError: what was found is gone.
    """
    (chosen, *_) = parse_picks([pick])
    try:
        mine = decode_picture(base64.b64decode(seen, validate=True))
    except ValueError as error:  # not base64: binascii's error is one too
        raise InputError("This page sent something that does not fit: search again with the picture.") from error
    sample = engine.picked([chosen])[0]
    href = thumbnail_href(sample, {chosen.dataset: chosen.generation})
    if href is None:
        raise InputError("This one's picture is not stored here, so there is nothing to compare.")
    verdict = ""
    if sample.pdq is not None and (sample.pdq_quality or 0) >= MIN_QUALITY:
        turned, quality = pdq_orientations(mine)
        theirs = np.frombuffer(bytes.fromhex(sample.pdq), np.uint8).reshape(1, -1)
        if quality >= MIN_QUALITY:
            verdict = fingerprint_words(int(distances(turned, theirs).min()))
    return ComparePage(
        mine=preview(mine),
        theirs=href,
        theirs_alt=alternative_text(sample),
        theirs_words=sample.host or "",
        pick=pick,
        caption=sample.caption or "",
        url=sample.url or "",
        size=sample_size(sample),
        dataset=sample.dataset,
        verdict=verdict,
    )
