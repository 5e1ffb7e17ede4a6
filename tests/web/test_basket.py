"""What is in a basket, as bytes and as subjects of a claim."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout.errors import InputError
from heldout.records import MAX_SUBJECTS, HostSubject, ImageSubject, PrefixSubject, Subject, UrlSubject
from tests.web.test_selection import NEARLY_ONE, ONE, OTHER, hex256, sample
from web.basket import (
    Contents,
    Problem,
    Seen,
    Wanted,
    Work,
    dump,
    load,
    wanted_of,
    work_of_sample,
    work_of_subject,
    works_of,
)
from web.selection import Selection


def wanted(*samples: object) -> Wanted:
    works, _ = works_of(Selection(), samples, {"clip art": 4})  # type: ignore[arg-type] # samples
    return wanted_of(Contents().with_works(works))


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
images = st.builds(ImageSubject, pdq=hex256, quality=st.integers(50, 100), sha256=st.none() | hex256)
works = st.builds(
    Work,
    url=st.none() | st.sampled_from(["https://jane.example/1.png", "http://b.example/?q=1"]),
    picture=images,
    seen=st.none() | st.builds(Seen, texts, st.integers(0, 9), st.integers(0, 2**40)),
    alt=texts,
    host=texts,
    unsafe=st.booleans(),
)
places = st.sampled_from([Work(place=("host", "jane.example")), Work(place=("prefix", "https://art.example/jane/"))])


@given(st.lists(works | places, max_size=8), st.lists(st.builds(Problem, texts, texts), max_size=3))
def test_a_basket_comes_back_from_its_bytes(held: list[Work], problems: list[Problem]) -> None:
    contents = Contents(done=("seal", "once", "/claims/a/done")).with_works(held).with_problems(problems)
    assert load(dump(contents)) == contents
    assert list(load(dump(contents)).works) == list(contents.works)


def test_what_is_no_basket_of_this_version_is_an_empty_one() -> None:
    assert load(None) == load(b"") == load(b'{"format":0,"works":[]}') == Contents()


def test_a_sample_stands_for_its_address_and_its_picture() -> None:
    found = wanted(sample(1))
    assert found.addresses == [UrlSubject(url="https://jane.example/1.png")]
    assert found.pictures == [ImageSubject(pdq=ONE, quality=90, sha256=f"{1:064x}")]
    assert found.chosen(["picture"]) == found.pictures
    assert found.chosen(["address"]) == found.addresses
    assert found.chosen(["address", "picture"]) == [*found.addresses, *found.pictures]
    assert found.chosen([]) == []


def test_one_address_written_twice_is_one() -> None:
    twice = [sample(1, url="https://jane.example/1.png"), sample(2, url="HTTP://Jane.Example:80/a/../1.png")]
    assert len(wanted(*twice).addresses) == 1


def test_what_is_put_in_twice_is_in_it_once_and_can_be_taken_out() -> None:
    works, _ = works_of(Selection(), [sample(1), sample(2)], {"clip art": 4})
    contents = Contents().with_works(works).with_works(reversed(works))
    assert list(contents.works.values()) == works
    assert list(contents.without([works[0].key]).works.values()) == works[1:]
    assert contents.without([works[0].key]).digest != contents.digest
    assert Contents().with_works(reversed(works)).digest == contents.digest


def test_copies_of_a_picture_are_counted_once() -> None:
    found = wanted(sample(1), sample(2, pdq=NEARLY_ONE), sample(3, pdq=OTHER), sample(4, pdq="33" * 32))
    assert (len(found.pictures), found.n_pictures) == (4, 3)


def test_of_very_many_files_equal_fingerprints_are_one_picture() -> None:
    found = wanted(*(sample(number, pdq=f"{number % 1500:064x}") for number in range(3000)))
    assert (len(found.pictures), found.n_pictures) == (3000, 1500)


def test_a_plain_picture_is_only_its_file_and_without_a_file_nothing() -> None:
    plain = [sample(1, pdq_quality=20), sample(2, pdq_quality=20, sha256=None, url=None)]
    found = wanted(*plain)
    assert (len(found.pictures), found.n_pictures, found.n_plain) == (1, 1, 1)
    assert works_of(Selection(), plain, {"clip art": 4})[1] == 1


def test_a_sample_without_a_picture_is_its_address_and_a_broken_address_is_none() -> None:
    gone = sample(1, status="failed_to_download", pdq=None, pdq_quality=None, sha256=None)
    work = work_of_sample(gone, 4)
    assert work is not None
    assert (work.url, work.picture, work.seen) == ("https://jane.example/1.png", None, None)
    assert work_of_sample(gone.model_copy(update={"url": "not an address"}), 4) is None


def test_a_place_is_claimed_as_a_place() -> None:
    given: list[Subject] = [HostSubject(host="jane.example"), PrefixSubject(prefix="https://art.example/jane/")]
    contents = Contents().with_works(work_of_subject(subject) for subject in given)
    assert wanted_of(contents).chosen(["place"]) == given
    assert wanted_of(contents).chosen(["picture", "address"]) == []


def test_more_than_one_opt_out_takes_does_not_go_in() -> None:
    urls = [Work(url=f"https://jane.example/{number}.png") for number in range(MAX_SUBJECTS + 1)]
    contents = Contents().with_works(urls[:-1])
    with pytest.raises(InputError, match="opt out what is in your basket first"):
        contents.with_works(urls[-1:])
