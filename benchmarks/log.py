"""The log with many opt-outs: sequencing, proofs, storage, rebuilding the database, publishing.

    python -m benchmarks.log --entries 1000000 [--folder DIR]

Every entry is a claim of one address, the smallest and so the worst case: as many claims, leaves and rows as opt-outs.
Steps run in processes of their own, so that each one's peak memory is its own. DIR should be on the disk to measure.
"""

import argparse
import functools
import hashlib
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path

from sqlalchemy import func, insert, select

from heldout.checkpoint import Verifier, open_checkpoint
from heldout.download import Downloads
from heldout.leaves import OptOutLeaf, UrlDigest, format_leaf
from heldout.merkle import leaf_hash, verify_inclusion
from heldout.monitor import Monitor
from heldout.tiles import TileReader
from heldout.watching import Watches
from registry.db import transaction
from registry.service import Registry, migrate
from registry.storage import FileStore
from registry.tables import ClaimRow, EventRow

AT = datetime(2026, 1, 1, tzinfo=UTC)
N_PROOFS = 2_000


def claim_id(number: int) -> str:
    """Looks like a random one, and is the same in each run."""
    return hashlib.sha256(b"claim %d" % number).hexdigest()[:26]


def rows(start: int, end: int) -> Iterator[dict[str, object]]:
    """Events of the claims with these numbers."""
    for number in range(start, end):
        subject = UrlDigest(hashlib.sha256(b"https://art.example/%d.jpg" % number).digest())
        leaf = OptOutLeaf(AT + timedelta(seconds=number), claim_id(number), "declared", "train-ai=n", (subject,))
        yield {"kind": "opt-out", "claim_id": leaf.claim, "payload": format_leaf(leaf)}


def fill(registry: Registry, n: int, *, start: int = 0) -> None:
    """Events as claims leave them, by bulk insert: taking claims is measured in benchmarks/registry.py."""
    events = rows(start, start + n)
    blank = {"state": "in_force", "preference": "train-ai=n", "assurance": "declared", "received_at": AT}
    while part := list(islice(events, 20_000)):
        with transaction(registry._sessions) as session:  # noqa: SLF001 - this is no way a user has
            session.execute(insert(ClaimRow), [{"id": event["claim_id"], **blank} for event in part])
            session.execute(insert(EventRow), part)


def sequence(registry: Registry) -> None:
    """Put all events into the log."""
    with transaction(registry._sessions) as session:  # noqa: SLF001
        n = session.scalar(select(func.count()).where(EventRow.log_index.is_(None))) or 0
    start = time.process_time()
    seconds = timed(registry.sequence)
    busy = time.process_time() - start
    print(
        f"sequenced {n:,} entries in {seconds:.1f} s: {n / seconds:,.0f}/s; {busy:.1f} s of processor time", flush=True
    )
    synced = registry.public_dir / "log"
    sizes = {"tiles of hashes": 0, "entry bundles": 0}
    n_files = 0
    for path in synced.rglob("*"):
        if path.is_file() and path.name != "checkpoint":
            sizes["entry bundles" if "entries" in path.parts else "tiles of hashes"] += path.stat().st_size
            n_files += 1
    for what, size in sizes.items():
        print(f"{what}: {size / n:.1f} bytes an entry")
    print(f"{n_files:,} files")


def prove(registry: Registry) -> None:
    """Inclusion proofs of random entries: made from files, then verified."""
    checkpoint = open_checkpoint((registry.public_dir / "log/checkpoint").read_bytes(), Verifier.parse(registry.vkey))
    store = FileStore(registry.public_dir / "log")
    random_numbers = random.Random(1)  # noqa: S311 - a sample
    making, verifying, both = [], [], []
    for _ in range(N_PROOFS):
        index = random_numbers.randrange(checkpoint.size)
        reader = TileReader(store.read, checkpoint.size)
        entry = reader.entries(index // 256)[index % 256]
        start = time.perf_counter()
        proof = TileReader(store.read, checkpoint.size).inclusion_proof(index)
        middle = time.perf_counter()
        verify_inclusion(leaf_hash(entry), index, checkpoint.size, proof, checkpoint.root)
        verifying.append(time.perf_counter() - middle)
        making.append(middle - start)
        both.append(time.perf_counter() - start)
    for what, seconds in (("made", making), ("verified", verifying), ("made and verified", both)):
        ranked = sorted(seconds)
        print(
            f"inclusion proof {what}: median {statistics.median(ranked) * 1e3:.2f} ms, "
            f"99th percentile {ranked[len(ranked) * 99 // 100] * 1e3:.2f} ms"
        )
    print(f"of {checkpoint.size:,} entries a proof has {len(proof)} hashes")


def rebuild(registry: Registry) -> None:
    """Fill a new database from the log."""
    database_url = f"sqlite:///{registry.state_dir / 'rebuilt.db'}"
    migrate(database_url)
    with Registry(registry.state_dir, database_url) as rebuilt:
        seconds = timed(rebuilt.rebuild)
    print(f"rebuilt the database from the log in {seconds:.1f} s")


def publish(registry: Registry) -> None:
    """Publish a list."""
    print(f"published in {timed(registry.publish):.1f} s")


def publish_more(registry: Registry) -> None:
    """Publish again after 1,000 more claims."""
    with transaction(registry._sessions) as session:  # noqa: SLF001
        start = session.scalar(select(func.count()).select_from(ClaimRow)) or 0
    fill(registry, 1_000, start=start)
    print(f"published after 1,000 more claims in {timed(registry.publish):.1f} s")


def monitor(registry: Registry) -> None:
    """Follow the whole log over HTTP of this machine, as `heldout monitor` does for the first time."""

    class Quiet(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
            pass

    handler = functools.partial(Quiet, directory=str(registry.public_dir))
    watches = Watches()
    watches.add_url("https://art.example/7.jpg")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, Downloads() as downloads:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        state = registry.state_dir / "monitor.json"
        follower = Monitor(url, Verifier.parse(registry.vkey), downloads, state, watches=watches)
        seconds = timed(lambda: follower.round(lambda _: None, now=datetime.now(UTC)))
        server.shutdown()
    print(f"followed the whole log in {seconds:.1f} s")


STEPS: dict[str, Callable[[Registry], None]] = {
    "sequence": sequence,
    "prove": prove,
    "rebuild": rebuild,
    "monitor": monitor,
    "publish": publish,
    "publish-more": publish_more,
}


def timed(work: Callable[[], object]) -> float:
    """Seconds it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Fill a registry, then run each step in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where the registry is made; a temporary folder if left out")
    parser.add_argument("--steps", nargs="*", default=list(STEPS), choices=STEPS)
    parser.add_argument("--one", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        with Registry(options.folder) as registry:
            STEPS[options.one](registry)
        print(f"{time.process_time():.1f} s of processor time in all")
        print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB\n", flush=True)
        return
    with tempfile.TemporaryDirectory(prefix="heldout-log-", dir=options.folder) as folder:
        state_dir = Path(folder) / "state"
        with Registry.prepare(state_dir, origin="registry.example/log") as registry:
            print(f"filled in {timed(lambda: fill(registry, options.entries)):.0f} s", flush=True)
        for step in options.steps:
            command = [sys.executable, "-m", "benchmarks.log", "--one", step, "--folder", str(state_dir)]
            subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": "."})


if __name__ == "__main__":
    main()
