from collections.abc import Callable
from pathlib import Path

import pytest

from heldout.pull import PullResult, pull
from tests.heldout.published import BASE_URL, ImageRule, Site, UrlRule, some_pdq

PullSite = Callable[..., PullResult]

URLS = [UrlRule("https://art.example/1.jpg"), UrlRule("https://art.example/2.jpg?w=1", "host")]
IMAGES = [ImageRule(some_pdq(1)), ImageRule(some_pdq(2), sha256=bytes(range(32)), assurance="account")]


@pytest.fixture
def site() -> Site:
    return Site().publish(URLS, IMAGES)


@pytest.fixture
def pull_site(tmp_path: Path, site: Site) -> PullSite:
    """Pull the site into `tmp_path/list`; keyword arguments are those of `pull`."""

    def run(**options: object) -> PullResult:
        root = site.write_root(tmp_path)
        arguments = {"root": root, "transport": site.transport()} | options
        return pull(BASE_URL, tmp_path / "list", **arguments)  # type: ignore[arg-type]

    return run


@pytest.fixture
def pulled(tmp_path: Path, pull_site: PullSite) -> Path:
    pull_site()
    return tmp_path / "list"
