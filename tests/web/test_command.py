"""`python -m web` as an operator starts it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from web.__main__ import main
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
    ("name", "value", "says"),
    [
        ("HELDOUT_PORT", "many", "HELDOUT_PORT"),
        ("HELDOUT_ENVIRONMENT", "production", "HELDOUT_SECRET is the development default"),
    ],
)
def test_a_wrong_setting_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["web"])
    assert main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert says in line


def test_what_cannot_be_opened_is_named_on_the_last_line(tmp_path: Path) -> None:
    done = start(HELDOUT_STATE_DIR=str(tmp_path / "state"), HELDOUT_DATASETS_DIR=str(tmp_path), HELDOUT_ENCODER="web")
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: web holds no encoder.json")


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
