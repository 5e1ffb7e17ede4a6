"""Which files, in which processes, and the report."""

import hashlib
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heldout.errors import HeldoutError, InputError, NotFoundError, UnavailableError, VerificationError
from heldout.exclusion import ExclusionList
from heldout.filtering import FilterOptions, filter_shards
from heldout.report_check import verify_report
from tests.heldout.conftest import URLS, PullSite
from tests.heldout.published import Site


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    for name in ("00000", "00001", "deep/00000", "deep/00002"):
        path = folder / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        urls = [f"https://else.example/{name}/{i}" for i in range(20)]
        pq.write_table(pa.table({"url": [*urls, URLS[0].url], "n": range(21)}), path)
    (folder / "notes.txt").write_text("ignored")
    return folder


def outputs(folder: Path) -> dict[str, bytes]:
    """All but what is kept for resuming."""
    files = [path for path in folder.rglob("*") if path.is_file() and ".heldout" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_folder_keeps_its_shape_and_the_report_names_every_shard(pulled: Path, shards: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    filter_shards([shards], tmp_path / "out", FilterOptions(pulled), progress=lambda *step: seen.append(step))
    names = ["00000.parquet", "00001.parquet", "deep/00000.parquet", "deep/00002.parquet"]
    assert sorted(outputs(tmp_path / "out")) == [*names, "report.json"]
    statement = json.loads((tmp_path / "out" / "report.json").read_bytes())
    manifest = ExclusionList.open(pulled).version.manifest_sha256.hex()
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert [subject["name"] for subject in statement["subject"]] == names
    for subject, shard in zip(statement["subject"], statement["predicate"]["shards"], strict=True):
        written = (tmp_path / "out" / subject["name"]).read_bytes()
        read = (shards / subject["name"]).read_bytes()
        assert subject["digest"]["sha256"] == hashlib.sha256(written).hexdigest()
        assert shard["input"]["sha256"] == hashlib.sha256(read).hexdigest()
    assert statement["predicate"]["list"]["manifest_sha256"] == manifest
    assert statement["predicate"]["list"]["is_verified"] is True
    assert statement["predicate"]["total"]["dropped"] == {"url": {"declared": 4}}
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_several_workers_write_what_one_writes(pulled: Path, shards: Path, tmp_path: Path) -> None:
    (shards / "00001.parquet").write_bytes(b"broken")
    one = filter_shards([shards], tmp_path / "one", FilterOptions(pulled))
    two = filter_shards([shards], tmp_path / "two", FilterOptions(pulled), workers=2)
    assert outputs(tmp_path / "one") == outputs(tmp_path / "two")
    assert one.shards == two.shards
    assert list(one.failures) == list(two.failures) == ["00001.parquet"]


def test_report_does_not_depend_on_where_things_are(pulled: Path, shards: Path, tmp_path: Path) -> None:
    filter_shards([shards], tmp_path / "a", FilterOptions(pulled))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shards.rename(elsewhere / "other")
    pulled.rename(elsewhere / "list")
    filter_shards([elsewhere / "other"], elsewhere / "out", FilterOptions(elsewhere / "list"))
    assert outputs(tmp_path / "a") == outputs(elsewhere / "out")
    assert str(tmp_path).encode() not in (elsewhere / "out" / "report.json").read_bytes()


def test_list_that_does_not_verify_writes_nothing(pulled: Path, shards: Path, tmp_path: Path) -> None:
    target = next((pulled / "files").iterdir())
    target.write_bytes(target.read_bytes() + b"x")
    with pytest.raises(VerificationError):
        filter_shards([shards], tmp_path / "out", FilterOptions(pulled))
    assert not (tmp_path / "out").exists()


def test_stale_list_writes_nothing_unless_allowed_and_then_says_so(pulled: Path, shards: Path, tmp_path: Path) -> None:
    later = datetime.now(UTC) + timedelta(days=8)
    with pytest.raises(VerificationError, match=r"stale.*heldout pull"):
        filter_shards([shards], tmp_path / "out", FilterOptions(pulled, now=later))
    assert not (tmp_path / "out").exists()
    result = filter_shards([shards], tmp_path / "out", FilterOptions(pulled, now=later, allow_unverified=True))
    assert len(result.doubts) == 1
    statement = json.loads((tmp_path / "out" / "report.json").read_bytes())
    assert statement["predicate"]["list"]["is_verified"] is False
    (doubt,) = verify_report(tmp_path / "out" / "report.json", applied=ExclusionList.open(pulled).version).doubts
    assert "did not verify" in doubt


def test_folders_that_are_linked_to_are_not_passed_over_in_silence(pulled: Path, shards: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (shards / "00000.parquet").rename(tmp_path / "more" / "00000.parquet")
    (shards / "linked").symlink_to(tmp_path / "more")
    with pytest.raises(InputError, match="linked is a link to a folder"):
        filter_shards([shards], tmp_path / "out", FilterOptions(pulled))
    assert filter_shards([shards / "linked"], tmp_path / "out", FilterOptions(pulled)).failures == {}
    (shards / "linked").unlink()
    (shards / "out").symlink_to(tmp_path / "out")
    assert filter_shards([shards], tmp_path / "out", FilterOptions(pulled)).failures == {}


def test_earlier_runs_report_and_output_do_not_outlive_a_failure(pulled: Path, shards: Path, tmp_path: Path) -> None:
    filter_shards([shards / "00000.parquet"], tmp_path / "out", FilterOptions(pulled))
    (shards / "00000.parquet").write_bytes(b"")
    result = filter_shards([shards / "00000.parquet"], tmp_path / "out", FilterOptions(pulled))
    assert result.report is None
    assert outputs(tmp_path / "out") == {}


def bad_missing(shards: Path) -> list[Path]:
    return [shards / "nothing.parquet"]


def bad_suffix(shards: Path) -> list[Path]:
    return [shards / "notes.txt"]


def bad_empty_folder(shards: Path) -> list[Path]:
    (shards / "empty").mkdir()
    return [shards / "empty"]


def bad_same_name(shards: Path) -> list[Path]:
    return [shards / "00000.parquet", shards / "deep" / "00000.parquet"]


@pytest.mark.parametrize("bad", [bad_missing, bad_suffix, bad_empty_folder, bad_same_name])
def test_unusable_inputs_are_refused_before_anything_is_written(
    pulled: Path, shards: Path, tmp_path: Path, bad: Callable[[Path], list[Path]]
) -> None:
    with pytest.raises(InputError):
        filter_shards(bad(shards), tmp_path / "out", FilterOptions(pulled))
    assert not (tmp_path / "out").exists()


def test_output_never_replaces_its_input(pulled: Path, shards: Path, tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(shards)
    before = outputs(shards)
    with pytest.raises(InputError, match="own input"):
        filter_shards([shards / "00000.parquet"], tmp_path / "out", FilterOptions(pulled))
    assert outputs(shards) == before


def test_output_folder_within_the_input_folder_is_no_input(pulled: Path, shards: Path) -> None:
    for _ in range(2):
        result = filter_shards([shards], shards / "kept", FilterOptions(pulled))
        assert result.total.n_in == 4 * 21


def test_missing_list_says_how_to_get_one(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="heldout pull"):
        filter_shards([shards], tmp_path / "out", FilterOptions(tmp_path / "nolist"))


def test_output_folder_that_cannot_be_made_is_reported(pulled: Path, shards: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError):
        filter_shards([shards], tmp_path / "file" / "out", FilterOptions(pulled))


def test_pull_during_a_run_does_not_mix_versions(
    pulled: Path, shards: Path, tmp_path: Path, site: Site, pull_site: PullSite
) -> None:
    name = ExclusionList.open(pulled).version.name
    site.publish([], [])
    pull_site()
    result = filter_shards([shards], tmp_path / "out", FilterOptions(pulled, list_version=name), workers=2)
    assert result.total.n_kept == 80


# --- the report ---------------------------------------------------------------------------------------------------


@pytest.fixture
def report(pulled: Path, shards: Path, tmp_path: Path) -> Path:
    result = filter_shards([shards], tmp_path / "out", FilterOptions(pulled))
    assert result.report is not None
    return result.report


def test_report_checks_out_and_misses_what_is_not_at_hand(report: Path, pulled: Path) -> None:
    (report.parent / "00001.parquet").unlink()
    checked = verify_report(report, applied=ExclusionList.open(pulled).version)
    assert checked.n_intact == 3
    assert checked.missing == ("00001.parquet",)


def test_changed_shard_is_found(report: Path) -> None:
    with (report.parent / "00000.parquet").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(VerificationError, match=r"00000\.parquet"):
        verify_report(report)


def test_report_about_another_list_is_refused(report: Path, pulled: Path) -> None:
    other = replace(ExclusionList.open(pulled).version, manifest_sha256=bytes(32))
    with pytest.raises(VerificationError, match="is about the list"):
        verify_report(report, applied=other)


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"version": 1', b'"version": 99'), (b'"as_of": "2026', b'"as_of": "2030'), (b'"size": ', b'"size": 1')],
)
def test_report_that_misstates_its_list_is_refused(report: Path, pulled: Path, old: bytes, new: bytes) -> None:
    text = report.read_bytes()
    assert old in text
    report.write_bytes(text.replace(old, new))
    with pytest.raises(VerificationError, match="misstates"):
        verify_report(report, applied=ExclusionList.open(pulled).version)


def test_report_of_a_list_that_did_not_verify_leaves_doubts(report: Path) -> None:
    assert verify_report(report).doubts == ()
    report.write_bytes(report.read_bytes().replace(b'"is_verified": true', b'"is_verified": false'))
    assert any("did not verify" in doubt for doubt in verify_report(report).doubts)


def test_a_shard_of_another_run_beside_the_report_is_told(report: Path) -> None:
    (report.parent / "unfiltered.parquet").write_bytes((report.parent / "00000.parquet").read_bytes())
    checked = verify_report(report)
    assert checked.unlisted == ("unfiltered.parquet",)
    assert any("unfiltered.parquet" in doubt for doubt in checked.doubts)


def test_inputs_that_gave_nothing_are_told_by_the_check(pulled: Path, shards: Path, tmp_path: Path) -> None:
    (shards / "bad.parquet").write_bytes(b"not parquet")
    result = filter_shards([shards], tmp_path / "out", FilterOptions(pulled))
    assert result.report is not None
    checked = verify_report(result.report)
    assert checked.failed == ("bad.parquet",)
    assert any("bad.parquet" in doubt for doubt in checked.doubts)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"n_kept": 20', b'"n_kept": 21'),
        (b'"n_dropped": 4', b'"n_dropped": 5'),
        (b'"declared": 1', b'"declared": 0'),
        (b'"name": "00001.parquet"', b'"name": "../00001.parquet"'),
        (b'"n_in"', b'"n_inn"'),
        (b'"total"', b'"totals"'),
    ],
)
def test_edited_report_is_refused(report: Path, old: bytes, new: bytes) -> None:
    text = report.read_bytes()
    assert old in text
    report.write_bytes(text.replace(old, new))
    with pytest.raises(VerificationError):
        verify_report(report)


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"predicateType": "something else"}'])
def test_what_is_no_report_is_an_input_error(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "report.json").write_bytes(text)
    with pytest.raises(InputError, match=r"report\.json"):
        verify_report(tmp_path / "report.json")


def test_failures_are_heldout_errors_that_cross_process_borders() -> None:
    error = InputError("a.parquet is not a shard")
    restored = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert isinstance(restored, HeldoutError)
    assert str(restored) == str(error)
