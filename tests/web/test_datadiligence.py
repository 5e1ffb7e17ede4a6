"""The package datadiligence as it is published, with nothing changed but the address of its API."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from datadiligence.evaluators import PreprocessEvaluator
from datadiligence.exceptions import SpawningAIAPIError
from datadiligence.rules import SpawningAPI

from registry.service import Registry
from tests.web.conftest import ColourEncoder, make_settings
from tests.web.lists import FOLDER, GRANTED, OPTED_OUT, PLACE, UNICODE, fill, issue_key
from tests.web.serving import free_socket, serving
from web.app import create_app

URLS = [
    OPTED_OUT,
    GRANTED,
    UNICODE,
    OPTED_OUT,
    f"https://a.{PLACE}/x y.png",
    "https://else.example/\u00fc\u4e2d?a=1#b",
    FOLDER,
]
ALLOWED = [False, True, False, False, False, True, False]


@pytest.fixture(scope="module")
def served(datasets_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A site's address, where nobody may ask much without a key, and a key."""
    settings = make_settings(datasets_dir, tmp_path_factory.mktemp("datadiligence"))
    settings = settings.model_copy(update={"checks_per_minute": 100})
    with Registry.prepare(settings.state_dir, origin=settings.origin_of_new_log) as registry:
        fill(registry)
        key = issue_key(registry)
        with serving(create_app(settings, encoder=ColourEncoder()), free_socket()) as address:
            yield address, key


@pytest.fixture(autouse=True)
def adopted(served: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """All that somebody does who changes over."""
    address, key = served
    monkeypatch.setattr(SpawningAPI, "SPAWNING_AI_API_URL", f"{address}/api/v2/query/urls/")
    monkeypatch.setenv("SPAWNING_OPTS_KEY", key)


def test_answers_come_in_order_with_repeats_and_unicode() -> None:
    api = SpawningAPI(user_agent="lab/1.0")
    assert api.is_ready()
    assert api.is_allowed(urls=URLS) == ALLOWED
    allowed = [url for url, is_allowed in zip(URLS, ALLOWED, strict=True) if is_allowed]
    assert api.filter_allowed(urls=URLS) == allowed
    assert api.is_allowed(url=OPTED_OUT) == [False]
    assert PreprocessEvaluator().filter_allowed(urls=URLS) == allowed
    assert list(PreprocessEvaluator().is_allowed(urls=URLS)) == ALLOWED


def test_asynchronous_calls_answer_the_same() -> None:
    api = SpawningAPI()
    assert asyncio.run(api.is_allowed_async(urls=URLS)) == ALLOWED
    assert asyncio.run(api.filter_allowed_async(urls=URLS)) == [URLS[1], URLS[5]]
    assert asyncio.run(api.is_allowed_async(url=UNICODE)) == [False]


def test_ten_parallel_calls_of_ten_thousand_are_never_refused() -> None:
    """The client sends them so, and would fail on the first 429: it does not try a POST again."""
    urls = [OPTED_OUT if number % 1_001 == 0 else f"https://else.example/{number}.jpg" for number in range(100_000)]
    expected = [number % 1_001 != 0 for number in range(100_000)]
    assert SpawningAPI().is_allowed(urls=urls) == expected
    assert asyncio.run(SpawningAPI().is_allowed_async(urls=urls)) == expected


def test_a_key_that_does_not_work_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than let everything pass."""
    monkeypatch.setenv("SPAWNING_OPTS_KEY", "somebody-elses")
    with pytest.raises(SpawningAIAPIError, match="401"):
        SpawningAPI().is_allowed(urls=URLS)
    with pytest.raises(SpawningAIAPIError, match="401"):
        asyncio.run(SpawningAPI().is_allowed_async(urls=URLS))


def test_without_a_key_a_little_is_answered_and_then_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPAWNING_OPTS_KEY")
    assert SpawningAPI().is_allowed(urls=URLS) == ALLOWED
    with pytest.raises(SpawningAIAPIError, match="429"):
        SpawningAPI(chunk_size=60).is_allowed(urls=["https://else.example/"] * 240)
