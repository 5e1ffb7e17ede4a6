"""Runs that are killed, starved of disk, or lose processes: run again, the release has an undisturbed one's bytes."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from heldout.errors import ConflictError, UnavailableError
from indexer.decoding import Decoders, Picture, open_decoders
from indexer.ingest import ingest
from indexer.onnx_encoder import OnnxEncoder
from indexer.preprocess import Preprocess
from indexer.shards import lock_release
from tests.heldout.killing import killed_at
from tests.indexer.releases import bytes_of

ROOT = Path(__file__).parents[2]
N_SHARDS = 5
MARK = (77, 7)
"""Size of a picture that ends the process that fits it, for `_Deadly`."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, make: Any) -> Path:
    """Shards with pictures, a damaged picture each, and one damaged shard."""
    folder = tmp_path_factory.mktemp("killed") / "source"
    for number in range(N_SHARDS):
        make.tar(folder / f"{number:05d}.tar", make.rows(40, first=number * 1000))
    (folder / "00099.tar").write_bytes(b"no tar at all" * 100)
    return folder


@pytest.fixture(scope="module")
def whole(source: Path, encoder: OnnxEncoder) -> dict[str, bytes]:
    """An undisturbed release."""
    release = source.with_name("whole")
    report = ingest([source], release=release, encoder=encoder, workers=0)
    assert len(report.ingested) == N_SHARDS
    assert set(report.set_aside) == {"00099"}
    return bytes_of(release)


def test_bytes_depend_on_neither_processes_nor_threads(
    source: Path, whole: dict[str, bytes], onnx_folder: Path, tmp_path: Path
) -> None:
    for workers, threads in ((2, 1), (1, 3)):
        encoder = OnnxEncoder.open(onnx_folder)
        encoder.threads = threads
        release = tmp_path / f"{workers}-{threads}"
        ingest([source], release=release, encoder=encoder, workers=workers)
        assert bytes_of(release) == whole


def test_killed_before_any_change_on_disk_a_run_ends_with_the_same_bytes(
    source: Path, whole: dict[str, bytes], encoder: OnnxEncoder, tmp_path: Path
) -> None:
    release = tmp_path / "release"
    few = [source / "00000.tar", source / "00001.tar", source / "00099.tar"]
    wanted = {name: data for name, data in whole.items() if name.split("/")[1][:5] in {"00000", "00001", "00099"}}
    step = 0
    while killed_at(step, lambda: ingest(few, release=release, encoder=encoder, workers=0)):
        step += 1
    assert step > 10
    assert bytes_of(release) == wanted


def test_killed_at_any_time_a_run_ends_with_the_same_bytes(
    source: Path, whole: dict[str, bytes], encoder: OnnxEncoder, tmp_path: Path
) -> None:
    rng = random.Random(20)  # noqa: S311 - not a secret
    release, n_killed, n_finished = tmp_path / "release", 0, 0
    while n_killed < 20:
        child = _fork(lambda: ingest([source], release=release, encoder=encoder, workers=0))
        time.sleep(rng.uniform(0, 0.4))
        os.kill(child, signal.SIGKILL)
        if os.waitpid(child, 0)[1] == signal.SIGKILL:
            n_killed += 1
        else:
            assert bytes_of(release) == whole
            shutil.rmtree(release)
            n_finished += 1
            assert n_finished < 20, "runs end before they can be killed"
    ingest([source], release=release, encoder=encoder, workers=0)
    assert bytes_of(release) == whole


def _fork(work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        with suppress(BaseException):  # the child must not come back into pytest
            work()
            os._exit(0)
        os._exit(1)
    return child


def test_a_full_disk_ends_the_run_and_loses_nothing(
    source: Path, whole: dict[str, bytes], encoder: OnnxEncoder, tmp_path: Path
) -> None:
    release = tmp_path / "release"

    def run(limit: int) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (limit, limit)
        )  # the kernel refuses writes beyond, as a full disk does
        try:
            ingest([source], release=release, encoder=encoder, workers=0)
        except OSError:
            os._exit(7)

    largest = max(len(data) for data in whole.values())
    for limit in (200, 3_000, largest - 10):
        assert os.waitstatus_to_exitcode(os.waitpid(_fork(lambda limit=limit: run(limit)), 0)[1]) == 7  # type: ignore[misc]
        assert not [path for path in release.rglob("*.partial") if path.is_dir()]
        found = bytes_of(release)
        assert found.items() <= whole.items()
    ingest([source], release=release, encoder=encoder, workers=0)
    assert bytes_of(release) == whole


def test_two_runs_at_once_do_not_mix(source: Path, encoder: OnnxEncoder, onnx_folder: Path, tmp_path: Path) -> None:
    release = tmp_path / "small"
    with lock_release(release):
        with pytest.raises(ConflictError, match="another run is writing"):
            ingest([source], release=release, encoder=encoder, workers=0)
        other = _start(source, tmp_path, onnx_folder)
        _, said = other.communicate(timeout=120)
    assert other.returncode == 2
    assert "another run is writing" in said.decode()
    assert not (release / "shards").exists()


def _start(source: Path, datasets: Path, model: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "indexer", "ingest", str(source), "--dataset", "small", "--workers", "2"]
    command += ["--datasets-dir", str(datasets), "--model", str(model)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # noqa: S603


@dataclass(frozen=True)
class Running:
    """A command at work."""

    process: "subprocess.Popen[bytes]"
    shards: Path

    def decoders(self) -> list[int]:
        """Its decoding processes."""
        tasks = Path(f"/proc/{self.process.pid}/task")
        pids = [pid for task in tasks.iterdir() for pid in (task / "children").read_text().split()]
        spawned = []
        for pid in pids:
            with suppress(OSError):  # it ended meanwhile
                if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    spawned.append(int(pid))
        return spawned


@pytest.fixture
def running(tmp_path: Path, make: Any, onnx_folder: Path) -> Iterator[Running]:
    """A run that has begun a long shard."""
    make.tar(tmp_path / "source" / "0.tar", make.rows(1200), sibling=False)
    run = _start(tmp_path / "source", tmp_path, onnx_folder)
    shards = tmp_path / "small" / "shards"
    deadline = time.monotonic() + 120
    at_work = Running(run, shards)
    while not (list(shards.glob(".0.*.partial/thumbnails.arrow")) and at_work.decoders()):
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.001)
    yield at_work
    run.kill()
    run.communicate()


def test_decoding_processes_end_with_a_run_that_is_killed(running: Running) -> None:
    decoders = running.decoders()
    running.process.kill()
    running.process.wait()
    assert decoders
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in decoders):
        assert time.monotonic() < deadline, "decoding processes outlived their parent"
        time.sleep(0.02)


def test_decoding_processes_that_are_killed_are_replaced(
    running: Running, encoder: OnnxEncoder, tmp_path: Path
) -> None:
    killed: list[int] = []
    while len(killed) < 3 and running.process.poll() is None:
        for pid in running.decoders()[:1]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
        time.sleep(0.2)
    _, said = running.process.communicate(timeout=120)
    assert killed
    assert running.process.returncode == 0, said.decode()
    ingest([tmp_path / "source"], release=tmp_path / "whole", encoder=encoder, workers=0)
    assert bytes_of(tmp_path / "small") == bytes_of(tmp_path / "whole")


class _Deadly(Preprocess):
    """Ends its process when it is given a picture of size `MARK`, as a decoder's fault would."""

    def fit(self, image: Image.Image) -> Image.Image:
        if image.size == MARK:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().fit(image)


def _ask(decoders: Decoders, pictures: list[Picture]) -> tuple[list[str | None], npt.NDArray[np.uint8]]:
    block = decoders.blocks.take()
    tasks = [decoders.submit(pictures[at : at + 2], block, at) for at in range(0, len(pictures), 2)]
    reasons = [one.reason for task in tasks for one in task.result()]
    pixels = decoders.blocks.pixels[block].copy()
    decoders.blocks.give_back(block)
    return reasons, pixels


def test_a_picture_that_ends_its_process_is_damaged_and_costs_no_other(make: Any) -> None:
    preprocess = _Deadly((8, 8), (0.5,) * 3, (0.5,) * 3, "bicubic", "squash", 0)
    pictures = [Picture(f"shard/{n}", make.encode(make.draw(n))) for n in range(6)]
    pictures[3] = Picture("shard/3", make.encode(make.draw(3, MARK)))
    with open_decoders(2, preprocess, n_blocks=1, n_slots=6) as decoders:
        reasons, pixels = _ask(decoders, pictures)
        assert _ask(decoders, pictures[:1])[0] == [None]  # the decoders go on
    assert [reason is None for reason in reasons] == [True, True, True, False, True, True]
    assert reasons[3] == "shard/3 ends the process that decodes it: give another copy"
    for n in (0, 1, 2, 4, 5):
        assert np.array_equal(pixels[n], np.asarray(preprocess.fit(make.draw(n))))


def test_processes_that_always_die_end_the_run(make: Any) -> None:
    preprocess = _Deadly((8, 8), (0.5,) * 3, (0.5,) * 3, "bicubic", "squash", 0)
    deadly = Picture("shard/0", make.encode(make.draw(3, MARK)))
    with open_decoders(1, preprocess, n_blocks=1, n_slots=1, max_renewals=0) as decoders:
        task = decoders.submit([deadly], 0, 0)
        with pytest.raises(UnavailableError, match="die again and again"):
            task.result()


def test_a_pool_found_broken_while_it_starts_a_process_is_replaced(make: Any) -> None:
    """Its thread closes the pipes of a broken pool without waiting for whoever is starting another process."""
    preprocess = Preprocess((8, 8), (0.5,) * 3, (0.5,) * 3, "bicubic", "squash", 0)
    pictures = [Picture(f"shard/{n}", make.encode(make.draw(n))) for n in range(4)]
    with open_decoders(2, preprocess, n_blocks=1, n_slots=4) as decoders:
        pipe: Any = decoders._executor._call_queue._reader  # type: ignore[attr-defined]
        pipe.close()
        reasons, pixels = _ask(decoders, pictures)
    assert reasons == [None] * 4
    for n in range(4):
        assert np.array_equal(pixels[n], np.asarray(preprocess.fit(make.draw(n))))
