"""A site and a profile that their artist proved, from the claim to what a lab's shards no longer hold."""

import functools
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from heldout.cli import app
from heldout.records import ClaimRequest, HostSubject, PrefixSubject
from registry.service import Registry
from tests.heldout.conftest import QuietHandler, serving
from tests.hostile import ok
from tests.registry.world import World, open_world, page

URLS = [
    "https://jane.example/2020/castle.jpg",
    "http://WWW.jane.example:8080/castle.jpg?w=640",
    "https://cdn.shop.jane.example/1.png",
    "https://notjane.example/castle.jpg",
    "https://art.example/jane/castle.jpg",
    "https://art.example/janet/castle.jpg",
    "https://cdn.art.example/jane/castle.jpg",
]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path) as made:
        yield made


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry.prepare(tmp_path / "state", origin="registry.example/log") as opened:
        yield opened


@pytest.fixture
def address(registry: Registry) -> Iterator[str]:
    """What the registry publishes, behind a real HTTP server."""
    with serving(functools.partial(QuietHandler, directory=str(registry.public_dir))) as address:
        yield address


def heldout(*arguments: str | Path) -> str:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, done.stderr
    return done.stdout


def kept(registry: Registry, address: str, tmp_path: Path, name: str) -> list[str]:
    """What a lab keeps once the registry has published."""
    registry.publish()
    heldout("pull", address, "-o", tmp_path / "list", "--root", tmp_path / "state" / "keys" / "1.root.json")
    heldout("filter", tmp_path / "shard.parquet", "-o", tmp_path / name, "--list", tmp_path / "list", "--workers", "1")
    output = tmp_path / name / "shard.parquet"
    urls: list[str] = pq.read_table(output)["url"].to_pylist() if output.exists() else []
    return urls


def test_a_site_and_a_profile_are_dropped_once_they_are_proved_and_not_before(
    registry: Registry, world: World, address: str, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"url": URLS}), tmp_path / "shard.parquet")
    subjects = [HostSubject(host="jane.example"), PrefixSubject(prefix="https://art.example/jane")]
    claim = registry.submit(ClaimRequest(subjects=subjects))
    assert claim.state == "pending"
    assert kept(registry, address, tmp_path, "before") == URLS

    # Her domain's name servers show the code: the host and everything below it goes.
    proof = registry.proving.create(claim.id, "dns", "jane.example")
    world.put_txt("jane.example", proof.token)
    assert world.check(registry, proof.id).state == "proved"
    assert kept(registry, address, tmp_path, "host") == URLS[3:]

    # Her profile shows it too: the folder goes, on that host alone.
    proof = registry.proving.create(claim.id, "account", "https://art.example/jane/")
    world.web.answers["/jane/"] = ok(page(f'<meta property="og:description" content="I paint. ({proof.token})">'))
    assert world.check(registry, proof.id).state == "proved"
    assert kept(registry, address, tmp_path, "prefix") == [URLS[3], *URLS[5:]]

    report = json.loads((tmp_path / "prefix" / "report.json").read_bytes())["predicate"]
    assert report["total"]["dropped"] == {"host": {"host": 3}, "prefix": {"account": 1}}
    checked = heldout("check", URLS[2], URLS[4], URLS[5], "--list", tmp_path / "list", "--json")
    kinds = [(answer["rule"] or {}).get("kind") for answer in json.loads(checked)]
    assert kinds == ["host", "prefix", None]

    # She takes it back.
    registry.withdraw(claim.id, reason="by-claimant")
    assert kept(registry, address, tmp_path, "after") == URLS
