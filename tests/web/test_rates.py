"""What somebody without a key may ask: a share that fills up steadily, for each by themselves."""

from web.rates import MAX_REMEMBERED, Allowances


class Clock:
    """A clock that goes when told."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_share_is_used_up_and_fills_up_again() -> None:
    clock = Clock()
    allowances = Allowances(60, clock=clock)
    assert [allowances.take(b"a", 30) for _ in range(2)] == [0, 0]
    assert allowances.take(b"a", 1) == 1
    assert allowances.take(b"b", 60) == 0, "others have their own"
    clock.now += 1
    assert allowances.take(b"a", 1) == 0
    clock.now += 10_000
    assert [allowances.take(b"a", 30) for _ in range(3)] == [0, 0, 1]


def test_no_question_is_too_large_but_what_is_owed_fills_up_first() -> None:
    clock = Clock()
    allowances = Allowances(60, clock=clock)
    assert allowances.take(b"a", 600) == 0
    wait = allowances.take(b"a", 1)
    assert wait == 541
    clock.now += wait - 2
    assert allowances.take(b"a", 1) > 0
    clock.now += 2
    assert allowances.take(b"a", 1) == 0


def test_who_is_refused_owes_nothing_more() -> None:
    clock = Clock()
    allowances = Allowances(60, clock=clock)
    allowances.take(b"a", 60)
    for _ in range(100):
        assert allowances.take(b"a", 60) > 0
    clock.now += 1
    assert allowances.take(b"a", 1) == 0


def test_only_so_many_are_remembered() -> None:
    allowances = Allowances(1, clock=Clock())
    for number in range(MAX_REMEMBERED + 10):
        allowances.take(b"%d" % number, 1)
    assert len(allowances._left) == MAX_REMEMBERED
    assert allowances.take(b"0", 1) == 0, "the oldest was forgotten"
    assert allowances.take(b"%d" % (MAX_REMEMBERED + 9), 1) > 0
