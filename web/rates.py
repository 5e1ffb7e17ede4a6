"""How much somebody without a key may ask: so many questions a minute for each network address, counted in memory.

An allowance fills up steadily. Whoever has some left is answered, even if that takes more than was left: what is owed
must fill up first. So no request is too large by itself, and on average nobody gets more than their share. Each process
counts for itself; nothing is stored, and what stands for an address says nothing by itself (`web.visitors`).
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from math import ceil
from typing import Final

MAX_REMEMBERED: Final = 100_000
"""Addresses remembered: those that asked last."""


class Allowances:
    """Of everybody who asks. Thread-safe."""

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Allow `per_minute` questions, of which as many may be asked at once."""
        self._per_minute = per_minute
        self._clock = clock
        self._lock = threading.Lock()
        self._left: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def take(self, client: bytes, n: int) -> int:
        """Take n questions: 0, or the seconds after which to ask again; then nothing was taken."""
        with self._lock:
            now = self._clock()
            left, at = self._left.pop(client, (float(self._per_minute), now))
            left = min(float(self._per_minute), left + (now - at) * self._per_minute / 60)
            wait = 0 if left > 0 else ceil((1 - left) * 60 / self._per_minute)
            self._left[client] = (left if wait else left - n, now)
            if len(self._left) > MAX_REMEMBERED:
                self._left.popitem(last=False)
            return wait
