"""Check these: fetch the pictures of samples that came without one, and see which are copies of the query.

Data sets of addresses and embeddings hold no picture to compare, so what looks alike there stays `similar,
unverified`. Here just those candidates are fetched, few at a time, through the fetcher's guard, and compared as stored
pictures are: bytes, PDQ in 8 orientations, geometry. What was fetched is let go of; nothing is stored.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image
from starlette.concurrency import run_in_threadpool

from heldout.errors import InputError
from heldout.fetching import Fetcher
from heldout.fingerprints import MATCH_DISTANCE, MIN_QUALITY, distances
from heldout.pictures import decode_picture, fingerprint_image, pdq_orientations
from heldout.records import Check, CheckResult, Evidence, Sample
from search.engine import SearchEngine, is_unverified
from search.geometry import prove
from search.picks import Pick
from search.proving import evidence_of
from search.remote import why_not

MAX_CHECKED: Final = 24
"""Samples of one request."""
CHECK_S: Final = 20.0
"""Seconds that one request may take; what has not been compared by then is said to be so."""
_HELD: Final = 6
"""Pictures of one request in memory, or on their way there: each may have as many bytes as the fetcher takes."""
_AT_ONCE: Final = 2
"""Comparisons of one request under way: they are work for processors that others wait for too."""


@dataclass(frozen=True)
class Query:
    """The picture that candidates are compared with."""

    image: Image.Image
    sha256: bytes
    """Of the file's bytes."""
    pdq: npt.NDArray[np.uint8]
    """(8, 32) uint8."""
    quality: int


def query_of(data: bytes) -> Query:
    """A query from a picture's file.

    Raises:
        InputError: not a picture.
    """
    image = decode_picture(data)
    found = fingerprint_image(image, data)
    return Query(image, found.sha256, found.pdq, found.quality)


def query_from_copy(small: bytes, sha256: bytes) -> Query:
    """A query from a small copy of a picture and the SHA-256 of the picture itself: what a results page carries.

    Raises:
        InputError: the copy is not a picture.
    """
    image = decode_picture(small)
    pdq, quality = pdq_orientations(image)
    return Query(image, sha256, pdq, quality)


async def check_copies(engine: SearchEngine, fetcher: Fetcher, query: Query, picks: Sequence[Pick]) -> CheckResult:
    """Fetch and compare the first `MAX_CHECKED` of the samples picked.

    Only samples whose picture is not known here are fetched: the others were compared when they were found.

    Raises:
        InputError: nothing was picked.
        ConflictError, NotFoundError: as `SearchEngine.samples`.
    """
    first, n_left = first_of(picks)
    samples = await run_in_threadpool(engine.picked, first)
    if not samples:
        raise InputError("no samples are named to be checked: give those of an answer, as dataset@generation:id,id")
    room, gate = asyncio.Semaphore(_HELD), asyncio.Semaphore(_AT_ONCE)
    tasks = [asyncio.create_task(_check(fetcher, query, sample, room, gate)) for sample in samples]
    try:
        await asyncio.wait(tasks, timeout=CHECK_S)
    finally:
        late = [task for task in tasks if task.cancel()]
        await asyncio.gather(*late, return_exceptions=True)
    checks = [
        Check(sample=sample, outcome="not_fetched", reason=f"not compared within {CHECK_S:.0f} seconds")
        if task.cancelled()
        else task.result()
        for sample, task in zip(samples, tasks, strict=True)
    ]
    return CheckResult(
        checks=checks,
        n_left=n_left,
        generations={pick.dataset: pick.generation for pick in picks},
    )


def first_of(picks: Sequence[Pick]) -> tuple[list[Pick], int]:
    """The first `MAX_CHECKED` samples of picks, and how many are left: a form may name millions."""
    first: list[Pick] = []
    room = MAX_CHECKED
    for pick in picks:
        if ids := pick.ids[:room]:
            first.append(replace(pick, ids=ids))
            room -= len(ids)
    return first, sum(len(pick.ids) for pick in picks) - (MAX_CHECKED - room)


async def _check(
    fetcher: Fetcher, query: Query, sample: Sample, room: asyncio.Semaphore, gate: asyncio.Semaphore
) -> Check:
    if sample.url is None or not is_unverified(sample):
        reason = "its picture is known here, and was compared when it was found"
        return Check(sample=sample, outcome="not_fetched", reason=reason)
    async with room:
        fetched = await fetcher.get(sample.url)
        if fetched.status != "ok":
            return Check(sample=sample, outcome="not_fetched", reason=why_not(fetched))
        async with gate:
            return await run_in_threadpool(_compare, query, sample, fetched.body)


def _compare(query: Query, sample: Sample, data: bytes) -> Check:
    if hashlib.sha256(data).digest() == query.sha256:
        return Check(sample=sample, outcome="exact", evidence=[Evidence(channel="bytes", value=0.0)])
    try:
        image = decode_picture(data)
    except InputError:
        return Check(sample=sample, outcome="not_fetched", reason="what its server sends is not a picture we can read")
    upright, quality = pdq_orientations(image)
    if min(query.quality, quality) >= MIN_QUALITY:
        distance = int(distances(query.pdq, upright[:1]).min())
        if distance <= MATCH_DISTANCE:
            return Check(sample=sample, outcome="near", evidence=[Evidence(channel="pdq", value=float(distance))])
    proof = prove(query.image, image)
    if proof is not None:
        return Check(sample=sample, outcome="near", evidence=[Evidence(**evidence_of(proof)._asdict())])
    return Check(sample=sample, outcome="different")
