"""A list from an object store: a real S3 server on loopback."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from heldout import object_stores
from heldout.download import Downloads
from heldout.errors import InputError, NotFoundError, UnavailableError, VerificationError
from heldout.exclusion import ExclusionList
from heldout.pull import pull
from tests.heldout.conftest import IMAGES, URLS
from tests.heldout.published import BASE_URL, Site, UrlRule
from tests.object_store import empty_bucket, forgetting, serving_s3

MIRROR = "s3://mirror/some/prefix"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving_s3() as address:
        yield address


@pytest.fixture
def s3(server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    return empty_bucket(server, "mirror", monkeypatch)


@pytest.fixture
def forget(s3: Any) -> Iterator[Callable[[], None]]:  # noqa: ARG001 - comes first
    with forgetting() as forget:
        yield forget


def upload(s3: Any, site: Site) -> None:
    for path, data in site.files.items():
        s3.pipe_file(f"mirror/some/prefix/{path}", data)


def test_a_bucket_is_a_site(s3: Any, site: Site, tmp_path: Path) -> None:
    upload(s3, site)
    root = site.write_root(tmp_path)
    assert pull(f"{MIRROR}/", tmp_path / "list", root=root).is_new
    assert not pull(MIRROR, tmp_path / "list").is_new
    site.has_deltas = True
    site.publish([*URLS, UrlRule("https://art.example/new.jpg")], IMAGES)
    upload(s3, site)
    assert pull(MIRROR, tmp_path / "list").n_deltas == 1
    assert ExclusionList.open(tmp_path / "list").doubts == ()


def test_a_bucket_is_a_mirror_that_is_gone_on_with_and_not_believed(s3: Any, site: Site, tmp_path: Path) -> None:
    upload(s3, site)
    root = site.write_root(tmp_path)
    result = pull(BASE_URL, tmp_path / "list", root=root, mirrors=[MIRROR], transport=site.transport())
    assert result.refused == ()
    assert not any(path.startswith("list/files/") for path in site.requests)
    path = next(path for path in site.files if path.startswith("list/files/"))
    s3.pipe_file(f"mirror/some/prefix/{path}", site.files[path][:-1] + b"?")
    result = pull(BASE_URL, tmp_path / "other", root=root, mirrors=[MIRROR], transport=site.transport())
    assert len(result.refused) == 1
    assert MIRROR in result.refused[0]


def test_a_large_object_is_read_block_by_block_from_where_it_stopped(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_stores, "BLOCK", 1000)
    data = bytes(range(256)) * 20
    s3.pipe_file("mirror/file", data)
    path = tmp_path / "file"
    path.write_bytes(data[:1234])
    seen: list[int] = []
    with Downloads() as downloads, path.open("a+b") as file:
        downloads.complete("s3://mirror/file", len(data), file, seen.append)
    assert path.read_bytes() == data
    assert seen == [2234, 3234, 4234, 5120]


def test_what_a_bucket_lacks_is_told(s3: Any, site: Site, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="timestamp"):
        pull(MIRROR, tmp_path / "list", root=site.write_root(tmp_path))
    upload(s3, site)
    with Downloads() as downloads:
        with pytest.raises(NotFoundError, match="does not exist"):
            downloads.read(f"{MIRROR}/nothing", 10)
        with pytest.raises(NotFoundError):
            downloads.read("s3://nobodys-bucket/x", 10)
        with pytest.raises(NotFoundError, match="folder"):
            downloads.read(f"{MIRROR}/list", 10)
        with pytest.raises(VerificationError, match="longer"):
            downloads.read(f"{MIRROR}/log/checkpoint", 10)


def test_missing_keys_and_missing_packages_are_input_errors(
    s3: Any, forget: Callable[[], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    s3.pipe_file("mirror/x", b"x")
    with Downloads() as downloads:
        with pytest.raises(InputError, match="cannot be opened"):
            downloads.read("nonsense://mirror/x", 10)
        forget()
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        with pytest.raises(InputError, match="credentials"):
            downloads.read("s3://mirror/x", 10)
        monkeypatch.setitem(sys.modules, "fsspec", None)
        with pytest.raises(InputError, match=r"heldout\[remote\]"):
            downloads.read("s3://mirror/x", 10)


def test_a_store_that_does_not_answer_is_the_outside_worlds_fault(
    s3: Any,  # noqa: ARG001 - the environment
    forget: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    site: Site,
    tmp_path: Path,
) -> None:
    forget()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(UnavailableError, match="s3://mirror"), Downloads() as downloads:
        downloads.read("s3://mirror/x", 10)
    root = site.write_root(tmp_path)
    result = pull(BASE_URL, tmp_path / "list", root=root, mirrors=[MIRROR], transport=site.transport())
    assert len(result.refused) == 1
