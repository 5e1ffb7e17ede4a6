"""Words of queries and captions in any script."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout.errors import InputError
from search.words import (
    MAX_QUERY_CHARS,
    clean,
    content_words,
    credits_name,
    fold,
    has_all_words,
    has_phrase,
    parse_query,
)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Jané  D'OE_3", "jane d oe 3"),
        ("STRASSE straße", "strasse strasse"),
        ("Ёлка", "елка"),
        ("ﬁsh", "fish"),
        ("---", ""),
        ("猫の絵", "猫 の 絵"),
        ("Łukasz Ørsted", "lukasz orsted"),
    ],
)
def test_folding_keeps_what_equal_looking_texts_share(text: str, folded: str) -> None:
    assert fold(text) == folded


@given(text=st.text())
def test_folding_twice_is_folding_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)


def test_quoted_parts_are_phrases_and_the_encoder_reads_no_quotes() -> None:
    query = parse_query('a "Red Car" near “Das Haus” «la maison»')
    assert query.phrases == ("red car", "das haus", "la maison")
    assert query.text == "a Red Car near Das Haus la maison"


def test_an_unpaired_quote_is_no_phrase() -> None:
    query = parse_query('6" nail')
    assert (query.text, query.phrases) == ("6 nail", ())


@pytest.mark.parametrize("text", ["", "   ", '""', "?!", "\x00\x07", "x" * (MAX_QUERY_CHARS + 1)])
def test_a_text_without_words_or_too_long_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_query(text)


def test_control_characters_become_blanks() -> None:
    assert clean("red\x00car\r\n\u2028 fast\ud800") == "red car fast"


def test_phrases_are_whole_words_where_words_have_breaks() -> None:
    assert has_phrase("a red car on a road", "red car")
    assert not has_phrase("a red cart", "red car")
    assert not has_phrase("a scarred car", "red car")
    assert has_phrase(fold("古い赤い車の写真"), fold("赤い車"))


def test_all_words_may_stand_in_any_order() -> None:
    assert has_all_words("car that is red", ["red", "car"])
    assert not has_all_words("cartoon that is red", ["red", "car"])


@pytest.mark.parametrize(
    "caption",
    [
        "Red fox by Jane Doe",
        "Red fox BY: jane doe, 2011",
        "fox © Jane Doe",
        "Fox (c) Jane Döe",
        "fox | artist: Jane Doe",
    ],
)
def test_a_credit_is_found(caption: str) -> None:
    assert credits_name(caption, "jane doe")


@pytest.mark.parametrize("caption", ["Jane Doe with a fox", "by Jane Doering", "standby Jane Doe", "by Mary Jane Doe"])
def test_a_mention_is_no_credit(caption: str) -> None:
    assert not credits_name(caption, "jane doe")


def test_function_words_and_repetitions_are_not_looked_up() -> None:
    assert content_words("a Cup of the coffee, of coffee 赤い車") == ["cup", "coffee", "赤い車"]
