"""Stored TUF metadata, offline: chains of roots, and what must not pass for them."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from heldout.errors import VerificationError
from heldout.trust import TrustedSet, check_root, verify_metadata
from tests.heldout.conftest import IMAGES, URLS
from tests.heldout.published import Site, new_key

NOW = datetime.now(UTC)


def stored(site: Site, folder: Path) -> Path:
    """The site's newest metadata, as a pull leaves it."""
    (folder / "root_history").mkdir(parents=True, exist_ok=True)
    for version in range(1, site.root_version + 1):
        name = f"{version}.root.json"
        (folder / "root_history" / name).write_bytes(site.files[f"list/metadata/{name}"])
    (folder / "timestamp.json").write_bytes(site.files["list/metadata/timestamp.json"])
    for role in ("snapshot", "targets"):
        (folder / f"{role}.json").write_bytes(site.files[f"list/metadata/{site.tuf_version}.{role}.json"])
    return folder


def verify(site: Site, folder: Path, now: datetime | None = NOW) -> TrustedSet:
    return verify_metadata(site.root, folder, now=now)


def test_chain_of_roots_leads_to_new_keys(site: Site, tmp_path: Path) -> None:
    for _ in range(3):
        site.rotate_root(new_keys={role: new_key() for role in ("root", "timestamp", "snapshot", "targets")})
    site.publish(URLS, IMAGES)
    trusted = verify(site, stored(site, tmp_path))
    assert (trusted.root_version, trusted.timestamp_version) == (4, 2)
    trusted.check_target("manifest.json", site.manifest)


def test_missing_link_of_the_chain_is_noticed(site: Site, tmp_path: Path) -> None:
    for _ in range(2):
        site.rotate_root(new_keys={"root": new_key(), "timestamp": new_key()})
    site.publish(URLS, IMAGES)
    (stored(site, tmp_path) / "root_history" / "2.root.json").unlink()
    with pytest.raises(VerificationError, match="keys of the root"):
        verify(site, tmp_path)


def test_root_that_the_one_before_did_not_sign_is_noticed(site: Site, tmp_path: Path) -> None:
    site.keys["root"] = new_key()
    site.rotate_root()
    site.publish(URLS, IMAGES)
    with pytest.raises(VerificationError, match="lacks signatures"):
        verify(site, stored(site, tmp_path))


def test_root_under_another_versions_name_is_noticed(site: Site, tmp_path: Path) -> None:
    history = stored(site, tmp_path) / "root_history"
    (history / "2.root.json").write_bytes((history / "1.root.json").read_bytes())
    with pytest.raises(VerificationError, match="holds version 1, expected 2"):
        verify(site, tmp_path)


def test_signed_metadata_of_another_role_or_version_is_noticed(site: Site, tmp_path: Path) -> None:
    folder = stored(site, tmp_path)
    old = (folder / "targets.json").read_bytes()
    site.publish(URLS, IMAGES)
    stored(site, folder)
    good = (folder / "targets.json").read_bytes()
    for bad in (old, site.files["list/metadata/timestamp.json"]):
        (folder / "targets.json").write_bytes(bad)
        with pytest.raises(VerificationError, match=r"targets\.json"):
            verify(site, folder)
    (folder / "targets.json").write_bytes(good)
    (folder / "timestamp.json").write_bytes(good)
    with pytest.raises(VerificationError, match="holds targets metadata, expected timestamp"):
        verify(site, folder)


def test_expiry_is_that_of_the_first_role_and_can_be_left_out(site: Site, tmp_path: Path) -> None:
    folder = stored(site, tmp_path)
    later = site.expires + timedelta(days=1)
    assert verify(site, folder).expires_at == site.expires
    with pytest.raises(VerificationError, match="stale"):
        verify(site, folder, later)
    assert verify(site, folder, None).timestamp_version == 1


def test_targets_are_checked_by_name_length_and_hash(site: Site, tmp_path: Path) -> None:
    trusted = verify(site, stored(site, tmp_path))
    trusted.check_target("manifest.json", site.manifest)
    for name, data in (("manifest.json", site.manifest[:-1]), ("manifest.json", site.proof), ("other", b"")):
        with pytest.raises(VerificationError, match=name):
            trusted.check_target(name, data)


def test_trusted_root_signs_itself(site: Site) -> None:
    check_root(site.root, name="root.json")
    for bad in (b"", b"{}", b"[" * 10_000, site.files["list/metadata/timestamp.json"], site.root.replace(b"Z", b"X")):
        with pytest.raises(VerificationError, match=r"root\.json"):
            check_root(bad, name="root.json")
    unsignable = json.loads(site.root)
    unsignable["signed"]["x"] = 1.5
    with pytest.raises(VerificationError, match="can be signed"):
        check_root(json.dumps(unsignable).encode(), name="root.json")
    forged = site.root.replace(b'"version": 1', b'"version": 2').replace(b'"version":1', b'"version":2')
    with pytest.raises(VerificationError, match="lacks signatures"):
        check_root(forged, name="root.json")
