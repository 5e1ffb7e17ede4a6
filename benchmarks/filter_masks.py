"""How fast `heldout filter --masks` decides about rows, beside reading and writing the same file with pyarrow alone.

    python -m benchmarks.filter_masks --rows 2000000 --entries 1000000 --hosts 20000 --rounds 5

Data and list as in `benchmarks.filter`, with rules for `--hosts` hosts besides. Ways take turns in one process, all
with one thread of pyarrow's, so that noise hits all:

- passthrough: pyarrow reads each row group and writes it again, same options;
- mask: `heldout.filtering_parquet.filter_parquet` with a keep-mask and no output, list verified and loaded before;
- mask and digest: the same, and SHA-256 of the whole input, as the command takes for its report;
- shard: the same function writing what is kept.

The mask's rows are compared with the shard that is written.
"""

import argparse
import json
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.filter import filtered, make_urls, passthrough, timed, write_shard
from heldout import kernel
from heldout.exclusion import ExclusionList
from heldout.filtering_masks import writing_mask
from heldout.filtering_parquet import filter_parquet
from heldout.pull import pull
from heldout.report import sha256_file
from tests.heldout.published import BASE_URL, PlaceRule, Site, UrlRule


def masked(source: Path, target: Path, exclusions: ExclusionList) -> int:
    """Rows dropped."""
    with writing_mask(target, has_keys=False, shard_sha256="", manifest_sha256="") as mask:
        tally = filter_parquet(source, None, exclusions, mask=mask)
    return tally.n_in - tally.n_kept


def masked_and_digested(source: Path, target: Path, exclusions: ExclusionList) -> int:
    """Rows dropped."""
    sha256_file(source)
    return masked(source, target, exclusions)


def main() -> None:
    """Print a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--hosts", type=int, default=20_000)
    parser.add_argument("--hit", type=float, default=0.025, help="share of the rows that are listed")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, mask, kept = folder / "in.parquet", folder / "mask.parquet", folder / "kept.parquet"
        urls = make_urls(rng, options.rows)
        write_shard(source, urls, rng)
        listed = [urls[i] for i in rng.choice(options.rows, int(options.rows * options.hit), replace=False)]
        others = make_urls(np.random.default_rng(2), max(0, options.entries - len(listed)))
        places = [PlaceRule(f"shop-{number * 25}.example") for number in range(options.hosts)]
        site = Site().publish([UrlRule(url) for url in [*listed, *others]], [], places)
        pull(BASE_URL, folder / "list", root=site.write_root(folder), transport=site.transport())
        exclusions = ExclusionList.open(folder / "list")
        ways = {
            "passthrough": (passthrough, source, folder / "out.parquet"),
            "mask": (masked, source, mask, exclusions),
            "mask and digest": (masked_and_digested, source, mask, exclusions),
            "shard": (filtered, source, kept, exclusions),
        }
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        dropped = set()
        for _ in range(options.rounds):
            for way, (action, *arguments) in ways.items():
                spent, result = timed(action, *arguments)
                seconds[way].append(spent)
                dropped |= {result} - {None}
        is_same = pq.read_table(source).filter(pq.read_table(mask)["keep"]).equals(pq.read_table(kept))
        if len(dropped) != 1 or not is_same:
            raise SystemExit(f"the ways do not agree: {dropped}")
    rows = options.rows
    ratios = {}
    for way, spent in seconds.items():
        ratios[way] = median(a / b for a, b in zip(seconds["passthrough"], spent, strict=True))
        print(f"{way:16} {rows / median(spent) / 1e6:6.2f} M rows/s, {ratios[way]:.2f} x passthrough")
    print(json.dumps({"rows": rows, "entries": exclusions.counts["url"], "hosts": exclusions.counts["host"],
                      "dropped": dropped.pop(), "ratios": {way: round(ratio, 3) for way, ratio in ratios.items()},
                      "kernel": kernel.IMPLEMENTATION}))  # fmt: skip


if __name__ == "__main__":
    main()
