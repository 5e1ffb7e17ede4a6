"""What was typed into the one box."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout.errors import InputError
from web.questions import MAX_CHARS, READINGS, understand


@pytest.mark.parametrize(
    ("words", "reading"),
    [
        ("red car", "text"),
        ("castle", "text"),
        ("Jane Doe", "text"),
        ("  a   castle\n", "text"),
        ("3.5", "text"),
        ("mr.x", "text"),
        ("jane.example", "site"),
        ("www.jane.example:8080", "site"),
        ("https://jane.example", "site"),
        ("HTTP://JANE.EXAMPLE/", "site"),
        ("//jane.example/", "site"),
        ("portfolio.example/jane/", "site"),
        ("b\u00fccher.example", "site"),
        ("jane.example/a/castle.PNG", "url"),
        ("jane.example/show?id=3", "url"),
        ("jane.example?id=3", "url"),
        ("https://jane.example/a/castle", "url"),
        ("https://localhost/castle.png", "url"),
        ("see jane.example", "text"),
    ],
)
def test_the_form_of_the_words_decides(words: str, reading: str) -> None:
    assert understand(words).reading == reading


@pytest.mark.parametrize("reading", READINGS)
def test_the_persons_own_choice_wins(reading: str) -> None:
    question = understand("jane.example", reading)
    assert (question.reading, question.certain) == (reading, True)


def test_plain_words_may_still_be_a_name() -> None:
    assert not understand("jane doe").certain
    assert understand("jane.example").certain


@pytest.mark.parametrize(
    ("words", "reading", "says"),
    [("  ", "", "empty"), ("a" * (MAX_CHARS + 1), "", "2,001 characters"), ("castle", "smell", "'smell'")],
)
def test_the_unusable_is_refused_with_advice(words: str, reading: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        understand(words, reading)


@given(st.text(min_size=1, max_size=80))
def test_anything_typed_is_understood_or_refused(words: str) -> None:
    try:
        assert understand(words).reading in READINGS
    except InputError:
        assert not words.split()
