"""Choices that look random and are always the same: from SHA-256 of what is being decided, not from a generator.

A picture added or taken away therefore changes nothing about the others.
"""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def number(*what: object) -> int:
    """A number below 2**64 that depends on `what` alone."""
    text = "\x1f".join(str(part) for part in what)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def percent(*what: object) -> int:
    """0 to 99."""
    return number(*what) % 100


def pick(options: Sequence[T], *what: object) -> T:
    """One of the options."""
    return options[number(*what) % len(options)]
