"""The engine of several machines: an actor on each node of a Ray cluster does shards as the local engine does.

A shard is the unit of work and of repetition. The release, the sources and the model must have the same path on every
node (a shared file system; sources may also be fsspec URLs). The driver plans, locks and keeps account; actors write
shards. One that dies is replaced and its shards are done again; a shard whose actor dies `MAX_DEATHS` times is set
aside. Needs the extra `ray`.
"""

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from heldout.errors import HeldoutError, UnavailableError
from indexer.encoder import Encoder
from indexer.filesystems import is_remote
from indexer.local_engine import LANES
from indexer.outcome import Outcome
from indexer.planning import Shard
from indexer.progress import Progress
from indexer.stages import Options, ingest_shard, open_stages

MAX_DEATHS: Final = 3
POLL_S: Final = 0.5
"""Between two looks at what actors have done."""
START_S: Final = 600.0
"""Time for an actor to load its model; nothing else being under way."""

Load = Callable[[str], Encoder]
"""Loads the model in a precision."""


@contextmanager
def open_ray_engine(
    load: Load, options: Options, *, precision: str, actors: int | None = None
) -> "Iterator[RayEngine]":
    """Connect to the cluster that `RAY_ADDRESS` names, or start one on this machine; one actor loads the model.

    Args:
        load: Called once in each actor.
        options: As of the local engine; `cores` is what the nodes have.
        precision: As `--precision`; what the first actor chooses holds for all.
        actors: One a node by default, or one a GPU where nodes have some.

    Raises:
        UnavailableError: Ray is not installed, or the cluster does not answer.
    """
    ray = _import_ray()
    started = not ray.is_initialized()
    if started:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        given: dict[str, Any] = {} if os.environ.get("RAY_ADDRESS") else {"include_dashboard": False}
        try:
            ray.init(
                log_to_driver=False,
                logging_level="ERROR",
                runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, paths))}},
                **given,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UnavailableError(f"the Ray cluster does not answer ({error}): check RAY_ADDRESS") from error
    engine = None
    try:
        engine = RayEngine(ray, load, options, precision, actors)
        yield engine
    finally:
        if engine is not None:
            engine.close()
        if started:
            ray.shutdown()


class _Actor:
    """Lives on a node; holds the model and the processes that decode, for all shards it is given."""

    def __init__(self, load: Load, precision: str, options: Options) -> None:
        self._progress = _Recorded()
        self._error: HeldoutError | None = None
        try:
            self._encoder = load(precision)
        except HeldoutError as error:
            self._error = error
            return
        self._open = open_stages(self._encoder, options)
        self._stages = self._open.__enter__()

    def identify(self) -> tuple[str, str] | HeldoutError:
        """The model's tag and precision, or why it cannot be loaded."""
        return self._error or (self._encoder.tag, self._encoder.precision)

    def ingest(self, shard: Shard, release: Path) -> Outcome | Exception:
        """As `ingest_shard`; what ends the run is returned, for it is to arrive as what it is."""
        try:
            return ingest_shard(shard, release, self._stages, self._progress)
        except (UnavailableError, OSError) as error:
            return error

    def events(self) -> list[tuple[str, str, int]]:
        """Progress since the last call."""
        return self._progress.take()


class _Recorded:
    """A `Progress` that keeps what it is told until it is asked."""

    def __init__(self) -> None:
        self._events: deque[tuple[str, str, int]] = deque()

    def take(self) -> list[tuple[str, str, int]]:
        return [self._events.popleft() for _ in range(len(self._events))]

    def start(self, n_shards: int) -> None:
        """The driver knows."""

    def open(self, shard: str, n_samples: int) -> None:
        self._events.append(("open", shard, n_samples))

    def advance(self, shard: str, n: int) -> None:
        self._events.append(("advance", shard, n))

    def close(self, shard: str) -> None:
        """The driver sees the outcome."""

    def stop(self) -> None:
        """The driver knows."""


@dataclass(eq=False)
class _Hand:
    """An actor as the driver sees it."""

    actor: Any
    starting: Any
    """Reference to who it is; None once it has said so."""
    shards: dict[Any, Shard] = field(default_factory=dict)
    """Reference to the outcome -> what it is doing."""
    events: Any = None
    """Reference to progress asked for."""


class RayEngine:
    """See `indexer.ingest.Engine`. Make it by `open_ray_engine`."""

    def __init__(self, ray: Any, load: Load, options: Options, precision: str, actors: int | None) -> None:  # noqa: ANN401 - untyped
        self._ray = ray
        self._load = load
        n, self._resources = _divide(ray, actors)
        self.options = replace(options, cores=self._resources["num_cpus"])
        self._precision = precision
        self._hands: list[_Hand] = [self._start()]
        self.model_tag, self.precision = self._identify(self._hands[0])
        self._precision = self.precision
        self._hands += [self._start() for _ in range(n - 1)]

    def close(self) -> None:
        """End the actors."""
        for hand in self._hands:
            self._ray.kill(hand.actor)
        self._hands.clear()

    def run(self, shards: Sequence[Shard], release: Path, progress: Progress) -> Iterator[Outcome]:
        """As `Engine.run`."""
        release = release.resolve()
        todo = deque(map(_absolute, shards))
        deaths: Counter[str] = Counter()
        heard = time.monotonic()
        while todo or any(hand.shards for hand in self._hands):
            for hand in self._hands:
                while todo and hand.starting is None and len(hand.shards) < LANES:
                    shard = todo.popleft()
                    hand.shards[hand.actor.ingest.remote(shard, release)] = shard
            ready = self._wait()
            if ready or any(hand.shards for hand in self._hands):
                heard = time.monotonic()
            elif time.monotonic() - heard > START_S:
                raise UnavailableError("no Ray actor came up: check that the cluster has free CPUs, and run again")
            for reference in ready:
                for outcome in self._take(reference, todo, deaths, progress):
                    progress.close(outcome.shard)
                    yield outcome

    def _wait(self) -> list[Any]:
        """References that are ready; asks for progress where it was not asked."""
        references = []
        for hand in self._hands:
            if hand.starting is not None:
                references.append(hand.starting)
            elif hand.shards:
                references += hand.shards
                hand.events = hand.events or hand.actor.events.remote()
        ready, _ = self._ray.wait(references, num_returns=1, timeout=POLL_S)
        asked = [hand.events for hand in self._hands if hand.events is not None]
        told = self._ray.wait(asked, num_returns=len(asked), timeout=0)[0] if asked else []
        return [*told, *ready]  # a shard's progress before its end

    def _take(
        self,
        reference: Any,  # noqa: ANN401 - untyped
        todo: deque[Shard],
        deaths: Counter[str],
        progress: Progress,
    ) -> Iterator[Outcome]:
        hand = next(
            (one for one in self._hands if reference in (one.starting, one.events) or reference in one.shards), None
        )
        if hand is None:
            return  # of an actor that was replaced meanwhile
        try:
            value = self._ray.get(reference)
        except self._ray.exceptions.RayActorError as error:
            yield from self._replace(hand, error, todo, deaths)
            return
        if reference == hand.events:
            hand.events = None
            for event, shard, n in value:
                (progress.open if event == "open" else progress.advance)(shard, n)
        elif reference == hand.starting:
            if isinstance(value, HeldoutError):
                raise value
            hand.starting = None
        else:
            del hand.shards[reference]
            if isinstance(value, Exception):
                raise value
            yield value

    def _replace(self, hand: _Hand, error: Exception, todo: deque[Shard], deaths: Counter[str]) -> Iterator[Outcome]:
        """Start another actor instead of a dead one; its shards are done again, or set aside."""
        self._hands.remove(hand)
        self._ray.kill(hand.actor)  # it may only be out of reach
        if hand.starting is not None:
            raise UnavailableError(f"a Ray actor does not start ({_said(error)}): check the nodes' model and memory")
        self._hands.append(self._start())
        for shard in hand.shards.values():
            deaths[shard.name] += 1
            if deaths[shard.name] < MAX_DEATHS:
                todo.appendleft(shard)
                continue
            said = f"{shard.source} ended {MAX_DEATHS} Ray actors ({_said(error)}): ingest it alone, on this machine"
            yield Outcome(shard.name, set_aside=said)

    def _start(self) -> _Hand:
        remote = self._ray.remote(max_concurrency=LANES + 1, **self._resources)(_Actor)
        actor = remote.options(scheduling_strategy="SPREAD").remote(self._load, self._precision, self.options)
        return _Hand(actor, actor.identify.remote())

    def _identify(self, hand: _Hand) -> tuple[str, str]:
        try:
            said = self._ray.get(hand.starting, timeout=START_S)
        except self._ray.exceptions.GetTimeoutError as error:
            raise UnavailableError("no Ray actor came up: check that the cluster has free CPUs") from error
        except self._ray.exceptions.RayActorError as error:
            raise UnavailableError(f"a Ray actor does not start: {_said(error)}") from error
        if isinstance(said, HeldoutError):
            raise said
        hand.starting = None
        tag, precision = said
        return tag, precision


def _divide(ray: Any, actors: int | None) -> tuple[int, dict[str, int]]:  # noqa: ANN401 - untyped
    """How many actors, and what each asks for."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    if not nodes:
        raise UnavailableError("the Ray cluster has no node with a CPU: add one")
    cpus = min(int(node["CPU"]) for node in nodes)
    gpus = min(int(node.get("GPU", 0)) for node in nodes)
    a_node = max(1, gpus) if actors is None else -(-actors // len(nodes))
    resources = {"num_cpus": max(1, cpus // a_node), "num_gpus": 1 if gpus else 0}
    return (a_node * len(nodes) if actors is None else actors), resources


def _absolute(shard: Shard) -> Shard:
    """The shard as processes find it that run in other folders."""
    if is_remote(shard.root):
        return shard
    files = tuple(file.absolute() if isinstance(file, Path) else file for file in shard.files)
    return replace(shard, root=str(Path(shard.root).absolute()), files=files)


def _said(error: Exception) -> str:
    """The last line of Ray's long messages that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__


def _import_ray() -> Any:  # noqa: ANN401 - a module
    try:
        import ray
    except ImportError as error:
        raise UnavailableError("Ray is not installed: pip install 'heldout[ray]', or use --engine local") from error
    return ray
