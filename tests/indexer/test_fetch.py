"""The fetch stage, over a real server on loopback that misbehaves."""

import hashlib
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heldout.errors import ConflictError, InputError
from heldout.fetching import FetchLimits
from indexer.batches import Batch
from indexer.fetch import FetchOptions, FetchStage
from indexer.ingest import ingest
from indexer.onnx_encoder import OnnxEncoder
from indexer.planning import plan
from indexer.precomputed import PrecomputedModel
from indexer.readers import open_shard
from indexer.shards import read_done
from tests.hostile import (
    TRAP,
    Answer,
    HostileServer,
    after,
    break_off,
    flooding,
    in_turns,
    name_server,
    ok,
    png,
    redirect,
    stall,
)

ALLOW = ("127.0.0.1/32",)
QUICK: Mapping[str, Any] = {
    "min_host_interval_s": 0.0,
    "read_s": 20.0,
    "total_s": 40.0,
    "backoff_s": 0.01,
    "per_host": 16,
    "max_failures": 1000,
    "max_bytes": 3_000_000,
}
ROOT = Path(__file__).parents[2]


def options(*, held_bytes: int = 1 << 28, **limits: Any) -> FetchOptions:
    return FetchOptions(FetchLimits(**{**QUICK, **limits}), allow=ALLOW, held_bytes=held_bytes)


def write_urls(path: Path, urls: Sequence[str | None], **columns: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    captions = [f"caption {row}" for row in range(len(urls))]
    pq.write_table(pa.table({"URL": pa.array(urls, pa.string()), "TEXT": captions, **columns}), path)
    return path


def samples(release: Path, shard: str) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = pq.read_table(release / "shards" / shard / "samples.parquet").to_pydict()
    return found


def png_bomb(side: int) -> bytes:
    """A PNG of `side` x `side` black pixels in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    row = zlib.compress(bytes((side // 8 + 1) * 100), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", row) + chunk(b"IEND", b"")


def test_a_release_is_fetched_fingerprinted_and_embedded(tmp_path: Path, encoder: OnnxEncoder) -> None:
    answers: dict[str, Answer] = {
        "/a.png": after(0.3, ok(png(1), "X-Robots-Tag: noai\r\nContent-Usage: train-ai=n\r\n")),
        "/b.png": ok(png(2)),
        "/moved": redirect("/b.png"),
        "/inside": redirect("http://169.254.169.254/latest/meta-data/"),
        "/page": ok(b"<html>", "Content-Type: text/html\r\nTDM-Reservation: 1\r\n"),
        "/bomb.png": ok(png_bomb(50_000)),
        "/noise": ok(b"no picture at all"),
        "/stall": stall,
        "/half": break_off,
        "/flood": flooding(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 16384),
    }
    with HostileServer(answers) as server, HostileServer({}, host=TRAP) as trap:
        paths = ["/a.png", "/b.png", "/moved", "/inside", "/page", "/bomb.png", "/noise", "/stall", "/half", "/flood"]
        urls = [*(server.url + path for path in paths), server.url + "/none", f"{trap.url}/x", "no address", None]
        source = write_urls(tmp_path / "urls.parquet", urls)
        report = ingest([source], release=tmp_path / "r", encoder=encoder, workers=0, fetch=options(read_s=2.0))
        assert trap.seen.connections == 0
    found = samples(tmp_path / "r", "urls")
    assert found["url"] == urls
    assert found["caption"] == [f"caption {row}" for row in range(len(urls))]
    assert found["status"] == [
        *("ok", "ok", "ok", "refused_address", "not_a_picture", "corrupt", "corrupt", "timeout", "reset", "too_large"),
        *("http_404", "refused_address", "bad_url", "not_fetched"),
    ]
    assert [said is None for said in found["reason"]] == [status in {"ok", "not_fetched"} for status in found["status"]]
    assert "megapixels" in found["reason"][5]
    digests = [hashlib.sha256(png(seed)).digest() for seed in (1, 2, 2)]
    assert found["sha256"][:3] == digests
    assert found["embedding_row"] == [0, 1, 2, *[None] * 11]
    assert (found["width"][0], found["height"][0]) == (48, 32)
    assert all(found["pdq"][:3])
    assert found["signals"] == [
        *(["x-robots-tag: noai", "content-usage: train-ai=n"], [], [], [], ["tdm-reservation: 1"], [], []),
        *(None, [], [], [], None, None, None),
    ]
    assert report.statuses["ok"] == 3
    assert report.statuses["refused_address"] == 2
    assert report.reasons["refused_address", "the host has an address that is not public"] == 2
    assert np.load(tmp_path / "r" / "shards" / "urls" / "embeddings.npy").shape == (3, encoder.d)


@pytest.fixture(scope="module")
def many() -> Iterator[HostileServer]:
    """200 pictures of 50 kB; each third one comes late, one of them very late."""
    answers = {f"/{n}": ok(bytes([65 + n % 26]) * 50_000) for n in range(200)}
    answers |= {path: after(0.02, answer) for number, (path, answer) in enumerate(answers.items()) if number % 3 == 0}
    answers["/10"] = after(0.3, answers["/10"])
    with HostileServer(answers) as server:
        yield server


def rows_of(batches: Iterator[Batch]) -> list[tuple[int, str, bytes | None]]:
    return [
        (row, status, picture)
        for batch in batches
        for row, status, picture in zip(
            batch.table["row"].to_pylist(), batch.table["status"].to_pylist(), batch.pictures, strict=True
        )
    ]


def read(path: Path) -> Iterator[Batch]:
    return open_shard(plan([path]).shards[0]).batches()


@pytest.mark.parametrize("held_bytes", [1 << 28, 400_000, 120_000, 1])
def test_rows_keep_their_order_within_any_memory(tmp_path: Path, many: HostileServer, held_bytes: int) -> None:
    """Also two shards at once, whose first rows both need room that the other's later rows would take."""
    sources = [
        write_urls(tmp_path / f"{name}.parquet", [f"{many.url}/{n}" for n in order])
        for name, order in (("up", range(200)), ("down", range(199, -1, -1)))
    ]
    found: dict[int, list[tuple[int, str, bytes | None]]] = {}
    with FetchStage(options(held_bytes=held_bytes, concurrency=16)) as stage:

        def run(number: int) -> None:
            found[number] = rows_of(stage.batches(read(sources[number])))

        lanes = [threading.Thread(target=run, args=(number,)) for number in range(2)]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join(60)
        assert stage._space._held == 0
    for number, rows in found.items():
        assert [row for row, _, _ in rows] == list(range(200))
        assert {status for _, status, _ in rows} == {"ok"}
        letters = [65 + (199 - row if number else row) % 26 for row in range(200)]
        assert [picture[:1] + picture[-1:] for _, _, picture in rows if picture] == [bytes([n, n]) for n in letters]
    assert len(found) == 2


def test_memory_is_bounded_whatever_servers_send(tmp_path: Path) -> None:
    """Pictures that announce nothing and grow to 2 MB each, 40 at once, in room for 5 MB."""
    body = b"A" * 2_000_000
    with HostileServer({"/big": ok(body)}) as server:
        source = write_urls(tmp_path / "urls.parquet", [f"{server.url}/big"] * 40)
        most = 0
        with FetchStage(options(held_bytes=5_000_000, concurrency=40, per_host=40, total_s=30.0)) as stage:
            space, done = stage._space, threading.Event()

            def watch() -> None:
                nonlocal most
                while not done.wait(0.001):
                    most = max(most, space._held)

            watcher = threading.Thread(target=watch)
            watcher.start()
            sizes = [len(picture or b"") for batch in stage.batches(read(source)) for picture in batch.pictures]
            done.set()
            watcher.join()
    assert sizes == [len(body)] * 40
    assert 2_000_000 <= most <= 5_000_000 + 32 * 1024 * 1024  # the rows of the batch being made come on top


def test_a_host_that_makes_us_wait_holds_up_no_other(tmp_path: Path) -> None:
    names = {"slow.example": [["127.0.0.1"]], "quick.example": [["127.0.0.1"]]}
    slow = {f"/{n}": after(0.2, ok(png(n))) for n in range(8)}
    with (
        name_server(names) as resolver,
        HostileServer(slow) as first,
        HostileServer({f"/{n}": ok(png(n)) for n in range(200)}) as second,
    ):
        urls = [f"http://slow.example:{first.port}/{n}" for n in range(8)]
        urls += [f"http://quick.example:{second.port}/{n}" for n in range(200)]
        source = write_urls(tmp_path / "urls.parquet", urls)
        asking = replace(options(per_host=2, min_host_interval_s=0.001), name_server=resolver.address)
        with FetchStage(asking) as stage:
            rows = rows_of(stage.batches(read(source)))
    assert [status for _, status, _ in rows] == ["ok"] * 208
    # the slow host comes first in the shard, yet the other has answered long before it has
    ended = max(request.at for request in second.seen.requests[:100])
    assert ended < max(request.at for request in first.seen.requests)
    assert first.seen.most_in_air <= 2


def test_a_shard_that_is_left_early_leaves_nothing_behind(tmp_path: Path, many: HostileServer) -> None:
    source = write_urls(tmp_path / "urls.parquet", [f"{many.url}/{n % 200}" for n in range(1000)])
    before = threading.active_count()
    with FetchStage(options()) as stage:
        batches = stage.batches(read(source))
        assert len(next(batches).table) == 128
        batches.close()  # type: ignore[attr-defined] # a generator
        assert (stage._space._held, stage._space._begun) == (0, 0)
        assert len(rows_of(stage.batches(read(source)))) == 1000
    assert threading.active_count() == before


def test_what_the_reader_raises_comes_after_the_rows_before_it(tmp_path: Path, many: HostileServer) -> None:
    source = write_urls(tmp_path / "urls.parquet", [f"{many.url}/{n}" for n in range(9)])

    def broken() -> Iterator[Batch]:
        yield from read(source)
        raise InputError("the rest is damaged")

    with FetchStage(options()) as stage:
        batches = stage.batches(broken())
        assert len(next(batches).table) == 9
        with pytest.raises(InputError, match="damaged"):
            next(batches)


def test_a_wait_ends_when_the_run_does(tmp_path: Path) -> None:
    class EndedError(Exception):
        pass

    with HostileServer({"/stall": stall}) as server:
        source = write_urls(tmp_path / "urls.parquet", [f"{server.url}/stall"] * 50)
        began = time.monotonic()

        def check() -> None:
            if time.monotonic() - began > 0.3:
                raise EndedError

        with FetchStage(options(read_s=60.0, total_s=60.0)) as stage, pytest.raises(EndedError):
            rows_of(stage.batches(read(source), check))
        assert time.monotonic() - began < 30


def test_rows_that_failed_elsewhere_or_have_pictures_are_left_as_they_are(tmp_path: Path, many: HostileServer) -> None:
    urls: list[str | None] = [f"{many.url}/{n}" for n in range(4)]
    failed = write_urls(
        tmp_path / "failed.parquet",
        urls,
        status=["success", "failed_to_download", "success", None],
        error_message=[""] * 4,
    )
    with FetchStage(options()) as stage:
        statuses = [status for _, status, _ in rows_of(stage.batches(read(failed)))]
        assert statuses == ["ok", "failed_to_download", "ok", "ok"]
        brought = write_urls(tmp_path / "brought.parquet", urls, jpg=[png(n) for n in range(4)])
        before = len(many.seen.requests)
        assert [picture for _, _, picture in rows_of(stage.batches(read(brought)))] == [png(n) for n in range(4)]
        assert len(many.seen.requests) == before


def test_embeddings_that_were_brought_get_fingerprints_and_keep_their_values(tmp_path: Path) -> None:
    vectors = np.random.default_rng(3).standard_normal((6, 16), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    (tmp_path / "img_emb").mkdir()
    (tmp_path / "metadata").mkdir()
    np.save(tmp_path / "img_emb" / "img_emb_0.npy", vectors.astype(np.float16))
    with HostileServer({f"/{n}": ok(png(n)) for n in range(5)}) as server:
        urls = [f"{server.url}/{n}" for n in range(6)]
        table = pa.table({"url": urls, "caption": ["c"] * 6, "key": list("abcdef")})
        pq.write_table(table, tmp_path / "metadata" / "metadata_0.parquet")
        model = PrecomputedModel("ViT-B-32/openai")
        report = ingest([tmp_path], release=tmp_path / "r", encoder=model, workers=0, fetch=options())
    assert not report.set_aside
    (shard,) = report.ingested
    found = samples(tmp_path / "r", shard)
    assert found["status"] == ["ok"] * 5 + ["http_404"]
    assert [one is not None for one in found["pdq"]] == [True] * 5 + [False]
    assert found["embedding_row"] == list(range(6))
    stored = np.load(tmp_path / "r" / "shards" / shard / "embeddings.npy")
    np.testing.assert_array_equal(stored, vectors.astype(np.float16))


def test_a_release_begun_without_fetching_is_not_mixed(
    tmp_path: Path, encoder: OnnxEncoder, many: HostileServer
) -> None:
    source = write_urls(tmp_path / "in" / "0.parquet", [f"{many.url}/1"])
    ingest([source], release=tmp_path / "r", encoder=encoder, workers=0)
    assert read_done(tmp_path / "r" / "shards" / "0")["statuses"] == {"not_fetched": 1}
    with pytest.raises(ConflictError, match="without --fetch"):
        ingest([source], release=tmp_path / "r", encoder=encoder, workers=0, fetch=options())


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"allow": ("127.0.0.1/8",)}, "127.0.0.1/8"),
        ({"refuse": ("example.com",)}, "no network"),
        ({"name_server": "dns.example"}, "name server"),
        ({"user_agent": "a\nb"}, "user agent"),
    ],
)
def test_options_that_make_no_sense_are_refused(bad: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        FetchStage(FetchOptions(**bad))


def command(source: Path, datasets: Path, model: Path, *more: str) -> list[str]:
    fixed = [sys.executable, "-m", "indexer", "ingest", str(source), "--dataset", "small", "--workers", "1"]
    fixed += ["--datasets-dir", str(datasets), "--model", str(model), "--fetch", "--host-interval", "0"]
    return [*fixed, "--user-agent", "tests/1.0 (+https://tests.example)", *more]


def test_the_command_fetches_public_addresses_only(tmp_path: Path, onnx_folder: Path) -> None:
    with HostileServer({"/a": ok(png())}) as server:
        source = write_urls(tmp_path / "0.parquet", [f"{server.url}/a"] * 3)
        shut = subprocess.run(  # noqa: S603 - our own command
            command(source, tmp_path / "shut", onnx_folder), cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert (shut.returncode, server.seen.connections) == (0, 0), shut.stderr
        assert "3  refused_address" in shut.stdout
        assert "3    the host has an address that is not public" in shut.stdout
        opened = subprocess.run(  # noqa: S603 - our own command
            command(source, tmp_path / "open", onnx_folder, "--allow-address", "127.0.0.0/8", "--json"),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert opened.returncode == 0, opened.stderr
        assert json.loads(opened.stdout)["statuses"] == {"ok": 3}
        assert server.seen.requests[0].headers["user-agent"] == "tests/1.0 (+https://tests.example)"


def test_killed_while_fetching_a_run_ends_with_the_same_bytes(
    tmp_path: Path, onnx_folder: Path, encoder: OnnxEncoder
) -> None:
    answers = {f"/{n}": after(0.01 * (n % 4), ok(png(n))) for n in range(300)}
    answers["/5"] = in_turns(break_off, answers["/5"])
    with HostileServer(answers) as server:
        for shard in range(2):
            urls = [f"{server.url}/{n}" for n in range(shard * 150, shard * 150 + 155)]  # the last five are 404
            write_urls(tmp_path / "in" / f"{shard:05d}.parquet", urls)
        ingest([tmp_path / "in"], release=tmp_path / "whole", encoder=encoder, workers=0, fetch=options(per_host=4))
        more = ["--allow-address", "127.0.0.1", "--per-host", "2"]
        run = subprocess.Popen(  # noqa: S603 - our own command
            command(tmp_path / "in", tmp_path / "killed", onnx_folder, *more), cwd=ROOT, start_new_session=True
        )
        asked, deadline = len(server.seen.requests), time.monotonic() + 60
        while len(server.seen.requests) < asked + 200 and time.monotonic() < deadline:
            time.sleep(0.005)
        os.killpg(run.pid, signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL
        last = subprocess.run(  # noqa: S603 - our own command
            command(tmp_path / "in", tmp_path / "killed", onnx_folder, *more),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert last.returncode == 0, last.stderr
    for name in ("samples.parquet", "embeddings.npy", "thumbnails.arrow"):
        for shard in range(2):
            one, other = (
                (tmp_path / release / "shards" / f"{shard:05d}" / name).read_bytes()
                for release in ("whole", "killed/small")
            )
            assert one == other, (shard, name)
