"""Full text over captions: names, accents, beginnings, scripts with and without spaces."""

from pathlib import Path

import numpy as np
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
        ("a*b(", set()),  # one letter is no beginning of a word
        ("a*re(", {0}),
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


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> CaptionIndex:
    """Captions in the scripts and spellings in which people write names."""
    folder = tmp_path_factory.mktemp("captions") / "names"
    build_caption_index(enumerate(NAMES), folder)
    return CaptionIndex(folder)


NAMES = [
    "لوحة للفنان مُحَمَّد الأحمد",  # with vowel signs
    "رسم محمد الاحمد",
    "نقاشی کتاب‌خانه",  # Persian, with a zero-width non-joiner
    "ציור של שָׁלוֹם",
    "क़लम और ज़मीन",  # a nukta and a vowel sign on one letter
    "東京タワーの夜景 by 山田太郎",
    "山田花子の絵",
    "北京故宫博物院",
    "Работа художника Айвазовского",
    "Ελένη Παπαδοπούλου, θάλασσα",
    "김민수 작품",
    "ภาพวาดของ สมชาย",
    "Work by Jörg Mueller",
    "Work by Jörg Müller",
    "Åse Sørensen, fjord",
    "Beyoncé portrait by Zoë O'Neill-Smith",
    "a zebra by Nguyễn Văn Đức",
]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("محمد", {0, 1}),
        ("مُحَمَّد", {0, 1}),
        ("الأحمد", {0, 1}),
        ("محم", {0, 1}),
        ("كتابخانه", {2}),
        ("שלום", {3}),
        ("क़लम", {4}),
        ("ज़मीन", {4}),
        ("ज़मी", {4}),
        ("山田", {5, 6}),
        ("山田太郎", {5}),
        ("太郎 タワー", {5}),
        ("故宫", {7}),
        ("айвазовск", {8}),
        ("АЙВАЗОВСКОГО", {8}),
        ("θαλασσα", {9}),
        ("김민수", {10}),
        ("김민", {10}),
        ("สมชาย", {11}),
        ("muller", {13}),
        ("Müller", {12, 13}),
        ("mueller", {12, 13}),
        ("jorg muell", {12, 13}),
        ("ase sorensen", {14}),
        ("Aase Soerensen", {14}),
        ("zoe oneill", set()),
        ("o'neill smith", {15}),
        ("beyonce", {15}),
        ("nguyen van duc", {16}),
    ],
)
def test_names_are_found_in_every_script_and_spelling(names: CaptionIndex, query: str, expected: set[int]) -> None:
    assert set(names.search(query, 50)[1].tolist()) == expected


def test_a_whole_word_stands_before_any_beginning(tmp_path: Path) -> None:
    captions = ["brown brown bearded", "bearded bearded bearded", "a brown thing that is long and dull and a bear"]
    captions += ["the bear " * 3] * 40  # the whole word is common, so rarity says little for it
    build_caption_index(enumerate(captions), tmp_path / "index")
    index = CaptionIndex(tmp_path / "index")
    assert index.search("brown bear", 10)[1].tolist() == [2, 0]
    scores, ids = index.search("bear", 100)
    assert set(ids[:41].tolist()) == set(range(2, 43))
    assert set(ids[41:].tolist()) == {0, 1}
    assert (np.diff(scores) <= 0).all()
    assert scores[40] > scores[41] > 0


@pytest.mark.parametrize("size", [1, 3, 7])
def test_pages_join_over_the_seam_of_words_and_beginnings(tmp_path: Path, size: int) -> None:
    build_caption_index(((n, "cat" if n % 3 else "category") for n in range(30)), tmp_path / "index")
    index = CaptionIndex(tmp_path / "index")
    whole = index.search("cat", 100)[1].tolist()
    assert sorted(whole) == list(range(30))
    pages = [index.search("cat", size, offset=offset)[1].tolist() for offset in range(0, 40, size)]
    assert sum(pages, []) == whole  # noqa: RUF017 - few short pages


@pytest.mark.parametrize(
    ("text", "phrases", "expected"),
    [
        ("red car", ["red car"], {0}),
        ("red car", [], {0, 1}),
        ("car red", ["red car"], {0}),
        ("blue car red", ["red car", "BLUE"], {0}),
        ("red car", ["red car", "car red"], set()),
        ("夜景", ["の夜景"], {2}),
        ("夜景", ["夜の景"], set()),
        ("red ca", ["red"], {0, 1}),
    ],
)
def test_phrases_must_stand_as_they_are(tmp_path: Path, text: str, phrases: list[str], expected: set[int]) -> None:
    build_caption_index(enumerate(["a red car, blue", "a car in red", "東京の夜景"]), tmp_path / "index")
    assert set(CaptionIndex(tmp_path / "index").search(text, 9, phrases=phrases)[1].tolist()) == expected
