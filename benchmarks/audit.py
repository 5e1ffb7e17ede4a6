"""How long `heldout audit` takes beside a filter run that writes nothing, and how much memory.

    python -m benchmarks.audit --rows 10000000 --rounds 3

Data and list: those of `benchmarks.filter`, in shards of at most 2,000,000 rows. The two take turns; each is a process
of its own, so that the memory of each is its own. `--memory` is what DuckDB is given.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.filter import SHARD_ROWS, make_list, make_urls, write_shard


def run(arguments: list[str]) -> tuple[float, float, float]:
    """Seconds, seconds of processors, and peak megabytes of a command."""
    # A process's ru_maxrss begins at its parent's; VmHWM is its own.
    code = (
        "import json, re, resource, sys; from pathlib import Path; from heldout.cli import run; "
        "code = run(sys.argv[1:]); used = resource.getrusage(resource.RUSAGE_SELF); "
        "peak = re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text()); "
        "print(json.dumps([used.ru_utime + used.ru_stime, int(peak[1])]), file=sys.stderr); sys.exit(code)"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True)
    cpu, peak = json.loads(done.stderr.splitlines()[-1])
    return time.perf_counter() - start, cpu, peak / 1024


def main() -> None:
    """Print figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--hosts", type=int, default=20_000)
    parser.add_argument("--prefixes", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", default="1GB")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "shards").mkdir()
        first: list[str] = []
        for number in range(-(-options.rows // SHARD_ROWS)):
            rng = np.random.default_rng(number + 10)
            urls = make_urls(rng, min(SHARD_ROWS, options.rows - number * SHARD_ROWS))
            write_shard(folder / "shards" / f"{number:05d}.parquet", urls, rng)
            first = first or urls
        make_list(folder, first, options)
        common = [str(folder / "shards"), "--list", str(folder / "list")]
        audit = ["audit", *common, "-o", str(folder / "audit"), "--memory", options.memory]
        dry = ["filter", *common, "-o", str(folder / "dry"), "--dry-run"]
        figures: dict[str, list[tuple[float, float, float]]] = {"filter --dry-run": [], "audit": []}
        for _ in range(options.rounds):
            figures["filter --dry-run"].append(run(dry))
            figures["audit"].append(run(audit))
        dropped = json.loads((folder / "dry" / "dry-run.json").read_bytes())["predicate"]["total"]["n_dropped"]
        totals = json.loads((folder / "audit" / "audit.json").read_bytes())["totals"]
        if totals["n_opted_out"] != dropped:
            raise SystemExit(f"the audit counts {totals['n_opted_out']}, the filter {dropped}")
        size = sum(path.stat().st_size for path in (folder / "audit").rglob("*") if path.is_file())
        shutil.rmtree(folder / "audit")
    seconds = {name: median(second for second, _, _ in runs) for name, runs in figures.items()}
    cpu = {name: median(second for _, second, _ in runs) for name, runs in figures.items()}
    print(
        json.dumps(
            {
                "rows": options.rows,
                "sites": totals["n_domains"],
                "opted_out": dropped,
                "seconds": seconds,
                "cpu_seconds": cpu,
                "rows_per_s": {name: round(options.rows / second) for name, second in seconds.items()},
                "audit_of_filter": seconds["audit"] / seconds["filter --dry-run"],
                "peak_mb": {name: max(peak for _, _, peak in runs) for name, runs in figures.items()},
                "bytes_per_row": size / options.rows,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
