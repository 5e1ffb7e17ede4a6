"""Was this opt-out in the list that was applied? A real registry, its receipts, a lab's pull, filter and report."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heldout.applied import was_applied
from heldout.applied_evidence import ListAtHand, LogAtHand, find_version
from heldout.applied_records import Applied
from heldout.checkpoint import Checkpoint, Signer, Verifier, from_base64, sign_checkpoint
from heldout.cli import run
from heldout.download import Downloads, base_url
from heldout.errors import HeldoutError, NotFoundError, VerificationError
from heldout.filtering import FilterOptions, filter_shards
from heldout.list_tables import SCHEMAS, content_digest, format_table
from heldout.manifest import ListFile, format_manifest, manifest_sha256, parse_manifest
from heldout.merkle import inclusion_proof, leaf_hash, root_of
from heldout.pull import pull
from heldout.receipts import Receipt, ReceiptEntry, receipt_to_json
from heldout.records import ClaimRequest, ClaimState, HostSubject, ImageSubject, PrefixSubject, Subject, UrlSubject
from heldout.report_reading import Report, load_report, parse_report
from heldout.report_signing import sign_report
from heldout.signing_keys import load_private_key, load_public_key, make_keys
from heldout.stored import verify_current
from heldout.urls import canonical_key, key_digest
from registry.db import transaction
from registry.service import Registry
from registry.transitions import change_state
from tests.heldout.published import some_pdq

ORIGIN = "registry.example/log"
SHA256 = bytes(range(32))


def url(n: int) -> UrlSubject:
    return UrlSubject(url=f"https://art.example/{n}.jpg")


def picture(seed: int, sha256: bytes | None = SHA256) -> ImageSubject:
    return ImageSubject(pdq=some_pdq(seed).hex(), quality=90, sha256=None if sha256 is None else sha256.hex())


def submit(registry: Registry, *subjects: Subject, preference: str = "train-ai=n") -> str:
    request = ClaimRequest.model_validate({"subjects": list(subjects), "preference": preference})
    return registry.submit(request).id


def move(registry: Registry, claim: str, state: ClaimState, reason: str, positions: list[int] | None = None) -> None:
    with transaction(registry._sessions) as session:
        change_state(session, claim, state, reason=reason, now=datetime.now(UTC), positions=positions)
    registry.sequence()


@dataclass
class World:
    """What there is after a list was made, applied, and the log went on."""

    site: Path
    """The registry's public folder at the end."""
    held: Path
    report: Path
    vkey: str
    receipts: dict[str, dict[str, Any]]
    """By what happened."""
    downloads: Downloads

    def ask(
        self, name: str, mode: str = "log", report: Report | None = None, receipt: dict[str, Any] | None = None
    ) -> Applied:
        """With the log's key alone, with the pulled list, or with what the site has."""
        report = report or load_report(self.report)
        version, log = None, None
        if mode == "list":
            stored = verify_current(self.held, now=None, name=find_version(self.held, report.manifest_sha256))
            version = ListAtHand.of_folder(stored)
        base = base_url(str(self.site))
        if mode in {"site", "log at hand"}:
            log = LogAtHand.of_site(self.downloads, base, Verifier.parse(self.vkey))
        if mode == "site":
            scratch = self.site.parent / "scratch"
            scratch.mkdir(exist_ok=True)
            version = ListAtHand.of_site(self.downloads, base, bytes.fromhex(report.manifest_sha256), scratch)
        return was_applied(report, receipt or self.receipts[name], self.vkey, version=version, log=log)


def play(registry: Registry) -> dict[str, str]:
    """Claims to all of which something happened before the list is made, by what it was."""
    ids = {
        "held": submit(registry, url(1), url(2), picture(1), HostSubject(host="jane.example")),
        "proved": submit(registry, HostSubject(host="anna.example"), PrefixSubject(prefix="https://p.example/anna/")),
        "grant": submit(registry, url(3), preference="train-ai=y"),
        "withdrawn": submit(registry, url(4)),
        "quarantined": submit(registry, url(5)),
        "rejected": submit(registry, url(6)),
        "disputed": submit(registry, url(7)),
        "overruled": submit(registry, url(9)),
        "twice": submit(registry, url(10)),
        "again": submit(registry, url(10), picture(7, None)),
        "kept": submit(registry, url(11)),
    }
    registry.raise_assurance(ids["proved"], "host", reason="dns-txt")
    registry.withdraw(ids["withdrawn"], reason="by-claimant")
    registry.withdraw(ids["twice"], reason="by-claimant")
    move(registry, ids["quarantined"], "quarantined", "review")
    move(registry, ids["rejected"], "rejected", "review")
    move(registry, ids["disputed"], "disputed", "counter-claim")
    better = submit(registry, url(9), preference="train-ai=y")
    registry.raise_assurance(better, "credential", reason="c2pa")
    return ids


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("applied")
    with Registry.prepare(folder / "state", origin=ORIGIN) as registry, Downloads() as downloads:
        ids = play(registry)
        old = {f"old {name}": registry.receipt(ids[name]) for name in ("held", "withdrawn", "grant", "quarantined")}
        submit(registry, url(100))
        registry.publish()
        held = folder / "list"
        pull(str(registry.public_dir), held, root=registry.root_json)
        shard = folder / "00000.parquet"
        urls = [f"https://art.example/{n}.jpg" for n in range(1, 13)]
        pq.write_table(pa.table({"url": [*urls, "https://anna.example/x", "https://else.example/"]}), shard)
        result = filter_shards([shard], folder / "out", FilterOptions(held))
        assert result.report is not None
        ids["late"] = submit(registry, url(12), picture(2))
        registry.withdraw(ids["kept"], reason="by-claimant")
        registry.publish()
        receipts = {name: registry.receipt(claim) for name, claim in ids.items()} | old
        yield World(registry.public_dir, held, result.report, registry.vkey, receipts, downloads)


MODES = ["log", "log at hand", "list", "site"]


def reasons(answer: Applied) -> list[str]:
    return [subject.reason for subject in answer.subjects]


def answers(answer: Applied) -> list[str]:
    return [subject.answer for subject in answer.subjects]


@pytest.mark.parametrize("mode", MODES)
def test_what_was_in_force_was_in_the_list_and_what_waited_for_proof_was_not(world: World, mode: str) -> None:
    answer = world.ask("held", mode)
    seen = "logged" if "log" in mode else "listed"
    assert reasons(answer) == [seen, seen, seen, "pending"]
    assert answer.answer == "partly"
    assert (answer.n_yes, answer.n_no, answer.n_unknown) == (3, 1, 0)
    assert "3 were in the list that was applied" in answer.words
    assert "waited for proof" in answer.subjects[3].words
    assert answer.subjects[3].name == "jane.example"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("name", "expected", "words"),
    [
        ("late", "later", "after the list was made"),
        ("grant", "grant", "allows training"),
        ("withdrawn", "withdrawn", "had been withdrawn"),
        ("quarantined", "quarantined", "set aside for review"),
        ("rejected", "rejected", "had been rejected"),
    ],
)
def test_what_was_not_in_the_list_is_told_with_the_reason(
    world: World, mode: str, name: str, expected: str, words: str
) -> None:
    answer = world.ask(name, mode)
    assert set(reasons(answer)) == {expected}
    assert answer.answer == "no"
    assert all(subject.words.startswith("No: ") and words in subject.words for subject in answer.subjects)


@pytest.mark.parametrize("mode", MODES)
def test_proved_places_and_disputed_works_were_in_the_list(world: World, mode: str) -> None:
    assert world.ask("proved", mode).answer == "yes"
    assert world.ask("disputed", mode).answer == "yes"
    assert world.ask("again", mode).answer == "yes"


@pytest.mark.parametrize("mode", MODES)
def test_what_was_withdrawn_later_was_in_the_list_then(world: World, mode: str) -> None:
    answer = world.ask("kept", mode)
    assert answer.answer == "yes"
    assert any("withdrawn" in note for note in answer.notes)


def test_the_list_knows_more_than_the_log(world: World) -> None:
    """Who else claimed the same, and that somebody with a better proof allowed it."""
    assert reasons(world.ask("overruled", "log")) == ["logged"]
    assert reasons(world.ask("overruled", "list")) == ["overruled"]
    assert reasons(world.ask("twice", "log")) == ["withdrawn"]
    assert reasons(world.ask("twice", "list")) == ["listed-by-another"]
    assert world.ask("twice", "list").answer == "yes"


def test_a_receipt_older_than_the_list_does_not_tell_what_the_list_tells(world: World) -> None:
    answer = world.ask("old held", "log")
    assert reasons(answer) == ["old-receipt"] * 4
    assert answer.answer == "unknown"
    assert all(subject.needs and "newer" not in subject.words[:10] for subject in answer.subjects)
    assert reasons(world.ask("old held", "site")) == ["listed", "listed", "listed", "pending"]
    assert reasons(world.ask("old quarantined", "log")) == ["old-receipt"]
    # What is final, or never was an opt-out, needs no newer receipt.
    assert reasons(world.ask("old withdrawn", "log")) == ["withdrawn"]
    assert reasons(world.ask("old grant", "log")) == ["grant"]


def with_options(report: Report, **options: object) -> Report:
    return replace(report, options=report.options | options)


def test_what_the_lab_chose_to_leave_aside_is_told(world: World) -> None:
    report = with_options(load_report(world.report), min_assurance="host")
    for mode in MODES:
        assert reasons(world.ask("held", mode, report))[:3] == ["weaker"] * 3
        assert world.ask("proved", mode, report).answer == "yes"
    assert "'declared'" in world.ask("held", "log", report).subjects[0].words
    report = with_options(load_report(world.report), as_of="2020-01-01")
    for mode in MODES:
        assert reasons(world.ask("held", mode, report))[:3] == ["younger"] * 3
        assert "2020-01-01" in world.ask("held", mode, report).subjects[0].words
    report = with_options(load_report(world.report), as_of=date(2999, 1, 1).isoformat())
    assert world.ask("kept", "list", report).answer == "yes"


def test_a_run_with_an_unverified_list_proves_nothing(world: World) -> None:
    report = replace(load_report(world.report), is_list_verified=False)
    answer = world.ask("held", "list", report)
    assert set(reasons(answer)) == {"unverified-list"}
    assert answer.answer == "unknown"
    listed = report.listed | {"log": report.listed["log"] | {"list_index": None}}
    answers = [world.ask("held", mode, replace(report, listed=listed)) for mode in MODES]
    assert {answer.answer for answer in answers} == {"unknown"}
    assert not any("entry None" in sentence for answer in answers for sentence in answer.proved)


def test_a_report_about_another_log_did_not_apply_this_one(world: World) -> None:
    other = Signer.generate("elsewhere.example/log").verifier
    report = load_report(world.report)
    listed = report.listed | {"log": report.listed["log"] | {"vkey": other.vkey, "origin": other.name}}
    answer = world.ask("held", "log", replace(report, listed=listed))
    assert set(reasons(answer)) == {"other-log"}
    assert "elsewhere.example/log" in answer.subjects[0].words


def test_what_is_proved_grows_with_what_is_at_hand(world: World) -> None:
    bare, log, listed, site = (world.ask("held", mode) for mode in MODES)
    assert [len(answer.proved) for answer in (bare, log, listed, site)] == [1, 3, 3, 4]
    assert any("one log" in sentence for sentence in bare.believed)
    assert not any("one log" in sentence for sentence in site.believed)
    assert any("made from the first" in sentence for sentence in bare.believed)
    assert any("not signed" in sentence for sentence in bare.believed)
    assert any("trained on" in sentence for sentence in site.believed)


def test_addresses_that_the_reader_knows_are_named(world: World) -> None:
    address = "https://art.example/1.jpg"
    names = {key_digest(canonical_key(address)): address}
    answer = was_applied(load_report(world.report), world.receipts["held"], world.vkey, names=names)
    first, second, *_ = answer.subjects
    assert first.name == address
    assert second.name.startswith("address with digest ")


# --- lies ---------------------------------------------------------------------------------------------------------


def flips(data: bytes, n: int = 60) -> Iterator[bytes]:
    for position in range(0, len(data), max(1, len(data) // n)):
        yield data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def test_every_flipped_byte_of_a_receipt_is_refused(world: World) -> None:
    data = json.dumps(world.receipts["held"]).encode()
    for changed in flips(data, 300):
        try:
            value = json.loads(changed)
        except ValueError:
            continue
        with pytest.raises(VerificationError):
            world.ask("held", receipt=value)


def test_every_flipped_byte_of_a_signed_report_is_refused(world: World, tmp_path: Path) -> None:
    private, public = make_keys(tmp_path / "key")
    report = tmp_path / "report.json"
    shutil.copy(world.report, report)
    keys = [load_public_key(public)]
    sign_report(report, load_private_key(private))
    assert load_report(report, keys).signed_by
    good = report.read_bytes()
    for changed in flips(good, 150):
        report.write_bytes(changed)
        with pytest.raises(Exception, match=r"report|JSON") as caught:
            load_report(report, keys)
        assert caught.type.__name__ in {"VerificationError", "InputError"}


@pytest.mark.parametrize("pattern", ["list/targets/*.manifest.json", "list/files/*.parquet", "log/tile/**/*"])
def test_every_flipped_byte_of_what_a_site_brings_is_refused_or_not_needed(
    world: World, tmp_path: Path, pattern: str
) -> None:
    good = world.ask("held", "site")
    copy = replace(world, site=tmp_path / "site")
    shutil.copytree(world.site, copy.site)
    n_refused = 0
    files = sorted(
        (file for file in copy.site.glob(pattern) if file.is_file()), key=lambda file: file.stat().st_mtime_ns
    )
    for path in files[-6:]:  # the log has partial tiles of every size it had
        data = path.read_bytes()
        for changed in flips(data, 6):
            path.write_bytes(changed)
            shutil.rmtree(tmp_path / "scratch", ignore_errors=True)
            try:
                answer = copy.ask("held", "site")
            except VerificationError:
                n_refused += 1
            else:
                assert answer == good
        path.write_bytes(data)
    assert n_refused > 3


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Ways to everything in a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in items:
        yield from places(member, (*path, key))


@pytest.mark.parametrize("odd", [None, -1, 2**70, True, 1.5, "", "\ud800", "\x1b[2J", [], {}, [[]], {"a": 1}])
def test_whatever_stands_in_a_report_ends_in_an_answer_or_a_refusal(world: World, tmp_path: Path, odd: object) -> None:
    good = json.loads(world.report.read_bytes())
    n_refused = 0
    ways = [way for way in places(good) if way]
    for *way, last in ways:
        value = json.loads(world.report.read_bytes())
        inner = value
        for key in way:
            inner = inner[key]
        inner[last] = odd
        data = json.dumps(value).encode()
        try:
            report = parse_report(data, tmp_path / "report.json")
            world.ask("held", "list", report)
            world.ask("held", "log", report)
        except HeldoutError:
            n_refused += 1
    assert n_refused > len(ways) / 3


def test_a_report_that_misstates_its_list_is_refused_with_the_list(world: World) -> None:
    report = load_report(world.report)
    log = report.listed["log"]
    for name, value in (
        ("version", 7),
        ("as_of", "2099-01-01T00:00:00Z"),
        ("canonicalisation", "heldout-url/9"),
        ("log", log | {"size": 3}),
        ("log", log | {"list_index": 10**9}),
    ):
        with pytest.raises(VerificationError, match="misstates"):
            world.ask("held", "list", replace(report, listed=report.listed | {name: value}))


def test_a_list_other_than_the_reports_is_refused(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.held, tmp_path / "list", symlinks=True)
    pull(str(world.site), tmp_path / "list")
    newest = ListAtHand.of_folder(verify_current(tmp_path / "list", now=None))
    report = load_report(world.report)
    with pytest.raises(VerificationError, match="not the one at hand"):
        was_applied(report, world.receipts["held"], world.vkey, version=newest)
    # The version before is kept, and found by its manifest.
    name = find_version(tmp_path / "list", report.manifest_sha256)
    assert name is not None
    assert ListAtHand.of_folder(verify_current(tmp_path / "list", now=None, name=name)).manifest.version == 1


def test_a_made_up_log_root_is_found_with_the_log(world: World) -> None:
    report = load_report(world.report)
    root = {"root": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}
    lie = replace(report, listed=report.listed | {"log": report.listed["log"] | root})
    with pytest.raises(VerificationError, match="not a beginning"):
        world.ask("held", "log at hand", lie)
    index = {"list_index": 0}
    lie = replace(report, listed=report.listed | {"log": report.listed["log"] | index})
    with pytest.raises(VerificationError, match="entry 0 of the log is its list, which it is not"):
        world.ask("held", "log at hand", lie)


def test_a_registry_that_showed_the_artist_another_log_is_found_out(world: World) -> None:
    """A second history, signed by the real key: the receipt proves itself, and contradicts the log."""
    signer = Signer.parse((world.site.parent / "keys" / "log.skey").read_text())
    real = world.receipts["held"]
    entries = [b"another entry", *(from_base64(entry["leaf"]) for entry in real["entries"])]
    hashes = [leaf_hash(entry) for entry in entries]
    note = sign_checkpoint(Checkpoint(ORIGIN, len(hashes), root_of(hashes)), signer)
    forked = Receipt(
        real["claim"],
        note,
        tuple(ReceiptEntry(i, entries[i], tuple(inclusion_proof(hashes, i))) for i in range(1, len(entries))),
    )
    assert world.ask("held", "log", receipt=receipt_to_json(forked)).answer in {"yes", "partly", "unknown"}
    with pytest.raises(VerificationError, match="receipt's log is not a beginning"):
        world.ask("held", "log at hand", receipt=receipt_to_json(forked))


def forged(world: World, tmp_path: Path) -> tuple[World, Report]:
    """A mirror and a report of a lab that made up a list with a later opt-out in it, from the real log."""
    site = tmp_path / "site"
    shutil.copytree(world.site, site)
    report = load_report(world.report)
    real = parse_manifest((site / f"list/targets/{report.manifest_sha256}.manifest.json").read_bytes())
    key = int.from_bytes(key_digest(canonical_key("https://art.example/12.jpg"))[:8])
    row = {"key": [key], "preference": [0], "assurance": [4], "since": [date(2026, 1, 1)]}
    table = pa.table(row, schema=SCHEMAS["url"])
    data = format_table(table, "url")
    file = ListFile(hashlib.sha256(data).digest(), len(data), 1, content_digest(table, "url"))
    counts = real.counts | {"url": 1}
    manifest = format_manifest(replace(real, files=real.files | {"urls/000.parquet": file}, counts=counts))
    digest = manifest_sha256(manifest).hex()
    (site / f"list/targets/{digest}.manifest.json").write_bytes(manifest)
    (site / f"list/files/{file.sha256.hex()}.parquet").write_bytes(data)
    return replace(world, site=site), replace(report, listed=report.listed | {"manifest_sha256": digest})


def test_a_list_that_the_registry_never_published_makes_no_yes(world: World, tmp_path: Path) -> None:
    lying, report = forged(world, tmp_path)
    with pytest.raises(VerificationError, match="is its list, which it is not"):
        lying.ask("late", "site", report)
    beyond = report.listed | {"log": report.listed["log"] | {"list_index": 10**9}}
    answer = lying.ask("late", "site", replace(report, listed=beyond))
    assert reasons(answer) == ["later", "later"]
    assert any("ever published" in sentence for sentence in answer.believed)
    assert not any("in the list itself" in sentence for sentence in answer.proved)


def test_a_report_of_a_verified_run_says_where_the_log_has_its_list(world: World, tmp_path: Path) -> None:
    value = json.loads(world.report.read_bytes())
    for index in (None, value["predicate"]["list"]["log"]["size"] - 1):
        value["predicate"]["list"]["log"]["list_index"] = index
        with pytest.raises(VerificationError, match="lacks a field"):
            parse_report(json.dumps(value).encode(), tmp_path / "report.json")


def test_what_a_run_could_not_look_for_is_noted(world: World) -> None:
    report = load_report(world.report)
    notes = world.ask("kept", "list", replace(report, total=report.total | {"n_in": 0})).notes
    assert "The run was given no samples at all." in notes
    notes = world.ask("kept", "list", with_options(report, writes="masks", url_column="page")).notes
    assert any("masks" in note for note in notes)
    assert any("'page'" in note for note in notes)
    notes = world.ask("kept", "list", replace(report, total=report.total | {"n_unreadable_urls": 3})).notes
    assert any(note.startswith("3 of 14 samples") for note in notes)


def test_a_site_without_that_list_says_so(tmp_path: Path) -> None:
    (tmp_path / "list" / "targets").mkdir(parents=True)
    with Downloads() as downloads, pytest.raises(NotFoundError):
        ListAtHand.of_site(downloads, base_url(str(tmp_path)), bytes(32), tmp_path)


# --- the command --------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(world: World, tmp_path: Path) -> Callable[..., int]:
    def ask(name: str, *more: str) -> int:
        path = tmp_path / "receipt.json"
        path.write_text(json.dumps(world.receipts[name]))
        return run(["verify", str(world.report), "--receipt", str(path), *more])

    return ask


def test_the_command_answers_in_words_and_in_json(
    world: World, asked: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    key = ["--log-key", world.vkey]
    assert asked("held", *key, "--from", str(world.site), "--url", "https://art.example/1.jpg") == 0
    out = capsys.readouterr().out
    assert "Of the 4 works and places of this claim, 3 were in the list" in out
    assert "url https://art.example/1.jpg: Yes: " in out
    assert "Proved by signatures and digests:" in out
    assert "Not proved, to be believed:" in out
    assert asked("late", *key, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["kind"], told["answer"], told["subjects"][0]["reason"]) == ("applied", "no", "later")
    assert asked("held", "--list", str(world.held), "--json") == 0
    assert json.loads(capsys.readouterr().out)["answer"] == "partly"


def test_the_command_needs_somebodys_key_and_a_receipt(
    world: World, asked: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked("held") == 2
    assert "--log-key" in capsys.readouterr().err
    assert asked("held", "--log-key", Signer.generate(ORIGIN).verifier.vkey) == 4
    assert "not signed by" in capsys.readouterr().err
    assert run(["verify", str(world.report), "--receipt", str(tmp_path / "no"), "--log-key", world.vkey]) == 2
    assert asked("held", "--log-key", world.vkey, "--from", str(tmp_path)) == 2  # there is no log there


def test_the_command_refuses_the_two_the_wrong_way_round(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    receipt = tmp_path / "receipt.json"
    receipt.write_text(json.dumps(world.receipts["held"]))
    assert run(["verify", str(receipt), "--receipt", str(world.report), "--log-key", world.vkey]) == 2
    assert "give the report first" in capsys.readouterr().err
    assert run(["verify", str(world.held), "--key", str(receipt)]) == 2
    assert run(["verify", str(world.report), "--from", str(world.site)]) == 2
    assert "--receipt" in capsys.readouterr().err


def test_the_command_says_when_the_list_at_hand_is_another(
    world: World, asked: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = tmp_path / "newest"
    pull(str(world.site), first, root=world.site.parent / "keys" / "1.root.json")
    assert asked("held", "--list", str(first)) == 0
    captured = capsys.readouterr()
    assert "does not hold the list that was applied" in captured.err
    assert "the list itself would prove it" in captured.out
