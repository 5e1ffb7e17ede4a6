"""Fusion of a text's channels: reciprocal ranks, names first, evidence of all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.merge import Ref
from search.text import Channels, Weights, fuse

REFS = st.builds(Ref, st.sampled_from("ab"), st.integers(0, 6))


def test_fusion_is_the_sum_of_reciprocal_ranks() -> None:
    one, two, three = (Ref("a", number) for number in (1, 2, 3))
    channels = Channels([(one, 9.0), (two, 3.0)], [], [(three, 0.4), (two, 0.3), (one, 0.2)], is_name=False)
    fused = {each.ref.id: each.score for each in fuse(channels, Weights(2.0, 1.0, 1.0)).window(0, 9)}
    assert fused == pytest.approx({1: 2 / 61 + 1 / 63, 2: 2 / 62 + 1 / 62, 3: 1 / 61})


def test_a_candidate_is_labelled_by_its_caption_and_has_the_evidence_of_all_channels() -> None:
    ref = Ref("a", 1)
    (only,) = fuse(Channels([(ref, 2.0)], [(ref, 1.0)], [(ref, 0.3)], is_name=False), Weights(1, 1, 1)).window(0, 9)
    assert (only.label, [tuple(proof)[:2] for proof in only.evidence]) == ("caption", [("caption", 2.0), ("clip", 0.3)])


def test_captions_of_a_name_come_first_with_scores_that_say_so() -> None:
    refs = [Ref("a", number) for number in range(4)]
    look = [(ref, 1.0 - ref.id / 10) for ref in refs]
    ranked = fuse(Channels([(refs[3], 1.0), (refs[1], 0.5)], [], look, is_name=True), Weights(1, 1, 1)).window(0, 9)
    assert {each.ref.id for each in ranked[:2]} == {1, 3}
    assert [each.ref.id for each in ranked[2:]] == [0, 2]
    assert [each.score >= 1 for each in ranked] == [True, True, False, False]


@given(st.lists(REFS, unique=True), st.lists(REFS, unique=True), st.lists(REFS, unique=True), st.integers(0, 9))
def test_every_candidate_is_ranked_once_whatever_the_channels_share(
    said: list[Ref], some: list[Ref], look: list[Ref], cut: int
) -> None:
    scored = [[(ref, 1.0) for ref in each] for each in (said, some, look)]
    channels = Channels(scored[0], scored[1], scored[2], is_name=False)
    ranked = fuse(channels, Weights(2, 1, 1))
    every = ranked.window(0, 99)
    assert {each.ref for each in every} == {*said, *some, *look}
    assert len(every) == len({each.ref for each in every})
    assert every == ranked.window(0, cut) + ranked.window(cut, 99)
    assert [each.score for each in every] == sorted((each.score for each in every), reverse=True)
    before = ranked.shown_before(cut)
    assert [before([each.ref]) for each in every] == [place < cut for place in range(len(every))]
    captioned, left_out = ranked.sifted(None, ["caption"])
    assert {each.ref for each in captioned.window(0, 99)} == {*said, *some}
    assert left_out == []
