"""Ranges: everything is found, nothing else is, and an answer's length tells nothing."""

import hashlib
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout.errors import InputError
from registry.ranges import MEAN_ENTRIES, MIN_LINES, RangeSpace

EPOCH = date(1970, 1, 1)


def digest(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()


def url_space(n: int) -> RangeSpace:
    keys = np.sort(np.array([int.from_bytes(digest(number)[:8]) for number in range(n)], np.uint64))
    return RangeSpace(
        "url", keys, (keys % np.uint64(10) + np.uint64(1)).astype(np.uint8), (keys % np.uint64(20_000)).astype(np.int32)
    )


def picture_space(n: int) -> RangeSpace:
    digests = np.frombuffer(b"".join(map(digest, range(n))), np.uint8).reshape(n, 32)
    return RangeSpace.of_digests(
        "sha256", digests, (np.arange(n) % 5 + 1).astype(np.uint8), np.arange(n, dtype=np.int32)
    )


def read(space: RangeSpace, prefix: str) -> dict[str, tuple[int, str]]:
    """As a client reads it: whole digest -> (code, since), padding left out."""
    lines = [line.split(":") for line in space.answer(prefix).decode().splitlines()]
    return {prefix + suffix: (int(code, 16), day) for suffix, code, day in lines if code != "0"}


@pytest.mark.parametrize("n", [0, 1, 40, 6_000])
def test_every_entry_is_in_its_range_with_its_code_and_day(n: int) -> None:
    space = url_space(n)
    asked = {digest(number).hex()[: space.shape.prefix_chars] for number in range(n + 5)}
    found = {key: rest for prefix in asked for key, rest in read(space, prefix).items()}
    assert len(found) == n
    for number in range(n):
        key = digest(number)[:8]
        whole = int.from_bytes(key)
        assert found[key.hex()] == (whole % 10 + 1, (EPOCH + timedelta(days=whole % 20_000)).isoformat())


def test_pictures_are_told_by_their_whole_digest() -> None:
    space = picture_space(300)
    assert space.shape.prefix_chars + space.shape.suffix_chars == 64
    for number in range(300):
        assert read(space, digest(number).hex()[: space.shape.prefix_chars])[digest(number).hex()][0] == number % 5 + 1


def test_of_one_pictures_entries_an_opt_out_is_told_the_best_proved_the_earliest() -> None:
    digests = np.frombuffer(digest(1) * 4 + digest(2), np.uint8).reshape(5, 32)
    codes, days = np.array([10, 2, 3, 3, 6], np.uint8), np.array([1, 5, 9, 7, 3], np.int32)
    space = RangeSpace.of_digests("sha256", digests, codes, days)
    for number, code, day in ((1, 3, 7), (2, 6, 3)):
        prefix = digest(number).hex()[: space.shape.prefix_chars]
        assert read(space, prefix)[digest(number).hex()] == (code, (EPOCH + timedelta(days=day)).isoformat())


@pytest.mark.parametrize("n", [0, 3, 5_000])
@pytest.mark.parametrize("make", [url_space, picture_space])
def test_all_answers_have_the_same_length(make: type[RangeSpace], n: int) -> None:
    space = make(n)  # type: ignore[call-arg, arg-type]
    chars = space.shape.prefix_chars
    answers = [space.answer(f"{number:0{chars}x}") for number in range(16**chars)]
    assert len({len(answer) for answer in answers}) == 1
    assert {answer.count(b"\n") for answer in answers} == {space.shape.n_lines}
    assert space.shape.n_lines >= MIN_LINES
    for answer in answers[:16]:
        lines = answer.decode().splitlines()
        assert lines == sorted(lines)
        assert len({line.split(":")[0] for line in lines}) == len(lines)


def test_prefixes_grow_with_the_list_and_one_digit_fewer_still_works() -> None:
    assert url_space(0).shape.prefix_chars == url_space(16 * MEAN_ENTRIES).shape.prefix_chars == 1
    space = url_space(16 * MEAN_ENTRIES + 1)
    assert (space.shape.prefix_chars, space.shape.suffix_chars) == (2, 14)
    longer = [read(space, f"{number:02x}") for number in range(0x30, 0x40)]
    assert read(space, "3") == {key: rest for found in longer for key, rest in found.items()}
    assert len({len(space.answer(f"{number:x}")) for number in range(16)}) == 1


def test_what_was_asked_may_be_in_capitals_and_the_answer_repeats() -> None:
    space = url_space(10)
    assert space.answer("A") == space.answer("a")


@pytest.mark.parametrize("prefix", ["", "g", "aaa", "0" * 64, "-", " ", "é", "٣", "1\n"])
def test_a_prefix_that_does_not_fit_is_refused_with_the_number_of_digits(prefix: str) -> None:
    with pytest.raises(InputError, match="first 1 hexadecimal digits"):
        url_space(4).answer(prefix)


@given(st.lists(st.integers(0, 2**64 - 1), unique=True, max_size=60), st.integers(0, 15))
def test_an_answer_holds_exactly_the_keys_of_its_range(keys: list[int], digit: int) -> None:
    first = np.array(sorted(keys), np.uint64)
    space = RangeSpace("url", first, np.ones(len(keys), np.uint8), np.zeros(len(keys), np.int32))
    assert set(read(space, f"{digit:x}")) == {f"{key:016x}" for key in keys if key >> 60 == digit}
