"""Work on query pictures in threads, a few at a time: words and pages go on being answered while pictures wait.

A picture takes a processor for a good part of a second. Were it given any thread there is, a burst of pictures would
hold them all, and everything else would wait behind it with the pictures in memory.
"""

import os
from collections.abc import Callable
from typing import Final, TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from heldout.errors import UnavailableError

AT_ONCE: Final = 2 * (os.cpu_count() or 1)
"""Pictures worked on: some of them wait for others' run of the model."""
MAX_WAITING: Final = 32
"""Pictures in line. One more would wait longer than people do."""

T = TypeVar("T")

_turns: RunVar[CapacityLimiter] = RunVar("turns")  # of one event loop: a process has one


async def in_turn(work: Callable[[], T]) -> T:
    """What `work` gives, done in a thread when it is its turn.

    Raises:
        UnavailableError: too many are waiting already.
    """
    try:
        turns = _turns.get()
    except LookupError:
        turns = CapacityLimiter(AT_ONCE)
        _turns.set(turns)
    if turns.statistics().tasks_waiting >= MAX_WAITING:
        raise UnavailableError(f"{MAX_WAITING} pictures are waiting to be searched with: try again in a moment")
    return await to_thread.run_sync(work, limiter=turns)
