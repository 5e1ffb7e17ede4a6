"""Queries of many threads embedded together: each gets its own row, nobody waits for nothing, the line is bounded."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest

from heldout.errors import InputError, UnavailableError
from search.batching import Batcher, BatchingEncoder


class Model:
    """Doubles numbers, notes its batches, and holds each run until it is let go."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.began = threading.Semaphore(0)
        self.go = threading.Semaphore(0)

    def __call__(self, items: Sequence[int]) -> npt.NDArray[np.float32]:
        self.batches.append(list(items))
        self.began.release()
        assert self.go.acquire(timeout=30)
        if -1 in items:
            raise InputError("no")
        return np.array([[2 * item] for item in items], dtype=np.float32)


def wait_for(batcher: Batcher[int], n: int) -> None:
    """Until n are in line."""
    while len(batcher._line) < n:
        threading.Event().wait(0.002)


@pytest.fixture
def model() -> Model:
    return Model()


def test_one_query_alone_is_run_at_once_and_alone(model: Model) -> None:
    batcher = Batcher(model)
    model.go.release()
    assert batcher.row(4).tolist() == [8]
    assert model.batches == [[4]]


def test_those_who_come_during_a_run_share_the_next(model: Model) -> None:
    batcher = Batcher(model, max_batch=4)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(batcher.row, 0)
        assert model.began.acquire(timeout=30)
        others = []
        for item in range(1, 7):
            others.append(pool.submit(batcher.row, item))
            wait_for(batcher, item)
        model.go.release(10)
        assert [each.result(30).tolist() for each in (first, *others)] == [[2 * item] for item in range(7)]
    assert model.batches == [[0], [1, 2, 3, 4], [5, 6]]
    model.go.release()
    assert batcher.row(9).tolist() == [18], "the lane is free again"


def test_lanes_run_side_by_side(model: Model) -> None:
    batcher = Batcher(model, lanes=2)
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(batcher.row, item) for item in (1, 2)]
        assert model.began.acquire(timeout=30)
        assert model.began.acquire(timeout=30)
        model.go.release(2)
        assert [each.result(30).tolist() for each in both] == [[2], [4]]


def test_one_items_failure_is_its_own(model: Model) -> None:
    batcher = Batcher(model)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(batcher.row, 0)
        assert model.began.acquire(timeout=30)
        others = []
        for place, item in enumerate((1, -1, 3), start=1):
            others.append(pool.submit(batcher.row, item))
            wait_for(batcher, place)
        model.go.release(10)
        assert first.result(30).tolist() == [0]
        assert [others[0].result(30).tolist(), others[2].result(30).tolist()] == [[2], [6]]
        with pytest.raises(InputError):
            others[1].result(30)


def test_a_full_line_turns_away_at_once(model: Model) -> None:
    batcher = Batcher(model, max_waiting=2)
    with ThreadPoolExecutor(3) as pool:
        held = [pool.submit(batcher.row, 0)]
        assert model.began.acquire(timeout=30)
        for item in (1, 2):
            held.append(pool.submit(batcher.row, item))
            wait_for(batcher, item)
        with pytest.raises(UnavailableError, match="2 queries are waiting"):
            batcher.row(3)
        model.go.release(5)
        assert [each.result(30).tolist() for each in held] == [[0], [2], [4]]


def test_many_threads_get_their_own_rows() -> None:
    batcher: Batcher[int] = Batcher(lambda items: np.array([[item] for item in items], dtype=np.float32), lanes=2)
    with ThreadPoolExecutor(16) as pool:
        assert [int(row[0]) for row in pool.map(batcher.row, range(500))] == list(range(500))


def test_a_batching_encoder_embeds_as_the_one_inside(encoder: "object") -> None:
    batching = BatchingEncoder(encoder)  # type: ignore[arg-type]
    assert (batching.tag, batching.d) == ("patches/4x4", 48)
    for texts in ([], ["red"], ["red", "blue"]):
        assert np.array_equal(batching.embed_texts(texts), encoder.embed_texts(texts))  # type: ignore[attr-defined]
