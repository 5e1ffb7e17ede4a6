"""Connected components over proved copies, against a naive flood fill."""

from collections.abc import Callable, Iterable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from search.groups import Link, components
from search.merge import Ref

EDGES = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(0, 31)), max_size=40)


def _ref(sample: int) -> Ref:
    return Ref("a", sample)


def _links(edges: list[tuple[int, int, int]]) -> Callable[[Sequence[Ref]], Iterable[Link]]:
    both = [*edges, *((other, one, distance) for one, other, distance in edges)]

    def links_of(refs: Sequence[Ref]) -> Iterable[Link]:
        wanted = {ref.id for ref in refs}
        return [
            Link(_ref(one), _ref(other), "pdq", distance)
            for one, other, distance in both
            if one in wanted and one != other
        ]

    return links_of


def _flood(start: int, edges: list[tuple[int, int, int]]) -> set[int]:
    reached = {start}
    while True:
        more = {other for one, other, _ in edges if one in reached} | {
            one for one, other, _ in edges if other in reached
        }
        if more <= reached:
            return reached
        reached |= more


@given(edges=EDGES, seeds=st.lists(st.integers(0, 20), min_size=1, max_size=8))
def test_a_component_is_everything_that_links_reach(edges: list[tuple[int, int, int]], seeds: list[int]) -> None:
    grown = components([_ref(seed) for seed in seeds], _links(edges))
    for seed in seeds:
        assert {ref.id for ref in grown[_ref(seed)].members} == _flood(seed, edges)
        assert grown[_ref(seed)].complete
    for one in seeds:
        for other in seeds:
            same = _flood(one, edges) == _flood(other, edges)
            assert (grown[_ref(one)] is grown[_ref(other)]) == same


@given(edges=EDGES)
def test_a_member_carries_its_nearest_proof(edges: list[tuple[int, int, int]]) -> None:
    for ref, link in components([_ref(0)], _links(edges))[_ref(0)].members.items():
        distances = [distance for one, other, distance in edges if ref.id in {one, other} and one != other]
        if link is None:
            assert ref == _ref(0)
        else:
            assert link.distance == min(distances)


def test_seeds_held_together_by_the_query_are_one_component() -> None:
    grown = components([_ref(1), _ref(3)], _links([(1, 2, 5)]), together=[_ref(1), _ref(3)])
    assert grown[_ref(1)] is grown[_ref(3)]
    assert {ref.id for ref in grown[_ref(1)].members} == {1, 2, 3}


def test_a_component_over_the_bound_stops_growing_and_says_so() -> None:
    chain = [(sample, sample + 1, 1) for sample in range(100)]
    component = components([_ref(0)], _links(chain), max_members=10)[_ref(0)]
    assert len(component.members) == 10
    assert not component.complete


def test_a_component_below_the_bound_is_complete() -> None:
    component = components([_ref(0)], _links([(0, 1, 1), (1, 2, 1)]), max_members=4)[_ref(0)]
    assert len(component.members) == 3
    assert component.complete


def test_seeds_are_kept_even_above_the_bound() -> None:
    seeds = [_ref(sample) for sample in range(5)]
    grown = components(seeds, _links([(0, 1, 1), (1, 2, 1), (2, 3, 1), (3, 4, 1)]), max_members=2)
    assert set(grown[_ref(0)].members) == set(seeds)
