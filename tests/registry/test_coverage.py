"""Which samples are opted out, as shown beside search results."""

import numpy as np
import pytest

from heldout.fingerprints import MATCH_DISTANCE, MIN_QUALITY
from registry.claims import submit
from registry.coverage import Coverage
from registry.db import Sessions, transaction
from registry.service import Registry
from tests.registry.builders import Clock, digest, image, request, sample, url


def flipped(pdq: bytes, n_bits: int) -> str:
    bits = np.unpackbits(np.frombuffer(pdq, np.uint8))
    bits[:n_bits] ^= 1
    return np.packbits(bits).tobytes().hex()


def test_samples_are_covered_by_url_bytes_and_picture(registry: Registry, clock: Clock) -> None:
    by_url = registry.submit(request(url("a")))
    clock.advance(seconds=1)
    by_image = registry.submit(request(image("b")))
    samples = [
        sample(0, url="http://JANE.example/a.jpg?utm_source=x"),
        sample(1, url="https://jane.example/other.jpg", sha256=digest("b.jpg").hex()),
        sample(2, pdq=flipped(digest("b"), MATCH_DISTANCE), pdq_quality=MIN_QUALITY),
        sample(3, url="https://jane.example/a.jpg", sha256=digest("b.jpg").hex()),
        sample(
            4, url="https://jane.example/other.jpg", sha256=digest("c").hex(), pdq=digest("c").hex(), pdq_quality=99
        ),
    ]
    assert registry.opted_out(samples) == [
        Coverage((by_url.id,), by_url.received_at, frozenset({"url"})),
        Coverage((by_image.id,), by_image.received_at, frozenset({"sha256"})),
        Coverage((by_image.id,), by_image.received_at, frozenset({"pdq"})),
        Coverage((by_url.id, by_image.id), by_url.received_at, frozenset({"url", "sha256"})),
        None,
    ]


@pytest.mark.parametrize(
    ("n_bits", "quality", "claimed_quality"),
    [(MATCH_DISTANCE + 1, 99, 99), (0, MIN_QUALITY - 1, 99), (0, None, 99), (0, 99, MIN_QUALITY - 1)],
)
def test_pictures_too_far_or_too_plain_do_not_match(
    registry: Registry, n_bits: int, quality: int | None, claimed_quality: int
) -> None:
    registry.submit(request(image("b", quality=claimed_quality)))
    assert registry.opted_out([sample(pdq=flipped(digest("b"), n_bits), pdq_quality=quality)]) == [None]


def test_a_withdrawn_claim_covers_nothing_at_once(registry: Registry) -> None:
    claim = registry.submit(request(url("a"), image("b")))
    samples = [sample(0, url="https://jane.example/a.jpg"), sample(1, pdq=digest("b").hex(), pdq_quality=99)]
    assert all(registry.opted_out(samples))
    registry.withdraw(claim.id, reason="by-claimant")
    assert registry.opted_out(samples) == [None, None]


@pytest.mark.parametrize("backend", ["postgresql"])  # SQLite has one writer: its ids are in the order of commits
def test_a_claim_that_commits_after_a_later_one_covers_at_once(
    registry: Registry, sessions: Sessions, clock: Clock
) -> None:
    samples = [sample(i, pdq=digest(name).hex(), pdq_quality=99) for i, name in enumerate("ab")]
    with transaction(sessions) as slow:
        submit(slow, request(image("a")), now=clock())  # has the lower event id
        with transaction(sessions) as quick:
            submit(quick, request(image("b")), now=clock())
        assert [answer is not None for answer in registry.opted_out(samples)] == [False, True]
    assert [answer is not None for answer in registry.opted_out(samples)] == [True, True]


def test_a_grant_is_no_opt_out(registry: Registry) -> None:
    registry.submit(request(url("a"), image("b"), preference="train-ai=y"))
    samples = [sample(0, url="https://jane.example/a.jpg"), sample(1, pdq=digest("b").hex(), pdq_quality=99)]
    assert registry.opted_out(samples) == [None, None]


def test_samples_with_nothing_to_compare_are_not_covered(registry: Registry) -> None:
    registry.submit(request(url("a"), image("b")))
    assert registry.opted_out([sample(), sample(url="not a url"), sample(url="")]) == [None, None, None]
    assert registry.opted_out([]) == []


def test_a_page_of_thousands_is_answered_in_order(registry: Registry) -> None:
    registry.submit(request(*(url(str(i)) for i in range(0, 1200, 2))))
    answers = registry.opted_out([sample(i, url=f"https://jane.example/{i}.jpg") for i in range(1200)])
    assert [answer is not None for answer in answers] == [i % 2 == 0 for i in range(1200)]
