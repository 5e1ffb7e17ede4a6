"""The Ray engine on a cluster of one machine: the local engine's bytes, and shards done again when an actor dies."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heldout.errors import InputError, UnavailableError
from indexer.encoder import load_encoder
from indexer.ingest import ingest, ingest_with
from indexer.planning import plan
from indexer.ray_engine import RayEngine, open_ray_engine
from indexer.stages import Options
from tests.indexer.releases import bytes_of
from tests.indexer.test_progress import Told

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, make: Any) -> Path:
    folder = tmp_path_factory.mktemp("ray") / "source"
    for number in range(4):
        make.tar(folder / f"{number:05d}.tar", make.rows(150, first=number * 1000))
    (folder / "00099.tar").write_bytes(b"no tar at all" * 100)
    return folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One machine of two CPUs."""
    ray = pytest.importorskip("ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
    )
    yield
    ray.shutdown()


@pytest.fixture
def engine(cluster: None, onnx_folder: Path) -> Iterator[RayEngine]:  # noqa: ARG001 - must be up
    def load(precision: str) -> Any:
        return load_encoder(str(onnx_folder), precision=precision)

    with open_ray_engine(load, Options(workers=0), precision="auto", actors=2) as opened:
        yield opened


def _actors() -> list[int]:
    """Processes of actors that are at work."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::_Actor"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_a_cluster_gives_the_local_engines_bytes_though_an_actor_is_killed(
    engine: RayEngine, source: Path, onnx_folder: Path, tmp_path: Path
) -> None:
    local = ingest([source], release=tmp_path / "local", encoder=load_encoder(str(onnx_folder)), workers=0)
    killed: list[int] = []

    def kill_one() -> None:
        while not list((tmp_path / "far" / "shards").glob(".*.partial")):
            time.sleep(0.001)
        for pid in _actors()[:1]:
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    told = Told()
    far = ingest_with(engine, plan([source]), release=tmp_path / "far", progress=told)
    killer.join(10)
    assert killed
    assert bytes_of(tmp_path / "far") == bytes_of(tmp_path / "local")
    assert (far.ingested, far.set_aside, far.statuses, far.reasons) == (
        local.ingested,
        local.set_aside,
        local.statuses,
        local.reasons,
    )
    assert told.n_shards == 5
    assert sorted(told.closed) == ["00000", "00001", "00002", "00003", "00099"]
    again = ingest_with(engine, plan([source]), release=tmp_path / "far")
    assert again.skipped == local.ingested


def test_a_model_that_does_not_load_is_the_users_mistake(cluster: None, tmp_path: Path) -> None:  # noqa: ARG001
    def load(precision: str) -> Any:
        return load_encoder(str(tmp_path), precision=precision)

    with pytest.raises(InputError, match=r"holds no encoder\.json"), open_ray_engine(load, Options(), precision="auto"):
        pass


def test_without_ray_the_extra_is_named(onnx_folder: Path, tmp_path: Path, make: Any) -> None:
    make.tar(tmp_path / "0.tar", make.rows(4))
    code = (
        "import sys; sys.modules['ray'] = None; sys.argv = ['indexer', 'ingest', *sys.argv[1:]]; "
        "import runpy; runpy.run_module('indexer', run_name='__main__')"
    )
    options = ["--dataset", "d", "--datasets-dir", str(tmp_path), "--model", str(onnx_folder), "--engine", "ray"]
    command = [sys.executable, "-c", code, str(tmp_path / "0.tar"), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == UnavailableError.exit_code
    assert done.stderr == "error: Ray is not installed: pip install 'heldout[ray]', or use --engine local\n"
