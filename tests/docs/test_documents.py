"""What the documents point at is there, and the commands they give exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "data").rglob("README.md")])
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
COMMAND = re.compile(r"^\s*(?:\.venv/bin/)?(heldout|python -m (?:registry|indexer|search)) ([a-z-]+)", re.MULTILINE)
OPTION = re.compile(r"(?<!\S)--[a-z][a-z-]+")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    links = LINK.findall(document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


def commands() -> list[tuple[str, str, tuple[str, ...]]]:
    found = set()
    for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines():
        if match := COMMAND.match(line):
            options = OPTION.findall(line.partition("#")[0])
            found.add((match[1], match[2], tuple(options)))
    return sorted(found)


@pytest.mark.parametrize(("program", "command", "options"), commands())
def test_commands_of_the_readme_exist_with_their_options(program: str, command: str, options: tuple[str, ...]) -> None:
    if program == "heldout":
        start = [str(Path(sys.executable).with_name("heldout"))]
    else:
        start = [sys.executable, *program.split()[1:]]
    environment = {"TERMINAL_WIDTH": "200", "COLUMNS": "200", "PATH": "/usr/bin:/bin", "NO_COLOR": "1"}
    done = subprocess.run(  # noqa: S603
        [*start, command, "--help"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [option for option in options if option not in done.stdout] == []


def test_the_readme_shows_the_main_commands() -> None:
    shown = {(program, command) for program, command, _ in commands()}
    assert {("heldout", "pull"), ("heldout", "filter"), ("heldout", "verify")} <= shown
    assert {("python -m indexer", "ingest"), ("python -m registry", "publish")} <= shown


def test_every_decision_is_listed() -> None:
    listed = (ROOT / "docs" / "adr" / "README.md").read_text(encoding="utf-8")
    pages = sorted(path.name for path in (ROOT / "docs" / "adr").glob("0*.md"))
    assert [page for page in pages if page not in listed] == []
