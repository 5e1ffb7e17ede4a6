"""What is kept of old versions, and for how long: enough for every reader, and no more."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from heldout.delta_files import parse_delta
from heldout.exclusion import ExclusionList
from heldout.manifest import Manifest, parse_manifest
from heldout.pull import pull
from heldout.stored import verify_published
from registry.claims import submit
from registry.db import Sessions, transaction
from registry.keys import load_keys
from registry.log import Sequencer
from registry.publish import Publisher
from registry.service import Registry
from registry.storage import FileCheckpointStore, FileStore
from tests.registry.builders import Clock, request, url
from tests.registry.failing import FailingStore, Fuse, PowerCut


class DatedStore(FileStore):
    """A store whose files are as old as the clock says."""

    def __init__(self, root: Path, clock: Clock) -> None:
        super().__init__(root)
        self._clock = clock

    def replace(self, path: str, data: bytes) -> None:
        super().replace(path, data)
        os.utime(self.root / path, (self._clock().timestamp(),) * 2)


class World:
    """A registry that publishes on a clock of its own."""

    def __init__(self, registry: Registry, sessions: Sessions, clock: Clock) -> None:
        self.registry = registry
        self.clock = clock
        self._sessions = sessions
        self._keys = load_keys(registry.state_dir / "keys")
        self.lists = DatedStore(registry.public_dir / "list", clock)
        self.n_claims = 0

    def publish(self, fuse: Fuse | None = None) -> None:
        checkpoints = FileCheckpointStore(self.registry.public_dir / "log", self.registry.state_dir / "checkpoint.lock")
        log = FileStore(self.registry.public_dir / "log")
        Publisher(
            self._sessions,
            Sequencer(self._sessions, log, checkpoints, self._keys.log),
            FailingStore(self.lists, fuse) if fuse else self.lists,
            self._keys,
            lock_path=self.registry.state_dir / "publish.lock",
            effective_path=self.registry.state_dir / "effective.arrow",
        ).publish(now=self.clock())

    def claim(self) -> None:
        self.n_claims += 1
        with transaction(self._sessions) as session:
            submit(session, request(*(url(f"{self.n_claims}-{n}") for n in range(60))), now=self.clock())

    def day(self, *, news: bool = True) -> None:
        self.clock.advance(days=1)
        if news:
            self.claim()
        self.publish()

    @property
    def newest(self) -> Manifest:
        return verify_published(self.lists.root).manifest

    def files(self) -> set[str]:
        return {path for folder in ("metadata", "targets", "files") for path, _ in self.lists.iter_files(folder)}

    def chain(self) -> Iterator[Manifest]:
        """From the newest back, as far as there are manifests."""
        manifest = self.newest
        yield manifest
        while manifest.previous is not None:
            path = self.lists.root / "targets" / f"{manifest.previous.sha256.hex()}.manifest.json"
            if not path.exists():
                return
            manifest = parse_manifest(path.read_bytes())
            yield manifest

    def transport(self) -> httpx.MockTransport:
        def answer(call: httpx.Request) -> httpx.Response:
            path = self.registry.public_dir / call.url.path.lstrip("/")
            return httpx.Response(200, content=path.read_bytes()) if path.is_file() else httpx.Response(404)

        return httpx.MockTransport(answer)


@pytest.fixture
def world(registry: Registry, sessions: Sessions, clock: Clock) -> World:
    return World(registry, sessions, clock)


def data_files(manifest: Manifest) -> set[str]:
    return {f"files/{file.sha256.hex()}.parquet" for file in manifest.files.values()}


def deltas(manifests: list[Manifest]) -> set[str]:
    return {f"files/{manifest.delta.sha256.hex()}.delta" for manifest in manifests if manifest.delta}


def test_of_many_versions_the_data_of_two_days_and_the_history_of_thirty_stay(world: World) -> None:
    made: list[Manifest] = []
    n_files: list[int] = []
    for _ in range(40):
        world.day()
        made.insert(0, world.newest)
        n_files.append(len(world.files()))
    chain = list(world.chain())
    assert chain == made[:31]
    kept = {path for path in world.files() if path.startswith("files/")}
    assert kept == deltas(made[:31]) | set().union(*map(data_files, made[:3]))
    assert all(manifest.delta is not None for manifest in made[:30])
    assert n_files[-1] <= n_files[-2] + 1  # it has stopped to grow
    for manifest in chain[:30]:
        assert manifest.delta is not None
        assert manifest.previous is not None
        assert parse_delta(world.lists.read(f"files/{manifest.delta.sha256.hex()}.delta")).base == manifest.previous


def test_a_list_without_news_keeps_what_it_is_made_of(world: World) -> None:
    world.day()
    before = world.newest
    for _ in range(80):
        world.day(news=False)
    assert world.newest == before
    assert {path for path in world.files() if path.startswith(("targets/", "files/"))} >= data_files(before)
    numbers = [path for path in world.files() if path.endswith(".snapshot.json")]
    assert 1 <= len(numbers) <= 4
    assert ExclusionList.from_published(world.lists.root).counts["url"] == 60


@pytest.mark.parametrize("n_days", [1, 2])
def test_whoever_began_to_pull_before_a_publication_can_finish(world: World, tmp_path: Path, n_days: int) -> None:
    for _ in range(5):
        world.day()
    asked: list[str] = []
    transport = world.transport()

    def answer(call: httpx.Request) -> httpx.Response:
        if "files/" in call.url.path and not any("files/" in path for path in asked):
            for _ in range(n_days):
                world.day()
        asked.append(call.url.path)
        return transport.handle_request(call)

    began = world.newest
    pull(
        "https://registry.example",
        tmp_path / "lab",
        root=world.registry.root_json,
        transport=httpx.MockTransport(answer),
        now=world.clock(),
    )
    assert ExclusionList.open(tmp_path / "lab", now=world.clock()).version.manifest == began


def test_leftovers_of_a_run_that_died_go_when_they_are_old(world: World) -> None:
    world.day()
    world.claim()
    fuse = Fuse(3, "after")
    with pytest.raises(PowerCut):
        world.publish(fuse)
    left = {path for path in world.files() if path.startswith("files/")} - data_files(world.newest)
    assert left
    world.clock.advance(hours=1)
    world.claim()  # so that the next run makes other files
    world.publish()
    assert left <= world.files() | deltas([world.newest])
    for _ in range(3):
        world.day()
    assert not left & world.files()


@pytest.mark.parametrize("at", range(0, 30, 3))
def test_a_power_cut_while_pruning_leaves_a_whole_list(world: World, at: int) -> None:
    for _ in range(4):
        world.day()
    world.clock.advance(days=40)
    world.claim()
    with suppress(PowerCut):
        world.publish(Fuse(at + 8))
    published = ExclusionList.from_published(world.lists.root)
    assert published.counts["url"] in {240, 300}
    world.publish()
    assert ExclusionList.from_published(world.lists.root).counts["url"] == 300
    assert len(list(world.chain())) == 2  # the one before was in force until now


def test_what_cannot_be_read_is_not_pruned_and_does_not_keep_a_list_from_being_published(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        world.day()
    second = list(world.chain())[1]
    assert second.previous is not None
    (world.lists.root / "targets" / f"{second.previous.sha256.hex()}.manifest.json").write_bytes(b"{}")
    world.day()
    assert world.newest.version == 4
    assert "list_not_pruned" in caplog.messages


def test_a_lost_data_file_costs_the_next_version_its_delta_only(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.day()
    lost = world.newest.files["urls/000.parquet"]
    (world.lists.root / "files" / f"{lost.sha256.hex()}.parquet").unlink()
    world.day()
    assert world.newest.delta is None
    assert "list_delta_left_out" in caplog.messages
    world.day()
    assert world.newest.delta is not None
