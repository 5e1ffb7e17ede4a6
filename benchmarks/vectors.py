"""Seeded vectors with the shape of CLIP embeddings, the queries asked of them, and the exact answers.

All rows share a mean (a "cone": two random ones have a cosine of 0.46). They lie in 8,000 clusters of Zipf(0.9) sizes
under 100 topics; what is left has variances that decay as i^-0.9 along directions of no axis; 2 % are reposts of an
earlier row at a cosine of 0.93-0.995. Four kinds of query: `image`, fresh draws; `copy`, rows disturbed to a cosine of
0.90, evenly in all directions; `edit`, the same along the directions in which rows themselves differ, as an edit of
what is seen might; `text`, which have a mean of their own and find their best picture at a cosine of about 0.32.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

N_TOPICS, N_CLUSTERS = 100, 8_000
ZIPF: Final = 0.9
DECAY: Final = 0.9
MEAN, TOPIC, CLUSTER = 0.46, 0.09, 0.18
"""Shares of a row's squared length; the rest is its own."""
REPOSTS: Final = 0.02
COPY_COSINE: Final = 0.90
TEXT_MEAN, TEXT_CLUSTER, TEXT_ASIDE = 0.75, 0.62, 0.5
N_IMAGE, N_COPY, N_TEXT = 1_000, 1_000, 500
KINDS: Final = ("image", "copy", "edit", "text")
_CHUNK: Final = 50_000  # the rows drawn depend on it

Rows = npt.NDArray[np.float32]


class Generator:
    """Draws rows of one seeded world."""

    def __init__(self, d: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.d = d
        self._rng = rng
        self._axes = np.linalg.qr(rng.standard_normal((d, d)))[0].astype(np.float32)
        variances = (1.0 + np.arange(d)) ** -DECAY
        self._scale = np.sqrt(variances / variances.sum()).astype(np.float32)
        self._mean = unit(rng.standard_normal((1, d)))
        topics = unit(rng.standard_normal((N_TOPICS, d)))
        self._centres = np.sqrt(TOPIC) * topics[rng.integers(0, N_TOPICS, N_CLUSTERS)]
        self._centres += np.sqrt(CLUSTER) * unit(rng.standard_normal((N_CLUSTERS, d)))
        weights = (1.0 + np.arange(N_CLUSTERS)) ** -ZIPF
        self._weights = weights / weights.sum()
        self._text_mean = unit(0.08 * self._mean + unit(rng.standard_normal((1, d))))

    def draw(self, n: int) -> Rows:
        """(n, d) float32 unit rows."""
        return unit(
            np.float32(np.sqrt(MEAN)) * self._mean + self._clusters(n) + self._own(n, 1 - MEAN - TOPIC - CLUSTER)
        )

    def draw_texts(self, n: int) -> Rows:
        """(n, d) float32 unit rows that name a cluster from afar."""
        aside = unit(self._rng.standard_normal((n, self.d), dtype=np.float32))
        return unit(TEXT_MEAN * self._text_mean + TEXT_CLUSTER * self._clusters(n) + TEXT_ASIDE * aside)

    def disturb(self, rows: Rows, cosines: npt.NDArray[np.floating] | float, *, evenly: bool = False) -> Rows:
        """Unit rows at the given cosines to `rows`, aside along the data's own directions or evenly in all."""
        aside = self._rng.standard_normal(rows.shape, dtype=np.float32) if evenly else self._own(len(rows), 1.0)
        aside = unit(aside - (aside * rows).sum(1, keepdims=True) * rows)
        along = np.asarray(cosines, dtype=np.float32).reshape(-1, 1)
        return np.asarray(along * rows + np.sqrt(1 - along**2) * aside, dtype=np.float32)

    def uniform(self, n: int, low: float, high: float) -> npt.NDArray[np.float64]:
        """Numbers for `disturb`."""
        return self._rng.uniform(low, high, n)

    def choose(self, n: int, k: int) -> npt.NDArray[np.int64]:
        """`k` different numbers below `n`."""
        return self._rng.choice(n, k, replace=False)

    def reseed(self, seed: int) -> None:
        """Go on with other numbers in the same world."""
        self._rng = np.random.default_rng([seed, 1])

    def _clusters(self, n: int) -> Rows:
        return np.asarray(self._centres[self._rng.choice(N_CLUSTERS, n, p=self._weights)], dtype=np.float32)

    def _own(self, n: int, share: float) -> Rows:
        drawn = self._rng.standard_normal((n, self.d), dtype=np.float32) * self._scale
        return np.asarray(np.float32(np.sqrt(share)) * (drawn @ self._axes), dtype=np.float32)


def unit(rows: npt.NDArray[np.floating]) -> Rows:
    """Rows of length one."""
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


@dataclass(frozen=True)
class Data:
    """Rows on disk, queries, and the ten nearest rows of each query."""

    path: Path
    rows: npt.NDArray[np.float16]
    queries: dict[str, Rows]
    truth: dict[str, npt.NDArray[np.int64]]
    cosines: dict[str, Rows]


def prepare(folder: Path, n: int, d: int, seed: int = 0) -> Data:
    """Make the data, or take what an earlier run left in `folder`."""
    path = folder / f"rows-{n}x{d}-{seed}.npy"
    answers = folder / f"queries-{n}x{d}-{seed}.npz"
    if not path.exists() or not answers.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _make(path, answers, n, d, seed)
    said = np.load(answers)
    return Data(
        path,
        np.load(path, mmap_mode="r"),
        {kind: said[kind] for kind in KINDS},
        {kind: said[f"{kind}_truth"] for kind in KINDS},
        {kind: said[f"{kind}_cosines"] for kind in KINDS},
    )


def _make(path: Path, answers: Path, n: int, d: int, seed: int) -> None:
    generator = Generator(d, seed)
    if not path.exists():
        _make_rows(generator, path, n)
    rows = np.load(path, mmap_mode="r")
    generator.reseed(seed)
    copied = unit(rows[np.sort(generator.choose(n, N_COPY))].astype(np.float32))
    queries = {
        "image": generator.draw(N_IMAGE),
        "copy": generator.disturb(copied, COPY_COSINE, evenly=True),
        "edit": generator.disturb(copied, COPY_COSINE),
        "text": generator.draw_texts(N_TEXT),
    }
    found = {kind: exact(rows, asked, 10) for kind, asked in queries.items()}
    said: dict[str, Any] = dict(queries)
    said |= {f"{kind}_cosines": cosines for kind, (cosines, _) in found.items()}
    said |= {f"{kind}_truth": ids for kind, (_, ids) in found.items()}
    np.savez(answers, **said)


def _make_rows(generator: Generator, path: Path, n: int) -> None:
    temporary = path.with_suffix(".part")
    rows = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float16, shape=(n, generator.d))
    for start in range(0, n, _CHUNK):
        part = generator.draw(min(_CHUNK, n - start))
        n_reposts = round(REPOSTS * len(part))
        fresh, again = np.split(generator.choose(len(part), 2 * n_reposts), 2)
        part[again] = generator.disturb(part[fresh], generator.uniform(n_reposts, 0.93, 0.995))
        rows[start : start + len(part)] = part.astype(np.float16)
    rows.flush()
    temporary.rename(path)


def exact(rows: npt.NDArray[np.float16], queries: Rows, k: int) -> tuple[Rows, npt.NDArray[np.int64]]:
    """(cosines, row numbers) of the k nearest rows, best first, by comparing all."""
    best = np.full((len(queries), k), -np.inf, dtype=np.float32)
    ids = np.full((len(queries), k), -1, dtype=np.int64)
    for start, part in iter_unit(rows, 20_000):
        scores = queries @ part.T
        nearest = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        both = np.concatenate([best, np.take_along_axis(scores, nearest, 1)], axis=1)
        where = np.concatenate([ids, nearest + start], axis=1)
        chosen = np.argpartition(-both, k - 1, axis=1)[:, :k]
        best, ids = np.take_along_axis(both, chosen, 1), np.take_along_axis(where, chosen, 1)
    order = np.argsort(-best, axis=1, kind="stable")
    return np.take_along_axis(best, order, 1), np.take_along_axis(ids, order, 1)


def iter_unit(rows: npt.NDArray[np.float16], size: int = _CHUNK) -> Iterator[tuple[int, Rows]]:
    """(first row number, unit rows) by parts."""
    for start in range(0, len(rows), size):
        yield start, unit(rows[start : start + size].astype(np.float32))
