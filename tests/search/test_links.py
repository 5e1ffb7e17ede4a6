"""Links read from the groups of an index connect what looking every copy up connects."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from heldout.fingerprints import MATCH_DISTANCE
from search.engine import SearchEngine
from search.groups import MAX_MEMBERS, components
from search.links import Links
from search.merge import Ref
from search.reading import Reading

if TYPE_CHECKING:
    from tests.search.conftest import World


def together(engine: SearchEngine, refs: Sequence[Ref], max_members: int = MAX_MEMBERS) -> set[frozenset[Ref]]:
    """The components of all refs over both data sets."""
    with engine.generation("art") as art, engine.generation("more") as more:
        grown = components(refs, Links(Reading({"art": art, "more": more})), max_members=max_members)
        return {frozenset(component.members) for component in grown.values()}


def test_groups_are_those_that_were_planted_across_data_sets_too(
    engine: SearchEngine, world: "World", other_world: "World"
) -> None:
    names = {"art": world, "more": other_world}
    refs = [Ref(dataset, number) for dataset, of_it in names.items() for number in range(len(of_it.rows))]
    keys = {
        frozenset((ref.dataset, engine.samples(ref.dataset, [ref.id])[0].key) for ref in group)
        for group in together(engine, refs)
    }
    for dataset, of_it in names.items():
        for work, copies in of_it.copies.items():
            if work in of_it.works:
                wanted = {(dataset, key) for key in (work, *copies.values())}
                assert [group for group in keys if wanted <= group], work
    first = next(group for group in keys if ("art", world.works[0]) in group)
    assert ("more", other_world.copies["art"]["bytes"]) in first
    assert sum(map(len, keys)) == len(refs), "no sample is in two groups"


def test_a_group_is_the_same_from_whichever_member_it_is_asked_for(engine: SearchEngine, world: "World") -> None:
    (whole,) = together(engine, [_ref(engine, world.works[0])])
    for ref in whole:
        assert together(engine, [ref]) == {whole}
    assert together(engine, sorted(whole)) == {whole}
    assert len(whole) >= 7


def test_a_group_larger_than_a_card_keeps_its_seeds_together(engine: SearchEngine, world: "World") -> None:
    (whole,) = together(engine, [_ref(engine, world.works[0])])
    seeds = sorted(whole)[-3:]
    (small,) = together(engine, seeds, max_members=2)
    assert set(seeds) <= small


def test_every_member_says_what_proves_it(engine: SearchEngine, world: "World") -> None:
    ref = _ref(engine, world.works[0])
    with engine.generation("art") as art:
        links = {link.other: link for link in Links(Reading({"art": art}))([ref])}
        samples = {each.id: each for each in art.samples([other.id for other in links])}
    assert links
    for link in links.values():
        if link.channel == "bytes":
            assert link.distance == 0
        else:
            assert 0 <= link.distance <= MATCH_DISTANCE
    twin = next(other for other in links if samples[other.id].key == world.copies[world.works[0]]["bytes"])
    assert links[twin].channel == "bytes"


def _ref(engine: SearchEngine, key: str) -> Ref:
    with engine.generation("art") as art:
        number = next(each.id for each in art.samples(range(art.n)) if each.key == key)
    return Ref("art", number)
