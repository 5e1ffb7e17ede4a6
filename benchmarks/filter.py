"""How fast `heldout filter` drops rows, beside reading and writing the same file with pyarrow alone.

    python -m benchmarks.filter --rows 2000000 --entries 1000000 --rounds 3

Data: LAION-like rows (URL of about 85 characters, TEXT of 9 words out of 30,000, WIDTH, HEIGHT, similarity; snappy;
groups of 200,000), a list of `--entries` addresses of which a share (`--hit`) of the rows is listed. Three ways take
turns in one process and one thread of ours (pyarrow's own thread pool is the same for all), so that noise hits all:

- passthrough: pyarrow reads each row group and writes it again, same options;
- filter: `heldout.filtering_parquet.filter_parquet`, list verified and loaded before;
- reference: the same with the pure-Python keys, on the first `--reference-rows` rows only (it is slow).

Rows dropped are compared with a Python set of canonical keys.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from heldout import kernel
from heldout.exclusion import ExclusionList
from heldout.filtering_parquet import filter_parquet
from heldout.pull import pull
from heldout.urls import canonical_key
from tests.heldout.published import BASE_URL, Site, UrlRule

ROW_GROUP = 200_000
N_WORDS = 30_000


def make_urls(rng: np.random.Generator, n: int) -> list[str]:
    """Addresses as shops, content networks and blogs have them; a tenth with a query, a hundredth not plain."""
    host, a, b, c = (rng.integers(0, high, n) for high in (60_000, 10_000, 10**6, 10**9))
    kind = rng.random(n)
    urls = []
    for i in range(n):
        path = f"media/catalog/{a[i]}/{b[i]:06d}/product-image-{c[i]}-large.jpg"
        base = f"https://cdn{host[i] % 9}.shop-{host[i]}.example/{path}"
        if kind[i] < 0.1:
            base += "?w=640&h=480"
        elif kind[i] > 0.99:
            base = base.replace("media", "médias")
        urls.append(base)
    return urls


def write_shard(path: Path, urls: list[str], rng: np.random.Generator) -> None:
    """The LAION-like file."""
    n = len(urls)
    letters = rng.integers(ord("a"), ord("z") + 1, (N_WORDS, 9), dtype=np.uint8)
    words = [row.tobytes().decode()[: 2 + i % 8] for i, row in enumerate(letters)]
    picks = rng.integers(0, N_WORDS, (n, 9))
    table = pa.table(
        {
            "URL": urls,
            "TEXT": [" ".join([words[w] for w in row]) for row in picks],
            "WIDTH": rng.integers(200, 3000, n).astype(np.int32),
            "HEIGHT": rng.integers(200, 3000, n).astype(np.int32),
            "similarity": rng.random(n),
        }
    )
    pq.write_table(table, path, row_group_size=ROW_GROUP, compression="snappy")


def passthrough(source: Path, target: Path) -> None:
    """The yardstick."""
    shard = pq.ParquetFile(source)
    with target.open("wb") as stream, pq.ParquetWriter(stream, shard.schema_arrow, compression="snappy") as writer:
        for number in range(shard.num_row_groups):
            writer.write_table(shard.read_row_group(number), row_group_size=ROW_GROUP)


def filtered(source: Path, target: Path, exclusions: ExclusionList) -> int:
    """Rows dropped."""
    with target.open("w+b") as stream:
        filter_parquet(source, stream, exclusions)
    return pq.read_metadata(source).num_rows - pq.read_metadata(target).num_rows


@contextmanager
def reference_only() -> Iterator[None]:
    """Without the native kernel."""
    native, kernel._kernel = kernel._kernel, None  # noqa: SLF001 - a benchmark may
    try:
        yield
    finally:
        kernel._kernel = native  # noqa: SLF001


def timed(action: object, *args: object) -> tuple[float, object]:
    """Wall seconds and the result."""
    start = time.perf_counter()
    result = action(*args)  # type: ignore[operator]
    return time.perf_counter() - start, result


def main() -> None:
    """Print a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--hit", type=float, default=0.025, help="share of the rows that are listed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--reference-rows", type=int, default=200_000)
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        urls = make_urls(rng, options.rows)
        write_shard(folder / "in.parquet", urls, rng)
        write_shard(folder / "small.parquet", urls[: options.reference_rows], rng)
        listed = [urls[i] for i in rng.choice(options.rows, int(options.rows * options.hit), replace=False)]
        others = make_urls(np.random.default_rng(2), max(0, options.entries - len(listed)))
        site = Site().publish([UrlRule(url) for url in [*listed, *others]])
        pull(BASE_URL, folder / "list", root=site.write_root(folder), transport=site.transport())
        load_s, exclusions = timed(ExclusionList.open, folder / "list")
        assert isinstance(exclusions, ExclusionList)
        keys = {canonical_key(url) for url in [*listed, *others]}
        expected = sum(canonical_key(url) in keys for url in urls)

        times: dict[str, list[float]] = {"passthrough": [], "filter": []}
        for _ in range(options.rounds):
            times["passthrough"].append(timed(passthrough, folder / "in.parquet", folder / "out.parquet")[0])
            seconds, dropped = timed(filtered, folder / "in.parquet", folder / "kept.parquet", exclusions)
            times["filter"].append(seconds)
            assert dropped == expected, (dropped, expected)
        with reference_only():
            slow_s, _ = timed(filtered, folder / "small.parquet", folder / "kept.parquet", exclusions)
    ratio = median(a / b for a, b in zip(times["passthrough"], times["filter"], strict=True))
    slow = options.reference_rows / slow_s / (options.rows / median(times["passthrough"]))
    for what, seconds in times.items():
        print(f"{what:12} {options.rows / median(seconds) / 1e6:6.2f} M rows/s")
    print(f"filter over passthrough: {ratio:.2f} native, {slow:.2f} reference; {expected:,} rows dropped, as expected")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"rows": options.rows, "entries": exclusions.counts["url"], "ratio": round(ratio, 3),
                      "reference_ratio": round(slow, 3), "load_s": round(load_s, 2), "peak_mib": peak,
                      "kernel": kernel.IMPLEMENTATION}))  # fmt: skip


if __name__ == "__main__":
    main()
