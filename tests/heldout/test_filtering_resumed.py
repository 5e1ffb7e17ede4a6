"""A run that was killed, at any of its steps on disk, and started again: nothing twice, and the same bytes."""

import gzip
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heldout.cli import run as run_command
from heldout.filtering import EMITS, FilterOptions, filter_shards
from tests.heldout.conftest import URLS, PullSite
from tests.heldout.killing import killed_at
from tests.heldout.published import Site
from tests.heldout.test_filtering import outputs
from tests.heldout.test_filtering_tar import drawing, encoded, sample, tar_of


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    folder.mkdir()
    rows = [
        {"url": url, "key": f"00{i}", "uid": f"{i:032x}"} for i, url in enumerate([URLS[0].url, "https://a.example/"])
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "00000.parquet")
    tar_of(folder / "00000.tar", [*sample("000", encoded(drawing(10))), *sample("001", encoded(drawing(11)))])
    pq.write_table(pa.Table.from_pylist(rows).slice(1), folder / "00001.parquet")
    (folder / "00002.jsonl.gz").write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return folder


@pytest.fixture
def options(pulled: Path) -> FilterOptions:
    return FilterOptions(pulled, emit=frozenset(EMITS))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """What changes when a file is written again, even with the same bytes; of all but what is of the whole run."""
    found = {path: path.stat() for path in folder.rglob("*") if path.is_file()}
    return {
        str(path.relative_to(folder)): (stat.st_ino, stat.st_mtime_ns)
        for path, stat in found.items()
        if path.name not in {"report.json", "datacomp-uids.npy", "run.json", "lock", "workers"}
    }


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_killed_run_started_again_ends_with_the_same_bytes_and_does_nothing_twice(
    shards: Path, options: FilterOptions, tmp_path: Path
) -> None:
    filter_shards([shards], tmp_path / "whole", options)
    whole = contents(tmp_path / "whole")
    n_left_alone = set()
    for step in range(0, 500, 2):
        out = tmp_path / "out"
        died = killed_at(step, lambda: filter_shards([shards], out, options))  # noqa: B023
        done = sorted(out.glob(".heldout/*.done.json"))
        stems = tuple(path.name.partition(".")[0] for path in done)
        before = {name: stat for name, stat in files(out).items() if Path(name).name.startswith(stems) and stems}
        filter_shards([shards], out, options)
        assert contents(out) == whole
        after = files(out)
        assert {name: after[name] for name in before} == before
        n_left_alone.add(len(done))
        shutil.rmtree(out)
        if not died:
            break
    assert step > 40
    assert n_left_alone == {0, 1, 2, 3}


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_killed_run_that_writes_masks_ends_with_the_same_bytes_when_started_again(
    shards: Path, options: FilterOptions, tmp_path: Path
) -> None:
    masks = replace(options, writes="masks", emit=frozenset())
    inputs = [shards / "00001.parquet", shards / "00002.jsonl.gz"]
    filter_shards(inputs, tmp_path / "whole", masks)
    whole = contents(tmp_path / "whole")
    for step in range(200):
        out = tmp_path / "out"
        died = killed_at(step, lambda: filter_shards(inputs, out, masks))  # noqa: B023
        filter_shards(inputs, out, masks)
        assert contents(out) == whole
        shutil.rmtree(out)
        if not died:
            break
    assert step > 15


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(what: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_killed_command_takes_its_workers_with_it_and_started_again_goes_on(pulled: Path, tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    for number in range(60):
        urls = [f"https://else.example/{number}/{i}" for i in range(2000)]
        pq.write_table(pa.table({"url": [*urls, URLS[0].url]}), tmp_path / "shards" / f"{number:05d}.parquet")
    out = tmp_path / "out"
    code = "import sys; from heldout.cli import run; sys.exit(run(sys.argv[1:]))"
    line = ["filter", str(tmp_path / "shards"), "--list", str(pulled), "--workers", "2"]
    with subprocess.Popen([sys.executable, "-c", code, *line, "-o", str(out)]) as command:  # noqa: S603 - our own code
        wait_for(lambda: list(out.glob(".heldout/*.done.json")))
        children = Path(f"/proc/{command.pid}/task/{command.pid}/children").read_text().split()
        command.kill()
    assert not (out / "report.json").exists()
    assert len(children) >= 2
    wait_for(lambda: not any(is_running(int(pid)) for pid in children))
    done = {path.name.removesuffix(".done.json") for path in out.glob(".heldout/*.done.json")}
    before = {name: stat for name, stat in files(out).items() if name in done}
    assert run_command([*line, "-o", str(out)]) == 0
    assert {name: files(out)[name] for name in before} == before
    assert run_command([*line, "-o", str(tmp_path / "whole")]) == 0
    assert contents(out) == contents(tmp_path / "whole")


def test_finished_run_is_left_alone(shards: Path, options: FilterOptions, tmp_path: Path) -> None:
    first = filter_shards([shards], tmp_path / "out", options)
    before, stats = contents(tmp_path / "out"), files(tmp_path / "out")
    second = filter_shards([shards], tmp_path / "out", options, workers=2)
    assert (contents(tmp_path / "out"), files(tmp_path / "out")) == (before, stats)
    assert second == first


def changed_input(shards: Path, out: Path) -> None:
    path = shards / "00001.parquet"
    pq.write_table(pa.concat_tables([pq.read_table(path)] * 2), path)
    assert out.exists()


def changed_output(shards: Path, out: Path) -> None:
    path = out / "00001.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert shards.exists()


def missing_output(shards: Path, out: Path) -> None:
    (out / "00001.parquet").unlink()
    assert shards.exists()


def changed_emitted(shards: Path, out: Path) -> None:
    (out / "removal" / "00001.parquet.parquet").write_bytes(b"")
    assert shards.exists()


def damaged_record(shards: Path, out: Path) -> None:
    (out / ".heldout" / "00001.parquet.done.json").write_bytes(b'{"shards": [{}]}')
    assert shards.exists()


@pytest.mark.parametrize("change", [changed_input, changed_output, missing_output, changed_emitted, damaged_record])
def test_what_has_changed_is_done_again_and_nothing_else(
    shards: Path, options: FilterOptions, tmp_path: Path, change: Callable[[Path, Path], None]
) -> None:
    out = tmp_path / "out"
    filter_shards([shards], out, options)
    stats = files(out)
    change(shards, out)
    filter_shards([shards], out, options)
    again = files(out)
    assert {name for name in stats if stats[name] != again[name]} == {name for name in stats if "00001" in name}
    filter_shards([shards], tmp_path / "whole", options)
    assert contents(out) == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    "other",
    [{"as_of": date(2026, 10, 1)}, {"min_assurance": "host"}, {"emit": frozenset({"removal"})}, {"url_column": "url"}],
    ids=["as of", "assurance", "emit", "column"],
)
def test_other_options_do_everything_again(
    shards: Path, options: FilterOptions, tmp_path: Path, other: dict[str, object]
) -> None:
    filter_shards([shards], tmp_path / "out", options)
    changed = replace(options, **other)  # type: ignore[arg-type]
    result = filter_shards([shards], tmp_path / "out", changed)
    whole = filter_shards([shards], tmp_path / "whole", changed)
    assert result.shards == whole.shards
    assert outputs(tmp_path / "out").items() >= outputs(tmp_path / "whole").items()


def test_newer_list_does_everything_again(
    shards: Path, options: FilterOptions, tmp_path: Path, site: Site, pull_site: PullSite
) -> None:
    assert filter_shards([shards], tmp_path / "out", options).total.n_kept < 7
    site.publish([], [])
    pull_site()
    assert filter_shards([shards], tmp_path / "out", options).total.n_kept == 7


def test_list_that_does_not_verify_is_never_gone_on_with(shards: Path, options: FilterOptions, tmp_path: Path) -> None:
    doubtful = replace(options, allow_unverified=True, now=datetime.now(UTC) + timedelta(days=8))
    filter_shards([shards], tmp_path / "out", doubtful)
    assert not list(tmp_path.glob("out/.heldout/*.done.json"))
