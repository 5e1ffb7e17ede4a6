"""Rankings made from channels' answers."""

import pytest
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


def test_fusion_is_the_sum_of_reciprocal_ranks() -> None:
    words = merge.captioned([(Ref("a", 1), 9.0), (Ref("a", 2), 3.0)])
    alike = merge.similar([(Ref("a", 3), 0.4), (Ref("a", 2), 0.3), (Ref("a", 1), 0.2)])
    fused = {each.ref.id: each.score for each in merge.by_rank(words, alike, weights=(2.0, 1.0))}
    assert fused == pytest.approx({1: 2 / 61 + 1 / 63, 2: 2 / 62 + 1 / 62, 3: 1 / 61})


def test_fusion_names_the_caption_where_both_channels_found_it() -> None:
    ref = Ref("a", 1)
    (only,) = merge.by_rank(merge.captioned([(ref, 2.0)]), merge.similar([(ref, 0.3)]))
    assert (only.label, [proof.channel for proof in only.evidence]) == ("caption", ["caption", "clip"])


@given(first=st.lists(REFS, unique=True), second=st.lists(REFS, unique=True))
def test_fusion_does_not_depend_on_the_order_of_channels_but_for_labels(first: list[Ref], second: list[Ref]) -> None:
    left = merge.captioned([(ref, 1.0) for ref in first])
    right = merge.similar([(ref, 0.5) for ref in second])
    assert [each.ref for each in merge.by_rank(left, right)] == [each.ref for each in merge.by_rank(right, left)]


def test_the_chosen_come_first_in_their_own_order_with_scores_that_say_so() -> None:
    ranked = merge.similar([(Ref("a", sample), 1.0 - sample / 10) for sample in range(4)])
    moved = merge.first(ranked, frozenset({Ref("a", 3), Ref("a", 1)}))
    assert [each.ref.id for each in moved] == [1, 3, 0, 2]
    assert [each.score for each in moved] == sorted((each.score for each in moved), reverse=True)


def test_candidates_of_equal_score_are_ordered_by_data_set_and_id() -> None:
    ranked = merge.by_confidence(merge.exact([Ref("b", 1), Ref("a", 9), Ref("a", 2)]))
    assert [each.ref for each in ranked] == [Ref("a", 2), Ref("a", 9), Ref("b", 1)]
    assert isinstance(ranked[0], Candidate)
