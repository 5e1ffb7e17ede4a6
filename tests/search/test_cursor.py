"""Cursors: round trip, and refusal of everything else."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout.errors import InputError
from search.cursor import Cursor, format_cursor, parse_cursor, question_digest

CURSORS = st.builds(
    Cursor,
    question=st.text(max_size=20),
    rank=st.integers(0, 2**53),
    generations=st.dictionaries(st.text(max_size=20), st.integers(0, 2**40), max_size=4),
)


@given(cursor=CURSORS)
def test_a_cursor_survives_the_way_to_the_client_and_back(cursor: Cursor) -> None:
    text = format_cursor(cursor)
    assert parse_cursor(text) == cursor
    assert all(char.isalnum() or char in "-_" for char in text)


@given(text=st.text(max_size=60))
def test_any_text_is_a_cursor_or_an_input_error(text: str) -> None:
    try:
        parse_cursor(text)
    except InputError as error:
        assert "first page" in str(error)  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        [1, "q", -1, {}],
        [1, "q", True, {}],
        [1, "q", 1.5, {}],
        [2, "q", 1, {}],
        [1, "q", 1, {"a": "b"}],
        [1, 2, 3, 4],
    ],
)
def test_a_cursor_with_other_content_is_refused(content: object) -> None:
    text = base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")
    with pytest.raises(InputError):
        parse_cursor(text)


def test_a_cursor_of_absurd_length_is_refused() -> None:
    with pytest.raises(InputError):
        parse_cursor("A" * 100_000)


def test_a_question_has_one_digest_and_another_question_another() -> None:
    digest = question_digest("text", b"red car", None)
    assert digest == question_digest("text", b"red car", None)
    others = {
        question_digest("caption", b"red car", None),
        question_digest("text", b"red cars", None),
        question_digest("text", b"red car", ["a"]),
    }
    assert len(others | {digest}) == 4
