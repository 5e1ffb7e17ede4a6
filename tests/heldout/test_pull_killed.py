"""A pull killed at any of its steps on disk leaves a whole list, the old or the new, and the next one goes on."""

import shutil
import sys
from pathlib import Path

import pytest

from heldout.exclusion import ExclusionList
from heldout.pull import pull
from tests.heldout.conftest import IMAGES, URLS
from tests.heldout.killing import killed_at
from tests.heldout.published import BASE_URL, Site, UrlRule

NEW = UrlRule("https://art.example/new.jpg")


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
@pytest.mark.parametrize("first", [False, True], ids=["update", "first pull"])
def test_killed_pull_leaves_a_whole_list_and_the_next_goes_on(tmp_path: Path, *, first: bool) -> None:
    site = Site().publish(URLS, IMAGES)
    root = site.write_root(tmp_path)
    (tmp_path / "before").mkdir()
    if not first:
        pull(BASE_URL, tmp_path / "before", root=root, transport=site.transport())
        site.publish([*URLS, NEW], IMAGES)
    seen = set()
    for step in range(int(first), 500, 2):
        folder = tmp_path / f"list{step}"
        shutil.copytree(tmp_path / "before", folder, symlinks=True)
        died = killed_at(step, lambda: pull(BASE_URL, folder, root=root, transport=site.transport()))  # noqa: B023
        if (folder / "CURRENT").exists():
            seen.add(ExclusionList.open(folder).version.manifest.version)
        else:
            assert first
        assert pull(BASE_URL, folder, root=root, transport=site.transport()).manifest.version == site.version
        assert ExclusionList.open(folder).version.manifest.version == site.version
        assert not [path for path in folder.rglob("*") if ".part" in path.name or ".staged" in path.name]
        shutil.rmtree(folder)
        if not died:
            break
    assert step > 15
    assert seen == ({1} if first else {1, 2})
