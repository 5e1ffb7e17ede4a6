"""The rule for the real package datadiligence: offline over a pulled list, and never open by mistake."""

import logging
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import datadiligence
import pytest
import requests
from datadiligence.evaluators import Evaluator, HttpEvaluator, PreprocessEvaluator

from heldout.integrations.datadiligence import HeldoutEvaluator, HeldoutRule
from heldout.pictures import fingerprint
from tests.heldout.conftest import IMAGES, URLS, PullSite
from tests.heldout.published import ImageRule, PlaceRule, Site, UrlRule
from tests.heldout.test_filtering_tar import drawing, encoded

CLEAN = "https://else.example/1.jpg"
HERS = URLS[0].url
GRANTED = "https://open.example/1.jpg"


@pytest.fixture
def site() -> Site:
    mark = fingerprint(encoded(drawing(1)))
    images = [ImageRule(mark.pdq[0].tobytes(), mark.quality), *IMAGES]
    return Site().publish([*URLS, UrlRule(GRANTED, "account", 1)], images, [PlaceRule("hers.example")])


def response_of(*addresses: str) -> requests.Response:
    """Of the last address, after redirects from the others."""
    response, *history = [requests.Response() for _ in addresses]
    for one, address in zip([*history, response], addresses, strict=True):
        one.url, one.status_code = address, 200
    response.history = history
    return response


def test_package_asks_the_list_for_addresses(pulled: Path) -> None:
    datadiligence.register_evaluator(HeldoutEvaluator(pulled), overwrite=True)
    try:
        urls = [CLEAN, HERS, CLEAN, "https://www.hers.example/é.png", "not an address"]
        assert datadiligence.is_allowed(urls=urls) == [True, False, True, False, False]
        assert datadiligence.filter_allowed(urls=urls) == [CLEAN, CLEAN]
        assert datadiligence.filter_allowed(urls=[]) == []
    finally:
        datadiligence.load_defaults()


def test_rule_joins_the_packages_other_evaluators(pulled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPAWNING_OPTS_KEY", raising=False)
    bulk = PreprocessEvaluator()
    bulk.add_rule(HeldoutRule(pulled))
    assert bulk.is_allowed(urls=[HERS, CLEAN]) == [False, True]
    http = HttpEvaluator()
    http.add_rule(HeldoutRule(pulled))
    assert http.is_allowed(response=response_of(CLEAN))
    assert not http.is_allowed(response=response_of(HERS))
    assert not http.is_allowed(response=response_of(HERS, CLEAN))
    assert not http.is_allowed(headers={"X-Robots-Tag": ""})


def test_one_thing_gets_one_boolean(pulled: Path, tmp_path: Path) -> None:
    rule = HeldoutRule(pulled)
    assert rule.is_allowed(url=CLEAN) is True
    assert rule.is_allowed(url=HERS) is False
    assert rule.filter_allowed(url=CLEAN) == [CLEAN]
    copy, other = tmp_path / "copy.jpg", tmp_path / "other.png"
    copy.write_bytes(encoded(drawing(1).resize((200, 200)), "JPEG", quality=60))
    other.write_bytes(encoded(drawing(2)))
    assert rule.is_allowed(path=copy) is False
    assert rule.is_allowed(path=other) is True
    assert rule.problem is None


def test_opt_in_only_allows_what_is_granted(pulled: Path) -> None:
    rule = HeldoutRule(pulled, preference="train-ai=y")
    assert rule.is_allowed(urls=[CLEAN, HERS, GRANTED]) == [False, False, True]
    assert HeldoutEvaluator(rule).filter_allowed(urls=[CLEAN, HERS, GRANTED]) == [GRANTED]
    assert HeldoutRule(pulled, preference="train-ai=y", min_grant_assurance="host").is_allowed(url=GRANTED) is False


def test_what_cannot_be_checked_is_not_allowed(pulled: Path, tmp_path: Path) -> None:
    rule = HeldoutRule(pulled)
    assert rule.is_allowed(urls=[CLEAN, "", None, 7, "\ud800", "mailto:x"]) == [True] + [False] * 5
    assert rule.is_allowed() is False
    assert rule.is_allowed(headers={}) is False
    assert rule.is_allowed(url=None, response=object()) is False
    assert rule.is_allowed(path=tmp_path / "missing.jpg") is False
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    assert rule.is_allowed(path=tmp_path / "broken.jpg") is False


def missing(pulled: Path) -> None:
    (pulled / "CURRENT").unlink()


def damaged(pulled: Path) -> None:
    for path in (pulled / "files").iterdir():
        path.write_bytes(b"changed")


def unvouched(pulled: Path) -> None:
    (pulled / "UNVERIFIED").touch()


def another_root(pulled: Path) -> None:
    Site().publish([]).write_root(pulled).replace(pulled / "root.json")


@pytest.mark.parametrize("spoil", [missing, damaged, unvouched, another_root])
def test_list_that_does_not_verify_allows_nothing(
    pulled: Path, spoil: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    spoil(pulled)
    evaluator = HeldoutEvaluator(pulled)
    rule: HeldoutRule = evaluator.rules[0]
    assert rule.is_ready()
    with caplog.at_level(logging.ERROR, "heldout"):
        assert evaluator.is_allowed(urls=[CLEAN, HERS]) == [False, False]
        assert evaluator.filter_allowed(urls=[CLEAN]) == []
        assert rule.is_allowed(url=CLEAN) is False
    assert rule.problem
    assert [record.getMessage() for record in caplog.records] == [f"nothing is allowed: {rule.problem}"]
    plain = Evaluator()
    plain.add_rule(rule)
    assert not plain.is_allowed(url=CLEAN)


def test_list_that_goes_stale_in_a_running_process_allows_nothing_until_it_is_pulled(
    pulled: Path, site: Site, pull_site: PullSite
) -> None:
    now = datetime.now(UTC)
    rule = HeldoutRule(pulled, clock=lambda: now)
    assert rule.is_allowed(urls=[CLEAN, HERS]) == [True, False]
    now += timedelta(days=8)
    assert rule.is_allowed(urls=[CLEAN, HERS]) == [False, False]
    assert rule.problem is not None
    assert "heldout pull" in rule.problem
    site.expires += timedelta(days=7)
    site.publish([UrlRule(CLEAN)])
    pull_site()
    assert rule.is_allowed(urls=[CLEAN, HERS]) == [False, True]
    assert rule.problem is None


@pytest.mark.parametrize("module", ["datadiligence", "img2dataset"])
def test_importing_needs_the_one_program_at_most(module: str) -> None:
    others = {"datadiligence", "img2dataset", "datasets", "webdataset", "pyspark", "ray", "torch", "faiss", "fastapi"}
    others -= {module} if module == "datadiligence" else set()
    block = f"import sys\nsys.modules.update(dict.fromkeys({sorted(others)}))\n"
    subprocess.run([sys.executable, "-c", f"{block}import heldout.integrations.{module}"], check=True)  # noqa: S603
