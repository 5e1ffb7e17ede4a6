import asyncio

import pytest

from heldout.errors import InputError
from heldout.resolving import MAX_ADDRESSES, CachingResolver, NameServerResolver, SystemResolver
from tests.hostile import name_server


class Counting:
    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(self, host: str) -> list[str]:
        self.asked += 1
        await asyncio.sleep(0.01)
        answer = self.answers.pop(0)
        if not answer:
            raise OSError(f"nobody knows {host}")
        return answer

    def close(self) -> None:
        pass


def test_many_who_ask_at_once_are_one_question() -> None:
    inner = Counting(["192.0.2.1"], [])

    async def run() -> list[list[str]]:
        resolver = CachingResolver(inner)
        found = await asyncio.gather(*(resolver.resolve("a.example") for _ in range(20)))
        found.append(await resolver.resolve("a.example"))
        for _ in range(3):  # a bad answer is remembered, too
            with pytest.raises(OSError, match=r"nobody knows b\.example"):
                await resolver.resolve("b.example")
        return found

    assert asyncio.run(run()) == [["192.0.2.1"]] * 21
    assert inner.asked == 2


def test_an_answer_is_forgotten_after_a_while() -> None:
    inner = Counting(["192.0.2.1"], ["192.0.2.2"])

    async def run() -> list[list[str]]:
        resolver = CachingResolver(inner, cache_s=0.0)
        return [await resolver.resolve("a.example") for _ in range(2)]

    assert asyncio.run(run()) == [["192.0.2.1"], ["192.0.2.2"]]


def test_who_gives_up_waiting_takes_no_answer_from_others() -> None:
    inner = Counting(["192.0.2.1"])

    async def run() -> list[str]:
        resolver = CachingResolver(inner)
        first = asyncio.create_task(resolver.resolve("a.example"))
        await asyncio.sleep(0)
        second = asyncio.create_task(resolver.resolve("a.example"))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert asyncio.run(run()) == ["192.0.2.1"]


def test_a_name_server_is_asked_for_both_kinds_of_address() -> None:
    names: dict[str, list[list[str]]] = {
        "both.example": [["192.0.2.1", "2001:db8::1"]],
        "many.example": [[f"192.0.2.{n}" for n in range(30)]],
        "none.example": [[]],
    }
    with name_server(names) as server:

        async def run() -> None:
            resolver = NameServerResolver(server.address)
            assert sorted(await resolver.resolve("both.example")) == ["192.0.2.1", "2001:db8::1"]
            assert len(await resolver.resolve("many.example")) == MAX_ADDRESSES
            for name in ("none.example", "unknown.example", "a" * 64 + ".example", "..", "a..b"):
                with pytest.raises(OSError, match=r"\w"):
                    await resolver.resolve(name)

        asyncio.run(run())


def test_a_name_server_that_is_silent_is_not_waited_for() -> None:
    async def run() -> None:
        with pytest.raises(OSError, match="does not answer"):
            await NameServerResolver("127.0.0.1:9", timeout_s=0.2).resolve("a.example")

    asyncio.run(run())


def test_the_system_knows_this_machine() -> None:
    async def run() -> list[str]:
        resolver = SystemResolver(threads=1)
        try:
            for name in ("a" * 64, "nowhere.invalid"):
                with pytest.raises(OSError, match=r"\w"):
                    await resolver.resolve(name)
            return await resolver.resolve("localhost")
        finally:
            resolver.close()

    assert set(asyncio.run(run())) <= {"127.0.0.1", "::1"}


@pytest.mark.parametrize("bad", ["", "dns.example", "127.0.0.1:", "127.0.0.1:x", "300.0.0.1", "[::1]:x"])
def test_a_name_server_is_an_ip_address(bad: str) -> None:
    with pytest.raises(InputError, match="name server"):
        NameServerResolver(bad)


@pytest.mark.parametrize("good", ["127.0.0.1", "127.0.0.1:5353", "::1", "[::1]", "[::1]:5353"])
def test_a_name_server_may_have_a_port(good: str) -> None:
    NameServerResolver(good)
