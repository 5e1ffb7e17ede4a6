"""Turns of query pictures: few at a time, a bounded line, and threads left for everybody else."""

import asyncio
import threading

import pytest
from starlette.concurrency import run_in_threadpool

from heldout.errors import UnavailableError
from search.turns import AT_ONCE, MAX_WAITING, in_turn


def test_a_burst_of_pictures_leaves_threads_to_others_and_is_cut_off() -> None:
    go, began, lock = threading.Event(), threading.Semaphore(0), threading.Lock()
    running = most = 0

    def work() -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        began.release()
        go.wait(30)
        with lock:
            running -= 1
        return "done"

    async def burst() -> list[str]:
        pictures = [asyncio.create_task(in_turn(work)) for _ in range(AT_ONCE + MAX_WAITING)]
        await asyncio.sleep(0)
        for _ in range(AT_ONCE):
            await run_in_threadpool(began.acquire)
        assert await run_in_threadpool(lambda: "a word") == "a word"
        with pytest.raises(UnavailableError, match="try again"):
            await in_turn(work)
        go.set()
        return await asyncio.gather(*pictures)

    assert asyncio.run(burst()) == ["done"] * (AT_ONCE + MAX_WAITING)
    assert most == AT_ONCE


def test_what_goes_wrong_in_a_turn_is_told_and_frees_it() -> None:
    async def ask() -> int:
        for _ in range(2 * AT_ONCE):
            with pytest.raises(ValueError, match="invalid literal"):
                await in_turn(lambda: int("x"))
        return await in_turn(lambda: 1)

    assert asyncio.run(ask()) == 1
