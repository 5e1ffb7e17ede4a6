"""The URL and site doors: by canonical address, pictures or not."""

from typing import TYPE_CHECKING

import pytest

from heldout.errors import InputError
from search.engine import SearchEngine

if TYPE_CHECKING:
    from tests.search.conftest import World


@pytest.mark.parametrize(
    "url",
    [
        "https://jane.example/art/000.png",
        "http://JANE.example:80/art/./x/../000.png?utm_source=mail#top",
        "jane.example/art/000.png",
    ],
)
def test_an_address_is_found_however_it_is_written(engine: SearchEngine, world: "World", url: str) -> None:
    result = engine.search_url(url, datasets=["art"])
    expected = {row.key for row in world.rows if row.url.startswith("https://jane.example/art/000.png")}
    assert {hit.sample.key for hit in result.hits} == expected
    assert len(expected) == 2
    assert {hit.label for hit in result.hits} == {"exact"}
    assert {proof.channel for hit in result.hits for proof in hit.evidence} == {"url"}
    assert result.total == 2


def test_copies_of_an_addresss_picture_elsewhere_are_listed(engine: SearchEngine, world: "World") -> None:
    work = world.works[0]
    result = engine.search_url(world.row(work).url)
    keys = {(sample.dataset, sample.key) for group in result.groups for sample in result.samples_of(group)}
    assert {("art", key) for key in world.copies[work].values()} <= keys
    assert any("elsewhere.example" in group.hosts for group in result.groups)


def test_a_similar_address_is_not_the_address(engine: SearchEngine) -> None:
    assert engine.search_url("https://jane.example/art/000.png?page=2").hits == []
    assert engine.search_url("https://jane.example/art/00").hits == []


def test_a_site_lists_every_sample_of_its_host_dead_ones_too(engine: SearchEngine, world: "World") -> None:
    result = engine.search_site("jane.example", k=500, datasets=["art"])
    expected = {row.key for row in world.rows if row.url.startswith("https://jane.example/")}
    assert {hit.sample.key for hit in result.hits} == expected
    assert result.total == len(expected)
    assert {hit.label for hit in result.hits} == {"site"}
    assert any(hit.sample.sha256 is None for hit in result.hits)


def test_a_site_takes_its_subdomains_in_but_no_lookalikes(engine: SearchEngine) -> None:
    hosts = {hit.sample.host for hit in engine.search_site("pins.example", k=500).hits}
    assert len(hosts) > 10
    assert all((host or "").endswith(".pins.example") for host in hosts)
    assert engine.search_site("ins.example").hits == []


def test_a_profile_is_the_folder_on_that_host(engine: SearchEngine) -> None:
    result = engine.search_site("https://mika.example/art/", k=500)
    assert result.total
    assert all((hit.sample.url or "").startswith("https://mika.example/art/") for hit in result.hits)
    assert engine.search_site("mika.example/ar").total == 0


def test_sites_over_several_data_sets_are_counted_together(engine: SearchEngine) -> None:
    alone = [engine.search_site("jane.example", datasets=[name]).total or 0 for name in ("art", "more")]
    assert engine.search_site("jane.example").total == sum(alone)
    assert all(alone)


@pytest.mark.parametrize("text", ["", "http://", "javascript:alert(1)", "https://exa mple/", "\x00"])
def test_what_is_no_address_is_refused(engine: SearchEngine, text: str) -> None:
    for door in (engine.search_url, engine.search_site):
        with pytest.raises(InputError):
            door(text)
