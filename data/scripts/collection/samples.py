"""All samples of the collection, in shard order, with everything the files written from them need."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import addresses
import captions
import numpy as np
from broken import Broken, break_picture
from choice import number
from copies import ADDRESS_VARIANTS, SAME_BYTES, make_copy
from drawing import Encoded, draw, encode_for_web
from originals import Original, read_table

from heldout.pictures import decode_picture, pdq_orientations

N_SHARDS = 5

MATCH_DISTANCE = 31
MIN_QUALITY = 50


@dataclass(frozen=True)
class Sample:
    """One image-text pair."""

    original: Original
    url: str
    caption: str
    creator: str | None
    """As the page says it; copies elsewhere name nobody."""
    data: bytes | None
    extension: str
    width: int | None
    height: int | None
    role: str
    """"original", or a transform's or problem's name."""
    parameters: str = ""
    error_message: str | None = None
    key: str = ""


@dataclass(frozen=True)
class Fingerprint:
    """PDQ of the 8 orientations, bits as (8, 256) bool, and its quality."""

    bits: "np.ndarray[tuple[int, int], np.dtype[np.bool_]]"
    quality: int


def fingerprint(data: bytes) -> Fingerprint:
    """Fingerprint a picture file as the library does."""
    hashes, quality = pdq_orientations(decode_picture(data))
    return Fingerprint(np.unpackbits(hashes, axis=1).astype(bool), quality)


def distance(one: Fingerprint, other: Fingerprint) -> int:
    """Smallest Hamming distance of one's upright hash to the other's in any orientation."""
    return int((one.bits[0] != other.bits).sum(axis=1).min())


def make_samples(originals: Iterable[Original]) -> list[Sample]:
    """Originals, planted copies and broken samples, shuffled by address and keyed."""
    foreign = captions.other_languages()
    published: dict[str, tuple[Original, Encoded, Sample]] = {}
    for original in originals:
        encoded = encode_for_web(draw(original), original.path)
        sample = Sample(
            original=original,
            url=addresses.original_url(original, encoded.extension),
            caption=captions.original_caption(original, encoded.extension, foreign),
            creator=original.creator,
            data=encoded.data,
            extension=encoded.extension,
            width=encoded.width,
            height=encoded.height,
            role="original",
        )
        published[original.path] = original, encoded, sample
    samples = [sample for _, _, sample in published.values()]
    for row in read_table("planted.csv"):
        samples += (_planted(*published[row["path"]], transform) for transform in row["transforms"].split())
    for turn, row in enumerate(read_table("broken.csv")):
        original, encoded, _ = published[row["path"]]
        samples.append(_broken(original, encoded, break_picture(row["problem"], encoded, turn)))
    if len({sample.url for sample in samples}) != len(samples):
        raise SystemExit("two samples have the same URL: change a title in selection.csv")
    samples.sort(key=lambda sample: number("order", sample.url))
    size = shard_size(len(samples))
    return [replace(sample, key=f"{i // size:05}{i % size:04}") for i, sample in enumerate(samples)]


def shard_size(n_samples: int) -> int:
    """Samples per shard; the last one may have fewer."""
    return -(-n_samples // N_SHARDS)


def _planted(original: Original, encoded: Encoded, source: Sample, transform: str) -> Sample:
    made = make_copy(original, encoded, transform)
    vary = ADDRESS_VARIANTS.get(transform)
    extension = made.encoded.extension
    return Sample(
        original=original,
        url=vary(source.url) if vary else addresses.copy_url(original, transform, extension),
        caption=source.caption if vary else captions.copy_caption(original, transform, extension),
        creator=source.creator if vary else None,
        data=made.encoded.data,
        extension=extension,
        width=made.encoded.width,
        height=made.encoded.height,
        role=transform,
        parameters=made.parameters,
    )


def _broken(original: Original, encoded: Encoded, made: Broken) -> Sample:
    return Sample(
        original=original,
        url=addresses.copy_url(original, made.problem, made.extension),
        caption=captions.copy_caption(original, made.problem, made.extension),
        creator=None,
        data=made.data,
        extension=made.extension,
        width=encoded.width if made.data is None else None,
        height=encoded.height if made.data is None else None,
        role=made.problem,
        error_message=made.error_message,
    )


def expected_label(sample: Sample, found: int, quality: int) -> str:
    """What a search by the original must at least say of a copy."""
    if sample.role in SAME_BYTES:
        return "exact"
    return "near" if found <= MATCH_DISTANCE and quality >= MIN_QUALITY else "similar"
