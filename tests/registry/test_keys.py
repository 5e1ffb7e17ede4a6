"""Keys: made whole, kept private, never overwritten."""

import stat
from datetime import timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Root

from heldout.checkpoint import Verifier
from heldout.errors import ConflictError, InputError, NotFoundError
from registry.keys import keygen, load_keys, renew_root
from tests.registry.builders import ORIGIN, Clock


@pytest.fixture
def folder(tmp_path: Path, clock: Clock) -> Path:
    keygen(tmp_path / "state" / "keys", ORIGIN, now=clock())
    return tmp_path / "state" / "keys"


def test_keys_are_readable_by_the_owner_alone(folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert {path.name for path in folder.iterdir()} == {
        "log.skey", "log.vkey", "root.pem", "targets.pem", "snapshot.pem", "timestamp.pem", "1.root.json",
    }  # fmt: skip
    assert [path.name for path in folder.parent.iterdir()] == ["keys"]


def test_loaded_keys_are_those_made(folder: Path) -> None:
    keys = load_keys(folder)
    assert keys.log.name == ORIGIN
    assert Verifier.parse((folder / "log.vkey").read_text()) == keys.log.verifier
    root = Metadata[Root].from_bytes(keys.roots[1]).signed
    for role, signer in keys.roles.items():
        assert root.roles[role].keyids == [signer.public_key.keyid]
    assert len({key for role in root.roles.values() for key in role.keyids}) == 4


def test_the_root_is_signed_by_itself_for_a_year(folder: Path, clock: Clock) -> None:
    metadata = Metadata[Root].from_bytes((folder / "1.root.json").read_bytes())
    root = metadata.signed
    root.verify_delegate("root", metadata.signed_bytes, metadata.signatures)
    assert root.consistent_snapshot
    assert root.expires == clock() + timedelta(days=365)


def test_keys_are_never_overwritten(folder: Path, clock: Clock) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ConflictError, match="never overwritten"):
        keygen(folder, ORIGIN, now=clock())
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_an_origin_that_cannot_be_a_name_makes_nothing(tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(InputError, match="key name"):
        keygen(tmp_path / "keys", "my log", now=clock())
    assert list(tmp_path.iterdir()) == []


def test_a_renewed_root_follows_the_old_one(folder: Path, clock: Clock) -> None:
    clock.advance(days=300)
    assert renew_root(folder, now=clock()) == 2
    roots = [Metadata[Root].from_bytes(data) for data in load_keys(folder).roots.values()]
    assert [root.signed.version for root in roots] == [1, 2]
    roots[0].signed.verify_delegate("root", roots[1].signed_bytes, roots[1].signatures)
    assert roots[1].signed.expires == clock() + timedelta(days=365)
    assert roots[1].signed.roles == roots[0].signed.roles


def test_the_root_key_is_only_needed_to_renew(folder: Path, clock: Clock) -> None:
    (folder / "root.pem").unlink()
    assert load_keys(folder).log.name == ORIGIN
    with pytest.raises(NotFoundError, match=r"root\.pem"):
        renew_root(folder, now=clock())


@pytest.mark.parametrize("name", ["log.skey", "targets.pem", "1.root.json"])
def test_missing_files_are_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(NotFoundError, match=f"{name}.*keygen"):
        load_keys(folder)


@pytest.mark.parametrize("name", ["log.skey", "targets.pem"])
def test_damaged_keys_are_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"\xff damaged")
    with pytest.raises(InputError):
        load_keys(folder)
