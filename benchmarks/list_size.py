"""How large a list is beside what its entries must take, and a day's delta beside the list.

    python -m benchmarks.list_size --entries 1000000 10000000

Data: random keys, as digests are. Standings, that is preference, assurance and day: `alike` (one day, all declared), or
`mixed` (a grant in a hundred; assurances 70, 12, 12, 3, 3 %; days exponential over three years). A day is the churn of
docs/benchmarks.md: additions and a twentieth as many removals, 0.07 % together, of one standing; or as many
removals as additions (`swap`). The bound of a key is 64 - log2 n + 1.44 bits, that of a standing its entropy.
"""

import argparse
import io
import json
import math
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from heldout.delta_files import apply_delta, format_delta, make_delta, parse_delta
from heldout.list_tables import SCHEMAS, STANDING, content_digest
from heldout.manifest import PreviousVersion
from registry.listing import build_files

CHURN = 0.0007
TODAY = 20_780
Keys = npt.NDArray[np.uint64]


def standing(rng: np.random.Generator, n: int, kind: str) -> dict[str, Any]:
    """The columns besides the key."""
    preference, assurance = np.zeros(n, np.uint8), np.zeros(n, np.uint8)
    since = np.full(n, TODAY - 1, np.int32)
    if kind == "mixed":
        preference[:] = rng.random(n) < 0.01
        assurance[:] = rng.choice(5, n, p=[0.7, 0.12, 0.12, 0.03, 0.03])
        since -= np.minimum(rng.exponential(200, n), 1000).astype(np.int32)
    return {"preference": preference, "assurance": assurance, "since": pa.array(since).cast(pa.date32())}


def keys(rng: np.random.Generator, n: int) -> Keys:
    """Distinct ones, sorted."""
    found = np.unique(rng.integers(0, 2**64 - 1, n + 100, np.uint64, endpoint=True))
    return np.sort(rng.permutation(found)[:n])


def table(values: Keys, columns: dict[str, Any]) -> pa.Table:
    """A table of addresses."""
    return pa.table({"key": values, **columns}, schema=SCHEMAS["url"])


def entropy(column: pa.ChunkedArray) -> float:
    """Octets an entry."""
    counts = np.array([pair["counts"] for pair in column.value_counts().to_pylist()], np.float64)
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum() / 8)


def measure_size(urls: pa.Table) -> dict[str, Any]:
    """Octets an entry: of each column, of all, and beside the bound."""
    empty = {name: schema.empty_table() for name, schema in SCHEMAS.items()}
    files = [file for name, file in build_files(empty | {"url": urls})[0].items() if name.startswith("urls/")]
    n = urls.num_rows
    columns = dict.fromkeys(urls.column_names, 0)
    for file in files:
        metadata = pq.ParquetFile(io.BytesIO(file.data)).metadata
        for group in range(metadata.num_row_groups):
            for i, name in enumerate(urls.column_names):
                columns[name] += metadata.row_group(group).column(i).total_compressed_size
    total, bound = sum(file.entry.size for file in files), (64 - math.log2(n) + 1.44) / 8
    whole_bound = bound + sum(entropy(urls[name]) for name in STANDING)
    return {
        "bytes_per_entry": round(total / n, 4),
        "columns": {name: round(size / n, 4) for name, size in columns.items()},
        "over_key_bound": round(total / n / bound, 4),
        "over_bound_of_all": round(total / n / whole_bound, 4),
        "size": total,
    }


def measure_delta(rng: np.random.Generator, urls: pa.Table, n_added: int, n_removed: int) -> dict[str, Any]:
    """A delta's octets and how long it takes to make and to apply."""
    old = urls["key"].to_numpy()
    gone = rng.choice(len(old), n_removed, replace=False)
    kept = urls.filter(pa.array(~np.isin(np.arange(len(old)), gone)))
    come = np.setdiff1d(keys(rng, n_added), old)
    added = table(come, {**standing(rng, len(come), "alike")})
    new = pa.concat_tables([kept, added]).sort_by("key")
    empty = {name: schema.empty_table() for name, schema in SCHEMAS.items()}
    start = time.perf_counter()
    data = format_delta(make_delta(PreviousVersion(1, bytes(32)), empty | {"url": urls}, empty | {"url": new}))
    made = time.perf_counter()
    result = apply_delta(urls, parse_delta(data).tables["url"], "url")
    assert content_digest(result, "url") == content_digest(new, "url")
    applied = time.perf_counter()
    return {"bytes": len(data), "make_s": round(made - start, 2), "apply_and_check_s": round(applied - made, 2)}


def main() -> None:
    """A JSON line per size and kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, nargs="+", default=[1_000_000])
    for n in parser.parse_args().entries:
        for kind in ("alike", "mixed"):
            rng = np.random.default_rng(1)
            urls = table(keys(rng, n), standing(rng, n, kind))
            said: dict[str, Any] = {"entries": n, "standings": kind, **measure_size(urls)}
            changes = int(n * CHURN)
            days = {"day": (changes * 20 // 21, changes // 21), "swap": (changes // 2, changes // 2)}
            for name, (n_added, n_removed) in days.items():
                delta = measure_delta(rng, urls, n_added, n_removed)
                said[name] = delta | {"share": f"{delta['bytes'] / said['size']:.4%}"}
            print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
