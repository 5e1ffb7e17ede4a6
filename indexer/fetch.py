"""The fetch stage: batches of a source that has addresses only, with the pictures those lead to.

Rows keep their order. Requests run ahead of the row that is wanted next, over batch boundaries and for several shards
at once, so that a host that makes us wait holds up no other; how far is bounded in rows and in bytes. What fails is
data: `status` is the fetcher's word, `reason` says more. The network has a thread of its own.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, wait
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import numpy as np
import pyarrow as pa

from heldout.addresses import AddressGuard
from heldout.errors import InputError
from heldout.fetching import USER_AGENT, Fetched, Fetcher, FetchLimits
from heldout.resolving import NameServerResolver
from indexer.batches import Batch
from indexer.readers import BATCH_BYTES, PICTURE_BATCH
from indexer.samples import STATUS_NOT_FETCHED, STATUS_OK

HELD_BYTES: Final = 256 * 1024 * 1024
"""Bytes of pictures that wait for the rows before them; one picture of each shard may go beyond."""
AHEAD: Final = 8
"""Rows under way for each request in the air: most wait for their host's turn."""
_LOOK_S: Final = 0.5
"""Between two looks at whether the run is to end."""

T = TypeVar("T")


@dataclass(frozen=True)
class FetchOptions:
    """What `--fetch` is told; picklable."""

    limits: FetchLimits = field(default_factory=FetchLimits)
    user_agent: str = USER_AGENT
    """Who asks, for the people who run servers."""
    allow: tuple[str, ...] = ()
    """Networks that may be asked although they are not public, such as 127.0.0.0/8."""
    refuse: tuple[str, ...] = ()
    """Networks that are never asked."""
    name_server: str | None = None
    """`address` or `address:port`; the system's resolver where it is not given."""
    held_bytes: int = HELD_BYTES

    def make_fetcher(self) -> Fetcher:
        """A fetcher as told.

        Raises:
            InputError: a network or the name server cannot be read.
        """
        guard = AddressGuard(allow=map(_network, self.allow), refuse=map(_network, self.refuse))
        resolver = None if self.name_server is None else NameServerResolver(self.name_server)
        return Fetcher(guard=guard, limits=self.limits, user_agent=self.user_agent, resolver=resolver)


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise InputError(
            f"{text!r} is no network ({error}): give an IP address, or one with a length, as 127.0.0.0/8"
        ) from error


class FetchStage:
    """Fetches for any number of shards, from any thread; a context manager.

    Raises:
        InputError: the options make no sense.
    """

    def __init__(self, options: FetchOptions) -> None:
        self._fetcher = options.make_fetcher()
        self._options = options
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fetch", daemon=True)
        self._stack = AsyncExitStack()
        self._space = _Space(options.held_bytes)

    def __enter__(self) -> Self:
        self._thread.start()
        self._submit(self._stack.enter_async_context(self._fetcher)).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._submit(self._stack.aclose()).result()
        self._submit(self._loop.shutdown_default_executor()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _submit(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def batches(self, source: Iterator[Batch], check: Callable[[], None] = lambda: None) -> Iterator[Batch]:
        """The rows of `source` with pictures where a URL led to one; batches of at most `PICTURE_BATCH` rows.

        Close it when it is not read to its end.

        Args:
            source: Read in another thread, one batch at a time.
            check: Called while waiting; what it raises ends the wait.

        Raises:
            InputError: as the source does, after the rows before it.
        """
        flow = _Flow(self._fetcher, self._space, source, AHEAD * self._options.limits.concurrency)
        self._submit(flow.start()).result()
        try:
            while (batch := self._wait(self._submit(flow.next()), check)) is not None:
                yield batch
        finally:
            self._submit(flow.close()).result()

    def _wait(self, result: "Future[T]", check: Callable[[], None]) -> T:
        try:
            while True:
                check()
                if wait([result], _LOOK_S).done:
                    return result.result()
        finally:
            result.cancel()


class NoRoomError(Exception):
    """A picture would take up bytes that others have."""


class _Space:
    """Bytes that pictures take up while they wait.

    Fetches begin while half of it is free, and one that outgrows the rest ends and begins again later: waiting half-way
    would keep its place, which the row that is wanted next may need. That row always gets what it asks for.
    """

    def __init__(self, n_bytes: int) -> None:
        self._n_bytes = n_bytes
        self._held = 0
        self._changed = asyncio.Condition()

    async def wait(self, is_first: Callable[[], bool]) -> None:
        """Until a fetch may begin."""
        if self._held > self._n_bytes // 2:
            async with self._changed:
                await self._changed.wait_for(lambda: self._held <= self._n_bytes // 2 or is_first())

    def take(self, n_bytes: int, *, is_first: bool) -> None:
        if self._held + n_bytes > self._n_bytes and not is_first:
            raise NoRoomError
        self._held += n_bytes

    def give(self, n_bytes: int) -> None:
        """To be followed by `tell`."""
        self._held -= n_bytes

    async def tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


class _Room:
    """A row's part of the space; the fetcher's `Room`."""

    def __init__(self, flow: "_Flow", number: int) -> None:
        self._flow = flow
        self._number = number
        self._held = 0

    def is_first(self) -> bool:
        return self._number == self._flow.first

    def grow(self, n_bytes: int) -> None:
        self._flow.space.take(n_bytes, is_first=self.is_first())
        self._held += n_bytes

    def clear(self) -> None:
        self._flow.space.give(self._held)
        self._held = 0


@dataclass
class _Place:
    """A row in line, with its fetch; a whole batch where nothing of it is to be fetched."""

    batch: Batch
    row: int | None = None
    room: _Room | None = None
    task: "asyncio.Task[Fetched] | None" = None


@dataclass(frozen=True)
class _End:
    """Behind the last row."""

    error: Exception | None = None


class _Flow:
    """One shard's rows on their way, in one event loop."""

    def __init__(self, fetcher: Fetcher, space: _Space, source: Iterator[Batch], ahead: int) -> None:
        self.space = space
        self.first = 0
        """Number of the row that is wanted next."""
        self._fetcher = fetcher
        self._source = source
        self._line: asyncio.Queue[_Place | _End] = asyncio.Queue(ahead)
        self._taken: _Place | _End | None = None
        """Out of the line, and of another batch than the rows before it."""
        self._under_way: set[asyncio.Task[Fetched]] = set()
        self._feeder: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._feeder = asyncio.create_task(self._feed())

    async def _feed(self) -> None:
        number = 0
        try:
            while (batch := await asyncio.to_thread(next, self._source, None)) is not None:
                wanted = _wanted(batch)
                if not wanted:
                    await self._line.put(_Place(batch))
                    continue
                for row in range(len(batch.table)):
                    place = _Place(batch, row)
                    if (url := wanted.get(row)) is not None:
                        place.room = _Room(self, number)
                        place.task = asyncio.create_task(self._fetch(url, place.room))
                        self._under_way.add(place.task)
                        place.task.add_done_callback(self._under_way.discard)
                    number += 1
                    await self._line.put(place)
            await self._line.put(_End())
        except Exception as error:  # noqa: BLE001 - handed on to where it is raised
            await self._line.put(_End(error))

    async def _fetch(self, url: str, room: _Room) -> Fetched:
        while True:
            await self.space.wait(room.is_first)
            try:
                return await self._fetcher.get(url, room=room)
            except NoRoomError:
                room.clear()
                await self.space.tell()

    async def next(self) -> Batch | None:
        """The next rows, or None at the end."""
        places: list[_Place] = []
        found: list[Fetched | None] = []
        n_bytes = 0
        while len(places) < PICTURE_BATCH and n_bytes < BATCH_BYTES:
            place = self._taken if self._taken is not None else await self._line.get()
            self._taken = None
            if isinstance(place, _End) or (places and place.batch is not places[0].batch):
                self._taken = place
                break
            if place.row is None:
                return place.batch
            fetched = None if place.task is None else await place.task
            places.append(place)
            found.append(fetched)
            n_bytes += 0 if fetched is None else len(fetched.body)
            self.first += 1
            await self.space.tell()
        if not places:
            if isinstance(self._taken, _End) and self._taken.error is not None:
                raise self._taken.error
            return None
        for place in places:
            if place.room is not None:
                place.room.clear()  # the caller has them now
        await self.space.tell()
        return _fill(places, found)

    def _end(self) -> None:
        if isinstance(self._taken, BaseException):
            raise self._taken

    async def close(self) -> None:
        tasks: set[asyncio.Task[Any]] = {*self._under_way} | ({self._feeder} if self._feeder else set())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _wanted(batch: Batch) -> dict[int, str]:
    """Rows to be fetched, with their URLs."""
    columns = zip(batch.table["status"].to_pylist(), batch.table["url"].to_pylist(), strict=True)
    return {row: url for row, (status, url) in enumerate(columns) if status == STATUS_NOT_FETCHED and url is not None}


def _fill(places: list[_Place], found: list[Fetched | None]) -> Batch:
    """Rows of one batch with what was found."""
    batch, start = places[0].batch, places[0].row or 0
    n = len(places)
    table = batch.table.slice(start, n)
    statuses, reasons = table["status"].to_pylist(), table["reason"].to_pylist()
    signals: list[list[str] | None] = table["signals"].to_pylist()
    pictures = batch.pictures[start : start + n]
    for row, fetched in enumerate(found):
        if fetched is None:
            continue
        statuses[row] = STATUS_OK if fetched.ok else fetched.status
        if fetched.reason is not None:
            reasons[row] = f"{reasons[row]}; {fetched.reason}" if reasons[row] else fetched.reason
        pictures[row] = fetched.body if fetched.ok else None
        # A server that was not reached has sent no signals, nor said that it has none.
        signals[row] = None if fetched.http_status is None else list(fetched.signals)
    for name, values in (("status", statuses), ("reason", reasons), ("signals", signals)):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, pa.array(values, table.schema.field(at).type))
    if batch.embeddings is None or batch.embedded is None:
        return Batch(table, pictures, batch.kept)
    low, high = np.searchsorted(batch.embedded, [start, start + n])
    return Batch(table, pictures, batch.kept, batch.embeddings[low:high], batch.embedded[low:high] - start)
