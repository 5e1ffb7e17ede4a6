"""Opaque cursors: where the next page starts, in which generations, of which question.

Base64url of a small JSON array. Nothing in it is secret and nothing in it is trusted: it holds a digest of the
question, not the question, and a changed one is refused or starts at another rank of the same answer.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from heldout.errors import InputError

_VERSION: Final = 1
_DIGEST_BYTES: Final = 9
_MAX_CHARS: Final = 4_096
_MAX_RANK: Final = 2**53


@dataclass(frozen=True)
class Cursor:
    """The next page of one answer."""

    question: str
    """`question_digest` of what was asked."""
    rank: int
    """Position in the ranking of the first candidate not shown yet."""
    generations: Mapping[str, int]
    """Data set -> the generation that page one came from."""


def question_digest(door: str, question: bytes, datasets: list[str] | None, filters: str = "") -> str:
    """Short digest that ties a cursor to its question; not reversible for anything longer than a guess."""
    text = json.dumps([door, hashlib.sha256(question).hexdigest(), datasets, filters]).encode()
    return base64.urlsafe_b64encode(hashlib.sha256(text).digest()[:_DIGEST_BYTES]).decode()


def format_cursor(cursor: Cursor) -> str:
    """URL-safe text of a cursor."""
    text = json.dumps([_VERSION, cursor.question, cursor.rank, dict(cursor.generations)], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def parse_cursor(text: str) -> Cursor:
    """Inverse of `format_cursor`.

    Raises:
        InputError: not a cursor of this version.
    """
    try:
        return _parse(text)
    except (ValueError, TypeError, RecursionError) as error:  # binascii's and json's errors are ValueErrors
        raise InputError("this cursor is not one that search gave out: ask for the first page, without it") from error


def _parse(text: str) -> Cursor:
    if len(text) > _MAX_CHARS:
        raise ValueError(len(text))
    padded = text.encode("ascii") + b"=" * (-len(text) % 4)
    version, question, rank, generations = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    if version != _VERSION or not isinstance(question, str):
        raise ValueError(version)
    if type(rank) is not int or not 0 <= rank <= _MAX_RANK:
        raise ValueError(rank)
    if not isinstance(generations, dict) or not all(type(number) is int for number in generations.values()):
        raise ValueError(generations)
    return Cursor(question, rank, generations)
