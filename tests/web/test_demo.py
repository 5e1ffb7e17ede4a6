"""`make demo` without the installation: from nothing to a site with a list to pull, and cleanly gone."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx

from tests.web.serving import free_socket

ROOT = Path(__file__).parents[2]


def demo(state: Path, port: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "web.demo", "--state-dir", str(state), "--port", str(port)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # noqa: S603


def free_port() -> int:
    with free_socket() as probe:
        port: int = probe.getsockname()[1]
    return port


def test_demo_indexes_serves_publishes_and_leaves_nothing_running(tmp_path: Path) -> None:
    state, port = tmp_path / "a folder", free_port()
    process = demo(state, port)
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if "--list" in line:
            break
    address = f"http://127.0.0.1:{port}"
    assert f"heldout is at {address}" in said, said
    assert f"'{state / 'list'}'" in said  # as a shell takes it
    found = httpx.get(f"{address}/v1/search", params={"text": "sailing boat"}).json()
    assert found["hits"]
    assert httpx.get(f"{address}/list/metadata/timestamp.json").status_code == httpx.codes.OK
    made = json.loads((state / "indexed.json").read_text())
    assert {"shards.py", "manifest.py"} <= made.keys(), "an index of an older format is made anew"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_demo_says_that_its_port_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = demo(tmp_path, port)
        _, error = process.communicate(timeout=20)
    assert process.returncode == 2
    assert f"port {port} is in use" in error
    assert not list(tmp_path.iterdir())
