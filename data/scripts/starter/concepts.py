"""Concept queries: single words, and the pictures each is true of by their own titles and keywords."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_WORDS = """
cat dog bird fish horse animal insect butterfly spider snake flower tree leaf plant fruit apple food drink
bottle cup cake bread vegetable car truck bus train plane boat ship bicycle house building castle church flag
map star heart arrow sun moon cloud snow computer monitor keyboard mouse printer phone camera book pencil music
guitar ball game man woman child face hand eye person clothes hat shoe knife gun tool key clock lamp chair table
box money sign christmas halloween fire water mountain globe ribbon crown skull robot frame button instrument
lock letter mail sword ring dragon dinosaur king religion cross
"""
WORDS = tuple(_WORDS.split())
LEAST = 5  # pictures that a word must be true of


def words_of(row: dict[str, Any]) -> set[str]:
    """The words of a picture's title, other names, keywords and folder, plurals also without their s."""
    text = " ".join([row["title"], *row["names"], *row["keywords"], *row["folder"]]).lower()
    found = set(re.findall(r"[a-z]+", text))
    return found | {word[:-1] for word in found if word.endswith("s") and len(word) > 3}


def relevance(rows: Sequence[dict[str, Any]]) -> tuple[list[str], NDArray[np.bool_]]:
    """The words that are true of at least LEAST rows, and (words, rows) bool where they are."""
    bags = [words_of(row) for row in rows]
    table = np.array([[word in bag for bag in bags] for word in WORDS])
    kept = table.sum(1) >= LEAST
    return [word for word, keep in zip(WORDS, kept, strict=True) if keep], table[kept]


def precision_at_10(scores: NDArray[np.float32], relevant: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(words,) share of right pictures among the ten best of each word.

    Args:
        scores: (words, pictures).
        relevant: (words, pictures).
    """
    best = np.argsort(-scores, axis=1)[:, :10]
    return np.take_along_axis(relevant, best, 1).mean(1)
