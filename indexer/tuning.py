"""How widely a large index must be searched, measured when it is built: the cheapest settings that find enough.

Queries are made from rows of the index itself, seeded: rows as they are, with themselves left out of their neighbours
(`image`); rows disturbed to a cosine of 0.9, half of them evenly and half along the differences between rows (`copy`);
and what the centroid nearest to a row differs by from the mean of all, with more aside that no row has (`text`: it
points to a kind of picture, not to one, and only with a part of itself). They are held against exact search over all
rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from indexer.image_index import ImageIndex, Kind, Width
from indexer.vectors import Rows, unit_rows

GOALS: Final = {"image": 0.985, "copy": 0.999, "text": 0.96}
"""Share to be found of the ten nearest; for `copy`, of the one nearest."""
NPROBES: Final = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
RERANKS: Final = (80, 160, 320, 640, 1280, 2560)
K: Final = 10
_MOST, _FEWEST, _WORK = 200, 50, 300_000_000
"""Queries of each kind: as many as compare so many rows, but of these bounds."""
_COPY_COSINE: Final = 0.9
_STRANGE: Final = 2.5
"""Length of what is aside in a `text`, over what points to pictures."""
_TEXT_OVER_IMAGE: Final = 3
"""Lists looked into for texts, over those for pictures, at least: 43 real texts asked of 1,665 pictures needed that,
when the stand-ins for texts did not."""
_FURTHER: Final = 2
"""Settings of `NPROBES` tried beyond the first that finds enough: fewer to rank again may make up for them."""
_PART: Final = 20_000
_LIST_COST, _CODE_COST, _ROW_COST = 4.0, 0.011, 0.45
"""Microseconds for a list, a code in it and a row ranked again, about: only to say which of two settings is cheaper."""

Queries = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Tuning:
    """What to search with, and what that found."""

    widths: Mapping[Kind, Width]
    recall: Mapping[str, float]
    """Kind of query -> recall@10; `copy`: recall@1 with the width of `image`."""


def tune(index: ImageIndex, rows: Rows, *, seed: int = 0) -> Tuning:
    """Widths for an index over (n, d) float16 `rows`. Reads all of them once."""
    n_queries = min(_MOST, max(_FEWEST, _WORK // len(rows)), len(rows))
    rng = np.random.default_rng(seed)
    own = np.sort(rng.choice(len(rows), n_queries, replace=False))
    asked = _queries(index, rows, own, rng)
    best = _exact(rows, np.concatenate(list(asked.values())), K + 1)
    truth = dict(zip(asked, np.split(best, len(asked)), strict=True))
    truth["image"] = np.stack([row[row != self][:K] for row, self in zip(truth["image"], own, strict=True)])
    truth["text"], truth["copy"] = truth["text"][:, :K], truth["copy"][:, :1]
    found = {kind: _recalls(index, queries, truth[kind], GOALS[kind]) for kind, queries in asked.items()}
    both = np.minimum(found["image"] / GOALS["image"], found["copy"] / GOALS["copy"])
    image = _cheapest(index, len(rows), both)
    text = _cheapest(index, len(rows), found["text"] / GOALS["text"])
    at = {"image": image, "copy": image, "text": text}
    of_image, of_text = Width(*_settings(*image)), Width(*_settings(*text))
    of_text = Width(max(of_text.nprobe, _TEXT_OVER_IMAGE * of_image.nprobe), max(of_text.rerank, 2 * of_image.rerank))
    return Tuning(
        {"image": of_image, "text": of_text},
        {kind: round(float(found[kind][place]), 4) for kind, place in at.items()},
    )


def _queries(index: ImageIndex, rows: Rows, own: npt.NDArray[np.int64], rng: np.random.Generator) -> dict[str, Queries]:
    chosen = unit_rows(rows[own])
    others = unit_rows(rows[np.sort(rng.choice(len(rows), min(len(rows), 4 * len(own)), replace=False))])
    differences = others[rng.integers(0, len(others), len(own))] - others[rng.integers(0, len(others), len(own))]
    even = rng.standard_normal(chosen.shape, dtype=np.float32)
    aside = np.where(np.arange(len(own))[:, np.newaxis] % 2 == 0, unit_rows(even), unit_rows(differences))
    aside = unit_rows(aside - (aside * chosen).sum(1, keepdims=True) * chosen)
    strange = unit_rows(rng.standard_normal(chosen.shape, dtype=np.float32))
    return {
        "image": chosen,
        "copy": unit_rows(_COPY_COSINE * chosen + np.float32(np.sqrt(1 - _COPY_COSINE**2)) * aside),
        "text": unit_rows(unit_rows(index.centroids_of(chosen) - others.mean(axis=0)) + np.float32(_STRANGE) * strange),
    }


def _exact(rows: Rows, queries: Queries, k: int) -> npt.NDArray[np.int64]:
    """The k nearest rows of each query, best first, by comparing all."""
    best = np.full((len(queries), k), -np.inf, dtype=np.float32)
    positions = np.full((len(queries), k), -1, dtype=np.int64)
    for start in range(0, len(rows), _PART):
        scores = queries @ unit_rows(rows[start : start + _PART]).T
        near = np.argpartition(-scores, min(k, scores.shape[1]) - 1, axis=1)[:, :k]
        best = np.concatenate([best, np.take_along_axis(scores, near, 1)], axis=1)
        positions = np.concatenate([positions, near + start], axis=1)
        order = np.argsort(-best, axis=1, kind="stable")[:, :k]
        best, positions = np.take_along_axis(best, order, 1), np.take_along_axis(positions, order, 1)
    return positions


def _recalls(index: ImageIndex, queries: Queries, truth: npt.NDArray[np.int64], goal: float) -> npt.NDArray[np.float64]:
    """(nprobe, rerank) share of the true neighbours among the candidates: what ranking again will find.

    Wider searches than it takes are not tried; they are given what the widest one found.
    """
    out = np.empty((len(NPROBES), len(RERANKS)))
    n_enough = 0
    for row, nprobe in enumerate(NPROBES):
        if n_enough > _FURTHER or (row and NPROBES[row - 1] >= index.n_lists):
            out[row] = out[row - 1]
            continue
        candidates = index.candidates(queries, RERANKS[-1], nprobe=nprobe)
        places = np.stack([_places(these, those) for these, those in zip(candidates, truth, strict=True)])
        out[row] = [(places < rerank).mean() for rerank in RERANKS]
        n_enough += bool(out[row, -1] >= goal)
    return out


def _places(candidates: npt.NDArray[np.int64], truth: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    order = np.argsort(candidates)
    at = np.minimum(np.searchsorted(candidates, truth, sorter=order), len(order) - 1)
    return np.where(candidates[order[at]] == truth, order[at], np.iinfo(np.int64).max)


def _settings(row: int, column: int) -> tuple[int, int]:
    return NPROBES[row], RERANKS[column]


def _cheapest(index: ImageIndex, n: int, found: npt.NDArray[np.float64]) -> tuple[int, int]:
    """Place of the cheapest setting whose share of the goal is 1 at least, or of the one that finds most."""
    per_list = _LIST_COST + _CODE_COST * n / index.n_lists
    cost = per_list * np.array(NPROBES)[:, np.newaxis] + _ROW_COST * np.array(RERANKS)
    if (found < 1).all():
        cost = np.where(found >= found.max() - 1e-9, cost, np.inf)
    row, column = np.unravel_index(np.where((found >= 1) | (found < 1).all(), cost, np.inf).argmin(), cost.shape)
    return int(row), int(column)
