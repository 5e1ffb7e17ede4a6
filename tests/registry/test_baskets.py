"""Baskets: kept until they are old, sealed, changed by one at a time."""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select

from heldout.errors import InputError, TooOftenError
from registry.baskets import (
    BASKET_LIFE,
    MAX_BYTES,
    MAX_BYTES_PER_CLIENT,
    MAX_PER_CLIENT,
    Baskets,
    new_basket_id,
)
from registry.db import make_engine, make_sessions, transaction
from registry.service import Registry
from registry.tables import BasketRow
from tests.registry.builders import Clock

CLIENT = bytes(32)


@pytest.fixture
def baskets(registry: Registry) -> Baskets:
    """The baskets of a fresh registry."""
    return registry.baskets


def test_what_is_put_in_is_read_again_and_only_by_its_id(baskets: Baskets) -> None:
    mine, other = new_basket_id(), new_basket_id()
    assert baskets.read(mine) is None
    baskets.change(mine, lambda held: (held or b"") + b"castle", client=CLIENT)
    baskets.change(mine, lambda held: (held or b"") + b" tower", client=CLIENT)
    assert baskets.read(mine) == b"castle tower"
    assert baskets.read(other) is None
    assert baskets.read("castle") is None
    with pytest.raises(InputError, match="no basket's id"):
        baskets.change("castle", lambda _: b"", client=CLIENT)


def test_the_database_alone_tells_nothing(baskets: Baskets, database_url: str) -> None:
    basket_id = new_basket_id()
    baskets.change(basket_id, lambda _: b"https://jane.example/castle.jpg", client=CLIENT)
    engine = make_engine(database_url)
    with transaction(make_sessions(engine)) as session:
        (row,) = session.scalars(select(BasketRow)).all()
        held = row.id_sha256 + row.sealed
    engine.dispose()
    assert b"castle" not in held
    assert basket_id.encode() not in held


def test_a_basket_goes_when_nobody_has_changed_it_for_long(baskets: Baskets, clock: Clock) -> None:
    mine = new_basket_id()
    baskets.change(mine, lambda _: b"castle", client=CLIENT)
    clock.now += BASKET_LIFE - timedelta(seconds=1)
    baskets.change(mine, lambda held: held or b"", client=CLIENT)
    clock.now += BASKET_LIFE - timedelta(seconds=1)
    assert baskets.read(mine) == b"castle"
    clock.now += timedelta(seconds=1)
    assert baskets.read(mine) is None
    baskets.change(mine, lambda held: held or b"new", client=CLIENT)
    assert baskets.read(mine) == b"new"


def test_a_change_that_fails_leaves_it_as_it_was(baskets: Baskets) -> None:
    mine = new_basket_id()
    baskets.change(mine, lambda _: b"castle", client=CLIENT)
    with pytest.raises(InputError, match="is full"):
        baskets.change(mine, lambda _: bytes(MAX_BYTES + 1), client=CLIENT)
    assert baskets.read(mine) == b"castle"


def test_changes_at_once_lose_nothing(baskets: Baskets) -> None:
    mine = new_basket_id()
    baskets.change(mine, lambda _: b"", client=CLIENT)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: baskets.change(mine, lambda held: (held or b"") + b".", client=CLIENT), range(12)))
    assert baskets.read(mine) == b"." * 12


def test_one_network_address_begins_so_many_an_hour(baskets: Baskets, clock: Clock) -> None:
    for _ in range(MAX_PER_CLIENT):
        baskets.change(new_basket_id(), lambda _: b"castle", client=CLIENT)
    with pytest.raises(TooOftenError):
        baskets.change(new_basket_id(), lambda _: b"castle", client=CLIENT)
    baskets.change(new_basket_id(), lambda _: b"castle", client=b"\1" * 32)
    clock.now += timedelta(hours=1)
    baskets.change(new_basket_id(), lambda _: b"castle", client=CLIENT)


def test_one_network_address_fills_so_much_a_day_and_small_baskets_beside(baskets: Baskets, clock: Clock) -> None:
    much = os.urandom(MAX_BYTES - 1_000_000)  # does not get smaller when it is packed
    ids = [new_basket_id() for _ in range(MAX_BYTES_PER_CLIENT // (len(much) * 4 // 3))]
    for basket_id in ids:
        baskets.change(basket_id, lambda _: much, client=CLIENT)
    with pytest.raises(TooOftenError, match="too much"):
        baskets.change(new_basket_id(), lambda _: much, client=CLIENT)
    small = new_basket_id()
    baskets.change(small, lambda _: b"castle", client=CLIENT)
    with pytest.raises(TooOftenError, match="too much"):
        baskets.change(small, lambda _: much, client=b"\1" * 32)  # begun here
    baskets.change(ids[0], lambda _: much[:-1_000_000], client=CLIENT)  # less is never too much
    baskets.change(new_basket_id(), lambda _: much, client=b"\1" * 32)
    clock.advance(days=1)
    baskets.change(small, lambda _: much, client=CLIENT)
