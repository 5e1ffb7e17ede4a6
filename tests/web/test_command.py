"""`python -m web` as an operator starts it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from web.settings import Settings

ROOT = Path(__file__).parents[2]


def start(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HELDOUT_")} | settings
    return subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", "web", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_help_names_every_setting() -> None:
    done = start("--help")
    assert done.returncode == 0
    for name in Settings.model_fields:
        assert f"HELDOUT_{name.upper()}\n" in done.stdout
    assert "development-only-secret" not in done.stdout


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"HELDOUT_PORT": "many"}, "HELDOUT_PORT"),
        ({"HELDOUT_ENVIRONMENT": "production"}, "HELDOUT_SECRET is the development default"),
        ({"HELDOUT_ENCODER": "web"}, "encoder.json"),
        ({"HELDOUT_DATABASE_URL": "mysql://localhost/x"}, "is not supported"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(tmp_path: Path, settings: dict[str, str], says: str) -> None:
    (tmp_path / "datasets").mkdir()
    given = {
        "HELDOUT_STATE_DIR": str(tmp_path / "state"),
        "HELDOUT_DATASETS_DIR": str(tmp_path / "datasets"),
        "HELDOUT_SUGGESTIONS": str(tmp_path / "none.json"),
    }
    done = start(**given | settings)
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert says in last


def test_production_makes_no_keys_by_itself(tmp_path: Path) -> None:
    done = start(
        HELDOUT_ENVIRONMENT="production",
        HELDOUT_SECRET="x" * 40,
        HELDOUT_BASE_URL="https://heldout.example",
        HELDOUT_STATE_DIR=str(tmp_path / "state"),
        HELDOUT_DATASETS_DIR=str(tmp_path),
    )
    assert done.returncode == 2
    assert "keys" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "state").exists()
