"""Rankings made from channels' answers."""

from hypothesis import given
from hypothesis import strategies as st

from search import merge
from search.merge import Candidate, Ref

REFS = st.builds(Ref, st.sampled_from(["a", "b"]), st.integers(0, 30))


def test_a_sample_found_by_three_channels_is_one_candidate_with_all_evidence() -> None:
    ref = Ref("a", 7)
    ranked = merge.by_confidence(merge.exact([ref]), merge.near([(ref, 4)]), merge.similar([(ref, 0.9)]))
    assert [(each.label, [proof.channel for proof in each.evidence]) for each in ranked] == [
        ("exact", ["bytes", "pdq", "clip"])
    ]
    assert [proof.value for proof in ranked[0].evidence] == [0.0, 4.0, 0.9]


@given(
    exact=st.lists(REFS, unique=True),
    near=st.lists(st.tuples(REFS, st.integers(0, 31)), unique_by=lambda pair: pair[0]),
    similar=st.lists(st.tuples(REFS, st.floats(-1, 1)), unique_by=lambda pair: pair[0]),
)
def test_what_is_surer_stands_first_and_nothing_is_lost(
    exact: list[Ref], near: list[tuple[Ref, int]], similar: list[tuple[Ref, float]]
) -> None:
    ranked = merge.by_confidence(merge.exact(exact), merge.near(near), merge.similar(similar))
    order = [("exact", "near", "similar").index(each.label) for each in ranked]
    assert order == sorted(order)
    assert {each.ref for each in ranked} == {*exact, *(ref for ref, _ in near), *(ref for ref, _ in similar)}
    assert len({each.ref for each in ranked}) == len(ranked)
    assert [each.score for each in ranked] == sorted((each.score for each in ranked), reverse=True)


def test_candidates_of_equal_score_are_ordered_by_data_set_and_id() -> None:
    ranked = merge.by_confidence(merge.exact([Ref("b", 1), Ref("a", 9), Ref("a", 2)]))
    assert [each.ref for each in ranked] == [Ref("a", 2), Ref("a", 9), Ref("b", 1)]
    assert isinstance(ranked[0], Candidate)
