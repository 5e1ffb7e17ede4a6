"""What is known of samples that come one by one, gathered to be looked up in batches.

For webdataset samples, JSONL and CSV lines and Python dictionaries; whole columns are looked up as they are.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from heldout.errors import InputError
from heldout.exclusion import ExclusionList, Kind, Matches, sha256_of
from heldout.filtering_columns import is_url_name
from heldout.filtering_decision import Decision, decide
from heldout.fingerprints import N_ORIENTATIONS, PDQ_BYTES
from heldout.records import ASSURANCES, Assurance

PICTURE_SUFFIXES: Final = frozenset({"avif", "bmp", "gif", "jfif", "jpeg", "jpg", "png", "tif", "tiff", "webp"})

Fingerprinter = Callable[[bytes], tuple[npt.NDArray[np.uint8], int]]
"""Picture bytes -> ((8, 32) uint8, quality). Raises InputError if they are no picture."""


@dataclass
class Evidence:
    """Values to look up, and for each the number of its sample."""

    fingerprint: Fingerprinter | None = None
    """None if the list has no picture to compare, or there are none."""
    url_column: str | None = None
    """A field of addresses, besides `url`."""
    urls: list[tuple[int, str]] = field(default_factory=list)
    digests: list[tuple[int, bytes]] = field(default_factory=list)
    hashes: list[tuple[int, npt.NDArray[np.uint8], int]] = field(default_factory=list)
    """(sample, (8, 32) uint8, quality)."""
    pictures: set[int] = field(default_factory=set)
    """Samples with a file that is named as a picture."""
    unreadable_urls: set[int] = field(default_factory=set)
    unreadable_pictures: set[int] = field(default_factory=set)

    def look_at_picture(self, data: bytes, number: int) -> None:
        """Take a picture's digest and, if it can be decoded, its PDQ."""
        self.pictures.add(number)
        self.digests.append((number, hashlib.sha256(data).digest()))
        if self.fingerprint is not None:
            try:
                self.hashes.append((number, *self.fingerprint(data)))
            except InputError:
                self.unreadable_pictures.add(number)

    def look_at_json(self, data: bytes, number: int) -> dict[str, Any]:
        """Take the URL and the original's digest that img2dataset wrote; the fields, none if it cannot be read."""
        try:
            fields = _loads(data)
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            self.unreadable_urls.add(number)
            return {}
        self.look_at_fields(fields, number)
        return fields

    def look_at_fields(self, fields: dict[str, Any], number: int) -> None:
        """Take the URL and the digest of fields named so."""
        for name, value in fields.items():
            if (is_url_name(name, None) or name == self.url_column) and isinstance(value, str):
                self.urls.append((number, value))
            elif name.lower() == "sha256" and isinstance(value, str | bytes):
                self.look_at_digest(value, number)

    def look_at_digest(self, value: str | bytes | None, number: int) -> None:
        """Take a SHA-256, hexadecimal or raw; what is none is passed over."""
        digest = sha256_of(value)
        if digest is not None:
            self.digests.append((number, digest))

    def decide(self, n_samples: int, exclusions: ExclusionList, opt_in: Assurance | None = None) -> Decision:
        """What becomes of the samples; with `opt_in`, only those are kept that are granted, proved at least so well."""
        granted = None
        if opt_in is not None:
            granted = np.zeros(n_samples, np.bool_)
            granted[[number for number, _ in self.urls]] = True
            covered = is_granted(exclusions, [url for _, url in self.urls], opt_in)
            granted[[number for (number, _), is_covered in zip(self.urls, covered, strict=True) if not is_covered]] = (
                False
            )
        return decide(self._answers(n_samples, exclusions), n_samples, granted)

    def _answers(self, n_samples: int, exclusions: ExclusionList) -> dict[Kind, Matches]:
        """The list's, one per sample and kind."""
        urls = exclusions.lookup_urls([url for _, url in self.urls])
        self.unreadable_urls |= {self.urls[i][0] for i in np.flatnonzero(urls["url"].unreadable)}
        self.unreadable_urls |= set(range(n_samples)).difference(number for number, _ in self.urls)
        digests = exclusions.lookup_sha256([digest for _, digest in self.digests])
        hashes = exclusions.lookup_pdq(
            np.array([pdq for _, pdq, _ in self.hashes], dtype=np.uint8).reshape(-1, N_ORIENTATIONS, PDQ_BYTES),
            np.array([quality for _, _, quality in self.hashes], dtype=np.uint8),
        )
        return {
            **{kind: matches.grouped([number for number, _ in self.urls], n_samples) for kind, matches in urls.items()},
            "sha256": digests.grouped([number for number, _ in self.digests], n_samples),
            "pdq": hashes.grouped([number for number, _, _ in self.hashes], n_samples),
        }


def _loads(data: bytes) -> object:
    try:
        return json.loads(data)
    except UnicodeDecodeError:  # a caption in another encoding must not hide the address
        return json.loads(data.decode(errors="surrogateescape"))


def is_granted(
    exclusions: ExclusionList, urls: Sequence[str | None] | pa.Array | pa.ChunkedArray, min_assurance: Assurance
) -> npt.NDArray[np.bool_]:
    """(n,) Which of n addresses are granted, by an entry that is proved at least so well."""
    weakest = ASSURANCES.index(min_assurance)
    granted = np.zeros(len(urls), np.bool_)
    for matches in exclusions.grants.lookup_urls(urls).values():
        granted |= matches.found & (matches.assurance >= weakest)
    return granted


def fingerprinter(exclusions: ExclusionList) -> Fingerprinter | None:
    """What compares pictures with this list, None if it has none to compare.

    Raises:
        InputError: the extra heldout[images] is not installed.
    """
    if not exclusions.has_pdq:
        return None
    try:
        from heldout.pictures import decode_picture, pdq_orientations
    except ImportError as error:
        raise InputError(
            "the list holds picture fingerprints, and comparing them needs Pillow and pdqhash: "
            "pip install 'heldout[images]'"
        ) from error
    return lambda data: pdq_orientations(decode_picture(data))
