"""Reports that a lab signed, and reports held against the shards they tell of."""

import hashlib
import json
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heldout.cli import run
from heldout.dsse import IN_TOTO, format_envelope, sign_envelope
from heldout.errors import InputError, VerificationError
from heldout.filtering import FilterOptions, filter_shards
from heldout.report_reading import load_report
from heldout.report_shards import verify_shards
from heldout.report_signing import sign_report
from heldout.signing_keys import load_private_key, load_public_key, make_keys
from heldout.stored import StoredVersion, verify_current
from tests.heldout.conftest import URLS, PullSite
from tests.heldout.published import Site

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    (folder / "deep").mkdir(parents=True)
    for name in ("00000", "00001", "deep/00000"):
        urls = [*(f"https://else.example/{name}/{i}" for i in range(9)), URLS[0].url]
        pq.write_table(pa.table({"url": urls, "n": range(10)}), folder / f"{name}.parquet")
    (folder / "lines.jsonl").write_text(
        "".join(json.dumps({"url": url}) + "\n" for url in (URLS[1].url, "https://else.example/"))
    )
    return folder


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return make_keys(tmp_path / "lab.key")


@pytest.fixture
def filtered(pulled: Path, shards: Path, tmp_path: Path) -> Callable[..., Path]:
    """Filters the shards; the report."""

    def run_filter(to: str = "out", **options: Any) -> Path:
        result = filter_shards([shards], tmp_path / to, FilterOptions(pulled, **options))
        assert result.report is not None
        return result.report

    return run_filter


@pytest.fixture
def applied(pulled: Path) -> StoredVersion:
    return verify_current(pulled, now=None)


# --- signing ------------------------------------------------------------------------------------------------------


def test_the_same_report_and_key_give_the_same_envelope(filtered: Callable[..., Path], keys: tuple[Path, Path]) -> None:
    private, public = keys
    envelopes = []
    for to in ("one", "two"):
        envelope = sign_report(filtered(to), load_private_key(private))
        assert envelope.name == "report.dsse.json"
        assert load_report(envelope, [load_public_key(public)]).signed_by
        envelopes.append(envelope.read_bytes())
    assert envelopes[0] == envelopes[1]
    assert json.loads(envelopes[0])["payloadType"] == "application/vnd.in-toto+json"


def test_a_report_that_was_changed_after_it_was_signed_is_refused(
    filtered: Callable[..., Path], keys: tuple[Path, Path]
) -> None:
    report = filtered()
    sign_report(report, load_private_key(keys[0]))
    report.write_bytes(report.read_bytes().replace(b'"version": 1', b'"version": 2'))
    with pytest.raises(VerificationError, match="another report than the one beside it"):
        load_report(report)


def test_a_new_run_takes_the_old_signature_away(filtered: Callable[..., Path], keys: tuple[Path, Path]) -> None:
    envelope = sign_report(filtered(), load_private_key(keys[0]))
    filtered()
    assert not envelope.exists()


def test_signatures_nobody_checked_are_told_apart(filtered: Callable[..., Path], keys: tuple[Path, Path]) -> None:
    report = filtered()
    assert load_report(report).claimed_signers == ()
    sign_report(report, load_private_key(keys[0]))
    seen = load_report(report)
    assert (seen.signed_by, len(seen.claimed_signers)) == ((), 1)
    seen = load_report(report, [load_public_key(keys[1])])
    assert (len(seen.signed_by), seen.claimed_signers) == (1, ())


def test_a_key_asks_for_a_signature_of_its_own(
    filtered: Callable[..., Path], keys: tuple[Path, Path], tmp_path: Path
) -> None:
    report = filtered()
    with pytest.raises(VerificationError, match="is not signed"):
        load_report(report, [load_public_key(keys[1])])
    sign_report(report, load_private_key(keys[0]))
    stranger = load_public_key(make_keys(tmp_path / "stranger")[1])
    with pytest.raises(VerificationError, match="not by"):
        load_report(report, [stranger])


def test_only_reports_are_signed(filtered: Callable[..., Path], keys: tuple[Path, Path], tmp_path: Path) -> None:
    key = load_private_key(keys[0])
    with pytest.raises(InputError, match="signed already"):
        sign_report(sign_report(filtered(), key), key)
    other = tmp_path / "other.json"
    other.write_text("{}")
    with pytest.raises(InputError, match="not a filter report"):
        sign_report(other, key)
    other.write_bytes(filtered().read_bytes().replace(b'"n_kept": 9', b'"n_kept": 8'))
    with pytest.raises(VerificationError, match="contradict"):
        sign_report(other, key)
    assert not (tmp_path / "other.dsse.json").exists()


def test_an_envelope_of_something_else_is_no_report(keys: tuple[Path, Path], tmp_path: Path) -> None:
    key = load_private_key(keys[0])
    path = tmp_path / "x.dsse.json"
    path.write_bytes(format_envelope(sign_envelope(b'{"_type": "https://in-toto.io/Statement/v1"}', IN_TOTO, key)))
    with pytest.raises(InputError, match="not a filter report"):
        load_report(path)
    path.write_bytes(format_envelope(sign_envelope(b"{}", "application/json", key)))
    with pytest.raises(VerificationError, match="application/json"):
        load_report(path)


def test_the_commands_make_keys_sign_and_check(pulled: Path, shards: Path, tmp_path: Path, capsys: Capture) -> None:
    key, out = str(tmp_path / "signing.key"), tmp_path / "out"
    assert run(["keygen", "-o", key, "--json"]) == 0
    keyid = json.loads(capsys.readouterr().out)["keyid"]
    assert run(["keygen", "-o", key]) == 2
    arguments = ["filter", str(shards), "-o", str(out), "--list", str(pulled)]
    assert run([*arguments, "--sign", str(tmp_path / "no.key")]) == 2
    assert not out.exists()
    assert run([*arguments, "--sign", key, "--json"]) == 0
    assert "report.dsse.json" in capsys.readouterr().out
    for path in (out / "report.json", out / "report.dsse.json"):
        assert run(["verify", str(path), "--list", str(pulled), "--key", f"{key}.pub", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["signed_by"] == [keyid]
    (out / "report.dsse.json").unlink()
    assert run(["verify", str(out / "report.json"), "--key", f"{key}.pub"]) == 4
    assert "not signed" in capsys.readouterr().err
    assert run(["sign", str(out / "report.json"), "--key", key]) == 0
    assert keyid in capsys.readouterr().out
    assert run(["verify", str(out / "report.json")]) == 0
    assert "was not checked" in capsys.readouterr().out


# --- shards -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"emit": frozenset({"removal"})}, {"dry_run": True}, {"writes": "masks"}])
def test_shards_filtered_again_give_what_the_report_says(
    filtered: Callable[..., Path], shards: Path, applied: StoredVersion, options: dict[str, Any]
) -> None:
    report = load_report(filtered(**options))
    checked = verify_shards(report, [shards], applied, n_again=99)
    assert (checked.n_inputs, len(checked.filtered_again), checked.is_exact) == (4, 4, True)
    assert checked.doubts == ()


def test_some_shards_are_picked_at_random(filtered: Callable[..., Path], shards: Path, applied: StoredVersion) -> None:
    report = load_report(filtered())
    picks = {
        verify_shards(
            report,
            [shards],
            applied,
            n_again=1,
            choice=random.Random(seed),  # noqa: S311
        ).filtered_again
        for seed in range(8)
    }
    assert len(picks) > 1
    assert all(len(pick) == 1 for pick in picks)


def test_without_shards_to_filter_again_only_digests_are_checked(filtered: Callable[..., Path], shards: Path) -> None:
    report = load_report(filtered())
    checked = verify_shards(report, [shards])
    assert (checked.n_inputs, checked.filtered_again) == (4, ())
    with pytest.raises(InputError, match="--list"):
        verify_shards(report, [shards], n_again=1)


def test_inputs_that_are_not_at_hand_or_not_in_the_report_are_doubts(
    filtered: Callable[..., Path], shards: Path
) -> None:
    report = load_report(filtered())
    (shards / "00000.parquet").rename(shards / "99999.parquet")
    checked = verify_shards(report, [shards])
    assert (checked.missing, checked.unreported) == (("00000.parquet",), ("99999.parquet",))
    assert len(checked.doubts) == 2


def test_another_input_than_the_one_that_was_filtered_is_refused(filtered: Callable[..., Path], shards: Path) -> None:
    report = load_report(filtered())
    pq.write_table(pa.table({"url": ["https://x.example/"]}), shards / "00001.parquet")
    with pytest.raises(VerificationError, match=r"00001\.parquet is not the shard"):
        verify_shards(report, [shards])


def forge(report: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A report that says something else, with sums and digests that agree."""
    statement = json.loads(report.read_bytes())
    change(statement)
    shards = statement["predicate"]["shards"]
    for name in ("n_in", "n_kept", "n_dropped"):
        statement["predicate"]["total"][name] = sum(shard[name] for shard in shards)
    declared = sum(shard["dropped"].get("url", {}).get("declared", 0) for shard in shards)
    statement["predicate"]["total"]["dropped"]["url"]["declared"] = declared
    report.write_text(json.dumps(statement))
    return report


def drop_less(statement: dict[str, Any]) -> None:
    shard = statement["predicate"]["shards"][0]
    shard["n_kept"], shard["n_dropped"], shard["dropped"] = shard["n_in"], 0, {}


def more_samples(statement: dict[str, Any]) -> None:
    shard = statement["predicate"]["shards"][0]
    shard["n_kept"] += 1
    shard["n_in"] += 1


def another_output(statement: dict[str, Any]) -> None:
    statement["subject"][0]["digest"]["sha256"] = hashlib.sha256(b"unfiltered").hexdigest()


@pytest.mark.parametrize(("lie", "n_again"), [(drop_less, 9), (more_samples, 0), (another_output, 9)])
def test_false_reports_are_found_out(
    filtered: Callable[..., Path],
    shards: Path,
    applied: StoredVersion,
    lie: Callable[[dict[str, Any]], None],
    n_again: int,
) -> None:
    report = load_report(forge(filtered(), lie))
    with pytest.raises(VerificationError, match=r"00000\.parquet"):
        verify_shards(report, [shards], applied, n_again=n_again)


def balanced(statement: dict[str, Any]) -> None:
    """More dropped than there were samples, made good by a negative count."""
    for count in (statement["predicate"]["shards"][0], statement["predicate"]["total"]):
        count["n_in"] -= 100
        count["n_kept"] -= 100


def by_better_rules(statement: dict[str, Any]) -> None:
    (name, dropped), *_ = statement["predicate"]["total"]["dropped"].items()
    statement["predicate"]["total"]["dropped"][name] = {"reviewed": sum(dropped.values())}


def fewer_unreadable(statement: dict[str, Any]) -> None:
    statement["predicate"]["total"]["n_unreadable_urls"] += 1


def test_a_run_that_looked_into_the_wrong_column_is_a_doubt(pulled: Path, tmp_path: Path, capsys: Capture) -> None:
    shard = tmp_path / "shard.parquet"
    pq.write_table(pa.table({"url": ["https://art.example/1.jpg"] * 3, "caption": ["a cat", None, "a dog"]}), shard)
    said = "see whether --url-column names the right column"
    for column, filtered, verified in (("caption", 2, 4), ("url", 0, 0)):
        out = tmp_path / column
        assert run(["filter", str(shard), "--list", str(pulled), "-o", str(out), "--url-column", column]) == filtered
        assert (said in capsys.readouterr().err) == (filtered != 0)
        assert run(["verify", str(out / "report.json")]) == verified
        assert (said in capsys.readouterr().err) == (verified != 0)


def counted_in_halves(statement: dict[str, Any]) -> None:
    for count in (statement["predicate"]["shards"][0], statement["predicate"]["total"]):
        count["n_unreadable_urls"] += 0.5


def two_digests(statement: dict[str, Any]) -> None:
    first = statement["subject"][0]
    statement["subject"].insert(0, {**first, "digest": {"sha256": "00" * 32}})


@pytest.mark.parametrize("change", [balanced, by_better_rules, fewer_unreadable, counted_in_halves, two_digests])
def test_reports_that_contradict_themselves_are_refused(
    filtered: Callable[..., Path], change: Callable[[dict[str, Any]], None]
) -> None:
    report = filtered()
    load_report(report)
    with pytest.raises(VerificationError, match="was changed"):
        load_report(forge(report, change))


def test_other_versions_of_the_tools_are_held_to_the_counts_alone(
    filtered: Callable[..., Path], shards: Path, applied: StoredVersion
) -> None:
    def older(statement: dict[str, Any]) -> None:
        statement["predicate"]["tool"]["pyarrow"] = "17.0.0"
        another_output(statement)

    report = load_report(forge(filtered(), older))
    checked = verify_shards(report, [shards], applied, n_again=9)
    assert not checked.is_exact
    assert "same counts" in checked.words()


def test_a_pair_of_tar_and_parquet_is_filtered_again_together(
    pulled: Path, tmp_path: Path, applied: StoredVersion
) -> None:
    folder = tmp_path / "pairs"
    folder.mkdir()
    rows = {"000": URLS[0].url, "001": "https://else.example/"}
    with tarfile.open(folder / "00000.tar", "w") as tar:
        for key, url in rows.items():
            text = tmp_path / f"{key}.json"
            text.write_text(json.dumps({"url": url}))
            tar.add(text, f"{key}.json")
    pq.write_table(pa.table({"key": list(rows), "url": list(rows.values())}), folder / "00000.parquet")
    result = filter_shards([folder], tmp_path / "out", FilterOptions(pulled))
    assert result.report is not None
    checked = verify_shards(load_report(result.report), [folder], applied, n_again=1)
    assert sorted(checked.filtered_again) == ["00000.parquet", "00000.tar"]


def test_the_list_before_the_newest_is_found_for_an_older_report(
    *, filtered: Callable[..., Path], shards: Path, site: Site, pulled: Path, pull_site: PullSite, capsys: Capture
) -> None:
    report = filtered()
    site.publish(URLS[:1], [])
    pull_site()
    arguments = ["verify", str(report), "--list", str(pulled), "--shards", str(shards)]
    assert run([*arguments, "--again", "2"]) == 0
    out = capsys.readouterr().out
    assert "4 inputs are the ones that were filtered; filtered again" in out
    assert "the same bytes" in out
    assert run([*arguments, "--again", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["inputs"]["n_inputs"] == 4
    assert run(["verify", str(report), "--list", str(pulled), "--again", "1"]) == 2
    (shards / "00000.parquet").unlink()
    assert run(arguments) == 4
    assert "1 inputs of the run are not here" in capsys.readouterr().err


def test_outputs_elsewhere_are_checked_there(filtered: Callable[..., Path], tmp_path: Path, capsys: Capture) -> None:
    report = filtered()
    alone = tmp_path / "alone" / "report.json"
    alone.parent.mkdir()
    alone.write_bytes(report.read_bytes())
    assert run(["verify", str(alone)]) == 4
    assert "not here" in capsys.readouterr().err
    assert run(["verify", str(alone), "--out", str(report.parent)]) == 0
