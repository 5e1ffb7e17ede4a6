"""Shards on other file systems: a real S3 server on loopback, and web servers that break connections."""

import json
import os
import socketserver
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heldout.errors import ConflictError, InputError, UnavailableError
from indexer import filesystems
from indexer.filesystems import RemoteFile, bring, list_files
from indexer.ingest import ingest
from indexer.onnx_encoder import OnnxEncoder
from indexer.planning import Kind, plan_shards
from indexer.precomputed import PrecomputedModel
from tests.indexer.releases import bytes_of
from tests.object_store import AWS, empty_bucket, forgetting, serving_s3


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving_s3() as address:
        yield address


@pytest.fixture
def s3(server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The file system as the environment gives it, with an empty bucket named `shards`."""
    monkeypatch.setattr(filesystems, "FIRST_PAUSE_S", 0.01)
    return empty_bucket(server, "shards", monkeypatch)


@pytest.fixture
def forgotten(s3: Any) -> Iterator[Callable[[], None]]:  # noqa: ARG001 - comes first
    with forgetting() as forget:
        yield forget


def _trees(folder: Path) -> dict[str, bytes]:
    """All files of a release that must not depend on where the shards came from."""
    return {name: data for name, data in bytes_of(folder).items() if not name.endswith("/sources_seen.json")}


@pytest.fixture
def shards(tmp_path: Path, make: Any) -> Path:
    """One shard of each kind."""
    source = tmp_path / "prefix"
    make.tar(source / "00000.tar", make.rows(6))
    pq.write_table(pa.table({"URL": ["https://a.example/1.jpg"], "TEXT": ["one"]}), source / "urls.parquet")
    (source / "00001").mkdir()
    (source / "00001" / "7.png").write_bytes(make.encode(make.draw(7)))
    pq.write_table(pa.table({"url": ["u"], "caption": ["c"], "key": ["7"]}), source / "00001.parquet")
    return source


def test_shards_in_a_bucket_give_the_same_bytes_as_on_disk(
    s3: Any, shards: Path, tmp_path: Path, encoder: OnnxEncoder
) -> None:
    s3.put(str(shards), "shards/", recursive=True)
    url = "s3://shards/prefix"
    assert [(shard.name, shard.kind) for shard in plan_shards([url])] == [
        ("00000", Kind.TAR),
        ("00001", Kind.PICTURES),
        ("urls", Kind.PARQUET),
    ]
    left = tmp_path / "remote" / "scratch" / "00000" / "00000.tar"  # by a run that was killed
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    remote = ingest([url], release=tmp_path / "remote", encoder=encoder, workers=0)
    local = ingest([shards], release=tmp_path / "local", encoder=encoder, workers=0)
    assert (remote.set_aside, remote.ingested) == ({}, local.ingested)
    assert _trees(tmp_path / "remote") == _trees(tmp_path / "local")
    assert list((tmp_path / "remote" / "scratch").iterdir()) == []
    for same in (url, f"{url}/", "s3a://shards/prefix"):
        assert ingest([same], release=tmp_path / "remote", encoder=encoder, workers=0).skipped == local.ingested
    assert ingest([f"{url}/00000.tar"], release=tmp_path / "remote", encoder=encoder, workers=0).skipped == ["00000"]


def test_a_remote_file_that_changed_is_noticed_by_its_mark(
    s3: Any, shards: Path, tmp_path: Path, make: Any, encoder: OnnxEncoder
) -> None:
    s3.put(str(shards), "shards/", recursive=True)
    url, release = "s3://shards/prefix/00000.tar", tmp_path / "release"
    ingest([url], release=release, encoder=encoder, workers=0)
    seen = json.loads((release / "shards" / "00000" / "sources_seen.json").read_text())["sources"]
    assert [one["name"] for one in seen] == ["00000.tar", "00000.parquet"]
    assert all(one["mark"] for one in seen)
    s3.put(str(shards / "00000.tar"), "shards/prefix/00000.tar")  # the same bytes, put again
    assert ingest([url], release=release, encoder=encoder, workers=0).skipped == ["00000"]
    make.tar(shards / "00000.tar", make.rows(5))
    s3.put(str(shards / "00000.tar"), "shards/prefix/00000.tar")
    with pytest.raises(ConflictError, match=r"shard 00000 was made from .* and s3://shards/prefix holds"):
        ingest([url], release=release, encoder=encoder, workers=0)


def test_embeddings_in_a_bucket_are_ingested(s3: Any, tmp_path: Path) -> None:
    with s3.open("shards/set/img_emb/img_emb_0.npy", "wb") as file:
        np.save(file, np.eye(4, dtype=np.float16))
    with s3.open("shards/set/metadata/metadata_0.parquet", "wb") as file:
        pq.write_table(pa.table({"url": list("abcd"), "caption": list("abcd")}), file)
    report = ingest(["s3://shards/set"], release=tmp_path / "release", encoder=PrecomputedModel("M"), workers=0)
    assert report.ingested == ["0"]
    stored = np.load(tmp_path / "release" / "shards" / "0" / "embeddings.npy")
    assert np.array_equal(stored, np.eye(4, dtype=np.float16))


def test_truncated_objects_are_set_aside_under_their_own_names(
    s3: Any, shards: Path, tmp_path: Path, encoder: OnnxEncoder
) -> None:
    s3.put(str(shards), "shards/", recursive=True)
    for name in ("00000.tar", "urls.parquet"):
        s3.pipe(f"shards/prefix/{name}", (shards / name).read_bytes()[: -len((shards / name).read_bytes()) // 2])
    report = ingest(["s3://shards/prefix"], release=tmp_path / "release", encoder=encoder, workers=0)
    assert report.ingested == ["00001"]
    assert report.set_aside["00000"].startswith("s3://shards/prefix/00000.tar is truncated")
    assert report.set_aside["urls"].startswith("s3://shards/prefix/urls.parquet is not a parquet file, or is truncated")
    assert str(tmp_path) not in "".join(report.set_aside.values())
    noted = json.loads((tmp_path / "release" / "set_aside" / "00000.json").read_text())
    assert noted["reason"] == report.set_aside["00000"]


@pytest.mark.parametrize("url", ["s3://no-such-bucket/prefix", "s3://shards/nothing-here", "s3://shards/nothing.tar"])
def test_a_missing_bucket_or_prefix_is_named(s3: Any, url: str) -> None:  # noqa: ARG001 - sets the environment
    with pytest.raises(InputError, match=f"{url} does not exist"):
        plan_shards([url])


def test_wrong_credentials_are_said_at_once(
    s3: Any, server: str, forgotten: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.pipe("shards/a.tar", b"x")
    httpx.post(f"{server}/moto-api/reset-auth", content="0")  # from now on keys are checked
    try:
        forgotten()
        with pytest.raises(InputError, match=r"s3://shards refuses access .*check the credentials"):
            plan_shards(["s3://shards"])
    finally:
        httpx.post(f"{server}/moto-api/reset-auth", content="inf")
    for name in AWS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    forgotten()
    with pytest.raises(InputError, match=r"s3://shards refuses access"):
        plan_shards(["s3://shards"])


def test_a_server_that_is_not_there_ends_the_run_as_the_outside_worlds_fault(
    forgotten: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(filesystems, "ATTEMPTS", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    forgotten()
    with pytest.raises(UnavailableError, match="could not be read in 1 tries"):
        plan_shards(["s3://shards"])


def test_a_public_bucket_needs_no_credentials(
    s3: Any, forgotten: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.pipe("shards/a.tar", b"x")
    for name in AWS:
        monkeypatch.delenv(name)
    configuration: dict[str, dict[str, Any]] = {}
    fsspec.config.set_conf_env(configuration, {"FSSPEC_S3": '{"anon": true}'})  # what fsspec does on import
    monkeypatch.setitem(fsspec.config.conf, "s3", configuration["s3"])
    forgotten()
    assert [shard.name for shard in plan_shards(["s3://shards"])] == ["a"]


def test_an_unknown_file_system_is_said() -> None:
    with pytest.raises(InputError, match="cannot be opened"):
        plan_shards(["nonsense://bucket/prefix"])


class _Breaking(BaseHTTPRequestHandler):
    """Serves `data` by range, and cuts the connection in the middle of the first answers."""

    data: ClassVar[bytes] = b""
    n_cuts: ClassVar[int] = 0
    ranges: ClassVar[list[str]] = []
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(200, len(self.data))

    def do_GET(self) -> None:
        asked = self.headers.get("Range", "bytes=0-").removeprefix("bytes=")
        first, _, last = asked.partition("-")
        part = self.data[int(first) : int(last) + 1 if last else None]
        self._answer(206, len(part), f"bytes {first}-{int(first) + len(part) - 1}/{len(self.data)}")
        type(self).ranges.append(asked)
        if type(self).n_cuts:
            type(self).n_cuts -= 1
            self.wfile.write(part[: len(part) // 2])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
        else:
            self.wfile.write(part)

    def _answer(self, status: int, length: int, said: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", '"1"')
        if said:
            self.send_header("Content-Range", said)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """The connections that it cuts."""


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(filesystems, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(filesystems, "BLOCK", 64 * 1024)
    _Breaking.data, _Breaking.n_cuts, _Breaking.ranges = os.urandom(300_000), 0, []
    with _Server(("127.0.0.1", 0), _Breaking) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/00000.tar"
        server.shutdown()
        thread.join()


def test_a_web_address_is_a_source_too(breaking: str, tmp_path: Path) -> None:
    (file,) = list_files(breaking)
    assert (file.url, file.size) == (breaking, 300_000)
    bring(file, tmp_path / "0")
    assert (tmp_path / "0").read_bytes() == _Breaking.data


def test_a_broken_connection_goes_on_where_it_broke(breaking: str, tmp_path: Path) -> None:
    (file,) = list_files(breaking)
    _Breaking.n_cuts = 3
    bring(file, tmp_path / "0")
    assert (tmp_path / "0").read_bytes() == _Breaking.data
    assert len(_Breaking.ranges) > 5
    assert sum(asked.startswith("0-") for asked in _Breaking.ranges) <= 4


def test_a_server_that_always_breaks_is_given_up(breaking: str, tmp_path: Path) -> None:
    (file,) = list_files(breaking)
    _Breaking.n_cuts = 10_000
    with pytest.raises(UnavailableError, match=f"{breaking} could not be read in 5 tries"):
        bring(file, tmp_path / "0")


def test_a_file_that_is_shorter_than_listed_is_no_whole_file(s3: Any, tmp_path: Path) -> None:
    s3.pipe("shards/a", b"12345")
    with pytest.raises(UnavailableError, match="5 bytes came, 6 were listed"):
        bring(RemoteFile("s3://shards/a", 6, None), tmp_path / "a")


def test_an_index_without_embeddings_must_be_copied_first(s3: Any) -> None:
    s3.pipe("shards/old/image.index", b"x")
    s3.pipe("shards/old/metadata/0.parquet", b"x")
    with pytest.raises(InputError, match=r"s3://shards/old/image\.index .* copy its folder here first"):
        plan_shards(["s3://shards/old"])
