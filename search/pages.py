"""Pages cut from a ranking, one card per picture: copies are grouped, each group is shown once, nothing is left out.

A page holds every exact and near candidate, whatever `k` says, and then up to `k` groups. Candidates that `keep` does
not want are passed over, and the page goes on until it is full; ranks stay those of the whole ranking, so that a
cursor holds whatever `keep` says by then. A group is expanded over
all data sets searched; it is shown on the page of its best rank, so a later page passes over its other members, which
that group has listed already. Where a group had more copies than it lists, they are not passed over.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from search.groups import MAX_MEMBERS, Component, Link, components
from search.merge import Candidate, Ref
from search.rankings import PROVED, Answer

Keep = Callable[[Sequence[Ref]], Sequence[bool]]
"""For each of some candidates, whether it may be shown."""

BATCH: Final = 50
"""Candidates expanded at a time."""

MAX_WALKED: Final = 2_000
"""Candidates looked at for one page, copies included; then the page ends, with a cursor to go on."""


@dataclass
class Card:
    """One group on a page."""

    component: Component
    hits: list[int] = field(default_factory=list)
    """Positions in the page's candidates."""


@dataclass
class Page:
    """Candidates of one page, and their grouping."""

    candidates: list[Candidate] = field(default_factory=list)
    cards: list[Card] = field(default_factory=list)
    passed_over: list[Candidate] = field(default_factory=list)
    """What `keep` did not want, on the way."""
    next_rank: int | None = None
    """Where the next page starts, or None at the end."""


def cut_page(
    answer: Answer,
    rank: int,
    k: int,
    links_of: Callable[[Sequence[Ref]], Iterable[Link]],
    *,
    keep: Keep | None = None,
    max_members: int = MAX_MEMBERS,
) -> Page:
    """The page that starts at `rank` and has up to `k` groups besides the exact and near ones."""
    page = Page()
    keep = keep or _keep_all

    @cache
    def is_query_group_whole() -> bool:
        """Whether the card of the query's copies lists them all; asked for seldom, and worked out then."""
        copies = answer.copies_of_query
        grown = components((), links_of, together=copies, max_members=max_members)
        return all(component.complete for component in grown.values())

    shelf = _Shelf(page, answer, rank, keep, is_query_group_whole)
    start = rank
    while True:
        batch = answer.ranking.window(start, start + BATCH)
        kept = keep([candidate.ref for candidate in batch])
        grown = components(
            [each.ref for each, is_kept in zip(batch, kept, strict=True) if is_kept and not shelf.has(each.ref)],
            links_of,
            together=answer.copies_of_query if start == 0 else (),
            max_members=max_members,
        )
        for position, (candidate, is_kept) in enumerate(zip(batch, kept, strict=True), start=start):
            is_full = is_kept and len(page.cards) >= k and not shelf.has(candidate.ref)
            if candidate.label not in PROVED and (is_full or position - rank >= MAX_WALKED):
                page.next_rank = position
                return page
            if not is_kept:
                page.passed_over.append(candidate)
                continue
            shelf.put(candidate, grown)
        start += len(batch)
        if len(batch) < BATCH:
            return page


def _keep_all(refs: Sequence[Ref]) -> list[bool]:
    return [True] * len(refs)


class _Shelf:
    """Puts candidates on the cards of one page."""

    def __init__(
        self, page: Page, answer: Answer, rank: int, keep: Keep, is_query_group_whole: Callable[[], bool]
    ) -> None:
        self._page = page
        self._keep = keep
        self._copies_of_query = frozenset(answer.copies_of_query)
        self._is_query_group_whole = is_query_group_whole
        self._is_shown = answer.ranking.shown_before(rank)
        self._cards: dict[Ref, Card | None] = {}
        """Member of a group -> its card; None where an earlier page shows the group."""

    def has(self, ref: Ref) -> bool:
        return ref in self._cards

    def put(self, candidate: Candidate, grown: dict[Ref, Component]) -> None:
        if candidate.ref not in self._cards:
            self._open(candidate.ref, grown[candidate.ref])
        card = self._cards[candidate.ref]
        if card is not None:
            card.hits.append(len(self._page.candidates))
            self._page.candidates.append(candidate)

    def _open(self, ref: Ref, component: Component) -> None:
        others = [member for member in component.members if member != ref]
        if component.complete and self._was_shown(others) and self._is_listed_with(others):
            self._cards.update(dict.fromkeys(component.members))
            return
        card = Card(component)
        self._page.cards.append(card)
        self._cards.update({member: card for member in component.members if member not in self._cards})

    def _was_shown(self, refs: Sequence[Ref]) -> bool:
        """Whether an earlier page shows one of them: it is ranked before, and was not passed over there."""
        return self._is_shown(refs) and self._is_shown(
            [ref for ref, is_kept in zip(refs, self._keep(refs), strict=True) if is_kept]
        )

    def _is_listed_with(self, others: Sequence[Ref]) -> bool:
        """Whether the card that shows `others` lists all that is linked to them.

        A group alone is the same on every page. The query's copies stand on one card though nothing else may link
        them, so that card can be full where their own groups are not.
        """
        return self._copies_of_query.isdisjoint(others) or self._is_query_group_whole()
