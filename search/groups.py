"""Copies of one picture as one group: connected components over proved copies, never over what a model finds alike.

Pure: who is whose copy is asked of a function. Components grow outward from seeds over everything that function can
see, not just among the seeds, so a group is the same whichever of its members was found.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from search.merge import Ref

MAX_MEMBERS: Final = 1_000
"""Members at which a component stops growing and says that it is incomplete."""


class Link(NamedTuple):
    """A proof that `other` is a copy of `ref`."""

    ref: Ref
    other: Ref
    channel: Literal["bytes", "pdq"]
    distance: int
    """0 for the same bytes, else the PDQ distance."""


@dataclass
class Component:
    """The copies of one picture. Mutable while it grows, then read only."""

    members: dict[Ref, Link | None] = field(default_factory=dict)
    """Member -> the nearest proof that it belongs here; None for a seed that nothing links yet."""
    complete: bool = True


def components(
    seeds: Sequence[Ref],
    links_of: Callable[[Sequence[Ref]], Iterable[Link]],
    *,
    together: Sequence[Ref] = (),
    max_members: int = MAX_MEMBERS,
) -> dict[Ref, Component]:
    """The component of every seed; seeds of one component map to the same object.

    Args:
        seeds: Where to start. Each is in the answer even when nothing is linked to it.
        links_of: Links from each of the given refs to all its copies. Called once per ring around the seeds.
        together: Seeds known to be copies of one picture that has no ref of its own: the query's.
        max_members: Bound of one component. The seeds themselves are always kept.
    """
    grown = _Forest(max_members)
    for seed in (*together, *seeds):
        grown.add(seed)
    for seed in together:
        grown.unite(together[0], seed)
    ring = list(dict.fromkeys((*together, *seeds)))
    while ring:
        ring = grown.grow(links_of(ring))
    return {seed: grown.component(seed) for seed in (*together, *seeds)}


class _Forest:
    """Disjoint sets under union by size, each root with its component."""

    def __init__(self, max_members: int) -> None:
        self._parents: dict[Ref, Ref] = {}
        self._components: dict[Ref, Component] = {}
        self._max_members = max_members

    def add(self, ref: Ref) -> None:
        if ref not in self._parents:
            self._parents[ref] = ref
            self._components[ref] = Component({ref: None})

    def component(self, ref: Ref) -> Component:
        return self._components[self._root(ref)]

    def grow(self, links: Iterable[Link]) -> list[Ref]:
        """Take links in; give the refs that are new and still to be asked about."""
        fresh = []
        for link in links:
            if link.other not in self._parents:
                if self._is_full(link.ref):
                    continue
                self.add(link.other)
                fresh.append(link.other)
            self.unite(link.ref, link.other)
            self._prove(link)
        return [ref for ref in fresh if not self._is_full(ref)]

    def unite(self, one: Ref, other: Ref) -> None:
        large, small = self._root(one), self._root(other)
        if large == small:
            return
        if len(self._components[large].members) < len(self._components[small].members):
            large, small = small, large
        self._parents[small] = large
        absorbed = self._components.pop(small)
        self._components[large].members.update(absorbed.members)
        self._components[large].complete &= absorbed.complete

    def _is_full(self, ref: Ref) -> bool:
        component = self.component(ref)
        if len(component.members) >= self._max_members:
            component.complete = False
        return not component.complete

    def _prove(self, link: Link) -> None:
        members = self.component(link.ref).members
        known = members[link.other]
        if known is None or link.distance < known.distance:
            members[link.other] = link

    def _root(self, ref: Ref) -> Ref:
        while self._parents[ref] != ref:
            self._parents[ref] = self._parents[self._parents[ref]]
            ref = self._parents[ref]
        return ref
