"""Filters: pages stay full, totals are those of what is let through, and no sure hit goes without saying so."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from heldout.errors import InputError
from heldout.records import Sample, SearchFilters, SearchResult
from search import nearest, text
from search.engine import SearchEngine
from search.nearest import nearest_embeddings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.search.conftest import PatchEncoder, World


def pages(ask: Callable[..., SearchResult], question: Any, **options: Any) -> list[SearchResult]:
    found = [ask(question, **options)]
    while found[-1].next_cursor:
        found.append(ask(question, cursor=found[-1].next_cursor, **options))
    return found


def hits_of(found: Sequence[SearchResult]) -> list[Sample]:
    return [hit.sample for page in found for hit in page.hits]


def test_a_host_has_its_subdomains_and_nothing_else(engine: SearchEngine) -> None:
    filters = SearchFilters(hosts=("pins.example",))
    found = pages(engine.search_site, "example", filters=filters, k=7)
    hosts = {sample.host for sample in hits_of(found)}
    assert hosts == {f"cdn{number}.pins.example" for number in range(0, 60, 3)}
    assert all(page.total == len(hits_of(found)) for page in found)
    assert all(len(page.groups) == 7 for page in found[:-1]), "pages are full"


@pytest.mark.parametrize("door", ["search_text", "search_caption"])
def test_pages_are_full_however_little_is_let_through(engine: SearchEngine, door: str) -> None:
    filters = SearchFilters(hosts=("ota.example",))
    found = pages(getattr(engine, door), "shapes", filters=filters, datasets=["art"], k=4)
    assert {sample.host for sample in hits_of(found)} == {"ota.example"}
    assert all(len(page.groups) == 4 for page in found[:-1])
    assert len(hits_of(found)) == 20


def test_size_and_safety_are_looked_up_in_columns(engine: SearchEngine) -> None:
    small = pages(engine.search_site, "example", filters=SearchFilters(min_width=101), datasets=["art"])
    sizes = {sample.width for sample in hits_of(small)}
    assert sizes
    assert all(width is not None and width > 100 for width in sizes)
    tall = hits_of(pages(engine.search_site, "example", filters=SearchFilters(min_height=200), datasets=["art"]))
    assert {sample.height for sample in tall} == {200}
    assert engine.search_site("example", filters=SearchFilters(safety="unsafe")).total == 0
    every = engine.search_site("example").total
    assert engine.search_site("example", filters=SearchFilters(safety="safe")).total == every


def test_sure_copies_that_a_filter_leaves_out_are_counted_and_said(engine: SearchEngine, world: "World") -> None:
    data = world.picture(world.works[3])
    every = engine.search_picture(data, datasets=["art"])
    n_sure = sum(hit.label in {"exact", "near"} for hit in every.hits)
    assert every.left_out == {}
    result = engine.search_picture(data, datasets=["art"], filters=SearchFilters(hosts=("mika.example",)))
    assert {hit.sample.host for hit in result.hits} == {"mika.example"}
    assert sum(result.left_out.values()) == n_sure
    assert "leave out sure copies" in result.notes[-1]


def test_copies_that_a_shown_card_lists_are_not_left_out(engine: SearchEngine, world: "World") -> None:
    data = world.picture(world.works[3])
    result = engine.search_picture(data, datasets=["art"], filters=SearchFilters(hosts=("pins.example",)))
    sure = result.groups[0]
    assert {result.hits[place].sample.host for place in sure.hits} == {"cdn3.pins.example"}
    assert "jane.example" in sure.hosts, "the card still lists every copy"
    assert result.left_out == {}
    assert result.notes == []


def test_labels_choose_hits(engine: SearchEngine, world: "World") -> None:
    data = world.picture(world.works[3])
    sure = engine.search_picture(data, filters=SearchFilters(labels=("exact", "near")))
    assert {hit.label for hit in sure.hits} == {"exact", "near"}
    assert (sure.left_out, sure.next_cursor) == ({}, None)
    alike = engine.search_picture(data, filters=SearchFilters(labels=("similar",)))
    assert {hit.label for hit in alike.hits} == {"similar"}
    assert alike.left_out.keys() == {"exact", "near"}
    assert engine.search_site("example", filters=SearchFilters(labels=("exact",))).hits == []


@pytest.fixture
def with_opt_outs(datasets_dir: "Path", encoder: "PatchEncoder") -> Any:
    """An engine for which every second sample of jane.example is opted out, and how many samples it was asked about."""
    asked: list[int] = []

    def opted_out(samples: Sequence[Sample]) -> list[bool]:
        asked.append(len(samples))
        return [sample.host == "jane.example" and sample.id % 2 == 0 for sample in samples]

    engine = SearchEngine.open(datasets_dir, encoder, opted_out=opted_out)
    yield engine, asked
    engine.close()


def test_what_is_opted_out_is_passed_over_and_pages_stay_full(with_opt_outs: Any) -> None:
    engine, asked = with_opt_outs
    filters = SearchFilters(not_opted_out=True)
    found = pages(engine.search_site, "jane.example", filters=filters, datasets=["art"], k=4)
    every = hits_of(pages(engine.search_site, "jane.example", datasets=["art"]))
    expected = [sample.id for sample in every if sample.id % 2]
    shown = {sample.id for page in found for group in page.groups for sample in page.samples_of(group)}
    assert [sample.id for sample in hits_of(found)] == [each for each in expected if each in shown]
    assert set(expected) <= shown, "nothing that is left to do is missing"
    assert all(len(page.groups) == 4 for page in found[:-1])
    assert all(page.total is None for page in found), "how many are left is not known before all are looked at"
    assert any("opted out already" in note for page in found for note in page.notes)
    assert max(asked) <= 50


def test_a_server_without_opt_outs_says_so(engine: SearchEngine) -> None:
    with pytest.raises(InputError, match="not_opted_out"):
        engine.search_text("red", filters=SearchFilters(not_opted_out=True))


def test_a_cursor_belongs_to_its_filters(engine: SearchEngine) -> None:
    first = engine.search_site("example", k=3)
    with pytest.raises(InputError, match="another question"):
        engine.search_site("example", k=3, cursor=first.next_cursor, filters=SearchFilters(min_width=1))


@pytest.mark.parametrize("hosts", [("://",), ("a b",), ("a.example",) * 101])
def test_hosts_that_are_none_are_refused(engine: SearchEngine, hosts: tuple[str, ...]) -> None:
    with pytest.raises(InputError):
        engine.search_text("red", filters=SearchFilters(hosts=hosts))


def test_a_large_filter_gives_what_comparing_all_gives(
    engine: SearchEngine, encoder: "PatchEncoder", monkeypatch: pytest.MonkeyPatch
) -> None:
    embedding = encoder.embed_texts(["red"])
    with engine.generation("art") as art:
        mask = np.arange(art.n) % 3 == 0
        exact = nearest_embeddings({"art": art}, embedding, 15, masks={"art": mask})
        monkeypatch.setattr(nearest, "EXACT_UP_TO", 0)
        asked = nearest_embeddings({"art": art}, embedding, 15, masks={"art": mask})
    assert len(exact) == 15
    assert all(candidate.ref.id % 3 == 0 for candidate in exact)
    assert [each.score for each in asked] == pytest.approx([each.score for each in exact], abs=1e-3)


def test_a_total_is_given_only_where_every_caption_was_looked_at(
    engine: SearchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = SearchFilters(min_width=1)
    whole = engine.search_caption("shapes green", k=500, datasets=["art"], filters=wide)
    assert whole.total is not None
    assert whole.total > 6
    monkeypatch.setattr(text, "N_CAPTIONS", 5)
    monkeypatch.setattr(text, "N_FILTERED", 6)
    cut = engine.search_caption("shapes green", k=500, datasets=["art"], filters=wide)
    assert cut.total is None, "there may be more that the filter lets through"
    assert any("6 were looked at" in note for note in cut.notes)
