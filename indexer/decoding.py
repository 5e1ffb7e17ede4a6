"""Pictures looked at in processes of their own, which write the encoder's input into memory that all of them share.

Pixels are most of what would travel back, and never do: a *block* of shared memory holds the input of one forward pass,
one slot a picture. There are as many blocks as may be under way at once, so memory does not grow.

A process that dies (a decoder's fault, the kernel short of memory, an operator) is replaced, and what it was given is
done again. A picture that ends its process alone, twice, is damaged; a pool that dies more than `MAX_RENEWALS`
times before it has done one task ends the run.
"""

import hashlib
import multiprocessing
import multiprocessing.process
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from ctypes import Array, c_ubyte
from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from heldout.errors import UnavailableError
from indexer.fingerprint import Looked, look
from indexer.preprocess import Preprocess

CHUNK: Final = 8
"""Pictures of one task: enough to outweigh handing it over, few enough that all processes end together."""
MAX_RENEWALS: Final = 6


class Picture(NamedTuple):
    """A picture's file, and the name messages have for it."""

    name: str
    data: bytes


class Task(Protocol):
    """Pictures being looked at."""

    def result(self) -> list[Looked]:
        """What was found in each, when it is; their input is then in the block.

        Raises:
            UnavailableError: the processes die again and again.
        """
        ...


class Decoders(Protocol):
    """Where pictures are looked at."""

    blocks: "Blocks"

    def submit(self, pictures: Sequence[Picture], block: int, first: int) -> Task:
        """Have pictures looked at; their input goes to slots `first`, `first + 1`, ... of `block`."""
        ...


class Blocks:
    """Blocks of slots for fitted pictures; taken by one owner at a time."""

    def __init__(self, pixels: npt.NDArray[np.uint8]) -> None:
        """`pixels` is (blocks, slots, height, width, 3)."""
        self.pixels = pixels
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for block in range(len(pixels)):
            self._free.put(block)

    def take(self) -> int:
        """A block that nobody has; waits for one."""
        return self._free.get()

    def give_back(self, block: int) -> None:
        """Let others have it."""
        self._free.put(block)


@contextmanager
def open_decoders(
    workers: int, preprocess: Preprocess, *, n_blocks: int, n_slots: int, max_renewals: int = MAX_RENEWALS
) -> Iterator[Decoders]:
    """Decoders in `workers` processes, or in the calling thread for 0."""
    shape = (n_blocks, n_slots, *preprocess.size, 3)
    if workers == 0:
        yield _Inline(preprocess, Blocks(np.empty(shape, np.uint8)))
        return
    pool = _Pool(workers, preprocess, shape, max_renewals)
    try:
        yield pool
    finally:
        pool.close()


class _Done(NamedTuple):
    looked: list[Looked]

    def result(self) -> list[Looked]:
        return self.looked


class _Inline:
    def __init__(self, preprocess: Preprocess, blocks: Blocks) -> None:
        self._preprocess = preprocess
        self.blocks = blocks

    def submit(self, pictures: Sequence[Picture], block: int, first: int) -> Task:
        slots = self.blocks.pixels[block]
        return _Done([look(*one, self._preprocess, slots[first + i]) for i, one in enumerate(pictures)])


class _Pool:
    def __init__(self, workers: int, preprocess: Preprocess, shape: tuple[int, ...], max_renewals: int) -> None:
        self._workers = workers
        self._max_renewals = max_renewals
        # Spawned, not forked: the encoder's threads do not survive a fork.
        self._context = multiprocessing.get_context("spawn")
        # A file without a name, mapped: gone with its last process, however that ends.
        memory = self._context.RawArray(c_ubyte, int(np.prod(shape)))
        self._arguments = (memory, shape, preprocess)
        self.blocks = Blocks(_as_pixels(memory, shape))
        self._lock = threading.Lock()
        self._executor = self._start(workers)
        self._n_vain = 0
        self._lone: ProcessPoolExecutor | None = None

    def submit(self, pictures: Sequence[Picture], block: int, first: int) -> Task:
        return _Submitted(self, pictures, block, first)

    def ask(self, pictures: Sequence[Picture], block: int, first: int) -> "Asked":
        """Hand pictures to the processes there are now."""
        with self._lock:
            while True:
                try:
                    return Asked(self._executor, _hand_over(self._executor, pictures, block, first))
                except BrokenProcessPool:  # found broken by handing it a task
                    self._renew()

    def wait(self, asked: "Asked") -> list[Looked] | None:
        """The answer; None if the processes died. Others are there then, and of the old none is alive."""
        try:
            looked = asked.answer.result()
        except BrokenProcessPool:
            with self._lock:
                if self._executor is asked.processes:  # else somebody else noticed first
                    self._renew()
            return None
        self._n_vain = 0
        return looked

    def ask_alone(self, picture: Picture, block: int, slot: int) -> Looked:
        """Look at one picture in a process that does nothing else, twice if need be."""
        with self._lock:
            for _ in range(2):
                self._lone = self._lone or self._start(1)
                try:
                    return _hand_over(self._lone, [picture], block, slot).result()[0]
                except BrokenProcessPool:
                    self._lone.shutdown()
                    self._lone = None
        reason = f"{picture.name} ends the process that decodes it: give another copy"
        return Looked(hashlib.sha256(picture.data).digest(), reason=reason)

    def close(self) -> None:
        """End all processes; what they had not begun is not done."""
        for executor in filter(None, (self._executor, self._lone)):
            executor.shutdown(cancel_futures=True)

    def _renew(self) -> None:
        self._n_vain += 1
        if self._n_vain > self._max_renewals:
            raise UnavailableError(
                "decoding processes die again and again, most likely for want of memory: run again with fewer "
                "--workers; finished shards are kept"
            )
        self._executor.shutdown()
        self._executor = self._start(self._workers)

    def _start(self, workers: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            workers, mp_context=self._context, initializer=_begin_process, initargs=self._arguments
        )


class Asked(NamedTuple):
    """A task handed to processes."""

    processes: ProcessPoolExecutor
    answer: "Future[list[Looked]]"


def _hand_over(
    processes: ProcessPoolExecutor, pictures: Sequence[Picture], block: int, first: int
) -> "Future[list[Looked]]":
    """Give processes a task.

    Raises:
        BrokenProcessPool: one of them died.
    """
    try:
        return processes.submit(_look_all, pictures, block, first)
    except OSError as error:
        if error.errno is not None:  # the system's own: no memory, no process to be had
            raise
        # The executor's thread found a process dead and closed its pipes, while this one was starting another.
        raise BrokenProcessPool("a process died while another was started") from error


class _Submitted:
    """A task of the pool, done again in other processes when its own die."""

    def __init__(self, pool: _Pool, pictures: Sequence[Picture], block: int, first: int) -> None:
        self._pool = pool
        self._what = (pictures, block, first)
        self._asked = pool.ask(*self._what)

    def result(self) -> list[Looked]:
        looked = self._pool.wait(self._asked)
        if looked is None:
            looked = self._pool.wait(self._pool.ask(*self._what))
        if looked is None:  # one of these pictures, or of others beside them, ends its process
            pictures, block, first = self._what
            looked = [self._pool.ask_alone(one, block, first + i) for i, one in enumerate(pictures)]
        return looked


_LookAt = Callable[[Picture, int, int], Looked]
_look_at: _LookAt | None = None
"""Of a decoding process; set when it begins."""


def _begin_process(memory: "Array[c_ubyte]", shape: tuple[int, ...], preprocess: Preprocess) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes: the run ends its own
    global _look_at  # noqa: PLW0603 - what a pool's process keeps between tasks has nowhere else to be
    pixels = _as_pixels(memory, shape)
    _look_at = lambda picture, block, slot: look(*picture, preprocess, pixels[block, slot])  # noqa: E731
    _die_with_parent()


def _look_all(pictures: Sequence[Picture], block: int, first: int) -> list[Looked]:
    if _look_at is None:
        raise AssertionError("this is no decoding process")
    return [_look_at(picture, block, first + i) for i, picture in enumerate(pictures)]


def _as_pixels(memory: "Array[c_ubyte]", shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    return np.ctypeslib.as_array(memory).reshape(shape)


def _die_with_parent() -> None:
    """End this process when the one that started it is killed; a pool's idle processes would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent,), daemon=True).start()


def _exit_after(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
