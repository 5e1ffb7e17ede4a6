"""Memory of `heldout filter` with several workers, beside the size of its list.

    python -m benchmarks.filter_memory --entries 10000000 --workers 1 2 4 --shards 8 --rows 400000

Runs the command for each number of workers, with shards and with masks as outputs, and adds up the proportional set
sizes (PSS, `/proc/<pid>/smaps_rollup`) of it and its workers every few hundredths of a second: a page that n processes
map counts 1/n in each. Stated: the highest sum, beside the bound of twice the list's files on disk and 1 GB. The list
is of random keys in files as the registry writes them; shards are as in `benchmarks.filter`, no row of them is listed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.filter import make_urls, write_shard
from benchmarks.pull import publish
from heldout.list_tables import SCHEMAS
from heldout.pull import pull
from tests.heldout.published import Site

GIGABYTE = 10**9
_PAUSE_S = 0.03


def make_list(folder: Path, n_entries: int) -> Path:
    """A pulled list of so many addresses, declared over ten years: files as the registry writes them."""
    rng = np.random.default_rng(3)
    keys = np.unique(rng.integers(0, 2**64, n_entries, dtype=np.uint64))
    n = len(keys)
    since = pa.array(rng.integers(17_000, 20_600, n).astype(np.int32)).cast(pa.date32())
    columns = [pa.array(keys), pa.array(np.zeros(n, np.uint8)), pa.array(rng.integers(0, 3, n).astype(np.uint8)), since]
    tables = {name: schema.empty_table() for name, schema in SCHEMAS.items()}
    tables["url"] = pa.table(columns, schema=SCHEMAS["url"])
    site = Site()
    publish(site, folder / "site", tables, None)
    pull(str(folder / "site"), folder / "list", root=site.write_root(folder))
    return folder / "list"


def pss_of_tree(pid: int) -> int:
    """Bytes of a process and all below it."""
    total = 0
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        total += next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:"))
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except (OSError, StopIteration):
        return total
    return total + sum(pss_of_tree(int(child)) for child in children)


def peak_of(command: list[str]) -> int:
    """Highest PSS of a command and its workers, in bytes."""
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, pss_of_tree(process.pid))
            time.sleep(_PAUSE_S)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return peak


def main() -> None:
    """Print a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=10_000_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--rows", type=int, default=400_000, help="of each shard")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_list(folder, options.entries)
        list_bytes = sum(path.stat().st_size for path in (folder / "list" / "files").iterdir())
        (folder / "in").mkdir()
        rng = np.random.default_rng(1)
        write_shard(folder / "in" / "00000.parquet", make_urls(rng, options.rows), rng)
        for number in range(1, options.shards):
            os.link(folder / "in" / "00000.parquet", folder / "in" / f"{number:05d}.parquet")
        bound = 2 * list_bytes + GIGABYTE
        print(f"list: {options.entries:,} entries, {list_bytes / 1e6:.0f} MB; bound {bound / 1e6:.0f} MB")
        peaks = {}
        for what in ("shards", "masks"):
            for workers in options.workers:
                line = ["-c", "import sys; from heldout.cli import main; main()", "filter", str(folder / "in")]
                line += ["-o", str(folder / f"{what}-{workers}"), "--list", str(folder / "list")]
                line += ["--workers", str(workers), *(["--masks"] if what == "masks" else [])]
                peaks[f"{what}, {workers} workers"] = peak = peak_of([sys.executable, *line])
                print(f"{what:7} {workers:2} workers: {peak / 1e6:6.0f} MB, {peak / bound:.2f} of the bound")
    print(json.dumps({"entries": options.entries, "list_bytes": list_bytes, "bound": bound, "peak_pss": peaks}))


if __name__ == "__main__":
    main()
