"""The lab's way in a browser: read the page for labs, and run what it prints, against the site that printed it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, expect

from registry.service import Registry
from tests.web.conftest import ColourEncoder, make_settings
from tests.web.lists import OPTED_OUT, PLACE, fill, issue_key
from tests.web.serving import IN_CHROMIUM, address_of, free_socket, serving
from web.app import create_app

pytestmark = IN_CHROMIUM
FREE = "https://else.example/a.jpg"


@pytest.fixture(scope="module")
def served(datasets_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, str]]:
    """A site's address, its folder of public files, and a lab's key."""
    bound = free_socket()
    folder = tmp_path_factory.mktemp("lab")
    public = folder / "state" / "public"
    settings = make_settings(datasets_dir, folder)
    settings = settings.model_copy(update={"base_url": address_of(bound), "rsync_url": str(public)})
    with Registry.prepare(settings.state_dir, origin="registry.example/log") as registry:
        fill(registry)
        with serving(create_app(settings, encoder=ColourEncoder()), bound) as address:
            yield address, public, issue_key(registry)


def shell(command: str, folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a line as somebody at a shell does, with the programs of this Python's environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(  # noqa: S602 - the page's own commands
        command,
        shell=True,
        cwd=folder,
        env=os.environ | {"PATH": path} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done


def printed(browser: Browser, address: str, *, scripts: bool) -> list[str]:
    """The commands that the page shows, without or with JavaScript."""
    context = browser.new_context(base_url=address, java_script_enabled=scripts)
    page = context.new_page()
    page.goto("/labs")
    expect(page.get_by_role("heading", level=1)).to_have_text("For AI labs")
    found = page.locator(".command code").all_inner_texts()
    context.close()
    return found


def test_what_the_page_prints_pulls_filters_verifies_and_asks(
    browser: Browser, served: tuple[str, Path, str], tmp_path: Path
) -> None:
    address, _, key = served
    commands = printed(browser, address, scripts=False)
    assert commands == printed(browser, address, scripts=True)
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    (tmp_path / "shards").mkdir()
    urls = [OPTED_OUT, FREE, f"https://a.{PLACE}/1.png"]
    pq.write_table(pa.table({"url": urls, "caption": ["a", "b", "c"]}), tmp_path / "shards" / "00000.parquet")
    (tmp_path / "urls.txt").write_text("\n".join(urls))

    def run(start: str, **environment: str) -> str:
        (command,) = [each for each in commands if each.startswith(start)]
        return shell(command, tmp_path, **environment).stdout

    run("curl -o root.json")
    assert "version 1 (new)" in run(f"heldout pull {address} --root root.json -o LIST")
    assert "3 samples in, 1 kept, 2 dropped" in run("heldout filter")
    assert pq.read_table(tmp_path / "kept" / "00000.parquet")["url"].to_pylist() == [FREE]
    assert ": verified: " in run("heldout verify")
    openly, privately = (shell(each, tmp_path).stdout for each in commands if each.startswith("heldout check"))
    assert openly == privately
    assert openly.endswith(f" by url (declared)\t{OPTED_OUT}\n")
    assert json.loads(run(f"curl {address}/v1/check --json"))["urls"][0]["is_opted_out"]
    run(f"curl {address}/v1/check/bulk")
    assert (tmp_path / "bits").read_bytes() == b"\x05"
    assert json.loads(run("curl -H", HELDOUT_KEY=key))["exclusion_list"]["version"] == 1
    run("curl -O")
    assert "excluded by url since" in run("python read_list.py")
    run("heldout monitor")
    assert (tmp_path / "heldout-monitor.json").exists()
    (snippet,) = [each for each in commands if each.startswith("from datadiligence")]
    (tmp_path / "ask.py").write_text(f"{snippet}\nprint(SpawningAPI().is_allowed(urls={urls!r}))\n")
    assert "[False, True, False]" in shell("python ask.py", tmp_path, SPAWNING_OPTS_KEY=key).stdout


def test_a_mirror_made_as_the_page_prints_serves_the_list(
    browser: Browser, served: tuple[str, Path, str], tmp_path: Path
) -> None:
    address, public, _ = served
    copying = [each for each in printed(browser, address, scripts=False) if each.startswith("rsync")]
    assert len(copying) == 2
    if shutil.which("rsync") is None:
        pytest.skip("needs Debian's package rsync")
    for command in copying:
        shell(command, tmp_path)
    whole = {path.relative_to(public): path.read_bytes() for path in public.rglob("*") if path.is_file()}
    mirror = tmp_path / "mirror"
    assert {path.relative_to(mirror): path.read_bytes() for path in mirror.rglob("*") if path.is_file()} == whole
    pulled = shell(f"heldout pull {mirror.as_uri()} --root {public}/list/metadata/1.root.json -o LIST", tmp_path)
    assert "version 1 (new)" in pulled.stdout


def test_versions_can_be_read_on_a_phone_and_in_the_dark(browser: Browser, served: tuple[str, Path, str]) -> None:
    context = browser.new_context(
        base_url=served[0], viewport={"width": 360, "height": 740}, color_scheme="dark", java_script_enabled=False
    )
    page = context.new_page()
    for path in ("/labs", "/labs/versions"):
        page.goto(path)
        expect(page.get_by_text("Version 1", exact=True).first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
    context.close()
