"""Bulk questions over HTTP beside the same list asked in this process.

    python -m benchmarks.bulk --entries 1000000 --hosts 20000

A list of made addresses and hosts; questions of 80 bytes on average, of which 2.5 % are entries and 4 % lie on hosts
that are. In turns, in one run: the list asked in this process, without any text around it; the two forms of answer made
in this process; and both asked of a server process over loopback, with a key. Besides the wall clock, what the server
process used of its processor: that is what a core can answer when others ask.
"""

import argparse
import http.client
import multiprocessing
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pyarrow as pa
import uvicorn

from heldout.exclusion import ExclusionList
from heldout.kernel import keys_of
from heldout.list_tables import SCHEMAS
from heldout.records import ClaimRequest, UrlSubject
from registry.bulk import answer_bitmap, answer_json, found_of, split_lines
from registry.online import OnlineList, OnlineLists
from registry.service import Registry
from tests.web.lists import issue_key
from tests.web.serving import free_socket
from web.app import create_app
from web.settings import Settings

FORMS: Final = {"json": "/api/v2/query/urls/", "bits": "/v1/check/bulk"}


class Held(OnlineLists):
    """A list that no registry has published."""

    def __init__(self, folder: Path, held: OnlineList) -> None:
        super().__init__(folder)
        self._made = held

    def refresh(self) -> bool:
        """Nothing new."""
        return False

    def newest(self) -> OnlineList:
        """The made list."""
        return self._made


def made_url(number: int) -> str:
    """One of endlessly many addresses, as data sets have them."""
    return (
        f"https://cdn{number % 97}.site{number % 50_000}.example/media/{number % 1_009:04d}/"
        f"picture-{number:09d}-large.jpg?w={number % 2_000}"
    )


def make_list(state_dir: Path, n_entries: int, n_hosts: int) -> OnlineList:
    """A list with so many addresses and hosts, under the version of a small one that is published."""
    with Registry.prepare(state_dir, origin="bench.example/log") as registry:
        registry.submit(ClaimRequest(subjects=[UrlSubject(url="https://jane.example/a.jpg")]))
        registry.publish()
    version = ExclusionList.from_published(state_dir / "public" / "list").version
    keys = np.unique(keys_of(pa.array([made_url(40 * number) for number in range(n_entries)]))[0])
    hosts = pa.array(sorted(f"site{number * 25 % 50_000}.example" for number in range(min(n_hosts, 2_000))))
    more = pa.array(sorted(f"place{number}.example" for number in range(max(n_hosts - 2_000, 0))))
    names = pa.array(sorted({*hosts.to_pylist(), *more.to_pylist()}))
    granting = {name: schema.empty_table() for name, schema in SCHEMAS.items()}
    excluding = granting | {
        "url": _table(SCHEMAS["url"], pa.array(keys), 0),
        "host": _table(SCHEMAS["host"], names, 2),
    }
    return OnlineList.of(ExclusionList(version, excluding, granting, "declared", None))


def _table(schema: pa.Schema, what: pa.Array, assurance: int) -> pa.Table:
    n = len(what)
    columns = [what, np.zeros(n, np.uint8), np.full(n, assurance, np.uint8), pa.array(np.full(n, 20_000, np.int32))]
    return pa.table([pa.array(columns[0]), *(pa.array(column) for column in columns[1:])], names=schema.names).cast(
        schema
    )


def serve(folder: Path, n_entries: int, n_hosts: int, port_of: "multiprocessing.Queue[tuple[int, str]]") -> None:
    """The server process."""
    os.environ["HELDOUT_LOG_LEVEL"] = "ERROR"
    state = folder / "state"
    held = make_list(state, n_entries, n_hosts)
    settings = Settings(state_dir=state, datasets_dir=folder / "datasets", recheck="off", suggestions=None)
    app = create_app(settings)
    app.state.lists = Held(state, held)
    with Registry(state) as registry:
        key = issue_key(registry)
    bound = free_socket()
    port_of.put((bound.getsockname()[1], key))
    uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False)).run(sockets=[bound])


def processor_s(pid: int) -> float:
    """Seconds of processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Make, serve, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", type=int, default=100_000, help="addresses of the list")
    parser.add_argument("--hosts", type=int, default=20_000, help="hosts of the list")
    parser.add_argument("--lines", type=int, default=10_000, help="addresses of one question")
    parser.add_argument("--rounds", type=int, default=20, help="turns, of which the median is told")
    parser.add_argument("--repeat", type=int, default=10, help="questions of one turn")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "datasets").mkdir()
        (folder / "here").mkdir()
        held = make_list(folder / "here" / "state", arguments.entries, arguments.hosts)
        context = multiprocessing.get_context("spawn")
        port_of: multiprocessing.Queue[tuple[int, str]] = context.Queue()
        server = context.Process(target=serve, args=(folder, arguments.entries, arguments.hosts, port_of))
        server.start()
        try:
            port, key = port_of.get(timeout=600)  # or the server says why not
            measure(held, port, key, server.pid or 0, arguments)
        finally:
            server.terminate()
            server.join()


def wait_for(port: int) -> None:
    """Return once the server listens."""
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)


def measure(held: OnlineList, port: int, key: str, pid: int, arguments: argparse.Namespace) -> None:
    """Ask in turns, and print rates."""
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 40 * arguments.entries, arguments.lines)
    body = "\n".join(made_url(int(number)) for number in numbers).encode()
    column, exclusions = split_lines(body), held.exclusions
    connection = http.client.HTTPConnection("127.0.0.1", port)

    def ask(form: str) -> Callable[[], bytes]:
        def asked() -> bytes:
            connection.request("POST", FORMS[form], body, {"Authorization": f"API {key}", "Content-Type": "text/plain"})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                raise RuntimeError(content)
            return content

        return asked

    wait_for(port)
    found = found_of(exclusions, column, "declared")[0]
    assert ask("bits")() == np.packbits(found, bitorder="little").tobytes()
    ways: dict[str, Callable[[], object]] = {
        "list asked in process": lambda: exclusions.lookup_urls(column),
        "bits made in process": lambda: answer_bitmap(exclusions, body, "declared"),
        "JSON made in process": lambda: answer_json(exclusions, exclusions.grants, body, "declared"),
        "bits over HTTP": ask("bits"),
        "JSON over HTTP": ask("json"),
    }
    wall: dict[str, list[float]] = {name: [] for name in ways}
    used: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, way in ways.items():
            before, started = processor_s(pid), time.perf_counter()
            for _ in range(arguments.repeat):
                way()
            wall[name].append(time.perf_counter() - started)
            used[name].append(processor_s(pid) - before)
    n = arguments.lines * arguments.repeat
    base = statistics.median(wall["list asked in process"])
    print(
        f"{arguments.entries:,} addresses, {arguments.hosts:,} hosts, {arguments.lines:,} lines a question, "
        f"{len(body) / arguments.lines:.0f} bytes each, {100 * found.mean():.1f} % opted out"
    )
    for name in ways:
        seconds = statistics.median(wall[name])
        line = f"{name:24} {n / seconds / 1e6:7.2f} M/s wall   {base / seconds:5.2f} of the list itself"
        if "HTTP" in name:
            total = sum(used[name])
            line += f"   {n * arguments.rounds / total / 1e6:7.2f} M/s of the server's processor"
        print(line)


if __name__ == "__main__":
    main()
