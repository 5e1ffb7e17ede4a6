"""One webdataset tar minus the samples a list excludes. Kept members are copied byte for byte.

A sample is all members that share a path up to the first dot of their name (webdataset's convention); img2dataset
writes `000000001.jpg`, `.txt` and `.json`, with the URL and the SHA-256 of the original file in the JSON. A sample is
looked up by that URL, by that SHA-256 and its pictures' own, and by its pictures' PDQ in all orientations.

Two passes: the first reads every sample and decides, the second copies. Memory holds one member, and per sample its URL
and fingerprints. Pictures are decoded only if the list has any to compare, which needs the extra heldout[images].
"""

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BufferedRandom, BufferedReader
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from heldout.errors import InputError
from heldout.exclusion import ExclusionList, Kind, Matches, sha256_of
from heldout.fingerprints import N_ORIENTATIONS, PDQ_BYTES
from heldout.report import Tally

PICTURE_SUFFIXES: Final = frozenset({"avif", "bmp", "gif", "jfif", "jpeg", "jpg", "png", "tif", "tiff", "webp"})
MAX_MEMBER_BYTES: Final = 512 * 1024 * 1024
"""Largest picture or JSON read into memory."""

Fingerprinter = Callable[[bytes], tuple[npt.NDArray[np.uint8], int]]
"""Picture bytes -> ((8, 32) uint8, quality). Raises InputError if they are no picture."""

_COPY_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class _Span:
    """Bytes of the archive that stay or go together, and the sample they belong to, if any."""

    start: int
    end: int
    key: str | None


@dataclass
class _Evidence:
    """What the first pass finds to look up: values, and for each the number of its sample."""

    fingerprint: Fingerprinter | None
    """None if the list has no picture to compare."""
    urls: list[tuple[int, str]] = field(default_factory=list)
    digests: list[tuple[int, bytes]] = field(default_factory=list)
    hashes: list[tuple[int, npt.NDArray[np.uint8], int]] = field(default_factory=list)
    """(sample, (8, 32) uint8, quality)."""
    unreadable_urls: set[int] = field(default_factory=set)
    unreadable_pictures: set[int] = field(default_factory=set)

    def look_at_picture(self, data: bytes, number: int) -> None:
        """Take a picture's digest and, if it can be decoded, its PDQ."""
        self.digests.append((number, hashlib.sha256(data).digest()))
        if self.fingerprint is not None:
            try:
                self.hashes.append((number, *self.fingerprint(data)))
            except InputError:
                self.unreadable_pictures.add(number)

    def look_at_json(self, data: bytes, number: int) -> None:
        """Take the URL and the original's digest that img2dataset wrote."""
        try:
            fields = json.loads(data)
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            self.unreadable_urls.add(number)
            return
        for name, value in fields.items():
            if name.lower() == "url" and isinstance(value, str):
                self.urls.append((number, value))
            elif name.lower() == "sha256" and isinstance(value, str):
                digest = sha256_of(value)
                if digest is not None:
                    self.digests.append((number, digest))

    def answers(self, n_samples: int, exclusions: ExclusionList) -> dict[Kind, Matches]:
        """The list's answers, one per sample and kind."""
        urls = exclusions.lookup_urls([url for _, url in self.urls])
        self.unreadable_urls |= {self.urls[i][0] for i in np.flatnonzero(urls.unreadable)}
        digests = exclusions.lookup_sha256([digest for _, digest in self.digests])
        hashes = exclusions.lookup_pdq(
            np.array([pdq for _, pdq, _ in self.hashes], dtype=np.uint8).reshape(-1, N_ORIENTATIONS, PDQ_BYTES),
            np.array([quality for _, _, quality in self.hashes], dtype=np.uint8),
        )
        return {
            "url": urls.grouped([number for number, _ in self.urls], n_samples),
            "sha256": digests.grouped([number for number, _ in self.digests], n_samples),
            "pdq": hashes.grouped([number for number, _, _ in self.hashes], n_samples),
        }


def filter_tar(source: Path, stream: BufferedRandom, exclusions: ExclusionList) -> Tally:
    """Write what is kept of a shard to an open file.

    Raises:
        InputError: not an uncompressed tar, damaged or truncated; or pictures are to be compared and the extra
            heldout[images] is not installed.
    """
    evidence = _Evidence(_fingerprinter() if exclusions.has_pdq else None)
    samples: dict[str, int] = {}
    spans: list[_Span] = []
    with source.open("rb") as archive:
        for member, span in _iter_members(archive, source):
            spans.append(span)
            if member is None or span.key is None:
                continue
            number = samples.setdefault(span.key, len(samples))
            suffix = member.name.rpartition(".")[2].lower()
            if member.isreg() and suffix in PICTURE_SUFFIXES:
                evidence.look_at_picture(_read_member(member, archive, source), number)
            elif member.isreg() and suffix == "json":
                evidence.look_at_json(_read_member(member, archive, source), number)
        tally = Tally()
        kept = tally.count(evidence.answers(len(samples), exclusions))
        tally.n_unreadable_urls = len(evidence.unreadable_urls)
        tally.n_unreadable_pictures = len(evidence.unreadable_pictures)
        for span in spans:
            if span.key is None or kept[samples[span.key]]:
                _copy(archive, span, stream)
    padding = -(stream.tell() + 2 * tarfile.BLOCKSIZE) % tarfile.RECORDSIZE
    stream.write(bytes(2 * tarfile.BLOCKSIZE + padding))
    return tally


def _iter_members(archive: BufferedReader, source: Path) -> Iterator[tuple[tarfile.TarInfo | None, _Span]]:
    """Members with their bytes, headers included; None for bytes between members, which hold headers for all to come.

    Raises:
        InputError: not a tar, damaged or truncated.
    """
    position = 0
    try:
        with tarfile.open(fileobj=archive, mode="r:") as tar:
            while (member := tar.next()) is not None:
                if member.issparse():
                    raise InputError(f"{source}: {member.name} is a sparse file, as no webdataset has: pack it anew")
                if member.offset > position:
                    yield None, _Span(position, member.offset, None)
                position = tar.offset
                yield member, _Span(member.offset, position, _key(member))
                tar.members.clear()  # type: ignore[attr-defined] # tarfile would keep every header in memory
    except tarfile.TarError as error:
        raise InputError(
            f"{source} cannot be read as a tar ({error}): it is damaged, truncated, compressed or something else; "
            "get it again, or unpack it if it is a .tar.gz"
        ) from error
    archive.seek(position)
    n_zeros = 0
    while block := archive.read(_COPY_BYTES):
        if block.strip(b"\0"):
            raise InputError(f"{source} has a damaged header at or after byte {position}: get it again")
        n_zeros += len(block)
    if n_zeros < tarfile.BLOCKSIZE:
        raise InputError(f"{source} ends without the end mark of a tar: it is truncated, get it again")


def _key(member: tarfile.TarInfo) -> str | None:
    """Path up to the first dot of the name; None for what is no part of a sample."""
    folder, _, name = member.name.rpartition("/")
    stem, dot, _ = name.partition(".")
    return f"{folder}/{stem}" if stem and dot and not member.isdir() else None


def _read_member(member: tarfile.TarInfo, archive: BufferedReader, source: Path) -> bytes:
    if member.size > MAX_MEMBER_BYTES:
        raise InputError(f"{source}: {member.name} has {member.size} bytes, over the limit of {MAX_MEMBER_BYTES}")
    archive.seek(member.offset_data)
    data = archive.read(member.size)
    if len(data) != member.size:
        raise InputError(f"{source} ends inside {member.name}: it is truncated, get it again")
    return data


def _copy(archive: BufferedReader, span: _Span, stream: BufferedRandom) -> None:
    archive.seek(span.start)
    left = span.end - span.start
    while left:
        block = archive.read(min(left, _COPY_BYTES))
        stream.write(block)
        left -= len(block)


def _fingerprinter() -> Fingerprinter:
    try:
        from heldout.pictures import decode_picture, pdq_orientations
    except ImportError as error:
        raise InputError(
            "the list holds picture fingerprints, and comparing them needs Pillow and pdqhash: "
            "pip install 'heldout[images]'"
        ) from error
    return lambda data: pdq_orientations(decode_picture(data))
