"""Channels' answers to one ranking: pure functions over frozen dataclasses, no index and no picture in sight.

Labels are ordered by how sure they are: what has the same bytes or address stands before what a perceptual hash
proves, and that before what a model merely finds alike. A sample found by several channels is one candidate that
carries all the evidence.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from heldout.records import Channel, HitLabel

RRF_CONSTANT: Final = 60.0
"""The constant of reciprocal rank fusion; Cormack, Clarke & Buettcher, SIGIR 2009."""

EXACT_SCORE: Final = 3.0
NEAR_SCORE: Final = 2.0
"""A near hit scores between this and one less; a cosine is never above 1."""
SHOWN_SCORE: Final = 1.8
"""What geometry proves scores between this and one less: below a hash's proofs, which end at 2 - 31 / 256."""

PDQ_BITS: Final = 256


class Ref(NamedTuple):
    """A sample among several data sets. Sorts by data set, then id."""

    dataset: str
    id: int


class Proof(NamedTuple):
    """What a channel measured: `heldout.records.Evidence` before it is on the wire."""

    channel: Channel
    value: float
    inliers: int | None = None
    """Matched keypoints; this and the following of geometry only."""
    query_share: float | None = None
    sample_share: float | None = None


@dataclass(frozen=True)
class Candidate:
    """A sample that one or more channels found."""

    ref: Ref
    label: HitLabel
    score: float
    """Orders the candidates of one ranking, higher first."""
    evidence: tuple[Proof, ...]
    """Best first."""


def exact(refs: Iterable[Ref], *, by_url: bool = False) -> list[Candidate]:
    """Samples with the query's bytes, or its canonical URL."""
    proof = (Proof("url" if by_url else "bytes", 0.0),)
    return [Candidate(ref, "exact", EXACT_SCORE, proof) for ref in refs]


def near(found: Iterable[tuple[Ref, int]]) -> list[Candidate]:
    """Samples proved to be copies, each with its PDQ distance, 0-256."""
    return [
        Candidate(ref, "near", NEAR_SCORE - distance / PDQ_BITS, (Proof("pdq", float(distance)),))
        for ref, distance in found
    ]


def shown(found: Iterable[tuple[Ref, Proof]]) -> list[Candidate]:
    """Samples that geometry proves to show the query or a part of it, or the other way round; best agreement first."""
    candidates = [Candidate(ref, "near", SHOWN_SCORE - 1.0 + proof.value, (proof,)) for ref, proof in found]
    return sorted(candidates, key=lambda candidate: (-candidate.score, candidate.ref))


def similar(found: Iterable[tuple[Ref, float]]) -> list[Candidate]:
    """Samples that the encoder finds alike, each with its cosine."""
    return [Candidate(ref, "similar", score, (Proof("clip", round(score, 6)),)) for ref, score in found]


def captioned(found: Iterable[tuple[Ref, float]]) -> list[Candidate]:
    """Samples whose caption has the words asked for, best first, each with the full-text engine's relevance.

    They score by rank: what comes first is not always what that engine finds most relevant.
    """
    return [
        Candidate(ref, "caption", 1.0 / (RRF_CONSTANT + rank), (Proof("caption", round(value, 6)),))
        for rank, (ref, value) in enumerate(found, start=1)
    ]


def by_confidence(*channels: Sequence[Candidate]) -> list[Candidate]:
    """One ranking of channels given surest first: best score first, ties by data set and id.

    A sample takes label and score from the first channel that has it, and evidence from all of them, in their order.
    """
    joined: dict[Ref, Candidate] = {}
    for channel in channels:
        for candidate in channel:
            joined[candidate.ref] = _join(joined.get(candidate.ref), candidate)
    return sorted(joined.values(), key=lambda candidate: (-candidate.score, candidate.ref))


def _join(known: Candidate | None, other: Candidate) -> Candidate:
    if known is None:
        return other
    return Candidate(known.ref, known.label, known.score, known.evidence + other.evidence)
