"""The registry as one object: first start, many at once, and a log that cannot be written."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from heldout.errors import InputError, NotFoundError
from heldout.receipts import verify_receipt
from registry.service import Registry
from tests.registry.builders import ORIGIN, Clock, request, url


def test_preparing_twice_keeps_keys_and_claims(registry: Registry, database_url: str, clock: Clock) -> None:
    claim = registry.submit(request(url("a")))
    with Registry.prepare(registry.state_dir, database_url, origin=ORIGIN, clock=clock) as again:
        assert again.vkey == registry.vkey
        assert again.claim(claim.id) == claim.model_copy(update={"secret": None})
        assert again.receipt(claim.id) == registry.receipt(claim.id)


def test_what_a_power_cut_left_half_written_is_swept_at_the_next_start(
    registry: Registry, database_url: str, clock: Clock
) -> None:
    registry.submit(request(url("a")))
    registry.publish()
    before = {path: path.read_bytes() for path in registry.public_dir.rglob("*") if path.is_file()}
    code = (
        "import os, sys; from pathlib import Path; from heldout.durable import replacing\n"
        "with replacing(Path(sys.argv[1])) as stream: stream.write(b'half'); stream.flush(); os._exit(9)"
    )
    for name in ("log/checkpoint", "list/metadata/timestamp.json"):
        path = registry.public_dir / name
        subprocess.run([sys.executable, "-c", code, str(path)], check=False)  # noqa: S603 - our own interpreter
    old, young = sorted(path for path in registry.public_dir.rglob("*") if path.is_file() and path not in before)
    os.utime(old, (0, 0))
    with Registry.prepare(registry.state_dir, database_url, origin=ORIGIN, clock=clock):
        after = {path: path.read_bytes() for path in registry.public_dir.rglob("*") if path.is_file()}
    assert after == before | {young: b"half"}, "the young one may still be written"


def test_a_registry_without_keys_says_how_to_make_them(tmp_path: Path, database_url: str) -> None:
    with pytest.raises(NotFoundError, match="python -m registry keygen"):
        Registry(tmp_path / "state", database_url)


def test_a_log_never_changes_its_name(registry: Registry, database_url: str) -> None:
    with pytest.raises(InputError, match="never changes its name"):
        Registry(registry.state_dir, database_url, origin="other.example/log")


def test_no_claim_is_lost_when_many_submit_at_once(registry: Registry, database_url: str, clock: Clock) -> None:
    """Two registries over one database and folder, as two processes have, with three threads each."""
    with Registry(registry.state_dir, database_url, clock=clock) as other, ThreadPoolExecutor(6) as pool:
        both = (registry, other)
        sent = list(pool.map(lambda i: both[i % 2].submit(request(url(str(i)))), range(24)))
    size = registry.sequence().size
    assert size == 24
    claims = [registry.claim(claim.id) for claim in sent]
    assert sorted(index for claim in claims for index in claim.log_indices) == list(range(24))
    for claim in claims:
        assert len(verify_receipt(registry.receipt(claim.id), registry.vkey)) == 1


def test_publishing_while_claims_come_in_loses_none(registry: Registry, database_url: str, clock: Clock) -> None:
    with Registry(registry.state_dir, database_url, clock=clock) as other, ThreadPoolExecutor(4) as pool:
        sent = [pool.submit(registry.submit, request(url(str(i)))) for i in range(10)]
        published = [pool.submit(other.publish) for _ in range(3)]
        versions = [future.result().version for future in published]
        claims = {future.result().id for future in sent}
    assert versions == sorted(versions)
    registry.publish()
    assert all(registry.claim(claim).log_indices for claim in claims)
    assert not registry.publish().is_new


def test_a_claim_is_kept_when_the_log_cannot_be_written(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    registry.submit(request(url("a")))
    log = registry.public_dir / "log"
    log.rename(log.with_name("away"))
    claim = registry.submit(request(url("b")))
    assert (claim.state, claim.log_indices) == ("in_force", [])
    assert "sequencing_failed" in caplog.text
    with pytest.raises(NotFoundError):
        registry.receipt(claim.id)
    log.with_name("away").rename(log)
    registry.sequence()
    assert registry.claim(claim.id).log_indices == [1]
    assert len(verify_receipt(registry.receipt(claim.id), registry.vkey)) == 1


def test_logs_hold_no_personal_data(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        claim = registry.submit(request(url("holiday"), name="Jane Doe", contact="jane@jane.example"))
        registry.publish()
        registry.withdraw(claim.id, reason="by-claimant")
    said = "\n".join(
        f"{record.getMessage()} {record.__dict__}" for record in caplog.records if record.name.startswith("registry")
    ).lower()
    assert "log_sequenced" in said
    for word in ("jane", "holiday", "@"):
        assert word not in said.replace(str(registry.state_dir).lower(), "")
