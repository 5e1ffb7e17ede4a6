"""`python -m web.demo`: from a fresh checkout to a running site over the bundled collection.

Runs the same commands an operator would, one after the other, and says what it does. What is done already is not done
again, so the second start takes a second or two. Only the standard library: the server is the one process that stays.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from shlex import quote

ROOT = Path(__file__).parents[1]
COLLECTION = ROOT / "data" / "collection"
MODEL = ROOT / "data" / "models" / "starter-onnx"
DATASET = "collection"
HOST = "127.0.0.1"
READY_TIMEOUT_S = 60.0
READY_PATHS = ("/readyz", "/list/metadata/timestamp.json")
"""What answers once there is something to search, and a list to pull."""

FORMATS = (ROOT / "indexer" / "shards.py", ROOT / "indexer" / "manifest.py")
INPUTS = (COLLECTION / "SHA256SUMS", MODEL / "encoder.json", *FORMATS)
"""Small files that change whenever the pictures, the model or the files made of them do."""


def main() -> int:
    """Prepare what is missing, serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m web.demo", description=__doc__.partition("\n")[0])
    parser.add_argument("--state-dir", type=Path, default=Path("var/demo"), help="where everything is kept")
    parser.add_argument("--port", type=int, default=8000, help="port on 127.0.0.1")
    options = parser.parse_args()
    state: Path = options.state_dir.resolve()
    for path in INPUTS:
        if not path.is_file():
            print(f"{path} is missing: run this from a complete checkout", file=sys.stderr)
            return 2
    if _is_taken(options.port):
        print(
            f"port {options.port} is in use: stop what runs there, or give another (make demo PORT=8001)",
            file=sys.stderr,
        )
        return 2
    signal.signal(signal.SIGTERM, _interrupt)  # so that the server does not outlive us
    started = time.monotonic()
    failed = _index(state)
    return failed or _serve(state, options.port, started)


def _index(state: Path) -> int:
    """Ingest and build, unless it was done with the same pictures, model and formats. Returns an exit code."""
    datasets, stamp = state / "datasets", state / "indexed.json"
    inputs = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in INPUTS}
    if _read_stamp(stamp) == inputs:
        return 0
    shutil.rmtree(datasets / DATASET, ignore_errors=True)
    where = ["--dataset", DATASET, "--datasets-dir", str(datasets)]
    print("Indexing the bundled collection (once) ...", flush=True)
    for command in (["ingest", str(COLLECTION / "webdataset"), *where, "--model", str(MODEL)], ["build", *where]):
        done = subprocess.run([sys.executable, "-m", "indexer", *command], cwd=ROOT, check=False)  # noqa: S603
        if done.returncode:
            return done.returncode
    staged = stamp.with_suffix(".new")
    staged.write_text(json.dumps(inputs))
    staged.replace(stamp)
    return 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _read_stamp(stamp: Path) -> object:
    """What was indexed; None if nothing was, or it cannot be told."""
    try:
        return json.loads(stamp.read_text())
    except (OSError, ValueError):
        return None


def _serve(state: Path, port: int, started: float) -> int:
    address = f"http://{HOST}:{port}"
    environment = os.environ | {
        "HELDOUT_STATE_DIR": str(state / "registry"),
        "HELDOUT_DATASETS_DIR": str(state / "datasets"),
        "HELDOUT_ENCODER": str(MODEL),
        "HELDOUT_SUGGESTIONS": str(COLLECTION / "queries.json"),
        "HELDOUT_HOST": HOST,
        "HELDOUT_PORT": str(port),
        "HELDOUT_BASE_URL": address,
        "HELDOUT_PUBLISH": "auto",
        "HELDOUT_PUBLISH_DELAY_S": "1",
        "HELDOUT_LOG_LEVEL": "WARNING",
    }
    with subprocess.Popen([sys.executable, "-m", "web"], cwd=ROOT, env=environment) as server:
        try:
            if not _wait_until_ready(server, address):
                print("the site did not start; the lines above say why", file=sys.stderr)
                server.terminate()
                return server.wait() or 3
            _say_ready(state, address, time.monotonic() - started, environment)
            return server.wait()
        except KeyboardInterrupt:
            server.terminate()
            server.wait()
            return 0


def _wait_until_ready(server: subprocess.Popen[bytes], address: str) -> bool:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while server.poll() is None and time.monotonic() < deadline:
        try:
            for path in READY_PATHS:
                urllib.request.urlopen(address + path, timeout=5).close()  # noqa: S310 - our own address
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
        else:
            return True
    return False


def _say_ready(state: Path, address: str, seconds: float, environment: Mapping[str, str]) -> None:
    root = Path(environment["HELDOUT_STATE_DIR"]) / "keys" / "1.root.json"
    print(
        f"""
heldout is at {address} (ready in {seconds:.1f} s; Ctrl-C stops it)

  Search, pick pictures, opt them out. Then, as an AI lab, in another terminal:

  .venv/bin/heldout pull {address} --root {quote(str(root))} -o {quote(str(state / "list"))}
  .venv/bin/heldout filter {quote(str(COLLECTION / "webdataset"))} -o {quote(str(state / "kept"))} \\
      --list {quote(str(state / "list"))}
""",
        flush=True,
    )


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


if __name__ == "__main__":
    sys.exit(main())
