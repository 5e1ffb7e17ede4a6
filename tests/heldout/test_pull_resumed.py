"""Half-downloaded files are gone on with, whoever serves the rest, and only if the whole is what was signed for."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from heldout.download import Downloads
from heldout.errors import UnavailableError, VerificationError
from heldout.exclusion import ExclusionList
from tests.heldout.conftest import IMAGES, URLS, PullSite
from tests.heldout.published import BASE_URL, Site, UrlRule

NEW_URL = UrlRule("https://art.example/new.jpg")
HALF = 700


class Broken(httpx.SyncByteStream):
    """An answer that ends too early."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __iter__(self) -> Iterator[bytes]:
        yield self._data
        raise httpx.ReadError("connection lost")


class Flaky:
    """The site over a line that breaks data files off after `n_bytes`, so often."""

    def __init__(self, site: Site, *, n_bytes: int = HALF, times: int = 1) -> None:
        self.site = site
        self.n_bytes = n_bytes
        self.times = times
        self.ranges: list[str | None] = []

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        whole = self.site.transport().handle_request(request)
        if "/list/files/" not in str(request.url):
            return whole
        self.ranges.append(request.headers.get("Range"))
        if self.times <= 0:
            return whole
        self.times -= 1
        headers = {name: value for name, value in whole.headers.items() if name == "content-range"}
        return httpx.Response(whole.status_code, headers=headers, stream=Broken(whole.content[: self.n_bytes]))


def partials(folder: Path) -> list[Path]:
    return list((folder / "files").glob(".*.partial"))


@pytest.fixture
def grown(site: Site, pulled: Path) -> Path:
    """The list at hand; the site has a newer one, of which one data file is to be fetched."""
    site.publish([*URLS, NEW_URL], IMAGES)
    return pulled


def test_a_broken_connection_is_gone_on_with_at_once(site: Site, grown: Path, pull_site: PullSite) -> None:
    flaky = Flaky(site)
    pull_site(transport=flaky.transport())
    assert flaky.ranges == [None, f"bytes={HALF}-"]
    assert ExclusionList.open(grown).version.manifest.version == 2


def test_a_line_that_breaks_again_and_again_is_followed_as_long_as_it_brings_something(
    site: Site, grown: Path, pull_site: PullSite
) -> None:
    flaky = Flaky(site, n_bytes=200, times=1000)
    pull_site(transport=flaky.transport())
    assert len(flaky.ranges) > 3
    assert not partials(grown)


def test_what_there_is_of_a_file_is_kept_for_the_next_pull(site: Site, grown: Path, pull_site: PullSite) -> None:
    dead_after = Flaky(site)

    def answer(request: httpx.Request) -> httpx.Response:
        if request.headers.get("Range"):
            raise httpx.ConnectError("refused")
        return dead_after._answer(request)

    with pytest.raises(UnavailableError):
        pull_site(transport=httpx.MockTransport(answer))
    (partial,) = partials(grown)
    assert partial.stat().st_size == HALF
    assert ExclusionList.open(grown).version.manifest.version == 1
    flaky = Flaky(site, times=0)
    result = pull_site(transport=flaky.transport())
    assert flaky.ranges == [f"bytes={HALF}-"]
    assert result.is_new
    assert not partials(grown)


def test_a_server_without_ranges_sends_it_again_whole(site: Site, grown: Path, pull_site: PullSite) -> None:
    site.serves_parts = False
    flaky = Flaky(site)
    pull_site(transport=flaky.transport())
    assert flaky.ranges == [None, f"bytes={HALF}-"]
    assert ExclusionList.open(grown).version.manifest.version == 2


def test_a_server_without_ranges_that_always_breaks_is_given_up(site: Site, grown: Path, pull_site: PullSite) -> None:
    site.serves_parts = False
    flaky = Flaky(site, times=1000)
    with pytest.raises(UnavailableError, match="connection lost"):
        pull_site(transport=flaky.transport())
    assert len(flaky.ranges) == 2
    assert ExclusionList.open(grown).version.manifest.version == 1


def leave(grown: Path, site: Site, change: Callable[[bytes], bytes]) -> None:
    """Half a file of the new version, changed, as an earlier pull may have left it."""
    held = {path.name for path in (grown / "files").iterdir()}
    new = [path for path in site.files if path.startswith("list/files/")][-1]
    assert new.rpartition("/")[2] not in held
    digest = new.rpartition("/")[2].removesuffix(".parquet")
    (grown / "files" / f".{digest}.partial").write_bytes(change(site.files[new]))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:300],
        lambda data: data,
        lambda _: b"\x00" * 300,
        lambda data: b"\x00" * len(data),
        lambda data: data + b"more",
        lambda _: b"",
    ],
    ids=["half", "all", "garbage", "all garbage", "too much", "nothing"],
)
def test_whatever_was_left_of_a_file_the_whole_is_right_in_the_end(
    site: Site, grown: Path, pull_site: PullSite, change: Callable[[bytes], bytes]
) -> None:
    leave(grown, site, change)
    result = pull_site()
    assert result.refused == ()
    assert ExclusionList.open(grown).version.manifest.version == 2
    assert not partials(grown)


def test_a_file_that_changes_on_the_way_is_refused(site: Site, grown: Path, pull_site: PullSite) -> None:
    new = [path for path in site.files if path.startswith("list/files/")][-1]
    leave(grown, site, lambda data: data[:300])
    site.files[new] = site.files[new][:-8] + b"PAR0PAR0"
    with pytest.raises(VerificationError, match="not the file that was signed for"):
        pull_site()
    assert [path.stat().st_size for path in partials(grown)] == [0]
    assert ExclusionList.open(grown).version.manifest.version == 1


@pytest.mark.parametrize("said", ["bytes 0-9/10", "bytes 5-9/10", "nonsense", None])
def test_a_server_that_sends_another_part_than_asked_is_asked_for_the_whole(tmp_path: Path, said: str | None) -> None:
    data = b"0123456789"
    n_asked = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal n_asked
        n_asked += 1
        if "Range" in request.headers:
            return httpx.Response(206, content=b"XXXXX", headers={} if said is None else {"Content-Range": said})
        return httpx.Response(200, content=data)

    path = tmp_path / "file"
    path.write_bytes(data[:3])
    with Downloads(httpx.MockTransport(answer)) as downloads, path.open("a+b") as file:
        downloads.complete(f"{BASE_URL}/x", 10, file)
    assert path.read_bytes() == data
    assert n_asked == 2


def test_progress_counts_what_was_there_before(site: Site, grown: Path, pull_site: PullSite) -> None:
    leave(grown, site, lambda data: data[:300])
    seen: list[tuple[int, int]] = []
    pull_site(progress=lambda *step: seen.append(step))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1]
