"""The site under load: generations swapped, several processes, and pictures that leave no trace."""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from indexer.build import build
from indexer.encoder import load_encoder
from indexer.ingest import ingest
from tests.web.conftest import COLOURS, ColourEncoder, draw, file_of, row, shard_rows
from tests.web.html import read_page
from tests.web.serving import address_of, free_socket, serving
from web.app import create_app
from web.settings import Settings

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "data" / "models" / "starter-onnx"
MARK = b"this very picture must leave no trace. "


def marked(picture: bytes) -> bytes:
    """A picture of over 3 MB, what spills to disk in other form parsers, that can be told by its bytes."""
    return picture + MARK * 80_000


def test_generations_are_swapped_under_load_without_a_failed_request(
    settings: Settings, datasets_dir: Path, tmp_path: Path, picture: bytes
) -> None:
    datasets = tmp_path / "datasets"
    shutil.copytree(datasets_dir, datasets)
    app = create_app(settings.model_copy(update={"datasets_dir": datasets}), encoder=ColourEncoder())
    answers: list[tuple[int, int]] = []
    done = threading.Event()
    with serving(app, free_socket()) as address:

        def ask() -> None:
            with httpx.Client(base_url=address, timeout=60) as client:
                while not done.is_set():
                    for response in (
                        client.get("/v1/search", params={"text": "red shapes", "k": 3}),
                        client.post("/v1/search", files={"picture": ("a.png", picture)}),
                    ):
                        generation = response.json().get("generations", {}).get("shapes", 0)
                        answers.append((response.status_code, generation))
                    if cursor := client.get("/v1/search", params={"site": "example", "k": 3}).json()["next_cursor"]:
                        following = client.get("/v1/search", params={"site": "example", "k": 3, "cursor": cursor})
                        answers.append((following.status_code, 0))

        with ThreadPoolExecutor(3) as pool:
            asking = [pool.submit(ask) for _ in range(3)]
            for number in (2, 3):
                late = [row(f"https://late.example/{number}.png", "late", file_of(draw(number, COLOURS["red"])))]
                more = tmp_path / f"more-{number}"
                more.mkdir()
                pq.write_table(pa.Table.from_pylist(late), more / f"{number:05d}.parquet")
                ingest([more], release=datasets / "shapes", encoder=ColourEncoder(), workers=0)
                build(datasets / "shapes")
                assert app.state.engine.refresh() == {}
                seen = len(answers)
                while len(answers) < seen + 9 and not any(each.done() for each in asking):
                    time.sleep(0.02)
            done.set()
            for each in asking:
                each.result()
    assert {status for status, _ in answers} == {200}
    assert {generation for _, generation in answers if generation} == {1, 2, 3}


@pytest.fixture(scope="module")
def real_datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set `shapes`, embedded by the model that a process started from a shell can load."""
    folder = tmp_path_factory.mktemp("serving")
    shards = folder / "shards"
    shards.mkdir()
    pq.write_table(pa.Table.from_pylist(shard_rows()), shards / "00000.parquet")
    ingest([shards], release=folder / "datasets" / "shapes", encoder=load_encoder(str(MODEL)), workers=0)
    build(folder / "datasets" / "shapes")
    return folder / "datasets"


@pytest.fixture
def two_workers(real_datasets: Path, tmp_path: Path) -> Iterator[tuple[str, int, Path]]:
    """`python -m web --workers 2`: its address, its process id, and the folder of all that it may write to."""
    bound = free_socket()
    address, port = address_of(bound), bound.getsockname()[1]
    bound.close()
    (tmp_path / "tmp").mkdir()
    plain = {name: value for name, value in os.environ.items() if not name.startswith("HELDOUT_")}
    environment = plain | {
        "HELDOUT_STATE_DIR": str(tmp_path / "state"),
        "HELDOUT_DATASETS_DIR": str(real_datasets),
        "HELDOUT_ENCODER": str(MODEL),
        "HELDOUT_PORT": str(port),
        "HELDOUT_BASE_URL": address,
        "HELDOUT_LOG_LEVEL": "DEBUG",
        "TMPDIR": str(tmp_path / "tmp"),
        "OMP_NUM_THREADS": "1",
    }
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "web", "--workers", "2"], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
        try:
            wait_until(lambda: len(workers_of(server.pid, real_datasets)) == 2 and is_ready(address), server)
            yield address, server.pid, tmp_path
        finally:
            server.terminate()
            assert server.wait(30) == 0


def is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def workers_of(pid: int, datasets: Path) -> list[int]:
    """Processes below `pid` that have the index's files mapped."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and f"{datasets}/shapes/generations/" in (folder / "maps").read_text():
                found.append(int(folder.name))
    return found


def wait_until(is_so: Callable[[], bool], server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not is_so():
        assert server.poll() is None, "the server ended"
        assert time.monotonic() < deadline, "the server does not get there"
        time.sleep(0.1)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="looks into /proc")
def test_several_processes_share_the_index_the_seals_and_the_cursors(
    two_workers: tuple[str, int, Path], real_datasets: Path, picture: bytes
) -> None:
    address, pid, folder = two_workers
    assert len(workers_of(pid, real_datasets)) == 2, "both have the same files mapped"
    html = {"accept": "text/html"}
    cursor: str | None = None
    shown: list[int] = []
    for _ in range(12):  # each on a connection of its own, so that either may answer
        asked = {"site": "jane.example", "k": "1"} | ({"cursor": cursor} if cursor else {})
        page = httpx.get(f"{address}/v1/search", params=asked).raise_for_status()
        shown += [hit["sample"]["id"] for hit in page.json()["hits"]]
        cursor = page.json()["next_cursor"]
        if cursor is None:
            break
    assert len(shown) == len(set(shown)) == 11
    cookies = httpx.Cookies()
    for number in range(1, 5):  # what one has sealed the other takes
        pick = {"pick": f"shapes@1:{2 * number}"}
        put_in = httpx.post(f"{address}/basket", data=pick, headers=html, cookies=cookies)
        assert put_in.status_code == 303
        cookies.update(put_in.cookies)
        basket = read_page(httpx.get(f"{address}/basket", headers=html, cookies=cookies).raise_for_status().text)
        assert basket.one("span", data_basket_count="").text == str(number)
    first, _ = sorted(workers_of(pid, real_datasets))
    os.kill(first, signal.SIGKILL)
    wait_for_two = time.monotonic() + 60
    while first in (now := workers_of(pid, real_datasets)) or len(now) < 2:
        assert time.monotonic() < wait_for_two, "the one that died is not replaced"
        time.sleep(0.2)
    assert httpx.post(f"{address}/v1/search", files={"picture": ("a.png", picture)}).status_code == 200
    leave_traces(address, picture)
    assert traces_in(folder) == []


def leave_traces(address: str, picture: bytes) -> None:
    """Search with a picture in every way there is."""
    data = marked(picture)
    form: list[tuple[str, Any]] = [("picture", ("secret-name.png", data))]
    assert httpx.post(f"{address}/v1/search", files=form).status_code == 200
    assert httpx.post(f"{address}/search", files=form, headers={"accept": "text/html"}).status_code == 200
    check = [*form, ("pick", (None, "shapes@1:0"))]
    assert httpx.post(f"{address}/v1/search/check", files=check).status_code == 200
    knn = {"modality": "image", "num_images": 3, "indice_name": "shapes", "image": base64.b64encode(data).decode()}
    assert httpx.post(f"{address}/knn-service", content=json.dumps(knn)).status_code == 200
    assert httpx.get(f"{address}/v1/search", params={"text": "secret-words"}).status_code == 200
    assert httpx.post(f"{address}/v1/search", files=[("picture", ("secret-name.png", data[:50]))]).status_code == 422


def traces_in(folder: Path) -> list[Path]:
    """Files below a folder that hold the picture, its name, or what was asked."""
    secrets = (MARK, b"secret-name", b"secret-words", base64.b64encode(MARK * 2)[:60])
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 5, "there is something to look through"
    assert (folder / "log").stat().st_size > 0
    return [path for path in files if any(secret in path.read_bytes() for secret in secrets)]


_opened: list[str] | None = None


def _note_writes(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _opened is not None:
        path, _, flags = arguments
        if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            _opened.append(str(path))


def test_no_file_is_opened_for_writing_while_a_picture_is_searched_with(site: TestClient, picture: bytes) -> None:
    """Not even one that is gone before anybody looks."""
    global _opened  # noqa: PLW0603 - an audit hook cannot be taken back, only be told to stop
    sys.addaudithook(_note_writes)
    data = marked(picture)
    form: list[tuple[str, Any]] = [("picture", ("a.png", data))]
    knn = {"modality": "image", "num_images": 3, "indice_name": "shapes", "image": base64.b64encode(data).decode()}
    _opened = []
    try:
        answers = [
            site.post("/v1/search", files=form),
            site.post("/search", files=form, headers={"accept": "text/html"}),
            site.post("/v1/search/check", files=[*form, ("pick", (None, "shapes@1:0"))]),
            site.post("/knn-service", content=json.dumps(knn)),
        ]
        seen = list(_opened)
        with (site.app.state.settings.state_dir / "probe").open("w"):  # type: ignore[attr-defined]
            probed = list(_opened)
    finally:
        _opened = None
    assert [answer.status_code for answer in answers] == [200] * 4
    assert seen == []
    assert len(probed) == 1, "the hook would have seen it"
