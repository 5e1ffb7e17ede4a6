"""Whatever is done to a registry, in whatever order: the log only grows, and everything follows from it.

An operation of the registry is a line in `OPERATIONS`; hypothesis makes histories of them, with restarts and a clock
that jumps between.
"""

import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from heldout.checkpoint import Verifier
from heldout.errors import ConflictError, InputError, NotFoundError
from heldout.leaves import parse_leaf
from heldout.receipts import verify_receipt
from heldout.records import ASSURANCES, CLAIM_STATES
from heldout.replay import replay
from heldout.states import TRANSITIONS
from heldout.tiles import TileReader
from registry.db import make_engine, transaction
from registry.effective import EffectiveLog, effective_rows
from registry.migrate import upgrade
from registry.service import Registry
from registry.storage import FileCheckpointStore, FileStore
from registry.transitions import change_state, lower_assurance
from tests.registry.builders import ORIGIN, Clock, host, image, prefix, request, tables, url
from tests.registry.conftest import fast_folder
from tests.registry.failing import read_log

Draw = Callable[[st.SearchStrategy[Any]], Any]

NAMES = st.sampled_from("abc")
SUBJECTS = st.one_of(
    NAMES.map(url),
    NAMES.map(image),
    NAMES.map(lambda name: host(f"{name}.example")),
    NAMES.map(lambda name: prefix(f"https://art.example/{name}")),
)
REQUESTS = st.builds(
    lambda subjects, preference: request(*subjects, preference=preference),
    st.lists(SUBJECTS, min_size=1, max_size=3),
    st.sampled_from(["train-ai=n", "train-ai=y"]),
)
REASONS = st.sampled_from(sorted(set().union(*TRANSITIONS.values())))


def in_database(change: Callable[..., object]) -> Callable[["World", Draw], object]:
    """What is done in a transaction of one's own."""

    def operation(world: "World", draw: Draw) -> None:
        with transaction(world.registry._sessions) as session:
            what = draw(st.sampled_from(CLAIM_STATES if change is change_state else ASSURANCES))
            change(session, world.draw_claim(draw), what, reason=draw(REASONS), now=world.clock())

    return operation


OPERATIONS: dict[str, Callable[["World", Draw], object]] = {
    "submit": lambda world, draw: world.claims.append(world.registry.submit(draw(REQUESTS)).id),
    "withdraw": lambda world, draw: world.registry.withdraw(world.draw_claim(draw), reason="by-claimant"),
    "raise assurance": lambda world, draw: world.registry.raise_assurance(
        world.draw_claim(draw), draw(st.sampled_from(ASSURANCES)), reason="dns-txt"
    ),
    "lower assurance": in_database(lower_assurance),
    "change state": in_database(change_state),
    "erase": lambda world, draw: world.registry.erase_personal_data(world.draw_claim(draw)),
    "sequence": lambda world, _: world.registry.sequence(),
    "publish": lambda world, _: world.registry.publish(),
    "restart": lambda world, _: world.restart(),
    "wait": lambda world, draw: world.clock.advance(hours=draw(st.integers(-48, 48))),
}


class World(RuleBasedStateMachine):
    """A registry, and what was seen of its log."""

    registry: Registry
    clock: Clock
    claims: list[str]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="heldout-", dir=fast_folder(50_000_000)))
        self.clock = Clock()
        self.claims = []
        self.seen: list[bytes] = []
        self.database_url = f"sqlite:///{self.folder / 'registry.db'}"
        (self.folder / "registry.db").write_bytes(migrated_database())
        self.registry = Registry.prepare(self.folder / "state", self.database_url, origin=ORIGIN, clock=self.clock)

    def draw_claim(self, draw: Draw) -> str:
        return str(draw(st.sampled_from(self.claims))) if self.claims else "nosuchclaim"

    def restart(self) -> None:
        self.registry.close()
        self.registry = Registry(self.folder / "state", self.database_url, clock=self.clock)

    @rule(data=st.data(), name=st.sampled_from(sorted(OPERATIONS)))
    def do(self, data: st.DataObject, name: str) -> None:
        with suppress(ConflictError, InputError, NotFoundError):  # what may not be done changes nothing
            OPERATIONS[name](self, data.draw)

    @invariant()
    def the_log_only_grows(self) -> None:
        now = self.entries()
        assert now[: len(self.seen)] == self.seen
        self.seen = now

    def entries(self) -> list[bytes]:
        folder = self.folder / "state/public/log"
        checkpoints = FileCheckpointStore(folder, self.folder / "unused.lock")
        return read_log(FileStore(folder), checkpoints, Verifier.parse(self.registry.vkey))

    def teardown(self) -> None:
        try:
            self.registry.publish()
            self.check_all_follows_from_the_log()
        finally:
            self.registry.close()
            shutil.rmtree(self.folder)

    def check_all_follows_from_the_log(self) -> None:
        entries = self.entries()
        told = replay(map(parse_leaf, entries))
        with transaction(self.registry._sessions) as session:
            assert tables(session) == told
        self.check_the_list(entries)
        for claim in self.claims:
            leaves = verify_receipt(self.registry.receipt(claim), self.registry.vkey)
            assert replay(leaves).claims[claim] == told.claims[claim]
        rebuilt_url = f"sqlite:///{self.folder / 'rebuilt.db'}"
        (self.folder / "rebuilt.db").write_bytes(migrated_database())
        with Registry(self.folder / "state", rebuilt_url) as rebuilt:
            rebuilt.rebuild()
            with transaction(rebuilt._sessions) as session:
                assert tables(session) == told

    def check_the_list(self, entries: list[bytes]) -> None:
        """What was kept from publication to publication is what the log's beginning amounts to."""
        kept = EffectiveLog.load(self.folder / "state/effective.arrow")
        beginning = entries[: kept.size]
        tree = TileReader(FileStore(self.folder / "state/public/log").read, len(entries))
        assert kept.root == (tree.subtree(0, kept.size) if kept.size else kept.root)
        whole = effective_rows(replay(map(parse_leaf, beginning)).claims)
        assert sorted(kept.rows.to_pylist(), key=str) == sorted(whole.to_pylist(), key=str)


@cache
def migrated_database() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        engine = make_engine(f"sqlite:///{folder}/migrated.db")
        upgrade(engine)
        engine.dispose()
        return Path(folder, "migrated.db").read_bytes()


def test_any_history_of_operations_follows_from_its_log() -> None:
    run_state_machine_as_test(World, settings=settings(max_examples=12, stateful_step_count=15, deadline=None))
