"""The indexes ours is held against, built once and kept beside the data: HNSW32, IVF with 8-bit codes, autofaiss's key.

    nice -n 19 python -m benchmarks.baselines --cache DIR

autofaiss chooses HNSW32 for a million vectors when memory allows it, else the key it finds for our bytes a vector.
Clock and processor seconds of each build are written beside it: on a busy machine only the latter mean much.
"""

import argparse
import json
import re
import time
from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np
from autofaiss.external.optimize import (  # type: ignore[import-untyped] # not among our dependencies
    get_optimal_index_keys_v2,
    get_optimal_train_size,
)

from benchmarks.vectors import Data, iter_unit, prepare, unit

BYTES_PER_VECTOR: Final = 88
EF_CONSTRUCTION: Final = 100
LISTS: Final = "IVF4096_"
"""In place of the 16,384 lists of autofaiss's key: training those takes hours on two cores. Fewer, longer lists find no
less at the same `nprobe`."""
TRAINING_MEMORY: Final = "1G"
"""What autofaiss is told it may use; it then trains on 31 points a list, the fewest it takes."""


def keys(n: int, d: int) -> dict[str, str]:
    """Name -> factory string."""
    (small, *_) = get_optimal_index_keys_v2(n, d, f"{BYTES_PER_VECTOR * n}B")
    (large, *_) = get_optimal_index_keys_v2(n, d, "16G")
    sq8 = f"IVF{4096 if n >= 500_000 else 1024},SQ8"
    return {"hnsw": large, "sq8": sq8, "autofaiss": re.sub(r"IVF\d+_", LISTS, small)}


def build(name: str, key: str, data: Data) -> tuple[Any, dict[str, Any]]:
    """The index, and what it took."""
    n, d = data.rows.shape
    index: Any = faiss.index_factory(d, key, faiss.METRIC_INNER_PRODUCT)
    if name == "hnsw":
        index.hnsw.efConstruction = EF_CONSTRUCTION
    began, cpu = time.perf_counter(), time.process_time()
    if not index.is_trained:
        n_train = min(n, get_optimal_train_size(n, key, TRAINING_MEMORY, d))
        chosen = np.sort(np.random.default_rng(0).choice(n, n_train, replace=False))
        index.train(unit(data.rows[chosen].astype(np.float32)))
    for start, rows in iter_unit(data.rows, 20_000):
        index.add(rows)
        print(name, start + len(rows), f"{time.perf_counter() - began:.0f} s", flush=True)
    took = {"key": key, "seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}
    return index, took


def baseline(folder: Path, name: str, data: Data) -> tuple[Any, dict[str, Any]]:
    """A baseline from `folder`, or built and kept there."""
    n, d = data.rows.shape
    path = folder / f"{name}-{data.path.stem}.faiss"
    if not path.exists():
        index, took = build(name, keys(n, d)[name], data)
        faiss.write_index(index, str(path.with_suffix(".part")))
        path.with_suffix(".json").write_text(json.dumps(took))
        path.with_suffix(".part").rename(path)
    return faiss.read_index(str(path)), json.loads(path.with_suffix(".json").read_text())


def main() -> None:
    """Build what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--d", type=int, default=512)
    parser.add_argument("--only")
    arguments = parser.parse_args()
    data = prepare(arguments.cache, arguments.n, arguments.d)
    for name, key in keys(arguments.n, arguments.d).items():
        if arguments.only in {None, name}:
            print(name, key, baseline(arguments.cache, name, data)[1], flush=True)


if __name__ == "__main__":
    main()
