"""A list shared between processes: the same answers, from pages that all of them map."""

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heldout.exclusion import ExclusionList
from heldout.filtering_shared import SharedList, sharing
from tests.heldout.conftest import URLS, PullSite
from tests.heldout.published import ImageRule, PlaceRule, Site, UrlRule, some_pdq

N = 20_000
SHA256 = bytes(range(32))
PDQ = some_pdq(7)


@pytest.fixture
def site() -> Site:
    urls = [*URLS, UrlRule("https://open.example/1.jpg", "host", 1)]
    urls += [UrlRule(f"https://many.example/{number}") for number in range(N)]
    places = [PlaceRule("hers.example"), PlaceRule("art.example/jane/", "account")]
    return Site().publish(urls, [ImageRule(PDQ), ImageRule(some_pdq(8), sha256=SHA256)], places)


def answers(exclusions: ExclusionList) -> dict[str, Any]:
    addresses = [URLS[0].url, "https://www.hers.example/x", "https://art.example/jane/1", "https://many.example/77"]
    pdq = np.frombuffer(PDQ, np.uint8).reshape(1, 1, 32).repeat(8, axis=1)
    matches = {
        **exclusions.lookup_urls([*addresses, "https://open.example/1.jpg", None, "no url"]),
        "sha256": exclusions.lookup_sha256([SHA256, bytes(32)]),
        "pdq": exclusions.lookup_pdq(pdq, np.array([100], np.uint8)),
        **{f"granted {kind}": found for kind, found in exclusions.grants.lookup_urls(addresses).items()},
    }
    return {
        name: [values.tolist() for values in (found.rule, found.assurance, found.since, found.unreadable)]
        for name, found in matches.items()
    }


def answers_of(shared: SharedList) -> tuple[dict[str, Any], bool]:
    """And whether the entries are this process's own, not those that all map."""
    exclusions = shared.open()
    keys = exclusions._addresses._keys._keys
    return answers(exclusions), bool(keys.flags.owndata or keys.flags.writeable)


def test_processes_that_share_a_list_answer_alike_without_a_copy(pulled: Path) -> None:
    expected = answers(ExclusionList.open(pulled))
    assert expected["url"][0][0] >= 0
    assert expected["host"][0][1] >= 0
    with sharing(ExclusionList.open(pulled)) as shared, multiprocessing.get_context("spawn").Pool(2) as pool:
        assert answers(shared.open()) == expected
        assert pool.map(answers_of, [shared] * 2) == [(expected, False)] * 2


def test_what_is_handed_over_is_small_and_the_entries_are_in_the_file(pulled: Path) -> None:
    with sharing(ExclusionList.open(pulled)) as shared:
        assert len(shared.head) < N
        assert sum(length for _, length in shared.spans) >= 8 * N
        assert shared.open().version == ExclusionList.open(pulled).version


def test_list_without_entries_is_shared_too(site: Site, pull_site: PullSite, pulled: Path) -> None:
    site.publish([], [])
    pull_site()
    with sharing(ExclusionList.open(pulled)) as shared:
        assert not shared.open().lookup_urls([URLS[0].url])["url"].found.any()
