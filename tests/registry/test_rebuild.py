"""A database rebuilt from the public log says what the lost one said."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy import select

from heldout.errors import ConflictError, NotFoundError, VerificationError
from heldout.receipts import verify_receipt
from registry.db import transaction
from registry.service import Registry, migrate
from registry.tables import EventRow
from tests.registry.builders import Clock, host, image, request, tables, url


@pytest.fixture
def lived(registry: Registry, clock: Clock) -> Registry:
    """A registry in which some things happened."""
    for name in ("a", "b", "c"):
        registry.submit(request(url(name), image(name), host(f"{name}.example"), name="Jane", contact="jane@a.example"))
        clock.advance(hours=1)
        registry.publish()
    claim = registry.submit(request(*(url(str(i)) for i in range(700))))
    registry.withdraw(claim.id, reason="by-operator")
    registry.publish()
    return registry


def reopened(registry: Registry, folder: Path, clock: Clock) -> Registry:
    """The same folder with a new database."""
    database_url = f"sqlite:///{folder / 'rebuilt.db'}"
    migrate(database_url)
    return Registry(registry.state_dir, database_url, clock=clock)


def test_all_that_the_log_tells_is_back(lived: Registry, tmp_path: Path, clock: Clock) -> None:
    with reopened(lived, tmp_path, clock) as rebuilt:
        assert rebuilt.rebuild().n_claims == 4
        with transaction(lived._sessions) as before, transaction(rebuilt._sessions) as after:
            assert tables(after) == tables(before)
            events = select(EventRow.kind, EventRow.claim_id, EventRow.payload, EventRow.log_index)
            events = events.order_by(EventRow.log_index)
            assert after.execute(events).all() == before.execute(events).all()


def test_a_rebuilt_registry_goes_on(lived: Registry, tmp_path: Path, clock: Clock) -> None:
    with reopened(lived, tmp_path, clock) as rebuilt:
        rebuilt.rebuild()
        assert not rebuilt.publish().is_new
        claim = rebuilt.submit(request(url("later")))
        assert len(claim.log_indices) == 1
        published = rebuilt.publish()
        assert (published.version, published.is_new) == (5, True)
        assert len(verify_receipt(rebuilt.receipt(claim.id), rebuilt.vkey)) == 1


def test_no_personal_data_comes_back(lived: Registry, tmp_path: Path, clock: Clock) -> None:
    with reopened(lived, tmp_path, clock) as rebuilt:
        rebuilt.rebuild()
    data = (tmp_path / "rebuilt.db").read_bytes()
    assert b"Jane" not in data
    assert b"jane.example/a.jpg" not in data


def test_a_database_with_something_in_it_is_left_alone(lived: Registry) -> None:
    with pytest.raises(ConflictError, match="not empty"):
        lived.rebuild()


def test_a_damaged_log_gives_no_database(lived: Registry, tmp_path: Path, clock: Clock) -> None:
    bundle = lived.public_dir / "log/tile/entries/000.p/11"
    good = bundle.read_bytes()
    bundle.write_bytes(good.replace(b"declared", b"reviewed"))
    with reopened(lived, tmp_path, clock) as rebuilt:
        with pytest.raises(VerificationError):
            rebuilt.rebuild()
        bundle.write_bytes(good)
        assert rebuilt.rebuild().n_events == 11


def test_without_a_log_there_is_nothing_to_rebuild(lived: Registry, tmp_path: Path, clock: Clock) -> None:
    shutil.rmtree(lived.public_dir / "log")
    with reopened(lived, tmp_path, clock) as rebuilt, pytest.raises(NotFoundError, match="restore the folder"):
        rebuilt.rebuild()
