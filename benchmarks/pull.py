"""What `heldout pull` takes: peak memory, seconds and bytes, of a first pull, of an update by delta, and of none.

    python -m benchmarks.pull --entries 1000000 10000000 --churn 0.0007

List: so many URL entries with random keys, split as the registry splits them (`registry.listing.build_files`), a
hundredth as many hosts and pictures. The update takes out and puts in `--churn` of the entries (a tenth of it out). The
site is a folder, so that no network counts; each pull is a process of its own, whose peak memory the system tells.
`bare` is a process that only imports what the command does. Figures: docs/benchmarks.md.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from heldout.delta_files import format_delta, make_delta
from heldout.list_tables import SCHEMAS, TableName, in_order
from heldout.manifest import DeltaFile, LogState, Manifest, PreviousVersion, format_manifest, manifest_sha256
from heldout.urls import CANONICALISATION
from registry.listing import build_files
from tests.heldout.published import Site

Tables = Mapping[TableName, pa.Table]

CHILD = """
import json, re, sys, time
from pathlib import Path
from heldout.pull import pull
start, told = time.perf_counter(), {}
if len(sys.argv) > 1:
    site, held, root = sys.argv[1:]
    result = pull(site, Path(held), root=Path(root))
    told = {"n_bytes": result.n_bytes, "n_deltas": result.n_deltas}
told["seconds"] = round(time.perf_counter() - start, 2)
# not getrusage's, which begins at the size of the process that started this one
told["peak_mb"] = int(re.search(r"VmHWM:\\s+([0-9]+)", Path("/proc/self/status").read_text())[1]) // 1024
print(json.dumps(told))
"""


def standing(rng: np.random.Generator, n: int) -> dict[str, object]:
    """What every entry carries."""
    days = rng.integers(20_000, 20_400, n).astype(np.int32)
    return {
        "preference": (rng.random(n) < 0.02).astype(np.uint8),
        "assurance": rng.integers(0, 5, n).astype(np.uint8),
        "since": pa.array(days).cast(pa.date32()),
    }


def make_tables(rng: np.random.Generator, n: int) -> dict[TableName, pa.Table]:
    """A list's tables."""
    keys = np.unique(rng.integers(0, 2**64, n, dtype=np.uint64))
    few = n // 100
    hosts = sorted({f"studio-{number}.example" for number in range(few)})
    pictures = pa.table(
        {
            "pdq": pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), few, [None, pa.py_buffer(rng.bytes(32 * few))]),
            "quality": rng.integers(50, 101, few).astype(np.uint8),
            "sha256": pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(32), few, [None, pa.py_buffer(rng.bytes(32 * few))]
            ),
            **standing(rng, few),
        },
        schema=SCHEMAS["image"],
    )
    return {
        "url": pa.table({"key": keys, **standing(rng, len(keys))}, schema=SCHEMAS["url"]),
        "prefix": SCHEMAS["prefix"].empty_table(),
        "host": pa.table({"host": hosts, **standing(rng, len(hosts))}, schema=SCHEMAS["host"]),
        "image": in_order(pictures, "image"),
    }


def changed(rng: np.random.Generator, tables: Tables, churn: float) -> dict[TableName, pa.Table]:
    """The next version's tables."""
    urls = tables["url"]
    n = int(len(urls) * churn)
    keep = np.ones(len(urls), np.bool_)
    keep[rng.choice(len(urls), n // 10, replace=False)] = False
    added = pa.table(
        {"key": np.unique(rng.integers(0, 2**64, n, dtype=np.uint64)), **standing(rng, n)}, schema=SCHEMAS["url"]
    )
    return {**tables, "url": in_order(pa.concat_tables([urls.filter(pa.array(keep)), added]), "url")}


def publish(site: Site, folder: Path, tables: Tables, before: Tables | None) -> int:
    """Put one more version into a site's folder; bytes of its data files."""
    if not site.root_version:
        site.rotate_root()
    files, bits = build_files(tables)
    previous = PreviousVersion(site.version, manifest_sha256(site.manifest)) if before is not None else None
    site.leaves.append(b"entry")
    delta = None
    if before is not None and previous is not None:
        data = format_delta(make_delta(previous, before, tables))
        delta = DeltaFile(manifest_sha256(data), len(data))
        write(folder / f"list/files/{delta.sha256.hex()}.delta", data)
    site.version += 1
    manifest = Manifest(
        version=site.version,
        as_of=None,
        canonicalisation=CANONICALISATION,
        log=LogState(site.log_signer.name, site.log_signer.verifier.vkey, 0, manifest_sha256(b"")),
        prefix_bits=bits,
        files={name: file.entry for name, file in files.items()},
        counts={name: table.num_rows for name, table in tables.items()},
        previous=previous,
        delta=delta,
    )
    site.manifest = format_manifest(manifest)
    site.log_manifest()
    site.sign()
    for file in files.values():
        write(folder / f"list/files/{file.entry.sha256.hex()}.parquet", file.data)
    for path, data in site.files.items():
        write(folder / path, data)
    return sum(file.entry.size for file in files.values())


def write(path: Path, data: bytes) -> None:
    """A file, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def pulled(*arguments: Path) -> dict[str, float]:
    """What one process says of its pull."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, arguments)], check=True, capture_output=True, text=True
    )
    told: dict[str, float] = json.loads(done.stdout)
    return told


def main() -> None:
    """Print a JSON object per size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--churn", type=float, default=0.0007)
    options = parser.parse_args()
    for n in options.entries:
        rng = np.random.default_rng(n)
        with tempfile.TemporaryDirectory() as scratch:
            folder, site = Path(scratch), Site()
            tables = make_tables(rng, n)
            size = publish(site, folder / "site", tables, None)
            arguments = (folder / "site", folder / "list", site.write_root(folder))
            told = {"bare": pulled(), "first": pulled(*arguments)}
            size = publish(site, folder / "site", changed(rng, tables, options.churn), tables)
            told |= {"update": pulled(*arguments), "nothing new": pulled(*arguments)}
            print(json.dumps({"entries": n, "list_bytes": size, **told}))


if __name__ == "__main__":
    main()
