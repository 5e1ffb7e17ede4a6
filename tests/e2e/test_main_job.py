"""The main job, once, as its users do it: index, search, opt out, publish, pull, filter, prove. Over HTTP and shell.

The bundled collection and its truth table say what must be found and dropped; nothing in between is replaced.
"""

import csv
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest
from PIL import Image

from heldout.client import Client
from heldout.errors import UnavailableError
from heldout.receipts import verify_receipt
from heldout.records import ClaimRequest, ImageSubject, SearchResult, UrlSubject

ROOT = Path(__file__).parents[2]
COLLECTION = ROOT / "data" / "collection"
MODEL = ROOT / "data" / "models" / "starter-onnx"
FAIRY_CASTLE = "000000020"
"""A picture of Jose Hevia's that has been copied to other places; see data/README.md."""


@dataclass(frozen=True)
class Running:
    """A server and where it keeps things."""

    address: str
    state: Path
    vkey: str


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("service")
    where = ["--dataset", "collection", "--datasets-dir", str(folder / "datasets")]
    run("-m", "indexer", "ingest", str(COLLECTION / "webdataset"), *where, "--model", str(MODEL))
    run("-m", "indexer", "build", *where)
    state = folder / "state"
    run("-m", "registry", "migrate", "--state-dir", str(state))
    keygen = run("-m", "registry", "keygen", "--state-dir", str(state), "--origin", "registry.example/log")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    environment = os.environ | {
        "HELDOUT_STATE_DIR": str(state),
        "HELDOUT_DATASETS_DIR": str(folder / "datasets"),
        "HELDOUT_ENCODER": str(MODEL),
        "HELDOUT_PORT": str(port),
        "HELDOUT_BASE_URL": address,
        "HELDOUT_ORIGIN": "registry.example/log",
    }
    with subprocess.Popen([sys.executable, "-m", "web"], cwd=ROOT, env=environment) as process:
        try:
            wait_until_ready(process, address)
            yield Running(address, state, keygen.stdout.strip().splitlines()[-1])
        finally:
            process.terminate()


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def heldout(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [str(Path(sys.executable).with_name("heldout")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603


def wait_until_ready(process: "subprocess.Popen[bytes]", address: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended"
        try:
            if httpx.get(f"{address}/readyz").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise UnavailableError("the server did not become ready")


def truth_of(original: str) -> dict[str, set[str]]:
    """Keys of the planted copies, by the label they must get."""
    labels: dict[str, set[str]] = {"exact": {original}, "near": set(), "similar": set()}
    with (COLLECTION / "truth.csv").open() as table:
        for row in csv.DictReader(table):
            if row["original_key"] == original:
                labels[row["expected"]].add(row["key"])
    return labels


def picture_of(key: str) -> bytes:
    with tarfile.open(COLLECTION / "webdataset" / f"{key[:5]}.tar") as tar:
        (member,) = [m for m in tar if m.name.startswith(key) and m.name.rpartition(".")[2] in {"jpg", "png", "webp"}]
        stream = tar.extractfile(member)
        assert stream is not None
        return stream.read()


def reencoded(data: bytes) -> bytes:
    """As a person would have it: another size, another format."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    out = io.BytesIO()
    image.resize((image.width * 3 // 4, image.height * 3 // 4)).save(out, "JPEG", quality=70)
    return out.getvalue()


def labelled(result: SearchResult, label: str) -> set[str]:
    return {hit.sample.key for hit in result.hits if hit.label == label}


def parquet_keys(folder: Path) -> list[str]:
    return [key for path in sorted(folder.glob("*.parquet")) for key in pq.read_table(path)["key"].to_pylist()]


def tar_keys(folder: Path) -> list[str]:
    names = []
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            names += [member.name.partition(".")[0] for member in tar if member.name.endswith(".json")]
    return names


def test_from_a_picture_to_filtered_shards_with_proof(server: Running, tmp_path: Path) -> None:
    truth = truth_of(FAIRY_CASTLE)
    assert len(truth["exact"]) > 1
    assert len(truth["near"]) > 3

    # The artist finds her picture, and its copies, by a picture, by words, by a name and by her site.
    with Client(server.address) as client:
        by_bytes = client.search_picture(picture_of(FAIRY_CASTLE), k=50)
        assert labelled(by_bytes, "exact") >= {FAIRY_CASTLE}
        # All that hashes find, and of what they miss, crops and a screenshot that geometry proves; nothing else.
        sure = labelled(by_bytes, "exact") | labelled(by_bytes, "near")
        assert truth["exact"] | truth["near"] < sure <= truth["exact"] | truth["near"] | truth["similar"]
        by_copy = client.search_picture(reencoded(picture_of(FAIRY_CASTLE)), k=50)
        assert labelled(by_copy, "near") == sure
        by_words = client.search_text("fairy castle", k=10)
        assert by_words.hits[0].sample.key in truth["exact"] | truth["near"] | truth["similar"]
        by_name = client.search_caption("Jose Hevia", k=20)
        assert by_name.hits
        assert all("Jose Hevia" in (hit.sample.caption or "") for hit in by_name.hits)
        by_site = client.search_site("jose-hevia.example", k=100)
        assert FAIRY_CASTLE in {hit.sample.key for hit in by_site.hits}

        # She opts it out: this address, and this picture anywhere.
        sample = next(hit.sample for hit in by_bytes.hits if hit.sample.key == FAIRY_CASTLE)
        assert sample.url
        assert sample.pdq
        assert sample.pdq_quality
        picture = ImageSubject(pdq=sample.pdq, quality=sample.pdq_quality, sha256=sample.sha256)
        claim = client.submit(ClaimRequest(subjects=[UrlSubject(url=sample.url), picture]))
        receipt = client.receipt(claim.id)
        thumbnail = httpx.get(f"{server.address}/v1/thumbnails/collection/{sample.id}.webp")
    assert claim.state == "in_force"
    assert thumbnail.headers["content-type"] == "image/webp"

    # Her receipt proves it with the log's public key alone.
    assert len(verify_receipt(receipt, server.vkey)) == 1
    (tmp_path / "receipt.json").write_text(json.dumps(receipt))
    verified = heldout("verify", str(tmp_path / "receipt.json"), "--log-key", server.vkey)
    assert verified.returncode == 0, verified.stderr

    # The operator publishes, a lab pulls: without the trusted root nothing is accepted.
    run("-m", "registry", "publish", "--state-dir", str(server.state))
    trusted = server.state / "keys" / "1.root.json"
    refused = heldout("pull", server.address, "-o", str(tmp_path / "list"))
    assert refused.returncode in {2, 4}
    assert "--root" in refused.stderr
    pulled = heldout("pull", server.address, "--root", str(trusted), "-o", str(tmp_path / "list"))
    assert pulled.returncode == 0, pulled.stderr

    # The lab filters both forms: URLs and digests in parquet; in tars also the re-encoded copies, by their looks.
    for form in ("parquet", "webdataset"):
        done = heldout(
            "filter", str(COLLECTION / form), "-o", str(tmp_path / form), "--list", str(tmp_path / "list"),
            "--workers", "2",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    all_rows = parquet_keys(COLLECTION / "parquet")
    assert parquet_keys(tmp_path / "parquet") == [key for key in all_rows if key not in truth["exact"]]
    gone = truth["exact"] | truth["near"]
    assert tar_keys(tmp_path / "webdataset") == [key for key in tar_keys(COLLECTION / "webdataset") if key not in gone]

    # The report can be re-checked, and a changed output is seen.
    report = tmp_path / "parquet" / "report.json"
    checked = heldout("verify", str(report), "--list", str(tmp_path / "list"))
    assert checked.returncode == 0, checked.stderr
    shard = next((tmp_path / "parquet").glob("*.parquet"))
    shard.write_bytes(shard.read_bytes() + b"\0")
    assert heldout("verify", str(report), "--list", str(tmp_path / "list")).returncode == 4


def test_a_damaged_list_filters_nothing(server: Running, tmp_path: Path) -> None:
    run("-m", "registry", "publish", "--state-dir", str(server.state))
    trusted = server.state / "keys" / "1.root.json"
    folder = tmp_path / "list"
    assert heldout("pull", server.address, "--root", str(trusted), "-o", str(folder)).returncode == 0
    data = next((folder / "files").glob("*.parquet"))
    data.chmod(0o644)
    data.write_bytes(data.read_bytes()[:-1])
    done = heldout("filter", str(COLLECTION / "parquet"), "-o", str(tmp_path / "kept"), "--list", str(folder))
    assert done.returncode == 4
    assert "pull" in done.stderr
    assert not list((tmp_path / "kept").glob("**/*.parquet"))
