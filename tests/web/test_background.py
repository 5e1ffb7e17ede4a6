"""Jobs beside the requests outlive their failures, and say so."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from fastapi.testclient import TestClient

from heldout.errors import ConflictError, HeldoutError
from web.background import Refresher
from web.settings import Settings

Answer = Mapping[str, HeldoutError] | Exception


async def refreshed(answers: list[Answer]) -> list[bool]:
    """Whether the job was failing as each answer was asked for; the last one is given for ever."""
    seen = []

    def refresh() -> Mapping[str, HeldoutError]:
        seen.append(refresher.condition.failing_since is not None)
        answer = answers[min(len(seen), len(answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    refresher = Refresher(refresh, every_s=0.001)
    task = asyncio.create_task(refresher.run())
    give_up_at = time.monotonic() + 60
    while len(seen) <= len(answers):
        assert not task.done()
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.005)
    task.cancel()
    return seen


def test_a_refresh_that_fails_is_logged_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        failing = asyncio.run(refreshed([{}, PermissionError("CURRENT"), ValueError("what a row holds"), {}]))
    assert failing[:5] == [False, False, True, True, False]
    lines = [vars(record) for record in caplog.records if record.name == "web.background"]
    assert [line["message"] for line in lines] == ["background_failed", "background_failed", "background_recovered"]
    assert [(line["error"], line.get("reason")) for line in lines[:2]] == [
        ("PermissionError", "CURRENT"),
        ("ValueError", None),
    ]


def test_a_generation_that_is_refused_is_logged_once_per_reason(caplog: pytest.LogCaptureFixture) -> None:
    first, second = {"shapes": ConflictError("another model")}, {"shapes": ConflictError("another name")}
    asyncio.run(refreshed([first, first, second, second, {}, {}]))
    reasons = [vars(record)["reason"] for record in caplog.records if record.message == "generation_refused"]
    assert reasons == ["another model", "another name"]


def test_readiness_shows_since_when_a_job_fails(
    settings: Settings, open_site: Callable[[Settings], TestClient]
) -> None:
    blocked = settings.state_dir / "public" / "list"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("in the way")
    site = open_site(settings.model_copy(update={"publish": "auto"}))

    def until(failing: set[str]) -> dict[str, Any]:
        give_up_at = time.monotonic() + 60
        while True:
            answer = site.get("/readyz")
            assert answer.status_code == 200
            facts: dict[str, Any] = answer.json()
            if facts.get("failing_since", {}).keys() == failing:
                return facts
            assert time.monotonic() < give_up_at, facts
            time.sleep(0.02)

    degraded = until({"publish", "list"})  # what cannot be written, and what is answered from
    assert degraded["status"] == "degraded"
    assert all(since.endswith("+00:00") for since in degraded["failing_since"].values())
    blocked.unlink()
    assert until(set()).keys() == {"status", "datasets"}
