"""What somebody ticked, as form fields. Pure.

pick=demo@3:17,204         samples of a generation of a data set, as `search.picks` writes them
picture=<pdq>.<quality>.<sha256>     the picture that was searched with, by its fingerprints
address=https://...        the address that was searched for
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from heldout.errors import InputError
from heldout.fingerprints import MATCH_DISTANCE, MIN_QUALITY, distances
from heldout.records import ImageSubject
from heldout.urls import canonical_key
from indexer.orientations import orientations
from search.picks import Pick, parse_picks

MAX_SELECTED = 2_000
"""Samples in one opt-out made by ticking. More than anybody ticks; whole portfolios have better ways."""

MAX_GROUPED = 1_000
"""Files whose copies are told from other pictures, for a count in a sentence: a third of a second for so many."""

_PICTURE = re.compile(r"(?P<pdq>[0-9a-f]{64})\.(?P<quality>\d{1,3})\.(?P<sha256>[0-9a-f]{64})", re.ASCII)
_AGAIN = "search again and tick what is yours"


@dataclass(frozen=True)
class Selection:
    """Everything ticked, each thing once."""

    picks: tuple[Pick, ...] = ()
    pictures: tuple[ImageSubject, ...] = ()
    addresses: tuple[str, ...] = ()


def format_picture(picture: ImageSubject) -> str:
    """Value of the field that stands for a picture given by its fingerprints, its SHA-256 known."""
    return f"{picture.pdq}.{picture.quality}.{picture.sha256}"


def fields_of(selection: Selection) -> list[tuple[str, str]]:
    """The form fields that give the selection back, in a fixed order."""
    return [
        *(("pick", str(pick)) for pick in selection.picks),
        *(("picture", format_picture(picture)) for picture in selection.pictures),
        *(("address", address) for address in selection.addresses),
    ]


def parse_selection(fields: Iterable[tuple[str, str]]) -> Selection:
    """Inverse of `fields_of`; merges what was ticked twice, ignores fields that are not about a selection.

    Raises:
        InputError: nothing was ticked, too much was, or a field is not one this site made.
    """
    picked: list[str] = []
    pictures: dict[str, ImageSubject] = {}
    addresses: dict[str, None] = {}
    for name, value in fields:
        if name == "pick":
            picked.append(value)
        elif name == "picture":
            match = _match(_PICTURE, value)
            if int(match["quality"]) > 100:
                raise InputError(f"This page sent something that does not fit: {_AGAIN}.")
            pictures[value] = ImageSubject(pdq=match["pdq"], quality=int(match["quality"]), sha256=match["sha256"])
        elif name == "address":
            canonical_key(value)
            addresses[value] = None
    try:
        picks = parse_picks(picked)
    except InputError as error:
        raise InputError(f"This page sent something that does not fit ({error}): {_AGAIN}.") from error
    n = sum(len(pick.ids) for pick in picks) + len(pictures) + len(addresses)
    if n == 0:
        raise InputError("Nothing was ticked: go back and tick the pictures that are yours.")
    if n > MAX_SELECTED:
        raise InputError(f"{n:,} copies are ticked: opt out up to {MAX_SELECTED:,} at a time.")
    return Selection(tuple(picks), tuple(pictures[key] for key in sorted(pictures)), tuple(sorted(addresses)))


def count_pictures(files: Sequence[ImageSubject]) -> tuple[int, int]:
    """(pictures with copies counted once, those of them too plain to have recognisable copies).

    Beyond `MAX_GROUPED` files only equal fingerprints are counted once: every file would be compared with every other.
    """
    busy = [bytes.fromhex(each.pdq) for each in files if each.quality >= MIN_QUALITY]
    plain = {each.sha256 for each in files if each.quality < MIN_QUALITY}
    if len(busy) > MAX_GROUPED:
        return len(set(busy)) + len(plain), len(plain)
    n_busy = 0
    left = np.frombuffer(b"".join(busy), dtype=np.uint8).reshape(-1, 32)
    while len(left):
        # Everything within reach of one of them, through others too: the copies of one picture.
        group, rest = left[:1], left[1:]
        while len(group) and len(rest):
            near = distances(orientations(group).reshape(-1, 32), rest).min(axis=0) <= MATCH_DISTANCE
            group, rest = rest[near], rest[~near]
        n_busy, left = n_busy + 1, rest
    return n_busy + len(plain), len(plain)


def _match(form: re.Pattern[str], value: str) -> re.Match[str]:
    match = form.fullmatch(value)
    if match is None:
        raise InputError(f"This page sent something that does not fit ({value[:40]!r}): {_AGAIN}.")
    return match
