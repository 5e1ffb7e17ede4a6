"""The text and caption doors: what looks like it, what says it, and whose it is."""

from typing import TYPE_CHECKING

import pytest

from heldout.errors import InputError, NotFoundError
from heldout.records import Hit
from search.engine import SearchEngine

if TYPE_CHECKING:
    from tests.search.conftest import World


def _captions(hits: list[Hit]) -> list[str]:
    return [hit.sample.caption or "" for hit in hits]


def test_a_text_finds_what_looks_like_it_without_its_word(engine: SearchEngine, world: "World") -> None:
    hits = engine.search_text("red", k=40, datasets=["art"]).hits
    pinned = {key for work in world.works[::12] for key in world.copies[work].values()}
    assert {hit.sample.key for hit in hits if hit.label == "similar"} & pinned


def test_caption_and_look_together_rank_above_either_alone(engine: SearchEngine) -> None:
    hits = engine.search_text("blue shapes", k=15, datasets=["art"]).hits
    assert all("blue" in caption for caption in _captions(hits[:15]))
    assert {proof.channel for proof in hits[0].evidence} == {"caption", "clip"}


def test_an_artists_name_puts_her_captions_first(engine: SearchEngine, world: "World") -> None:
    hers = {row.key for row in world.rows if "Jane Doe" in row.caption}
    hits = engine.search_text("jane doe", k=60, datasets=["art"]).hits
    assert {hit.sample.key for hit in hits[: len(hers)]} == hers
    assert {hit.label for hit in hits[: len(hers)]} == {"caption"}


def test_a_name_is_found_without_its_accents(engine: SearchEngine) -> None:
    hits = engine.search_caption("ota novak", datasets=["art"]).hits
    assert hits
    assert all("Ota Novák" in caption for caption in _captions(hits))


def test_a_lost_picture_is_found_by_its_caption(engine: SearchEngine) -> None:
    result = engine.search_caption("lost castle", datasets=["art"])
    assert [(hit.sample.status == "ok", hit.sample.sha256, hit.label) for hit in result.hits] == [
        (False, None, "caption")
    ]
    assert result.hits[0].sample.host == "jane.example"


def test_the_caption_door_finds_every_caption_that_has_the_words(engine: SearchEngine, world: "World") -> None:
    expected = {row.key for row in world.rows if {"green", "shapes"} <= set(row.caption.split())}
    result = engine.search_caption("shapes green", k=500, datasets=["art"])
    found = {hit.sample.key for hit in result.hits}
    copies = {copy.sample.key for group in result.groups for copy in group.copies}
    assert found == expected
    assert result.total == len(expected)
    assert not copies & found


def test_a_quoted_phrase_stands_as_it_is(engine: SearchEngine) -> None:
    loose = engine.search_caption("number shapes", k=500, datasets=["art"])
    quoted = engine.search_caption('"number shapes"', k=500, datasets=["art"])
    right = engine.search_caption('"shapes number"', k=500, datasets=["art"])
    assert (loose.total, quoted.total) == (right.total, 0)
    assert right.total


def test_a_quoted_phrase_in_a_text_search_admits_captions_only(engine: SearchEngine) -> None:
    hits = engine.search_text('red "number 12"', k=500, datasets=["art"]).hits
    assert all("number 12" in caption for caption in _captions(hits))
    assert len(engine.search_text('red "number 13"', datasets=["art"]).hits) == 0


def test_whole_words_come_before_words_that_only_begin_so(engine: SearchEngine) -> None:
    hits = engine.search_caption("number 1", k=500, datasets=["art"]).hits
    whole = [caption.split().count("1") for caption in _captions(hits)]
    assert whole == sorted(whole, reverse=True)


@pytest.mark.parametrize("text", ["", " \n", "!!!", "x" * 10_000])
def test_texts_without_words_or_far_too_long_are_refused(engine: SearchEngine, text: str) -> None:
    for door in (engine.search_text, engine.search_caption):
        with pytest.raises(InputError):
            door(text)


def test_words_that_nobody_used_find_nothing_by_caption(engine: SearchEngine) -> None:
    result = engine.search_caption("xylophone")
    assert (result.hits, result.groups, result.total, result.next_cursor) == ([], [], 0, None)


def test_an_unknown_data_set_is_named_with_those_there_are(engine: SearchEngine) -> None:
    with pytest.raises(NotFoundError, match="art, more"):
        engine.search_text("red", datasets=["laion"])


@pytest.mark.parametrize("k", [0, -1, 501])
def test_a_page_size_out_of_bounds_is_refused(engine: SearchEngine, k: int) -> None:
    with pytest.raises(InputError, match="500"):
        engine.search_text("red", k=k)


def test_captions_in_scripts_without_word_breaks_are_found(engine: SearchEngine) -> None:
    for text in ("赤い車", "車の絵", '"赤い車"', "絵 海辺"):
        result = engine.search_caption(text, datasets=["art"])
        assert _captions(result.hits) == ["海辺の赤い車の絵"], text
    assert engine.search_caption("青い車").hits == []
    assert engine.search_text("赤い車", datasets=["art"]).hits[0].label == "caption"


def test_captions_with_some_of_the_words_are_found_after_those_with_all(engine: SearchEngine) -> None:
    hits = engine.search_text("the lost castle of shapes number 17", k=200, datasets=["art"]).hits
    said = [hit.sample.caption or "" for hit in hits if hit.label == "caption"]
    assert any("castle" in caption for caption in said)
    assert "number 17" in said[0]
    assert all(sum(proof.channel == "caption" for proof in hit.evidence) <= 1 for hit in hits)
