"""The generations that are open, and how a new one takes an old one's place under running requests.

A request takes a lease: an immutable snapshot of every data set's generations, which stay open until the lease ends.
`refresh` builds a new snapshot beside the old one and swaps a reference. The generation that was current before the
present one stays open for a while, so that a visitor who is turning pages at the swap gets the rest of her answer.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import faiss

from heldout.errors import ConflictError, HeldoutError, NotFoundError
from indexer.generation import Generation, current_generation
from search.query_encoder import QueryEncoder

PREVIOUS_KEPT_S: Final = 900.0
"""How long a replaced generation goes on answering further pages, from the refresh that replaced it."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """The generations of one moment."""

    current: Mapping[str, Generation] = field(default_factory=dict)
    """By data set, in the order of names."""
    previous: Mapping[str, Generation] = field(default_factory=dict)

    def generations(self) -> list[Generation]:
        """All that are open."""
        return [*self.current.values(), *self.previous.values()]

    def select(self, datasets: list[str] | None) -> dict[str, Generation]:
        """Current generations of the data sets named, or of all.

        Raises:
            NotFoundError: a data set is not here.
        """
        if datasets is None:
            return dict(self.current)
        return {name: self._named(name) for name in sorted(set(datasets))}

    def at(self, numbers: Mapping[str, int]) -> dict[str, Generation]:
        """The generations of these numbers.

        Raises:
            ConflictError: one of them has been replaced and let go of.
            NotFoundError: a data set is not here.
        """
        out = {}
        for name, number in sorted(numbers.items()):
            open_ones = [self._named(name)] + [old for key, old in self.previous.items() if key == name]
            fitting = [generation for generation in open_ones if generation.number == number]
            if not fitting:
                raise ConflictError(
                    f"the index of {name} was rebuilt since the first page (generation {number}, now "
                    f"{open_ones[0].number}): search again from the first page"
                )
            out[name] = fitting[0]
        return out

    def _named(self, name: str) -> Generation:
        if name not in self.current:
            known = ", ".join(self.current) or "none yet"
            raise NotFoundError(f"there is no data set {name[:100]!r} here: choose among {known}")
        return self.current[name]


class Releases:
    """Opens the finished generations below one folder of releases, and swaps them. Fit for many threads."""

    def __init__(
        self,
        datasets_dir: Path,
        encoder: QueryEncoder,
        *,
        warm: Callable[[Generation], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Look below `datasets_dir`; `warm` is called with each generation before requests see it."""
        self._dir = datasets_dir
        self._warm = warm
        self._encoder = encoder
        self._clock = clock
        self._replaced_at: dict[str, float] = {}  # data set -> when its previous generation was; under _refreshing
        self._refused: dict[str, str] = {}  # data set -> why its newest generation was; under _refreshing
        self._snapshot = Snapshot()  # replaced whole, under _lock
        self._users: Counter[int] = Counter()  # id(generation) -> leases that hold it, under _lock
        self._retired: list[Generation] = []  # out of the snapshot, closed when unused; under _lock
        self._lock = threading.Lock()
        self._refreshing = threading.Lock()  # one refresh at a time; requests do not wait for it

    @contextmanager
    def lease(self) -> Iterator[Snapshot]:
        """The snapshot of this moment; its generations stay open inside the block.

        FAISS computes on the calling thread alone from here on: a request has one core, and scale comes from threads
        and processes. (With OpenMP's default, each of many small look-ups waits for all cores.)
        """
        faiss.omp_set_num_threads(1)
        with self._lock:
            snapshot = self._snapshot
            held = [id(generation) for generation in snapshot.generations()]
            self._users.update(held)
        try:
            yield snapshot
        finally:
            with self._lock:
                self._users.subtract(held)
                self._close_unused()

    def refresh(self) -> dict[str, HeldoutError]:
        """Open what `CURRENT` names where that is new; drop data sets whose release is gone.

        Reads one small file per data set when nothing changed. Replaced generations whose time is over are let go of. A
        generation that cannot be opened or that another encoder made is refused, and logged once for as long as the
        reason stays the same: the data set stays as it was.

        Returns:
            Data set -> why its newest generation was refused.
        """
        with self._refreshing:
            before = self._snapshot
            current: dict[str, Generation] = {}
            previous: dict[str, Generation] = {}
            refused: dict[str, HeldoutError] = {}
            for release in self._found():
                name = release.name
                known = before.current.get(name)
                try:
                    opened = self._newer(release, known)
                except HeldoutError as error:
                    refused[name] = error
                    opened = None
                    if self._refused.get(name) != str(error):  # a refresh every few seconds says it once
                        _log.warning("generation_refused", extra={"dataset": name, "reason": str(error)})
                if opened is not None:
                    current[name] = opened
                    if known is not None:
                        previous[name] = known
                        self._replaced_at[name] = self._clock()
                    _log.info("generation_opened", extra={"dataset": name, "generation": opened.number})
                elif known is not None:
                    current[name] = known
                    if name in before.previous and self._clock() < self._replaced_at[name] + PREVIOUS_KEPT_S:
                        previous[name] = before.previous[name]
            self._refused = {name: str(error) for name, error in refused.items()}
            self._swap(Snapshot(current, previous))
            return refused

    def close(self) -> None:
        """Close what no request uses; the rest closes as its requests end."""
        with self._refreshing:
            self._swap(Snapshot())

    def _found(self) -> list[Path]:
        try:
            return sorted(path.parent for path in self._dir.glob("*/CURRENT"))
        except OSError as error:
            raise NotFoundError(f"{self._dir} cannot be read ({error}): name the folder of built data sets") from error

    def _newer(self, release: Path, known: Generation | None) -> Generation | None:
        number = current_generation(release)
        if known is not None and known.number == number:
            return None
        opened = Generation.open(release, number)
        if opened.dataset != release.name:
            opened.close()
            raise ConflictError(f"the index in {release} was built as {opened.dataset}: build it again under its name")
        if (opened.model_tag, opened.d) != (self._encoder.tag, self._encoder.d):
            opened.close()
            raise ConflictError(
                f"generation {number} of {release.name} was made with {opened.model_tag} (d={opened.d}), but queries "
                f"are embedded with {self._encoder.tag} (d={self._encoder.d}): serve it with its own model, or "
                f"ingest and build it again with this one"
            )
        if self._warm is not None:
            self._warm(opened)
        return opened

    def _swap(self, snapshot: Snapshot) -> None:
        with self._lock:
            kept = {id(generation) for generation in snapshot.generations()}
            self._retired += [old for old in self._snapshot.generations() if id(old) not in kept]
            self._snapshot = snapshot
            self._close_unused()

    def _close_unused(self) -> None:
        in_use = [old for old in self._retired if self._users[id(old)] > 0]
        for old in self._retired:
            if self._users[id(old)] <= 0:
                del self._users[id(old)]
                old.close()
        self._retired = in_use
