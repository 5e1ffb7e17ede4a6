"""A list follows every change of the log by itself, however the change came."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from heldout.records import ClaimRequest, UrlSubject
from registry.service import Registry
from web.background import Condition
from web.published import current_list
from web.publishing import AutoPublisher


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """A fresh registry."""
    with Registry.prepare(tmp_path, origin="testserver/log") as opened:
        yield opened


def claim(number: int = 0) -> ClaimRequest:
    return ClaimRequest(subjects=[UrlSubject(url=f"https://jane.example/{number}.png")])


@asynccontextmanager
async def publishing(registry: Registry, *, delay_s: float = 0.02, renew_s: float = 60.0) -> AsyncIterator[Condition]:
    publisher = AutoPublisher(registry, delay_s=delay_s, renew_s=renew_s)
    task = asyncio.create_task(publisher.run())
    yield publisher.condition
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def until(holds: Callable[[], bool]) -> None:
    give_up_at = asyncio.get_running_loop().time() + 20
    while not holds():
        assert asyncio.get_running_loop().time() < give_up_at
        await asyncio.sleep(0.05)


def n_listed(registry: Registry) -> int | None:
    facts = current_list(registry.public_dir / "list")
    return facts.n_addresses if facts else None


def test_there_is_a_list_from_the_start_and_it_follows_claims_and_withdrawals(registry: Registry) -> None:
    async def run() -> None:
        async with publishing(registry):
            await until(lambda: n_listed(registry) == 0)
            first = await asyncio.to_thread(registry.submit, claim(1))
            await asyncio.to_thread(registry.submit, claim(2))
            await until(lambda: n_listed(registry) == 2)
            await asyncio.to_thread(registry.withdraw, first.id, reason="by-claimant")
            await until(lambda: n_listed(registry) == 1)

    asyncio.run(run())


def test_claims_without_a_pause_do_not_keep_the_list_from_being_published(registry: Registry) -> None:
    async def run() -> None:
        is_over = asyncio.Event()

        async def claim_on_and_on() -> None:
            number = 0
            while not is_over.is_set():
                number += 1
                await asyncio.to_thread(registry.submit, claim(number))

        async with publishing(registry, delay_s=0.4):
            claiming = asyncio.create_task(claim_on_and_on())
            try:
                await until(lambda: (n_listed(registry) or 0) > 0)
            finally:
                is_over.set()
                await claiming

    asyncio.run(run())


def test_an_unchanged_list_is_signed_anew_before_it_is_stale(registry: Registry) -> None:
    def timestamp() -> bytes:
        path = registry.public_dir / "list" / "metadata" / "timestamp.json"
        return path.read_bytes() if path.exists() else b""

    async def run() -> None:
        async with publishing(registry, renew_s=0.1):
            await until(lambda: timestamp() != b"")
            seen = timestamp()
            await until(lambda: timestamp() != seen)
        assert n_listed(registry) == 0

    asyncio.run(run())


@pytest.mark.parametrize("path", ["public/list", "public/log/checkpoint", "registry.db", "publish.lock"])
def test_whatever_fails_is_logged_and_tried_again(
    registry: Registry, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    blocked, aside = registry.state_dir / path, registry.state_dir / "aside"
    blocked.parent.mkdir(parents=True, exist_ok=True)
    if blocked.exists():
        registry.close()
        blocked.rename(aside)
    _block(blocked)

    async def run() -> None:
        async with publishing(registry) as condition:
            await until(lambda: condition.failing_since is not None)
            since = condition.failing_since
            await until(lambda: len(caplog.records) > 1)
            assert condition.failing_since == since
            _unblock(blocked)
            if aside.exists():
                aside.rename(blocked)
            await until(lambda: n_listed(registry) == 0)
            await until(lambda: condition.failing_since is None)

    asyncio.run(run())
    assert {record.message for record in caplog.records} == {"background_failed"}
    assert {vars(record)["job"] for record in caplog.records} == {"publish"}


def _block(path: Path) -> None:
    """Put something there that nobody expects: garbage for the database and the list, else a folder."""
    if path.suffix == ".db" or path.name == "list":
        path.write_text("in the way " * 100)
    else:
        path.mkdir()


def _unblock(path: Path) -> None:
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink()
