import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
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


@pytest.fixture
def served(site: Site, tmp_path: Path) -> Iterator[str]:
    """The site's files behind a real HTTP server of this machine; its base address."""
    folder = tmp_path / "served"
    for path, data in site.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    with serving(functools.partial(QuietHandler, directory=str(folder))) as address:
        yield address


@contextmanager
def serving(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """A real HTTP server of this machine; its base address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        pass
