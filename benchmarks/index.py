"""The image index beside exact search, HNSW32, IVF with 8-bit codes and autofaiss's key: recall, time, bytes, building.

    OMP_NUM_THREADS=2 python -m benchmarks.index --cache DIR

Indexes are built once and kept in DIR; `benchmarks.baselines` builds the slow ones in the background. Single queries,
all different, go to one index after the other, ten in turn, on one thread. On a busy machine read the ratios of
processor time: a wait for a core counts in clock time alone. Bytes are those of the index as written, ids and centroids
included; the rows on disk that candidates are ranked again by are not in them.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before FAISS and numpy are imported

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np
import numpy.typing as npt

from benchmarks.baselines import baseline, keys
from benchmarks.vectors import KINDS, Data, Rows, iter_unit, prepare
from indexer import vectors
from indexer.image_index import ImageIndex, Width
from indexer.tuning import tune

K: Final = 10
ROUNDS: Final = 200
BLOCK: Final = 10
"""Queries to one index before it is the next one's turn: exact search empties the processor's caches of all others."""
ENOUGH: Final = 0.98
"""Recall@10 of image queries at which a baseline's ladder of settings ends."""

Search = Callable[[Rows, str], npt.NDArray[np.int64]]
"""Queries of a kind to positions, (n, K)."""


@dataclass(frozen=True)
class Subject:
    """An index as it is measured."""

    name: str
    setting: str
    search: Search
    bytes_per_vector: float
    build_cpu_s: float


def main() -> None:
    """Build what is missing, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--d", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only-built", action="store_true", help="leave baselines out that are not in the cache")
    arguments = parser.parse_args()
    data = prepare(arguments.cache, arguments.n, arguments.d)
    subjects = [*ours(arguments.cache, data)]
    for name in keys(arguments.n, arguments.d):
        if arguments.only_built and not (arguments.cache / f"{name}-{data.path.stem}.faiss").exists():
            print(f"{name}: not built yet, left out")
            continue
        subjects.append(theirs(arguments.cache, name, data))
    faiss.omp_set_num_threads(1)
    subjects.insert(0, exact(data))
    print(f"\nn={arguments.n} d={arguments.d} k={K}, {arguments.rounds} single queries each, in turns, 1 thread")
    report(subjects, data, arguments.rounds)


def exact(data: Data) -> Subject:
    """Everything compared, as float32 in memory."""
    index = faiss.IndexFlatIP(data.rows.shape[1])
    for _, rows in iter_unit(data.rows):
        index.add(rows)
    return Subject("exact, float32", "", lambda queries, _: index.search(queries, K)[1], 4 * data.rows.shape[1], 0.0)


def ours(folder: Path, data: Data) -> list[Subject]:
    """The index as a build makes it, with what it measured."""
    n = len(data.rows)
    target = folder / f"ours-{data.path.stem}"
    if not (target / "took.json").exists():
        target.mkdir(exist_ok=True)
        build(target, data)
    took = json.loads((target / "took.json").read_text())
    print("ours:", json.dumps(took))
    widths: dict[Any, Width] = {kind: Width(**width) for kind, width in took["widths"].items()}
    index = ImageIndex(target, data.rows, widths)
    size = sum(
        (target / name).stat().st_size for name in (vectors.IMAGE_FILE, vectors.LISTS_FILE) if (target / name).exists()
    )
    said = "; ".join(f"{kind} {width.nprobe}/{width.rerank}" for kind, width in widths.items())

    def search(queries: Rows, kind: str) -> npt.NDArray[np.int64]:
        return index.search(queries, K, kind="text" if kind == "text" else "image")[1]

    return [Subject(f"heldout, {took['factory']}", said, search, size / n, took["kmeans_cpu_s"] + took["write_cpu_s"])]


def build(target: Path, data: Data) -> None:
    """Build ours, timing its steps, and a bare pass of assignment to hold them against."""
    factory = vectors.factory_string(len(data.rows))
    took: dict[str, Any] = {"factory": factory}
    centroids = _timed(took, "kmeans", lambda: vectors.train_centroids(data.rows, vectors.n_lists(len(data.rows))))
    _timed(took, "write", lambda: vectors.write_image_index(data.rows, target, factory, centroids=centroids))
    written = vectors.read_image_index(target)

    def assign() -> None:
        for _, rows in iter_unit(data.rows, 65_536):
            written.quantizer.assign(rows, 1)

    _timed(took, "assign", assign)
    tuning = _timed(took, "tune", lambda: tune(ImageIndex(target, data.rows), data.rows))
    took["widths"] = {kind: asdict(width) for kind, width in tuning.widths.items()}
    took["recall"] = dict(tuning.recall)
    spent, bare = took["kmeans_cpu_s"] + took["write_cpu_s"], took["kmeans_cpu_s"] + took["assign_cpu_s"]
    took["over_kmeans_and_assignment"] = round(spent / bare, 3)
    (target / "took.json").write_text(json.dumps(took))


def _timed(took: dict[str, Any], name: str, step: Callable[[], Any]) -> Any:  # noqa: ANN401 - as the step
    began, cpu = time.perf_counter(), time.process_time()
    result = step()
    took[f"{name}_s"] = round(time.perf_counter() - began, 1)
    took[f"{name}_cpu_s"] = round(time.process_time() - cpu, 1)
    print(name, took[f"{name}_s"], took[f"{name}_cpu_s"], flush=True)
    return result


def theirs(folder: Path, name: str, data: Data) -> Subject:
    """A baseline at the first of a ladder of settings that finds enough, or at the last."""
    index, took = baseline(folder, name, data)
    size = (folder / f"{name}-{data.path.stem}.faiss").stat().st_size / len(data.rows)
    ladder = (32, 64, 96, 128, 192, 256, 384) if name == "hnsw" else (8, 16, 24, 32, 48, 64, 128)
    for setting in ladder:
        set_width(index, name, setting)
        if recall(index.search(data.queries["image"], K)[1], data.truth["image"]) >= ENOUGH:
            break
    said = f"ef {setting}" if name == "hnsw" else f"nprobe {setting}"
    return Subject(took["key"], said, lambda queries, _: index.search(queries, K)[1], size, took["cpu_seconds"])


def set_width(index: Any, name: str, setting: int) -> None:  # noqa: ANN401 - faiss
    """Set how widely a baseline searches."""
    if name == "hnsw":
        index.hnsw.efSearch = setting
        return
    lists = faiss.extract_index_ivf(index)
    lists.nprobe = setting
    if isinstance(lists.quantizer, faiss.IndexHNSW):
        lists.quantizer.hnsw.efSearch = max(64, 2 * setting)


def report(subjects: Sequence[Subject], data: Data, rounds: int) -> None:
    """Measure all in turns and print a table."""
    clock: dict[str, list[float]] = {subject.name: [] for subject in subjects}
    spent: dict[str, list[float]] = {subject.name: [] for subject in subjects}
    texts: list[float] = []
    images, asked = data.queries["image"], data.queries["text"]
    for start in range(0, rounds, BLOCK):
        for subject in subjects:
            for turn in range(start - 1, start + BLOCK):  # the first one brings the index into the caches
                began, cpu = time.perf_counter(), time.thread_time()
                subject.search(images[turn % len(images), np.newaxis], "image")
                if turn >= start:
                    spent[subject.name].append(time.thread_time() - cpu)
                    clock[subject.name].append(time.perf_counter() - began)
        for turn in range(start, start + BLOCK):
            cpu = time.thread_time()
            subjects[1].search(asked[turn % len(asked), np.newaxis], "text")
            texts.append(time.thread_time() - cpu)
    flat, flat_cpu = (statistics.median(times[subjects[0].name]) for times in (clock, spent))
    heads = ("index", "setting", *(f"{kind} R@{K}" for kind in KINDS), "copy R@1", "edit R@1")
    print(
        "| " + " | ".join((*heads, "p50 ms", "p50 cpu ms", "x exact", "x exact cpu", "B/vector", "build cpu s")) + " |"
    )
    for subject in subjects:
        # What is found by comparing everything is the truth itself.
        by_all = subject is subjects[0]
        found = data.truth if by_all else {kind: subject.search(asked, kind) for kind, asked in data.queries.items()}
        shares = [recall(found[kind], data.truth[kind]) for kind in KINDS]
        shares += [recall(found[kind][:, :1], data.truth[kind][:, :1]) for kind in ("copy", "edit")]
        p50, p50_cpu = (statistics.median(times[subject.name]) for times in (clock, spent))
        cells = [subject.name, subject.setting, *(f"{share:.4f}" for share in shares)]
        cells += [f"{1e3 * p50:.2f}", f"{1e3 * p50_cpu:.2f}", f"{flat / p50:.0f}", f"{flat_cpu / p50_cpu:.0f}"]
        cells += [f"{subject.bytes_per_vector:.1f}", f"{subject.build_cpu_s:.0f}"]
        print("| " + " | ".join(cells) + " |", flush=True)
    print(f"a text query of ours: p50 {1e3 * statistics.median(texts):.2f} ms of processor time")


def recall(found: npt.NDArray[np.int64], truth: npt.NDArray[np.int64]) -> float:
    """Share of the true neighbours that were found."""
    return float(np.mean([len(set(ours) & set(right)) / len(right) for ours, right in zip(found, truth, strict=True)]))


if __name__ == "__main__":
    main()
