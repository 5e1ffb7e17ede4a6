"""What was ticked, as form fields and as subjects."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout.errors import InputError
from heldout.records import ImageSubject, Sample
from search.picks import Pick, format_picks
from web.selection import (
    MAX_SELECTED,
    Selection,
    fields_of,
    format_picture,
    parse_selection,
)

ONE, OTHER = "0f" * 32, "f0" * 32
NEARLY_ONE = "0e" + ONE[2:]


def sample(number: int = 0, **changes: object) -> Sample:
    facts: dict[str, object] = {
        "dataset": "clip art",
        "id": number,
        "key": f"{number:09}",
        "url": f"https://jane.example/{number}.png",
        "host": "jane.example",
        "caption": "castle",
        "width": 8,
        "height": 8,
        "status": "ok",
        "sha256": f"{number:064x}",
        "pdq": ONE,
        "pdq_quality": 90,
    }
    return Sample.model_validate(facts | changes)


hex256 = st.binary(min_size=32, max_size=32).map(bytes.hex)
picks = st.builds(
    Pick,
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    st.integers(0, 10**8),
    st.sets(st.integers(0, 10**17), min_size=1, max_size=5).map(lambda ids: tuple(sorted(ids))),
)
selections = st.builds(
    Selection,
    st.lists(picks, max_size=3, unique_by=lambda pick: (pick.dataset, pick.generation)).map(
        lambda many: tuple(sorted(many, key=lambda pick: (pick.dataset, pick.generation)))
    ),
    st.lists(
        st.builds(ImageSubject, pdq=hex256, quality=st.integers(0, 100), sha256=hex256), max_size=3, unique_by=repr
    ).map(lambda many: tuple(sorted(many, key=format_picture))),
    st.sets(st.sampled_from(["https://jane.example/1.png", "http://b.example/?q=1", "https://c.example"])).map(
        lambda many: tuple(sorted(many))
    ),
)


@given(selections.filter(lambda selection: selection != Selection()))
def test_fields_give_the_selection_back(selection: Selection) -> None:
    assert parse_selection(fields_of(selection)) == selection


def test_a_card_and_one_of_its_copies_ticked_are_the_card() -> None:
    copies = [sample(3), sample(1), sample(2, dataset="other;set")]
    card = ("pick", format_picks(copies, {"clip art": 4, "other;set": 7}))
    one = ("pick", format_picks(copies[:1], {"clip art": 4}))
    assert parse_selection([card, one, ("csrf", "x")]).picks == (
        Pick("clip art", 4, (1, 3)),
        Pick("other;set", 7, (2,)),
    )


@pytest.mark.parametrize(
    "field",
    [
        ("pick", "castle"),
        ("pick", "a@1:"),
        ("pick", "a@1:2,"),
        ("pick", "a@1:-2"),
        ("pick", "a@1:\u0663"),
        ("pick", "a@1:2;"),
        ("picture", f"{ONE}.101.{ONE}"),
        ("picture", f"{ONE}.90.None"),
        ("address", "javascript:alert(1)"),
    ],
)
def test_a_field_this_site_did_not_make_is_refused(field: tuple[str, str]) -> None:
    with pytest.raises(InputError):
        parse_selection([field])


def test_nothing_and_too_much_are_refused_with_advice() -> None:
    with pytest.raises(InputError, match="tick the pictures that are yours"):
        parse_selection([("scope", "picture")])
    with pytest.raises(InputError, match="2,001 copies"):
        parse_selection([("pick", "a@1:" + ",".join(map(str, range(MAX_SELECTED + 1))))])
