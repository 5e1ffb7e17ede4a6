"""One webdataset tar minus the samples a list excludes. Kept members are copied byte for byte.

A sample is all members that share a path up to the first dot of their name (webdataset's convention); img2dataset
writes `000000001.jpg`, `.txt` and `.json`, with the URL and the SHA-256 of the original file in the JSON. A sample is
looked up by that URL, by that SHA-256 and its pictures' own, and by its pictures' PDQ in all orientations.

Two passes: the first reads every sample and decides, the second copies. Memory holds one member, and per sample its URL
and fingerprints. Pictures are decoded only if the list has any to compare, which needs the extra heldout[images].
"""

import tarfile
from dataclasses import dataclass, field
from io import BufferedRandom, BufferedReader
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from heldout.errors import InputError
from heldout.exclusion import ExclusionList
from heldout.filtering_columns import ABOUT_NAMES, CAPTION_NAMES, ID_NAMES
from heldout.filtering_decision import ALONE, Decision, Linked, Rule
from heldout.filtering_emit import SAID
from heldout.filtering_evidence import PICTURE_SUFFIXES, Evidence, fingerprinter
from heldout.filtering_lines import about_text
from heldout.filtering_masks import MaskWriter
from heldout.filtering_observer import Observer
from heldout.records import Assurance
from heldout.report import Tally
from heldout.tars import iter_parts

MAX_MEMBER_BYTES: Final = 512 * 1024 * 1024
"""Largest picture or JSON read into memory."""

_COPY_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class _Span:
    """Bytes of the archive that stay or go together, and the sample they belong to, if any."""

    start: int
    end: int
    key: str | None


@dataclass
class _Contents:
    """What the first pass finds."""

    evidence: Evidence
    samples: dict[str, int] = field(default_factory=dict)
    """Keys, in order, and their numbers."""
    spans: list[_Span] = field(default_factory=list)
    said: list[dict[str, str]] = field(default_factory=list)
    """For each sample, if anything is emitted."""

    def keys(self, linked: Linked) -> list[str]:
        """The samples' keys without folders, img2dataset's, as the other form has them."""
        return [linked.key(key.rpartition("/")[2]) for key in self.samples]


def filter_tar(
    source: Path,
    stream: BufferedRandom | None,
    exclusions: ExclusionList,
    *,
    url_column: str | None = None,
    opt_in: Assurance | None = None,
    linked: Linked = ALONE,
    observer: Observer | None = None,
    mask: MaskWriter | None = None,
) -> tuple[Tally, dict[str, Rule]]:
    """Write what is kept of a shard to an open file; None writes nothing.

    Args:
        source: the tar.
        stream: the output.
        exclusions: what to leave out.
        url_column: a field of the samples' JSON that holds addresses, besides `url`.
        opt_in: keep only what is granted, by an entry that is proved at least so well.
        linked: the other form of the samples: what it drops is left out here too.
        observer: told of every sample.
        mask: told of every sample.

    Returns:
        The counts, and which samples were dropped, by key without folder as the other form has it.

    Raises:
        InputError: not an uncompressed tar, damaged or truncated; a sample is not in the other form; or pictures are to
            be compared and the extra heldout[images] is not installed.
    """
    with source.open("rb") as archive:
        contents = _read(archive, source, exclusions, observer, url_column)
        n_samples = len(contents.samples)
        keys = contents.keys(linked)
        if linked is not ALONE:
            _check_linked(keys, linked, source)
        decision = contents.evidence.decide(n_samples, exclusions, opt_in).or_else(keys, linked.rules)
        tally = Tally()
        tally.count(decision)
        tally.n_unreadable_urls = len(contents.evidence.unreadable_urls)
        unseen = n_samples - len(contents.evidence.pictures) if contents.evidence.fingerprint is not None else 0
        tally.n_unreadable_pictures = len(contents.evidence.unreadable_pictures) + unseen
        if observer is not None:
            names = (*SAID, *observer.asks - {"caption"})
            said = {name: pa.array([one.get(name) for one in contents.said], pa.string()) for name in names}
            observer.take(pa.table(said), decision)
        if mask is not None:
            mask.take_group(decision.kept, [key.lstrip("/") for key in contents.samples])
        if stream is not None:
            _write(archive, contents, decision, stream)
    return tally, decision.by_key(keys)


def _check_linked(keys: list[str], linked: Linked, source: Path) -> None:
    """Every sample of the tar must have its row, or what is dropped here could stay there under another key."""
    strangers = [key for key in keys if key not in linked.keys]
    if not strangers:
        return
    if linked.keys and len(strangers) == len(keys):
        what = f"have not one key in common, such as {keys[0]!r} and {next(iter(linked.keys))!r}"
    else:
        what = f"do not have the same keys: {len(strangers)} are in the tar alone, such as {strangers[0]!r}"
    raise InputError(
        f"{source} and the Parquet file of the same name {what}, so that what one drops could stay in the other: "
        "filter them apart"
    )


def _read(
    archive: BufferedReader,
    source: Path,
    exclusions: ExclusionList,
    observer: Observer | None,
    url_column: str | None,
) -> _Contents:
    contents = _Contents(Evidence(fingerprinter(exclusions), url_column))
    for part in iter_parts(archive, source):
        member = part.member
        span = _Span(part.start, part.end, None if member is None else _key(member))
        contents.spans.append(span)
        if member is None or span.key is None:
            continue
        number = contents.samples.setdefault(span.key, len(contents.samples))
        if observer is not None and number == len(contents.said):
            contents.said.append({"key": span.key.lstrip("/")})
        if not member.isreg():
            continue
        suffix = member.name.rpartition(".")[2].lower()
        if suffix in PICTURE_SUFFIXES:
            contents.evidence.look_at_picture(_read_member(member, archive, source), number)
        elif suffix == "json":
            fields = contents.evidence.look_at_json(_read_member(member, archive, source), number)
            if observer is not None:
                contents.said[number].update(_said(fields))
        elif suffix == "txt" and observer is not None and "caption" in observer.asks:
            caption = _read_member(member, archive, source).decode(errors="replace")
            contents.said[number].setdefault("caption", caption)
    return contents


def _said(fields: dict[str, Any]) -> dict[str, str]:
    """What a sample's JSON says; the key is the tar's own."""
    lower = {name.lower(): str(value) for name, value in fields.items() if isinstance(value, str | int)}
    said: dict[str, str] = {name: lower[name] for name in (*ID_NAMES, "url") if name in lower and name != "key"}
    captions = [lower[name] for name in CAPTION_NAMES if name in lower]
    if captions:
        said["caption"] = captions[0]
    about = {name.lower(): about_text(value) for name, value in fields.items() if name.lower() in ABOUT_NAMES}
    said |= {name: text for name, text in about.items() if text is not None}
    return {name: value.encode(errors="replace").decode() for name, value in said.items()}


def _write(archive: BufferedReader, contents: _Contents, decision: Decision, stream: BufferedRandom) -> None:
    for span in contents.spans:
        if span.key is None or decision.kept[contents.samples[span.key]]:
            _copy(archive, span, stream)
    padding = -(stream.tell() + 2 * tarfile.BLOCKSIZE) % tarfile.RECORDSIZE
    stream.write(bytes(2 * tarfile.BLOCKSIZE + padding))


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
