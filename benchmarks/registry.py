"""How long claims take: stored, logged and answered, by their size, on SQLite (and on PostgreSQL where one is named).

    OMP_NUM_THREADS=1 python -m benchmarks.registry [--filled N] [--database-url URL] [--runs N] [--folder DIR]

Interleaved, medians; by the clock and, because other programs may be at work, by this process's processor time. Each
claim is what the API does with one request: read, stored in a transaction, sequenced into the log's files (fsync and
all), read back. `--filled` opt-outs are there before; a folder that is kept need not be filled again.
"""

import argparse
import hashlib
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Final

from heldout.records import ClaimRequest, ImageSubject, Sample, Subject, UrlSubject
from registry.service import Registry

SIZES: Final = (1, 100, 1_000, 10_000)
PAGE: Final = 500
"""Samples of one page of search results whose state is asked."""


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--filled", type=int, default=100_000, help="opt-outs that are there before")
    parser.add_argument("--database-url", default=None, help="PostgreSQL instead of SQLite")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--folder", type=Path, default=None, help="keep the state here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        state = (options.folder or Path(temporary)) / "state"
        with Registry.prepare(state, options.database_url, origin="registry.example/log") as registry:
            for start in range(0, options.filled, 10_000):
                wanted = request(f"filled-{start}", min(10_000, options.filled - start))
                registry.submit(wanted, idempotency_key=f"filled-{start}")
            times = measure(registry, options.runs)
    print(
        f"{options.filled:,} opt-outs before; median of {options.runs}, least and most; processor: median; milliseconds"
    )
    for name, found in times.items():
        clock, processor = [each[0] for each in found], [each[1] for each in found]
        shown = (statistics.median(clock), min(clock), max(clock), statistics.median(processor))
        print(f"{name:34}", *(f"{value:9.1f}" for value in shown))


def measure(registry: Registry, runs: int) -> dict[str, list[tuple[float, float]]]:
    """Milliseconds, by the clock and of the processor, by what was done."""
    times: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for run in range(runs):
        for size in SIZES:
            wanted = request(f"run-{time.time_ns()}-{size}", size)
            times[f"preview of {size:,} subjects"].append(timed(lambda wanted=wanted: registry.preview(wanted)))
            times[f"claim of {size:,} subjects"].append(timed(lambda wanted=wanted: registry.submit(wanted)))
        claim = registry.submit(request(f"receipt-{time.time_ns()}", 1_000))
        times["receipt of 1,000 subjects"].append(timed(lambda claim=claim: registry.receipt(claim.id)))
        times["withdrawal of 1,000 subjects"].append(
            timed(lambda claim=claim: registry.withdraw(claim.id, reason="by-claimant"))
        )
        page = [sample(i, f"https://filled-{run}0000.example/deep/er/{i}.jpg") for i in range(PAGE)]
        registry.opted_out(page[:1])  # the pictures' index is made anew after each event
        times[f"is this opted out, {PAGE} samples"].append(timed(lambda page=page: registry.opted_out(page)))
    return times


def timed(do: Callable[[], object]) -> tuple[float, float]:
    """Milliseconds, by the clock and of the processor."""
    began, cpu = time.perf_counter(), time.process_time()
    do()
    return (time.perf_counter() - began) * 1_000, (time.process_time() - cpu) * 1_000


def request(name: str, n: int) -> ClaimRequest:
    """A claim of n subjects, half of them addresses and half pictures."""
    subjects: list[Subject] = []
    for i in range(n):
        if i % 2:
            digest = hashlib.sha256(f"{name} {i}".encode()).hexdigest()
            subjects.append(ImageSubject(pdq=digest, quality=90, sha256=digest))
        else:
            subjects.append(UrlSubject(url=f"https://{name}.example/deep/er/{i}.jpg"))
    return ClaimRequest(subjects=subjects)


def sample(i: int, url: str) -> Sample:
    """One sample of a page, by its address alone."""
    blank: dict[str, object] = dict.fromkeys(["host", "caption", "width", "height", "sha256", "pdq", "pdq_quality"])
    return Sample.model_validate({"dataset": "d", "id": i, "key": str(i), "status": "ok", "url": url, **blank})


if __name__ == "__main__":
    main()
