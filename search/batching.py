"""Concurrent queries embedded together: one run of the model for all that wait, no waiting when nobody else does.

There is no thread of its own and no timer. The first caller runs the model at once, for itself alone. Whoever comes
while all lanes are busy waits in line; when a run ends, the first in line runs the model for everybody there. So a
single query pays a lock and nothing else, and the busier the service, the larger the batches. The line is bounded:
beyond it a caller is turned away at once rather than kept until her browser gives up.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from heldout.errors import UnavailableError
from search.query_encoder import QueryEncoder

MAX_BATCH: Final = 16
"""Queries of one run: the last of a larger batch would wait for work that is not hers."""
MAX_WAITING: Final = 32
"""Queries in line, for texts and for pictures."""

T = TypeVar("T")
Row = npt.NDArray[np.float32]


@dataclass
class _Ticket(Generic[T]):
    item: T
    turn: threading.Event = field(default_factory=threading.Event)
    """Set when `outcome` is there, or when it is this caller's turn to run the model."""
    outcome: Row | Exception | None = None


class Batcher(Generic[T]):
    """Gives each of many threads the row of its item, computed with those of others. Fit for many threads."""

    def __init__(
        self,
        run: Callable[[Sequence[T]], Row],
        *,
        lanes: int = 1,
        max_batch: int = MAX_BATCH,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        """Batch calls of `run`, which maps n items to n rows; at most `lanes` of them go on at once."""
        self._run = run
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._lock = threading.Lock()
        self._line: deque[_Ticket[T]] = deque()  # under _lock; empty whenever a lane is free
        self._free = lanes  # under _lock

    def row(self, item: T) -> Row:
        """The row of one item.

        Raises:
            UnavailableError: too many are waiting already.
            Exception: what `run` raises for this item alone.
        """
        ticket = _Ticket(item)
        with self._lock:
            leads = self._free > 0
            if leads:
                self._free -= 1
            elif len(self._line) >= self._max_waiting:
                raise UnavailableError(f"{len(self._line)} queries are waiting to be embedded: try again in a moment")
            else:
                self._line.append(ticket)
        if not leads:
            ticket.turn.wait()
        if ticket.outcome is None:
            self._lead(ticket)
        return _row_of(ticket)

    def _lead(self, own: _Ticket[T]) -> None:
        """Run the model for this caller and the first in line, and pass the lane on to the next."""
        with self._lock:
            batch = [own, *(self._line.popleft() for _ in range(min(self._max_batch - 1, len(self._line))))]
        try:
            self._fill(batch)
        finally:
            for ticket in batch:
                if ticket.outcome is None:
                    ticket.outcome = RuntimeError("the run of the model was broken off")
                ticket.turn.set()
            with self._lock:
                if self._line:
                    self._line.popleft().turn.set()
                else:
                    self._free += 1

    def _fill(self, batch: Sequence[_Ticket[T]]) -> None:
        try:
            rows = self._run([ticket.item for ticket in batch])
        except Exception as error:  # noqa: BLE001 - it is raised again, in the thread whose item it is
            if len(batch) == 1:
                batch[0].outcome = error
                return
            for ticket in batch:  # one item's failure is not the others'
                self._fill([ticket])
            return
        for ticket, row in zip(batch, rows, strict=True):
            ticket.outcome = row


def _row_of(ticket: _Ticket[T]) -> Row:
    if isinstance(ticket.outcome, np.ndarray):
        return ticket.outcome
    raise ticket.outcome or RuntimeError("the run of the model was broken off")


class BatchingEncoder:
    """An encoder whose single queries, from many threads, are embedded in batches. See `indexer.encoder.Encoder`."""

    def __init__(self, encoder: QueryEncoder, *, lanes: int = 1) -> None:
        self._encoder = encoder
        self._texts: Batcher[str] = Batcher(encoder.embed_texts, lanes=lanes)
        self._images: Batcher[Image.Image] = Batcher(encoder.embed_images, lanes=lanes)

    @property
    def tag(self) -> str:
        """As `Encoder.tag`."""
        return self._encoder.tag

    @property
    def d(self) -> int:
        """As `Encoder.d`."""
        return self._encoder.d

    def embed_images(self, images: Sequence[Image.Image]) -> Row:
        """As `Encoder.embed_images`; raises UnavailableError besides, when too many are waiting."""
        if len(images) != 1:
            return self._encoder.embed_images(images)
        return self._images.row(images[0])[np.newaxis]

    def embed_texts(self, texts: Sequence[str]) -> Row:
        """As `Encoder.embed_texts`; raises UnavailableError besides, when too many are waiting."""
        if len(texts) != 1:
            return self._encoder.embed_texts(texts)
        return self._texts.row(texts[0])[np.newaxis]
