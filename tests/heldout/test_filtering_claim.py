"""One run at a time in a folder, and nothing replaced that no run has written."""

import json
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heldout.cli import run as run_command
from heldout.errors import ConflictError, InputError
from heldout.filtering import FilterOptions, filter_shards
from heldout.filtering_claim import claimed, working_in
from tests.heldout.conftest import URLS
from tests.heldout.test_filtering import outputs

needs_locks = pytest.mark.skipif(sys.platform == "win32", reason="no flock")
WAIT_S = 60


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    folder.mkdir()
    for number in range(3):
        urls = [f"https://else.example/{number}", URLS[0].url]
        pq.write_table(pa.table({"url": urls}), folder / f"{number}.parquet")
    return folder


def hold(out: Path, is_held: Event, *, as_worker: bool) -> None:
    """Claim a folder until killed."""
    with working_in(out) if as_worker else claimed(out, [], None):
        is_held.set()
        signal.pause()


@contextmanager
def held(out: Path, *, as_worker: bool = False) -> Iterator[int]:
    """Another process has a folder; its id."""
    context = multiprocessing.get_context("spawn")
    is_held = context.Event()
    process = context.Process(target=hold, args=(out, is_held), kwargs={"as_worker": as_worker})
    process.start()
    try:
        assert is_held.wait(WAIT_S)
        assert process.pid is not None
        yield process.pid
    finally:
        process.kill()
        process.join()


@needs_locks
def test_second_run_in_a_folder_says_so_and_changes_nothing(
    pulled: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    filter_shards([shards / "0.parquet"], out, FilterOptions(pulled))
    before = outputs(out)
    with held(out):
        with pytest.raises(ConflictError, match="another heldout filter is at work"):
            filter_shards([shards], out, FilterOptions(pulled))
        assert run_command(["filter", str(shards), "-o", str(out), "--list", str(pulled)]) == 2
        assert str(out) in capsys.readouterr().err
        assert outputs(out) == before
        filter_shards([shards], tmp_path / "elsewhere", FilterOptions(pulled))


@needs_locks
def test_killed_run_stands_in_nobodys_way(pulled: Path, shards: Path, tmp_path: Path) -> None:
    with held(tmp_path / "out") as pid:
        os.kill(pid, signal.SIGKILL)
    assert filter_shards([shards], tmp_path / "out", FilterOptions(pulled)).total.n_kept == 3


@needs_locks
def test_next_run_waits_for_the_workers_of_one_that_was_killed(pulled: Path, shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    filter_shards([shards], out, FilterOptions(pulled))
    next_run = threading.Thread(target=filter_shards, args=([shards], out, FilterOptions(pulled)))
    with held(out, as_worker=True):
        (out / "report.json").unlink()
        next_run.start()
        next_run.join(0.5)
        assert next_run.is_alive()
        assert not (out / "report.json").exists()
    next_run.join(WAIT_S)
    assert (out / "report.json").exists()


@pytest.mark.parametrize("name", ["1.parquet", "report.json", "removal/1.parquet.parquet", "datacomp-uids.npy"])
def test_what_no_run_wrote_is_not_replaced(pulled: Path, shards: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_bytes(b"precious")
    options = FilterOptions(pulled, emit=frozenset({"removal", "datacomp-uids"}))
    with pytest.raises(InputError, match=r"no run of heldout filter wrote it"):
        filter_shards([shards], out, options)
    assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == {name}
    assert (out / name).read_bytes() == b"precious"


def test_what_lies_there_besides_is_left_alone(pulled: Path, shards: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "README").write_bytes(b"precious")
    filter_shards([shards], tmp_path / "out", FilterOptions(pulled))
    filter_shards([shards / "1.parquet"], tmp_path / "out", FilterOptions(pulled))
    filter_shards([shards], tmp_path / "out", FilterOptions(pulled))
    assert outputs(tmp_path / "out")["README"] == b"precious"


def test_dry_run_is_followed_by_the_run_itself(pulled: Path, shards: Path, tmp_path: Path) -> None:
    filter_shards([shards], tmp_path / "out", FilterOptions(pulled, dry_run=True, emit=frozenset({"removal"})))
    result = filter_shards([shards], tmp_path / "out", FilterOptions(pulled, emit=frozenset({"removal"})))
    assert len(result.shards) == 3
    filter_shards([shards], tmp_path / "out", FilterOptions(pulled, dry_run=True))
    assert json.loads((tmp_path / "out" / ".heldout" / "run.json").read_bytes())["writes"] == "shards"


def test_damaged_record_of_runs_is_no_licence_to_replace(pulled: Path, shards: Path, tmp_path: Path) -> None:
    filter_shards([shards], tmp_path / "out", FilterOptions(pulled))
    (tmp_path / "out" / ".heldout" / "run.json").write_bytes(b"{}")
    with pytest.raises(InputError, match="cannot be read"):
        filter_shards([shards], tmp_path / "out", FilterOptions(pulled))


def test_output_folder_that_is_the_input_folder_is_said_to_be(pulled: Path, shards: Path) -> None:
    before = outputs(shards)
    for out in (shards, shards.parent):
        with pytest.raises(InputError, match=r"is the output folder, or lies in it"):
            filter_shards([shards], out, FilterOptions(pulled))
    assert outputs(shards) == before
