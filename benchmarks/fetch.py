"""What guard, limits and politeness cost: pictures a second from a server on loopback, beside clients without them.

    python -m benchmarks.fetch --pictures 2000 --rounds 5
    python -m benchmarks.fetch --pictures 2000 --rounds 5 --hosts 2000 --kilobytes 60

Data: one file of `--kilobytes`, served by a bare asyncio server in a process of its own under `--hosts` addresses of
127.0.0.0/8: as many hosts as pictures make a connection for each, as in a crawl. Ways, in turns, `--concurrency`
requests in the air each, connections reused:

- aiohttp: the client alone, answers read into memory;
- httpx: the same with the other client (a tenth of the pictures: it is slow);
- fetcher: `heldout.fetching.Fetcher`, guard and all limits on, loopback opened, no rest between requests;
- stage: `indexer.fetch.FetchStage` over a parquet shard with the URLs, rows in order.

Processor time is this process's, per picture: on a busy machine it is the steadier figure.
"""

import argparse
import asyncio
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network
from pathlib import Path
from statistics import median

import aiohttp
import httpx
import pyarrow as pa
import pyarrow.parquet as pq

from heldout.addresses import AddressGuard
from heldout.fetching import Fetcher, FetchLimits
from indexer.fetch import FetchOptions, FetchStage
from indexer.planning import plan
from indexer.readers import open_shard


def address_of(host: int) -> str:
    """Address of a host by its number."""
    return f"127.{host // 62_500}.{host // 250 % 250}.{1 + host % 250}"


def serve(n_bytes: int, port: "multiprocessing.Queue[int]") -> None:
    """The server's process."""
    body = b"\xff\xd8" + b"x" * (n_bytes - 2)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nServer: bench\r\nX-Robots-Tag: noai\r\n"
    answer = head + b"Content-Length: %d\r\n\r\n" % len(body) + body

    class Answering(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self._transport = transport
            self._read = b""

        def data_received(self, data: bytes) -> None:
            self._read += data
            while b"\r\n\r\n" in self._read:
                _, self._read = self._read.split(b"\r\n\r\n", 1)
                self._transport.write(answer)  # type: ignore[attr-defined]

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Answering, "0.0.0.0", 0, backlog=1024)  # noqa: S104
        port.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


async def with_aiohttp(urls: Sequence[str], concurrency: int) -> int:
    """The yardstick."""
    left, n_bytes = iter(urls), 0
    connector = aiohttp.TCPConnector(limit=concurrency)

    async def work(session: aiohttp.ClientSession) -> None:
        nonlocal n_bytes
        for url in left:
            async with session.get(url) as response:
                body = await response.read()
                n_bytes += len(body)

    async with aiohttp.ClientSession(connector=connector) as session:
        await asyncio.gather(*(work(session) for _ in range(concurrency)))
    return n_bytes


async def with_httpx(urls: Sequence[str], concurrency: int) -> int:
    """The other client."""
    left, n_bytes = iter(urls), 0
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)

    async def work(client: httpx.AsyncClient) -> None:
        nonlocal n_bytes
        for url in left:
            body = (await client.get(url)).content
            n_bytes += len(body)

    async with httpx.AsyncClient(limits=limits, trust_env=False) as client:
        await asyncio.gather(*(work(client) for _ in range(concurrency)))
    return n_bytes


def limits_for(concurrency: int) -> FetchLimits:
    """All limits, but no rest between two requests to a host."""
    return FetchLimits(concurrency=concurrency, per_host=concurrency, min_host_interval_s=0.0)


async def with_fetcher(urls: Sequence[str], concurrency: int) -> int:
    """Ours."""
    left, n_bytes = iter(urls), 0
    guard = AddressGuard(allow=[IPv4Network("127.0.0.0/8")])

    async def work(fetcher: Fetcher) -> None:
        nonlocal n_bytes
        for url in left:
            fetched = await fetcher.get(url)
            assert fetched.ok, fetched
            n_bytes += len(fetched.body)

    async with Fetcher(guard=guard, limits=limits_for(concurrency)) as fetcher:
        await asyncio.gather(*(work(fetcher) for _ in range(concurrency)))
    return n_bytes


def with_stage(urls: Sequence[str], concurrency: int) -> int:
    """Ours, with rows in order."""
    with tempfile.TemporaryDirectory() as folder:
        shard = Path(folder) / "0.parquet"
        pq.write_table(pa.table({"url": urls, "caption": ["a caption"] * len(urls)}), shard)
        options = FetchOptions(limits_for(concurrency), allow=("127.0.0.0/8",))
        with FetchStage(options) as stage:
            batches = stage.batches(open_shard(plan([shard]).shards[0]).batches())
            return sum(len(picture or b"") for batch in batches for picture in batch.pictures)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--kilobytes", type=int, default=50)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hosts", type=int, default=64)
    arguments = parser.parse_args()
    n_bytes, concurrency = arguments.kilobytes * 1000, arguments.concurrency
    ports: multiprocessing.Queue[int] = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(n_bytes, ports), daemon=True)
    server.start()
    port = ports.get()
    urls = [f"http://{address_of(n % arguments.hosts)}:{port}/{n}.jpg" for n in range(arguments.pictures)]
    ways: dict[str, tuple[int, Callable[[list[str]], int]]] = {
        "aiohttp": (1, lambda some: asyncio.run(with_aiohttp(some, concurrency))),
        "httpx": (10, lambda some: asyncio.run(with_httpx(some, concurrency))),
        "fetcher": (1, lambda some: asyncio.run(with_fetcher(some, concurrency))),
        "stage": (1, lambda some: with_stage(some, concurrency)),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, (part, way) in ways.items():
            some = urls[: len(urls) // part]
            began, used = time.perf_counter(), time.process_time()
            assert way(some) == len(some) * n_bytes
            rates[name].append(len(some) / (time.perf_counter() - began))
            processor[name].append((time.process_time() - used) / len(some) * 1e6)
    server.terminate()
    print(f"{'way':8}  pictures/s  over aiohttp  us of processor  over aiohttp")
    for name in ways:
        ratio = median(mine / base for mine, base in zip(rates[name], rates["aiohttp"], strict=True))
        cost = median(mine / base for mine, base in zip(processor[name], processor["aiohttp"], strict=True))
        print(f"{name:8}  {median(rates[name]):10,.0f}  {ratio:12.2f}  {median(processor[name]):15,.0f}  {cost:12.2f}")


if __name__ == "__main__":
    main()
