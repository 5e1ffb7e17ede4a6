"""Grouping and paging of whole answers: every hit once, every copy listed, no page hides what another did not show."""

import base64
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pytest

from heldout.errors import InputError
from heldout.fingerprints import MATCH_DISTANCE
from heldout.records import SearchResult
from search.engine import SearchEngine
from search.groups import Link
from search.merge import Ref, near, similar
from search.pages import cut_page
from search.rankings import Answer, Listed

if TYPE_CHECKING:
    from tests.search.conftest import World


def _all_pages(ask: Callable[[str | None], SearchResult]) -> list[SearchResult]:
    pages = [ask(None)]
    while pages[-1].next_cursor is not None:
        pages.append(ask(pages[-1].next_cursor))
    return pages


def _shown(pages: list[SearchResult]) -> list[tuple[str, str]]:
    return [
        (sample.dataset, sample.key) for page in pages for group in page.groups for sample in page.samples_of(group)
    ]


Ask = Callable[[str | None], SearchResult]


@pytest.fixture(params=["picture", "text", "site", "caption"])
def ask(request: pytest.FixtureRequest, engine: SearchEngine, world: "World") -> Ask:
    """A question that has several pages; takes the cursor of the page before."""
    asks: dict[str, Ask] = {
        "picture": lambda cursor: engine.search_picture(world.picture(world.works[3]), k=3, cursor=cursor),
        "text": lambda cursor: engine.search_text("green shapes", k=3, cursor=cursor),
        "site": lambda cursor: engine.search_site("example", k=3, cursor=cursor),
        "caption": lambda cursor: engine.search_caption("pinned", k=3, cursor=cursor),
    }
    return asks[str(request.param)]


def test_pages_together_show_every_sample_once(ask: Ask) -> None:
    pages = _all_pages(ask)
    assert len(pages) > 3
    shown = _shown(pages)
    assert len(shown) == len(set(shown))
    assert all(len(page.groups) <= 3 for page in pages[1:])


def test_a_site_is_paged_through_completely(engine: SearchEngine, world: "World", other_world: "World") -> None:
    shown = _shown(_all_pages(lambda cursor: engine.search_site("example", k=25, cursor=cursor)))
    assert set(shown) == {("art", row.key) for row in world.rows} | {("more", row.key) for row in other_world.rows}


def test_every_hit_is_in_exactly_one_group(ask: Ask) -> None:
    for page in _all_pages(ask):
        assert sorted(position for group in page.groups for position in group.hits) == list(range(len(page.hits)))
        for group in page.groups:
            samples = page.samples_of(group)
            assert group.n_samples == len(samples)
            assert group.hosts == sorted({sample.host for sample in samples if sample.host is not None})
            assert group.complete


def test_a_group_has_all_copies_wherever_they_are(engine: SearchEngine, world: "World", other_world: "World") -> None:
    for work in world.works[::3]:
        result = engine.search_caption(f'"{world.row(work).caption}"')
        together = [{(sample.dataset, sample.key) for sample in result.samples_of(group)} for group in result.groups]
        (keys,) = [keys for keys in together if ("art", work) in keys]
        expected = {("art", key) for key in (work, *world.copies[work].values())}
        if work == world.works[0]:
            expected.add(("more", other_world.copies["art"]["bytes"]))
        assert keys == expected


def test_copies_carry_their_proof(engine: SearchEngine, world: "World") -> None:
    result = engine.search_caption(f'"{world.row(world.works[3]).caption}"', datasets=["art"])
    (group,) = result.groups
    proofs = {copy.sample.key: (copy.channel, copy.distance) for copy in group.copies}
    planted = world.copies[world.works[3]]
    assert proofs[planted["bytes"]] == ("bytes", 0)
    assert all(distance <= MATCH_DISTANCE for _, distance in proofs.values())
    assert proofs[planted["jpeg"]][0] == "pdq"


def test_pictures_alike_by_colour_only_are_not_grouped(engine: SearchEngine, world: "World") -> None:
    result = engine.search_text("yellow", k=50, datasets=["art"])
    copies_of = {key: work for work in world.works for key in (work, *world.copies.get(work, {}).values())}
    for group in result.groups:
        works = {copies_of.get(sample.key, sample.key) for sample in result.samples_of(group)}
        assert len(works) == 1


def test_dead_samples_are_groups_of_one(engine: SearchEngine) -> None:
    result = engine.search_caption("lost castle", datasets=["art"])
    assert [(group.n_samples, group.copies) for group in result.groups] == [(1, [])]


def test_a_cursor_of_another_question_is_refused(engine: SearchEngine) -> None:
    cursor = engine.search_text("red", k=1).next_cursor
    assert cursor is not None
    with pytest.raises(InputError, match="another question"):
        engine.search_text("blue", k=1, cursor=cursor)
    with pytest.raises(InputError, match="another question"):
        engine.search_caption("red", k=1, cursor=cursor)
    with pytest.raises(InputError, match="another question"):
        engine.search_text("red", k=1, datasets=["art"], cursor=cursor)


def test_a_cursor_does_not_tell_the_question(engine: SearchEngine) -> None:
    cursor = engine.search_text("red private words", k=1).next_cursor
    assert cursor is not None
    assert b"private" not in base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))


def test_a_group_with_more_copies_than_listed_does_not_hide_the_rest() -> None:
    crowd = [Ref("a", sample) for sample in range(70)]
    answer = Answer(Listed(similar([(ref, 1.0 - ref.id / 10_000) for ref in crowd])))
    shown: set[Ref] = set()
    rank: int | None = 0

    def links_of(refs: Sequence[Ref]) -> list[Link]:
        return [Link(ref, other, "pdq", 1) for ref in refs for other in crowd if other != ref]

    while rank is not None:
        page = cut_page(answer, rank, 1, links_of, max_members=60)
        shown |= {member for card in page.cards for member in card.component.members}
        assert not page.cards[0].component.complete
        rank = page.next_rank
    assert shown == set(crowd)


def test_a_full_card_of_the_query_hides_no_sample_linked_to_it() -> None:
    # Six copies of the query fill its card; a seventh picture is a copy of one of them and ranks far down.
    copies = [Ref("a", sample) for sample in range(6)]
    late = Ref("a", 100)
    crowd = [Ref("a", 200 + sample) for sample in range(60)]
    ranking = [
        *near([(ref, 5) for ref in copies]),
        *similar([(ref, 0.9 - ref.id / 10_000) for ref in crowd]),
        *similar([(late, 0.5)]),
    ]
    pairs = {copies[0]: [late], late: [copies[0]]}

    def links_of(refs: Sequence[Ref]) -> list[Link]:
        return [Link(ref, other, "pdq", 20) for ref in refs for other in pairs.get(ref, [])]

    answer = Answer(Listed(ranking), tuple(copies))
    shown: set[Ref] = set()
    rank: int | None = 0
    while rank is not None:
        page = cut_page(answer, rank, 1, links_of, max_members=5)
        shown |= {page.candidates[place].ref for card in page.cards for place in card.hits}
        rank = page.next_rank
    assert shown == {*copies, late, *crowd}
