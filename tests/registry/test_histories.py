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
from typing import Any, get_args

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import select
from sqlalchemy.orm import Session

from heldout.checkpoint import Verifier
from heldout.errors import AccessError, ConflictError, InputError, NotFoundError, TooOftenError
from heldout.leaves import parse_leaf
from heldout.list_tables import read_table, table_of
from heldout.receipts import verify_receipt
from heldout.records import ASSURANCES, CLAIM_STATES
from heldout.replay import replay
from heldout.states import TRANSITIONS
from heldout.stored import verify_published
from heldout.tiles import TileReader
from registry.db import make_engine, transaction
from registry.dispute_records import positions_of
from registry.effective import EffectiveLog, effective_rows
from registry.migrate import upgrade
from registry.quarantine import Found
from registry.reviews import ClaimOutcome, DisputeOutcome
from registry.service import Registry
from registry.storage import FileCheckpointStore, FileStore
from registry.tables import DisputeRow, SubjectRow
from registry.transitions import change_state, lower_assurance
from tests.registry import listing_reference
from tests.registry.builders import ORIGIN, Clock, host, image, prefix, request, tables, url
from tests.registry.conftest import fast_folder
from tests.registry.failing import read_log
from tests.registry.parties import ANSWER, REASON, account, disputed

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


def file_dispute(world: "World", draw: Draw) -> None:
    """Somebody disputes a claim, or some of it."""
    subjects = draw(st.sampled_from([None, None, draw(st.lists(SUBJECTS, min_size=1, max_size=2))]))
    made = disputed(
        world.registry, world.registry.claim(world.draw_claim(draw)), world.account(draw), subjects=subjects
    )
    world.disputes.append(made.id)


def answer_dispute(registry: Registry, dispute_id: str) -> None:
    """The claimant answers."""
    claim_id = registry.disputing.get(dispute_id).claim
    registry.disputing.answer(dispute_id, ANSWER, secret=registry._secrets.of(claim_id))


def decide_dispute(world: "World", draw: Draw) -> None:
    """A reviewer decides a dispute, or decides it anew; now and then about what has changed meanwhile."""
    dispute_id, outcome = world.draw_dispute(draw), draw(st.sampled_from(get_args(DisputeOutcome)))
    seen = world.registry.disputing.get(dispute_id).state if draw(st.integers(0, 5)) else "open"
    world.registry.reviewing.decide_dispute(dispute_id, outcome, reason=REASON, seen=seen)


def decide_claim(world: "World", draw: Draw) -> None:
    """A reviewer decides about a claim, or about one subject of it."""
    outcome = draw(st.sampled_from(get_args(ClaimOutcome)))
    positions = draw(st.none() | st.lists(st.integers(0, 2), min_size=1, max_size=2))
    world.registry.reviewing.decide_claim(world.draw_claim(draw), outcome, reason=REASON, positions=positions)


def scan(world: "World", draw: Draw) -> None:
    """New indexes, in which any picture may be anywhere."""
    n_domains = st.integers(0, 120)
    world.registry.reviewing.scan(
        str(draw(st.integers(1, 3))), lambda batch: [Found(draw(n_domains), draw(st.booleans())) for _ in batch]
    )


OPERATIONS: dict[str, Callable[["World", Draw], object]] = {
    "submit": lambda world, draw: world.claims.append(world.registry.submit(draw(REQUESTS)).id),
    "submit as somebody": lambda world, draw: world.claims.append(
        world.registry.submit(draw(REQUESTS), account_id=world.account(draw)).id
    ),
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
    "wait long": lambda world, draw: world.clock.advance(days=draw(st.integers(1, 100))),
    "file dispute": file_dispute,
    "answer dispute": lambda world, draw: answer_dispute(world.registry, world.draw_dispute(draw)),
    "withdraw dispute": lambda world, draw: world.registry.disputing.withdraw(
        world.draw_dispute(draw), account_id=world.account(draw)
    ),
    "decide dispute": decide_dispute,
    "end disputes": lambda world, _: world.registry.disputing.expire_due(),
    "decide claim": decide_claim,
    "scan": scan,
    "delete account": lambda world, draw: world.delete_account(draw),
}


class World(RuleBasedStateMachine):
    """A registry, and what was seen of its log."""

    registry: Registry
    clock: Clock
    claims: list[str]
    disputes: list[str]
    accounts: dict[str, str]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="heldout-", dir=fast_folder(50_000_000)))
        self.clock = Clock()
        self.claims, self.disputes, self.accounts = [], [], {}
        self.seen: list[bytes] = []
        self.database_url = f"sqlite:///{self.folder / 'registry.db'}"
        (self.folder / "registry.db").write_bytes(migrated_database())
        self.registry = Registry.prepare(self.folder / "state", self.database_url, origin=ORIGIN, clock=self.clock)

    def draw_claim(self, draw: Draw) -> str:
        return str(draw(st.sampled_from(self.claims))) if self.claims else "nosuchclaim"

    def draw_dispute(self, draw: Draw) -> str:
        return str(draw(st.sampled_from(self.disputes))) if self.disputes else "nosuchdispute"

    def account(self, draw: Draw) -> str:
        """One of two people's."""
        email = draw(st.sampled_from(["jane@mail.example", "ota@mail.example"]))
        if email not in self.accounts:
            self.clock.advance(hours=2)  # so many links an hour
            self.accounts[email] = account(self.registry, email)
        return self.accounts[email]

    def delete_account(self, draw: Draw) -> None:
        if self.accounts:
            email = draw(st.sampled_from(sorted(self.accounts)))
            self.registry.delete_account(self.accounts.pop(email), withdraw_claims=draw(st.booleans()))

    def restart(self) -> None:
        self.registry.close()
        self.registry = Registry(self.folder / "state", self.database_url, clock=self.clock)

    @rule(data=st.data())
    def do(self, data: st.DataObject) -> None:
        needs_dispute = {"answer dispute", "withdraw dispute", "decide dispute"}
        name = data.draw(st.sampled_from(sorted(OPERATIONS.keys() - (set() if self.disputes else needs_dispute))))
        with suppress(
            AccessError, ConflictError, InputError, NotFoundError, TooOftenError
        ):  # what may not be done changes nothing
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
            self.check_disputes(session)
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

    def check_disputes(self, session: Session) -> None:
        """What an open dispute is about is never simply in force, and nobody has two about one claim."""
        open_ones = session.scalars(select(DisputeRow).where(DisputeRow.state == "open")).all()
        assert len({(row.claim_id, row.account_id) for row in open_ones}) == len(open_ones)
        for row in open_ones:
            query = select(SubjectRow.position, SubjectRow.state).where(SubjectRow.claim_id == row.claim_id)
            in_force = {position for position, state in session.execute(query) if state == "in_force"}
            assert not in_force & set(positions_of(row))

    def check_the_list(self, entries: list[bytes]) -> None:
        """What was kept from publication to publication, and published, is what the log's beginning amounts to."""
        kept = EffectiveLog.load(self.folder / "state/effective.arrow")
        beginning = entries[: kept.size]
        tree = TileReader(FileStore(self.folder / "state/public/log").read, len(entries))
        assert kept.root == (tree.subtree(0, kept.size) if kept.size else kept.root)
        claims = replay(map(parse_leaf, beginning)).claims
        assert sorted(kept.rows.to_pylist(), key=str) == sorted(effective_rows(claims).to_pylist(), key=str)
        published = verify_published(self.folder / "state/public/list")
        assert published.manifest.log.size == kept.size
        expected = listing_reference.tables_of(listing_reference.standings(claims.values()))
        for name, file in published.manifest.files.items():
            table = read_table(published.folder.data_file(file), table_of(name), name)
            assert table.equals(expected[table_of(name)]), name


@cache
def migrated_database() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        engine = make_engine(f"sqlite:///{folder}/migrated.db")
        upgrade(engine)
        engine.dispose()
        return Path(folder, "migrated.db").read_bytes()


def test_any_history_of_operations_follows_from_its_log() -> None:
    run_state_machine_as_test(World, settings=settings(max_examples=12, stateful_step_count=25, deadline=None))
