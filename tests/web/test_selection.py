"""What was ticked, as form fields and as subjects."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout.errors import InputError
from heldout.records import ImageSubject, Sample, UrlSubject
from search.picks import Pick, format_picks
from web.selection import (
    MAX_SELECTED,
    Selection,
    fields_of,
    format_picture,
    parse_selection,
    subjects_of,
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


def test_a_sample_stands_for_its_address_and_its_picture() -> None:
    subjects = subjects_of(Selection(), [sample(1)])
    assert subjects.addresses == [UrlSubject(url="https://jane.example/1.png")]
    assert subjects.pictures == [ImageSubject(pdq=ONE, quality=90, sha256=f"{1:064x}")]
    assert subjects.chosen(["picture"]) == subjects.pictures
    assert subjects.chosen(["address"]) == subjects.addresses
    assert subjects.chosen(["address", "picture"]) == [*subjects.addresses, *subjects.pictures]
    assert subjects.chosen([]) == []


def test_one_address_written_twice_is_one() -> None:
    twice = [sample(1, url="https://jane.example/1.png"), sample(2, url="HTTP://Jane.Example:80/a/../1.png")]
    assert len(subjects_of(Selection(), twice).addresses) == 1


def test_copies_of_a_picture_are_counted_once() -> None:
    files = [sample(1), sample(2, pdq=NEARLY_ONE), sample(3, pdq=OTHER), sample(4, pdq="33" * 32)]
    subjects = subjects_of(Selection(), files)
    assert (len(subjects.pictures), subjects.n_pictures) == (4, 3)


def test_a_plain_picture_is_only_its_file_and_without_a_file_nothing() -> None:
    plain = [sample(1, pdq_quality=20), sample(2, pdq_quality=20, sha256=None, url=None)]
    subjects = subjects_of(Selection(), plain)
    assert (len(subjects.pictures), subjects.n_pictures, subjects.n_plain, subjects.n_unreadable) == (1, 1, 1, 1)


def test_a_sample_without_a_picture_is_its_address_and_a_broken_address_is_none() -> None:
    gone = sample(1, status="failed_to_download", pdq=None, pdq_quality=None, sha256=None)
    broken = gone.model_copy(update={"url": "not an address"})
    assert subjects_of(Selection(), [gone]).n_unreadable == 0
    assert subjects_of(Selection(), [broken]).n_unreadable == 1
