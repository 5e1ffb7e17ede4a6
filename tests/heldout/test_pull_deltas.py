"""Deltas: most of a new list is made out of the old one; on any doubt the whole files are fetched."""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from heldout.cli import run
from heldout.errors import UnavailableError, VerificationError
from heldout.exclusion import ExclusionList
from heldout.pull import pull
from heldout.stored import ListFolder
from tests.heldout.conftest import IMAGES, PullSite, serving
from tests.heldout.killing import killed_at
from tests.heldout.published import BASE_URL, PlaceRule, Site, UrlRule, some_pdq

MANY = [UrlRule(f"https://art.example/{n}") for n in range(600)]
PLACES = [PlaceRule("jane.example")]
ADDED = UrlRule("https://art.example/new.jpg")


@pytest.fixture
def site() -> Site:
    return Site(has_deltas=True).publish(MANY, IMAGES, PLACES, prefix_bits=2)


def change(site: Site, n: int = 1, bits: int = 2) -> None:
    """So many more versions: each takes an entry out, puts one in and changes one."""
    for _ in range(n):
        v = site.version
        rules = [*MANY[v:], UrlRule(f"https://art.example/more/{v}"), ADDED]
        rules[-3] = UrlRule(rules[-3].url, "reviewed")
        site.publish(rules, IMAGES[: 1 + v % 2], PLACES, prefix_bits=bits)


def fetched(site: Site, suffix: str) -> int:
    return sum(path.startswith("list/files/") and path.endswith(suffix) for path in site.requests)


def assert_is_new(folder: Path, site: Site, tmp_path: Path) -> None:
    """The folder's list says what a list pulled whole says."""
    fresh = tmp_path / "fresh"
    pull(BASE_URL, fresh, root=site.write_root(tmp_path), transport=site.transport())
    one, other = ExclusionList.open(folder), ExclusionList.open(fresh)
    assert one.version.manifest_sha256 == other.version.manifest_sha256
    assert one.counts == other.counts
    assert one.lookup_urls([ADDED.url])["url"].found.all()
    assert not one.lookup_urls([MANY[0].url])["url"].found.any()
    shutil.rmtree(fresh)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_deltas_of_one_or_more_versions_make_the_new_list(
    site: Site, pulled: Path, pull_site: PullSite, tmp_path: Path, n: int
) -> None:
    change(site, n)
    site.requests.clear()
    result = pull_site()
    assert (result.n_deltas, result.delta_doubt) == (n, None)
    assert (fetched(site, ".delta"), fetched(site, ".parquet")) == (n, 0)
    assert result.n_bytes < sum(file.size for file in result.manifest.files.values()) / 2
    assert_is_new(pulled, site, tmp_path)


@pytest.mark.parametrize("bits", [0, 1, 4])
def test_a_list_that_is_split_otherwise_is_made_by_deltas_too(
    site: Site, pulled: Path, pull_site: PullSite, tmp_path: Path, bits: int
) -> None:
    change(site, 1, bits)
    assert pull_site().n_deltas == 1
    assert_is_new(pulled, site, tmp_path)


def test_a_first_pull_takes_whole_files(site: Site, pull_site: PullSite) -> None:
    change(site)
    assert pull_site().n_deltas == 0
    assert fetched(site, ".delta") == 0


def test_deltas_that_are_not_worth_it_are_not_fetched(site: Site, pulled: Path, pull_site: PullSite) -> None:
    site.publish([UrlRule(f"https://other.example/{n}") for n in range(900)], IMAGES, PLACES, prefix_bits=2)
    assert pull_site().n_deltas == 0
    assert fetched(site, ".delta") == 0
    assert ExclusionList.open(pulled).version.manifest.version == 2


def test_files_that_a_delta_does_not_touch_stay_as_they_are(site: Site, pulled: Path, pull_site: PullSite) -> None:
    before = {path.name: path.stat().st_ino for path in (pulled / "files").iterdir()}
    site.publish([*MANY, ADDED], IMAGES, PLACES, prefix_bits=2)
    assert pull_site().n_deltas == 1
    after = {path.name: path.stat().st_ino for path in (pulled / "files").iterdir()}
    assert {name for name in before if after.get(name) == before[name]} == before.keys()
    assert len(after.keys() - before.keys()) == 1


def test_a_damaged_old_file_is_fetched_whole(site: Site, pulled: Path, pull_site: PullSite, tmp_path: Path) -> None:
    for path in (pulled / "files").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    change(site)
    result = pull_site()
    assert result.n_deltas == 0
    assert result.delta_doubt is not None
    assert_is_new(pulled, site, tmp_path)


def delta_paths(site: Site) -> list[str]:
    return [path for path in site.files if path.endswith(".delta")]


def gone(site: Site) -> None:
    del site.files[delta_paths(site)[-1]]


def flipped(site: Site) -> None:
    path = delta_paths(site)[-1]
    data = site.files[path]
    site.files[path] = data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]


def swapped(site: Site) -> None:
    first, last = delta_paths(site)[0], delta_paths(site)[-1]
    site.files[first], site.files[last] = site.files[last], site.files[first]


def old_manifest_gone(site: Site) -> None:
    for path in site.files:
        if path.endswith("manifest.json"):
            site.files[path], kept = b"", site.files[path]
            if json.loads(kept)["version"] != 2:
                site.files[path] = kept


def old_manifest_pruned(site: Site) -> None:
    site.files = {
        path: data
        for path, data in site.files.items()
        if not path.endswith("manifest.json") or json.loads(data)["version"] in {1, site.version}
    }


@pytest.mark.parametrize("harm", [gone, flipped, swapped, old_manifest_gone, old_manifest_pruned])
def test_deltas_that_cannot_be_had_or_used_make_way_for_whole_files(
    site: Site, pulled: Path, pull_site: PullSite, tmp_path: Path, harm: Callable[[Site], None]
) -> None:
    change(site, 2)
    harm(site)
    result = pull_site()
    assert result.n_deltas == 0
    assert (result.delta_doubt is None) == (harm in {gone, old_manifest_pruned})
    assert_is_new(pulled, site, tmp_path)


def test_a_signed_delta_that_gives_another_list_is_noticed(
    site: Site, pulled: Path, pull_site: PullSite, tmp_path: Path
) -> None:
    """The publisher's own mistake: digest and form are right, what comes out is not."""
    site.tables = {**site.tables, "url": site.tables["url"].slice(1)}
    change(site)
    result = pull_site()
    assert result.n_deltas == 0
    assert "could not be used" in (result.delta_doubt or "")
    assert "at hand was kept" not in (result.delta_doubt or "")
    assert_is_new(pulled, site, tmp_path)


def test_a_broken_connection_is_no_reason_to_fetch_everything(site: Site, pulled: Path, pull_site: PullSite) -> None:
    change(site)

    def answer(request: httpx.Request) -> httpx.Response:
        if str(request.url).endswith(".delta"):
            raise httpx.ConnectError("refused")
        return site.transport().handle_request(request)

    with pytest.raises(UnavailableError, match="refused"):
        pull_site(transport=httpx.MockTransport(answer))
    assert fetched(site, ".parquet") == len({file.content for file in pull_site().manifest.files.values()})
    assert ExclusionList.open(pulled).version.manifest.version == 2


def test_a_list_of_another_descent_is_refused(site: Site, pulled: Path, pull_site: PullSite) -> None:
    """Version 3 says it comes from a version 2 that comes from another version 1 than the one at hand."""
    mine = site.manifest
    site.manifest = mine.replace(b"2026-11-22T01:02:03Z", b"2026-11-22T01:02:09Z")
    assert site.manifest != mine
    site.files[f"list/targets/{hashlib.sha256(site.manifest).hexdigest()}.manifest.json"] = site.manifest
    change(site, 2)
    with pytest.raises(VerificationError, match="descends from another version 1"):
        pull_site()
    assert ListFolder(pulled).current_name() == "1-1"


def test_the_command_says_how_little_was_fetched(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from http.server import BaseHTTPRequestHandler

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = site.files.get(self.path.lstrip("/"))
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as address:
        arguments = ["pull", address, "-o", str(tmp_path / "list"), "--root", str(site.write_root(tmp_path)), "--json"]
        assert run(arguments) == 0
        first = json.loads(capsys.readouterr().out)
        change(site)
        assert run(arguments) == 0
        second = json.loads(capsys.readouterr().out)
        assert (first["n_deltas"], second["n_deltas"]) == (0, 1)
        assert second["n_bytes"] < first["n_bytes"] / 5
        change(site)
        flipped(site)
        assert run(arguments) == 0
        captured = capsys.readouterr()
        assert json.loads(captured.out)["n_deltas"] == 0
        assert "whole files were fetched instead" in captured.err


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_a_pull_by_deltas_that_is_killed_leaves_a_whole_list_and_the_next_goes_on(tmp_path: Path) -> None:
    site = Site(has_deltas=True).publish(MANY[:200], [], prefix_bits=1)
    root = site.write_root(tmp_path)
    before = tmp_path / "before"
    pull(BASE_URL, before, root=root, transport=site.transport())
    site.publish([*MANY[1:200], ADDED], [], prefix_bits=1)
    site.publish([*MANY[2:200], ADDED], [], prefix_bits=1)
    seen = set()
    for step in range(0, 500, 3):
        folder = tmp_path / f"list{step}"
        shutil.copytree(before, folder, symlinks=True)
        died = killed_at(step, lambda: pull(BASE_URL, folder, root=root, transport=site.transport()))  # noqa: B023
        seen.add(ExclusionList.open(folder).version.manifest.version)
        assert pull(BASE_URL, folder, root=root, transport=site.transport()).manifest.version == 3
        assert ExclusionList.open(folder).version.manifest.version == 3
        leftovers = [path for path in folder.rglob(".*") if path.name != ".lock"]
        assert leftovers == []
        shutil.rmtree(folder)
        if not died:
            break
    assert step > 30
    assert seen == {1, 3}


def test_a_picture_that_comes_and_goes_is_in_the_list_made_by_deltas(
    site: Site, pulled: Path, pull_site: PullSite
) -> None:
    from tests.heldout.published import ImageRule

    rules = [ImageRule(some_pdq(seed), sha256=bytes([seed]) * 32) for seed in range(40)]
    site.publish(MANY, rules, PLACES, prefix_bits=2)
    pull_site()
    site.publish(MANY, rules[1:], [*PLACES, PlaceRule("art.example/jane/", "account")], prefix_bits=2)
    assert pull_site().n_deltas == 1
    opened = ExclusionList.open(pulled)
    assert opened.lookup_sha256([bytes([n]) * 32 for n in (0, 1, 39)]).found.tolist() == [False, True, True]
    assert opened.lookup_urls(["https://art.example/jane/x"])["prefix"].found.all()
