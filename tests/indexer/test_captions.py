"""Full text over captions: names, accents, beginnings, scripts with and without spaces."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.captions import CaptionIndex, build_caption_index, fold, split_units

CAPTIONS = [
    "A red car by Jürgen Müller",
    "Łukasz's blue cars",
    "日本語の猫 picture",
    "снег и Ёлка",
    "हिन्दी चित्र",
    "",
    "Straße ON the hill",
    "cartoon_of a cat",
    "car car car",
    "한국어 그림",
    "แมวสีดำ",
    "O'Neill & Søn",
]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> CaptionIndex:
    folder = tmp_path_factory.mktemp("captions") / "index"
    assert build_caption_index(enumerate(CAPTIONS, start=100), folder) == len(CAPTIONS) - 1
    return CaptionIndex(folder)


def _found(index: CaptionIndex, text: str) -> set[int]:
    return {int(sample_id) - 100 for sample_id in index.search(text, 50)[1]}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("Müller", {0}),
        ("muller", {0}),
        ("MÜLLER JÜRGEN", {0}),
        ("red ca", {0}),
        ("ca red", set()),  # only the last word may be a beginning
        ("lukasz", {1}),
        ("Łukasz", {1}),
        ("猫", {2}),
        ("日本", {2}),
        ("本日", set()),
        ("елка", {3}),
        ("СНЕГ", {3}),
        ("चित्र", {4}),
        ("strasse", {6}),
        ("cat", {7}),
        ("car", {0, 1, 7, 8}),
        ("그림", {9}),
        ("แมว", {10}),
        ("oneill", set()),
        ("o'neill", {11}),
        ("son", {11}),
        ("no such word", set()),
        ("... !", set()),
        ("", set()),
        ("a*b(", {0}),
    ],
)
def test_words_are_found_as_people_type_them(index: CaptionIndex, query: str, expected: set[int]) -> None:
    assert _found(index, query) == expected


def test_whole_words_come_before_beginnings(index: CaptionIndex) -> None:
    ids = index.search("car", 10)[1].tolist()
    assert set(ids[:2]) == {100, 108}


def test_pages_join_without_gap_or_repeat(tmp_path: Path) -> None:
    build_caption_index(((n, "the same words") for n in range(100)), tmp_path / "index")
    index = CaptionIndex(tmp_path / "index")
    whole = index.search("same", 100)[1].tolist()
    pages = [index.search("same", 30, offset=offset)[1].tolist() for offset in range(0, 120, 30)]
    assert sum(pages, []) == whole  # noqa: RUF017 - four short pages
    assert sorted(whole) == list(range(100))


def test_an_index_of_nothing_answers_nothing(tmp_path: Path) -> None:
    assert build_caption_index(iter([]), tmp_path / "index") == 0
    assert len(CaptionIndex(tmp_path / "index").search("word", 5)[1]) == 0


def test_an_endless_word_is_cut_the_same_way_on_both_sides(tmp_path: Path) -> None:
    build_caption_index([(7, "x" * 100_000)], tmp_path / "index")
    assert CaptionIndex(tmp_path / "index").search("x" * 100_000, 5)[1].tolist() == [7]


@given(st.text())
def test_any_caption_is_found_by_its_own_first_words(text: str) -> None:
    units = split_units(text)
    assert split_units(" ".join("".join(unit) for unit in units)) == units


@given(st.text())
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)
