"""Picture search on the bundled collection: which planted copies lead back to their original, and how long it takes.

    python -m benchmarks.search --encoder data/models/starter-onnx

Every planted copy is asked as a query; right is its original. By transform: the share found as `exact` or `near`, the
share found by look (CLIP) among the ten nearest besides the copy itself, and the share found by either. Times are of
the engine's call, one at a time, index warm, in this process; an HTTP request adds its overhead.
"""

import argparse
import csv
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before FAISS and ONNX Runtime are imported

from heldout.records import SearchResult
from indexer.build import build
from indexer.encoder import load_encoder
from indexer.ingest import ingest
from search.engine import SearchEngine
from search.evaluate import evaluate_text, load_queries
from tests.collection import COLLECTION, read_pictures

K = 10


def main() -> None:
    """Build the collection's index in a temporary folder, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", required=True, help="encoder folder or model tag")
    arguments = parser.parse_args()
    encoder = load_encoder(arguments.encoder)
    with tempfile.TemporaryDirectory() as folder:
        release = Path(folder) / "collection"
        ingest([COLLECTION / "webdataset"], release=release, encoder=encoder)
        build(release)
        engine = SearchEngine.open(Path(folder), encoder)
        (dataset,) = engine.datasets()
        print(f"n={dataset.n_samples} d={dataset.d} k={K} encoder={dataset.model_tag}")
        pictures = read_pictures()
        print_recall(engine, pictures)
        print_times(engine, pictures)
        figures = evaluate_text(engine, "collection", load_queries(COLLECTION / "queries.json"))
        means = ", ".join(f"{name} {figures.mean(name):.3f}" for name in ("clip", "caption", "fused", "cards"))
        print(f"text P@10 over {len(figures.queries)} queries: {means}; random {figures.random:.3f}")
        engine.close()


def print_recall(engine: SearchEngine, pictures: dict[str, bytes]) -> None:
    """Share of copies that lead to their original, by transform."""
    found: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    n_proved = n_right = 0
    with (COLLECTION / "truth.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    family = {row["key"]: row["original_key"] for row in rows}
    for row in rows:
        hits = engine.search_picture(pictures[row["key"]], k=K + 1).hits
        proved = {hit.sample.key for hit in hits if hit.label in {"exact", "near"}}
        by_look = sorted(
            (-proof.value, hit.sample.key) for hit in hits for proof in hit.evidence if proof.channel == "clip"
        )
        nearest = [key for _, key in by_look if key != row["key"]][:K]
        found[row["transform"]].append((row["original_key"] in proved, row["original_key"] in nearest))
        n_proved += len(proved)
        n_right += sum(family.get(key, key) == row["original_key"] for key in proved)
    print(f"{'transform':<18} {'n':>4} {'proved':>7} {'look@10':>8} {'either':>7}")
    for transform, pairs in sorted(found.items()):
        proved_share, look_share = (statistics.mean(column) for column in zip(*pairs, strict=True))
        either = statistics.mean(any(pair) for pair in pairs)
        print(f"{transform:<18} {len(pairs):4d} {proved_share:7.2f} {look_share:8.2f} {either:7.2f}")
    print(f"precision of exact and near hits: {n_right / n_proved:.4f} of {n_proved}")


def print_times(engine: SearchEngine, pictures: dict[str, bytes]) -> None:
    """Median and 95th percentile of each door."""
    some = list(pictures.values())[:100]
    doors: list[tuple[str, list[Callable[[], SearchResult]]]] = [
        ("picture", [lambda data=data: engine.search_picture(data, k=K) for data in some]),  # type: ignore[misc]
        ("text", [lambda: engine.search_text("red car", k=K)] * 100),
        ("caption", [lambda: engine.search_caption("castle", k=K)] * 100),
        ("site", [lambda: engine.search_site("example", k=K)] * 100),
    ]
    for name, asks in doors:
        asks[0]()
        seconds = sorted(_timed(ask) for ask in asks)
        p50, p95 = (1e3 * seconds[int(len(seconds) * share)] for share in (0.5, 0.95))
        print(f"{name:<8} p50 {p50:6.1f} ms  p95 {p95:6.1f} ms")


def _timed(ask: Callable[[], SearchResult]) -> float:
    began = time.perf_counter()
    ask()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
