"""Publishing, seen through the library's own client: what a lab pulls is what the claims say."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text
from tuf.api.metadata import Metadata, Targets, Timestamp

from heldout.checkpoint import Verifier
from heldout.errors import VerificationError
from heldout.exclusion import ExclusionList
from heldout.leaves import ListLeaf, parse_leaf
from heldout.manifest import LogState, PreviousVersion
from heldout.merkle import leaf_hash, root_of
from heldout.pull import PullResult, pull
from heldout.replay import replay
from heldout.tiles import TileReader
from registry.claims import submit
from registry.db import Sessions, transaction
from registry.effective import EffectiveLog
from registry.keys import load_keys, renew_root
from registry.listing import Before, build_version
from registry.log import Sequencer
from registry.metadata import Validity
from registry.publish import Publisher
from registry.service import Registry
from registry.standings import list_tables
from registry.storage import FileCheckpointStore, FileStore
from registry.tables import ListRow
from tests.registry.builders import ORIGIN, Clock, image, request, tables, url
from tests.registry.failing import FailingCheckpoints, FailingStore, Fuse, PowerCut, When, read_log

Pull = Callable[[], PullResult]


def serve(public: Path) -> httpx.MockTransport:
    """The public folder as a static server gives it."""

    def answer(call: httpx.Request) -> httpx.Response:
        path = public / call.url.path.lstrip("/")
        return httpx.Response(200, content=path.read_bytes()) if path.is_file() else httpx.Response(404)

    return httpx.MockTransport(answer)


@pytest.fixture
def pull_list(registry: Registry, tmp_path: Path, clock: Clock) -> Pull:
    def run() -> PullResult:
        return pull(
            "https://registry.example",
            tmp_path / "lab",
            root=registry.root_json,
            transport=serve(registry.public_dir),
            now=clock(),
        )

    return run


def excluded(folder: Path, clock: Clock, *names: str) -> list[bool]:
    exclusions = ExclusionList.open(folder, now=clock())
    found = exclusions.lookup_urls([f"https://jane.example/{name}.jpg" for name in names])["url"].found
    return [bool(is_found) for is_found in found]


def published_bytes(registry: Registry, *folders: str) -> dict[str, bytes]:
    root = registry.public_dir / "list"
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for folder in folders
        for path in (root / folder).rglob("*")
        if path.is_file()
    }


def test_a_lab_pulls_what_was_claimed(registry: Registry, pull_list: Pull, tmp_path: Path, clock: Clock) -> None:
    registry.submit(request(url("a"), image("b")))
    assert registry.publish().version == 1
    result = pull_list()
    assert result.manifest.counts == {"url": 1, "prefix": 0, "host": 0, "image": 1}
    assert (result.manifest.version, result.manifest.log.size, result.manifest.previous) == (1, 1, None)
    assert result.manifest.as_of == clock()
    assert excluded(tmp_path / "lab", clock, "a", "b") == [True, False]


def test_withdrawn_claim_leaves_the_next_list(
    registry: Registry, pull_list: Pull, tmp_path: Path, clock: Clock
) -> None:
    kept = registry.submit(request(url("a"), url("both")))
    claim = registry.submit(request(url("b"), url("both")))
    registry.publish()
    pull_list()
    assert excluded(tmp_path / "lab", clock, "a", "b", "both") == [True, True, True]
    registry.withdraw(claim.id, reason="by-claimant")
    assert registry.publish().version == 2
    assert pull_list().manifest.previous is not None
    assert excluded(tmp_path / "lab", clock, "a", "b", "both") == [True, False, True]
    assert registry.claim(kept.id).state == "in_force"


def test_an_empty_registry_publishes_an_empty_list(
    registry: Registry, pull_list: Pull, tmp_path: Path, clock: Clock
) -> None:
    assert registry.publish().version == 1
    assert pull_list().manifest.as_of is None
    assert excluded(tmp_path / "lab", clock, "a") == [False]


def test_publishing_again_without_news_only_moves_expiry(registry: Registry, pull_list: Pull, clock: Clock) -> None:
    registry.submit(request(url("a")))
    first = registry.publish()
    before = published_bytes(registry, "targets", "files", "metadata")
    clock.advance(days=1)
    again = registry.publish()
    after = published_bytes(registry, "targets", "files", "metadata")
    assert (again.version, again.manifest_sha256, again.is_new) == (1, first.manifest_sha256, False)
    assert {name for name in after if after[name] != before.get(name)} == {"metadata/timestamp.json"}
    assert pull_list().expires_at == clock.now.replace(microsecond=0) + Validity().timestamp


def test_old_signatures_are_renewed_before_they_expire(registry: Registry, pull_list: Pull, clock: Clock) -> None:
    registry.publish()
    for _ in range(6):
        clock.advance(days=6)
        registry.publish()
        pull_list()
    targets = Metadata[Targets].from_bytes((registry.public_dir / "list/metadata/3.targets.json").read_bytes())
    assert targets.signed.expires == clock() + Validity().targets


def test_a_list_not_published_for_a_week_is_stale(registry: Registry, pull_list: Pull, clock: Clock) -> None:
    registry.publish()
    clock.advance(days=7, seconds=1)
    with pytest.raises(VerificationError, match="stale"):
        pull_list()


def test_a_renewed_root_reaches_labs_that_trust_the_first(
    registry: Registry, pull_list: Pull, clock: Clock, database_url: str
) -> None:
    registry.publish()
    pull_list()
    clock.advance(days=300)
    renew_root(registry.state_dir / "keys", now=clock())
    with Registry(registry.state_dir, database_url, clock=clock) as reopened:
        reopened.publish()
    clock.advance(days=6)
    pull_list()
    clock.advance(days=80)  # the first root expired
    with Registry(registry.state_dir, database_url, clock=clock) as reopened:
        reopened.publish()
    pull_list()


def test_anyone_with_the_log_can_make_the_list_again(registry: Registry, clock: Clock) -> None:
    """Manifest, data and delta follow from the log alone: made elsewhere from the public log, the same bytes."""
    registry.submit(request(url("a"), image("b"), url("c")))
    registry.submit(request(url("d"), preference="train-ai=y"))
    registry.publish()
    clock.advance(hours=5)
    registry.submit(request(*(url(f"{n}") for n in range(50))))  # entry 3, after that of the list
    registry.publish()
    published = published_bytes(registry, "files", "targets")
    registry.submit(request(url("later")))
    entries = log_entries(registry)
    files: dict[str, bytes] = {}
    before: Before | None = None
    for size in (2, 4):
        log = LogState(ORIGIN, registry.vkey, size, root_of([leaf_hash(entry) for entry in entries[:size]]))
        tree = TileReader(FileStore(registry.public_dir / "log").read, size)
        effective = EffectiveLog.empty().grown(entries[:size], tree, lambda *_: [])
        version = build_version(effective, log, before)
        files |= {f"files/{file.entry.sha256.hex()}.parquet": file.data for file in version.files.values()}
        if version.delta is not None:
            files[f"files/{hashlib.sha256(version.delta).hexdigest()}.delta"] = version.delta
        digest = hashlib.sha256(version.manifest).digest()
        files[f"targets/{digest.hex()}.manifest.json"] = version.manifest
        content = frozenset(file.entry.content for file in version.files.values())
        before = Before(PreviousVersion(version.number, digest), list_tables(effective.rows), content)
    assert version.delta is not None
    assert {name: data for name, data in published.items() if not name.endswith("tlog-proof")} == files


def log_entries(registry: Registry) -> list[bytes]:
    folder = registry.public_dir / "log"
    checkpoints = FileCheckpointStore(folder, registry.state_dir / "unused.lock")
    return read_log(FileStore(folder), checkpoints, Verifier.parse(registry.vkey))


def test_each_version_is_an_entry_of_the_log(registry: Registry, sessions: Sessions) -> None:
    digests = []
    for name in ("a", "b", "c"):
        registry.submit(request(url(name)))
        digests.append(registry.publish().manifest_sha256)
    lists = [leaf for leaf in map(parse_leaf, log_entries(registry)) if isinstance(leaf, ListLeaf)]
    assert [(leaf.version, leaf.manifest_sha256) for leaf in lists] == list(enumerate(digests, start=1))
    with transaction(sessions) as session:
        assert [row.version for row in session.query(ListRow).order_by(ListRow.version)] == [1, 2, 3]


def test_replaying_the_public_log_gives_the_tables(registry: Registry, sessions: Sessions, clock: Clock) -> None:
    for name in ("a", "b", "c"):
        claim = registry.submit(request(url(name), image(name)))
        clock.advance(minutes=1)
        registry.publish()
    registry.withdraw(claim.id, reason="by-operator")
    registry.publish()
    with transaction(sessions) as session:
        assert replay(map(parse_leaf, log_entries(registry))) == tables(session)


def test_data_files_that_did_not_change_are_shared_between_versions(registry: Registry) -> None:
    registry.submit(request(image("a")))
    registry.publish()
    registry.submit(request(url("b")))
    registry.publish()
    files = [name for name in published_bytes(registry, "files") if name.endswith(".parquet")]
    assert len(files) == 5  # two of URLs


class World:
    """A registry whose stores can lose power."""

    def __init__(self, registry: Registry, sessions: Sessions) -> None:
        self.registry = registry
        self.sessions = sessions
        self.keys = load_keys(registry.state_dir / "keys")
        self.log = FileStore(registry.public_dir / "log")
        self.checkpoints = FileCheckpointStore(registry.public_dir / "log", registry.state_dir / "checkpoint.lock")
        self.lists = FileStore(registry.public_dir / "list")

    def publish_until_power_cut(self, at: int, when: When, clock: Clock) -> bool:
        fuse = Fuse(at, when)
        log, lists = FailingStore(self.log, fuse), FailingStore(self.lists, fuse)
        sequencer = Sequencer(self.sessions, log, FailingCheckpoints(self.checkpoints, fuse), self.keys.log)
        lock_path = self.registry.state_dir / "publish.lock"
        try:
            Publisher(
                self.sessions,
                sequencer,
                lists,
                self.keys,
                lock_path=lock_path,
                effective_path=self.registry.state_dir / "effective.arrow",
            ).publish(now=clock())
        except PowerCut:
            return True
        return False


@pytest.fixture
def world(registry: Registry, sessions: Sessions) -> World:
    return World(registry, sessions)


@pytest.mark.parametrize("when", ["before", "after"])
def test_power_cut_at_every_step_of_publishing(
    world: World, pull_list: Pull, tmp_path: Path, clock: Clock, when: When
) -> None:
    """A lab that pulls after the cut gets the old list or the new one, whole; publishing again gives the new one."""
    registry = world.registry
    registry.publish()
    names: list[str] = []
    for at in range(100):
        names.append(f"picture{at}")
        with transaction(world.sessions) as session:
            submit(session, request(url(names[-1]), image(names[-1])), now=clock())
        was_cut = world.publish_until_power_cut(at, when, clock)
        pull_list()
        assert all(excluded(tmp_path / "lab", clock, *names[:-1]))
        registry.publish()
        assert pull_list().manifest.counts == {"url": len(names), "prefix": 0, "host": 0, "image": len(names)}
        assert all(excluded(tmp_path / "lab", clock, *names))
        clock.advance(seconds=1)
        if not was_cut:
            break
    else:
        pytest.fail("publishing never ended")
    assert at >= 14, "log, data files, manifest, proof and four metadata files are steps"


def test_an_edited_database_is_not_published(registry: Registry, sessions: Sessions, backend: str) -> None:
    registry.submit(request(url("a")))
    registry.submit(request(url("b")))
    with sessions.begin() as session:
        drop = "DROP TRIGGER events_no_change" + (" ON events" if backend == "postgresql" else "")
        session.execute(text(drop))
        session.execute(
            text("UPDATE events SET payload = (SELECT payload FROM events WHERE log_index = 1) WHERE log_index = 0")
        )
    with pytest.raises(VerificationError, match="edited"):
        registry.publish()
    assert not (registry.public_dir / "list").exists()


def test_a_lost_manifest_is_not_papered_over(registry: Registry) -> None:
    registry.publish()
    for path in (registry.public_dir / "list" / "targets").glob("*.manifest.json"):
        path.unlink()
    with pytest.raises(VerificationError, match="restore"):
        registry.publish()


def test_lost_metadata_is_not_papered_over(registry: Registry) -> None:
    registry.publish()
    (registry.public_dir / "list/metadata/1.targets.json").unlink()
    with pytest.raises(VerificationError, match="restore"):
        registry.publish()


def test_timestamps_only_grow(registry: Registry, clock: Clock) -> None:
    versions = []
    for _ in range(3):
        registry.publish()
        clock.advance(hours=1)
        data = (registry.public_dir / "list/metadata/timestamp.json").read_bytes()
        versions.append(Metadata[Timestamp].from_bytes(data).signed.version)
    assert versions == [1, 2, 3]


def test_a_clock_that_goes_back_loses_nothing_and_labs_go_on(
    registry: Registry, pull_list: Pull, tmp_path: Path, clock: Clock, sessions: Sessions
) -> None:
    """The machine's clock was ahead and is set right: versions, log and list only grow all the same."""
    clock.advance(days=3)
    registry.submit(request(url("a")))
    registry.publish()
    clock.advance(days=-3)
    claim = registry.submit(request(url("b")))
    assert registry.publish().version == 2
    assert pull_list().manifest.version == 2
    assert excluded(tmp_path / "lab", clock, "a", "b") == [True, True]
    registry.withdraw(claim.id, reason="by-claimant")
    clock.advance(days=-1)
    registry.publish()
    assert pull_list().manifest.version == 3
    assert excluded(tmp_path / "lab", clock, "a", "b") == [True, False]
    with transaction(sessions) as session:
        assert replay(map(parse_leaf, log_entries(registry))) == tables(session)


def test_a_clock_far_behind_makes_lists_that_labs_refuse_until_it_is_set_right(
    registry: Registry, pull_list: Pull, clock: Clock
) -> None:
    registry.publish()
    pull_list()
    clock.advance(days=-30)
    registry.publish()
    clock.advance(days=30)
    with pytest.raises(VerificationError, match="stale"):
        pull_list()
    registry.publish()
    assert pull_list().manifest.version == 1


def test_publishing_from_what_was_kept_gives_what_publishing_from_nothing_gives(
    registry: Registry, clock: Clock
) -> None:
    first = registry.submit(request(url("a"), image("b")))
    registry.publish()
    registry.submit(request(url("c"), image("b", quality=99)))
    registry.withdraw(first.id, reason="by-claimant")
    registry.publish()
    kept = registry.state_dir / "effective.arrow"
    before = published_bytes(registry, "files", "targets")
    size = log_entries(registry)[:4]
    tree = TileReader(FileStore(registry.public_dir / "log").read, 4)
    again = EffectiveLog.empty().grown(size, tree, lambda *_: [])
    assert sorted(EffectiveLog.load(kept).rows.to_pylist(), key=str) == sorted(again.rows.to_pylist(), key=str)
    kept.unlink()
    registry.submit(request(url("d")))
    clock.advance(hours=1)
    registry.publish()
    assert set(before.items()) < set(published_bytes(registry, "files", "targets").items())
