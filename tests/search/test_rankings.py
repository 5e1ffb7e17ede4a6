"""Rankings over address ranges, against the same ranking held in memory."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from search.merge import Ref
from search.rankings import Listed, Ranged

RANGES = st.dictionaries(
    st.sampled_from(["a", "b", "c"]), st.lists(st.integers(0, 99), unique=True, max_size=12), max_size=3
)


@given(ranges=RANGES, start=st.integers(0, 40), length=st.integers(0, 40))
def test_a_window_over_ranges_is_that_of_the_whole_list(ranges: dict[str, list[int]], start: int, length: int) -> None:
    ranged = Ranged({name: np.array(ids, dtype=np.int64) for name, ids in ranges.items()})
    whole = Listed(ranged.window(0, 1_000))
    assert [each.ref for each in whole.candidates] == [Ref(name, each) for name, ids in ranges.items() for each in ids]
    assert ranged.total == len(whole.candidates)
    assert ranged.window(start, start + length) == whole.window(start, start + length)


@given(ranges=RANGES, rank=st.integers(0, 40), sample=st.integers(0, 99), name=st.sampled_from(["a", "b", "c"]))
def test_what_is_shown_before_a_rank_is_that_of_the_whole_list(
    ranges: dict[str, list[int]], rank: int, sample: int, name: str
) -> None:
    ranged = Ranged({name: np.array(ids, dtype=np.int64) for name, ids in ranges.items()})
    whole = Listed(ranged.window(0, 1_000))
    assert ranged.shown_before(rank)([Ref(name, sample)]) == whole.shown_before(rank)([Ref(name, sample)])
    assert not ranged.shown_before(0)([Ref(name, sample)])
    assert not ranged.shown_before(rank)([])
