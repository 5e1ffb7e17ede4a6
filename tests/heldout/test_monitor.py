"""Following a log that is honest, and one that is not."""

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout import monitor as monitor_module
from heldout.checkpoint import Checkpoint, Signer, Verifier, open_checkpoint, sign_checkpoint
from heldout.download import Downloads
from heldout.errors import InputError, NotFoundError, UnavailableError, VerificationError
from heldout.leaves import ImageDigest, ListLeaf, OptOutLeaf, UrlDigest, WithdrawLeaf
from heldout.monitor import LogAlarm, Monitor, Round
from heldout.monitor_state import MonitorState
from heldout.urls import canonical_key, key_digest
from heldout.watching import Happened, Watches
from heldout.witnesses import WitnessPolicy
from tests.heldout.cosigning import Witness
from tests.heldout.lying_log import AT, LyingLog

LATER = AT + timedelta(hours=1)


class World:
    """A log, and a monitor's state in a folder."""

    def __init__(self, folder: Path) -> None:
        self.log = LyingLog()
        self.state_path = folder / "state" / "monitor.json"
        self.told: list[Happened] = []

    def follow(
        self,
        *,
        watches: Watches | None = None,
        policy: WitnessPolicy | None = None,
        max_age: timedelta | None = None,
        now: datetime = LATER,
        verifier: Verifier | None = None,
    ) -> Round:
        self.log.requests.clear()
        with Downloads(self.log.transport()) as downloads:
            return Monitor(
                "http://registry.example/",
                verifier or self.log.signer.verifier,
                downloads,
                self.state_path,
                watches=watches or Watches(),
                policy=policy,
                max_age=max_age,
            ).round(self.told.append, now=now)

    @property
    def state(self) -> MonitorState:
        state = MonitorState.load(self.state_path)
        assert state is not None
        return state

    def alarm(self, kind: str, **options: object) -> dict[str, bytes]:
        """The next round is an alarm of this kind; the evidence kept."""
        with pytest.raises(LogAlarm) as alarm:
            self.follow(**options)  # type: ignore[arg-type]
        assert (alarm.value.kind, int(alarm.value.exit_code)) == (kind, 4)
        assert str(alarm.value.evidence) in str(alarm.value)
        files = {path.name: path.read_bytes() for path in alarm.value.evidence.iterdir()}
        assert kind in files["alarm.txt"].decode()
        return files

    def signed(self, evidence: bytes) -> Checkpoint:
        """What the log's key signed, as anybody can check."""
        return open_checkpoint(evidence, self.log.signer.verifier)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_an_honest_log_is_followed_as_it_grows(world: World) -> None:
    sizes = []
    for n in (0, 1, 254, 1, 1, 300, 0):
        world.log.fill(n).publish()
        seen = world.follow()
        assert (seen.n_read, seen.n_by_type["list"]) == (n, n)
        sizes.append((seen.old_size, seen.size))
        assert (world.state.size, world.state.root) == (seen.size, world.signed(world.log.files["log/checkpoint"]).root)
    assert sizes == [(0, 0), (0, 1), (1, 255), (255, 256), (256, 257), (257, 557), (557, 557)]
    assert seen.newest_at == AT + timedelta(seconds=557)


@settings(max_examples=15, deadline=None)
@given(steps=st.lists(st.integers(0, 300), min_size=1, max_size=4))
def test_any_growth_of_an_honest_log_is_accepted(tmp_path_factory: pytest.TempPathFactory, steps: list[int]) -> None:
    world = World(tmp_path_factory.mktemp("monitor"))
    for n in steps:
        world.log.fill(n).publish()
        assert world.follow().n_read == n


def test_entries_already_read_are_not_fetched_again(world: World) -> None:
    world.log.fill(1024).publish()
    world.follow()
    world.log.fill(1).publish()
    world.follow()
    bundles = [path for path in world.log.requests if "entries" in path]
    assert bundles == ["log/tile/entries/004.p/1"]
    assert len(world.log.requests) < 12


def test_a_partial_tile_that_made_way_for_the_full_one_is_no_alarm(world: World) -> None:
    """The log grows between the reading of its checkpoint and of its tiles."""
    old = world.log.fill(200).publish()
    world.log.fill(100).publish()
    world.log.files["log/checkpoint"] = old.encode()
    assert world.follow().size == 200
    world.log.publish()
    assert world.follow().size == 300


def test_bundles_may_come_compressed(world: World) -> None:
    world.log.is_gzipped = True
    world.log.fill(300).publish()
    assert world.follow().n_read == 300


def fork(log: LyingLog, at: int) -> None:
    """Another history from this entry on."""
    log.entries[at] = log.entries[at].replace(b'"version":', b'"version":9')


@pytest.mark.parametrize("n_more", [0, 1, 56, 300])
@pytest.mark.parametrize("at", [0, 5, 199])
def test_a_forked_log_is_an_alarm_and_both_sides_are_kept(world: World, n_more: int, at: int) -> None:
    old = world.log.fill(200).publish()
    world.follow()
    fork(world.log, at)
    new = world.log.fill(n_more).publish()
    evidence = world.alarm("forked")
    assert (evidence["old-checkpoint"], evidence["new-checkpoint"]) == (old.encode(), new.encode())
    assert world.signed(evidence["old-checkpoint"]).root != world.signed(evidence["new-checkpoint"]).root
    assert world.state.checkpoint == old
    world.alarm("forked")  # and it stays one


def test_the_evidence_of_a_fork_convinces_somebody_else(world: World) -> None:
    """From the two checkpoints and the proof alone: the new tree begins with another root than was signed."""
    import base64

    from heldout.merkle import verify_consistency

    world.log.fill(200).publish()
    world.follow()
    fork(world.log, 100)
    world.log.fill(100).publish()
    evidence = world.alarm("forked")
    old, new = world.signed(evidence["old-checkpoint"]), world.signed(evidence["new-checkpoint"])
    theirs, *proof = map(base64.b64decode, evidence["consistency-proof"].splitlines())
    verify_consistency(old.size, theirs, new.size, new.root, proof)
    assert theirs != old.root


@pytest.mark.parametrize("n_left", [0, 1, 199])
def test_a_log_that_shrinks_is_an_alarm(world: World, n_left: int) -> None:
    world.log.fill(200).publish()
    world.follow()
    del world.log.entries[n_left:]
    world.log.publish()
    evidence = world.alarm("shrunk")
    assert (world.signed(evidence["old-checkpoint"]).size, world.signed(evidence["new-checkpoint"]).size) == (
        200,
        n_left,
    )


def test_a_checkpoint_that_another_key_signed_is_an_alarm(world: World) -> None:
    world.log.fill(3).publish()
    world.follow()
    checkpoint = Checkpoint("registry.example/log", 5, bytes(32))
    world.log.files["log/checkpoint"] = sign_checkpoint(checkpoint, Signer(checkpoint.origin, b"\x02" * 32)).encode()
    evidence = world.alarm("unsigned")
    assert evidence["new-checkpoint"] == world.log.files["log/checkpoint"]
    for data in (b"", b"\xff", b"x" * 2_000_000):
        world.log.files["log/checkpoint"] = data
        world.alarm("unsigned")


PATHS = ["log/tile/0/000", "log/tile/0/001", "log/tile/0/002.p/88", "log/tile/1/000.p/2", "log/tile/entries/000",
         "log/tile/entries/001", "log/tile/entries/002.p/88"]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("n_seen", [0, 100])
def test_any_damaged_tile_or_bundle_is_an_alarm_until_it_is_mended(world: World, path: str, n_seen: int) -> None:
    world.log.fill(n_seen).publish()
    world.follow()
    world.log.fill(600 - n_seen).publish()
    good = world.log.files[path]
    for change in (
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: bytes([data[0] ^ 1]) + data[1:],
        lambda data: data[:-1],
        lambda data: data + data[-32:],
        lambda _: b"",
    ):
        world.log.damage(path, change)
        evidence = world.alarm("damaged")
        assert evidence["new-checkpoint"] == world.log.files["log/checkpoint"]
        world.log.files[path] = good
    assert world.follow().size == world.state.size == 600


@pytest.mark.parametrize("path", PATHS)
def test_a_missing_bundle_or_tile_is_an_alarm(world: World, path: str) -> None:
    world.log.fill(600).publish()
    good = world.log.files.pop(path)
    world.alarm("incomplete")
    world.log.files[path] = good
    assert world.follow().size == 600


def test_entries_that_are_not_those_signed_for_are_an_alarm(world: World) -> None:
    """Bundles and tiles agree with each other, and not with the checkpoint."""
    note = world.log.fill(300).publish()
    fork(world.log, 7)
    world.log.publish()
    world.log.files["log/checkpoint"] = note.encode()
    world.alarm("damaged")


def test_a_log_without_a_checkpoint_is_not_there(world: World) -> None:
    with pytest.raises(NotFoundError):
        world.follow()
    assert not world.state_path.exists()


def test_a_log_that_went_stale_is_an_alarm(world: World) -> None:
    world.log.fill(3).publish()
    week = timedelta(days=7)
    assert world.follow(max_age=week).size == 3
    evidence = world.alarm("stale", max_age=week, now=AT + timedelta(days=8))
    assert world.signed(evidence["new-checkpoint"]).size == 3
    world.log.add(ListLeaf(AT + timedelta(days=8), 99, bytes(32))).publish()
    assert world.follow(max_age=week, now=AT + timedelta(days=8)).size == 4


def test_a_log_with_no_entry_is_stale_too(world: World) -> None:
    world.log.publish()
    world.alarm("stale", max_age=timedelta(days=7))


WITNESS = Witness("w.example", b"\x07" * 32)
OTHER = Witness("v.example", b"\x08" * 32)
POLICY = WitnessPolicy.parse(f"witness w {WITNESS.vkey}\nwitness v {OTHER.vkey}\nquorum w\n".encode())
DAY = timedelta(days=1)


def cosigned(note: str, witness: Witness, at: datetime = AT) -> bytes:
    return (note + witness.cosign(note, int(at.timestamp()))).encode()


def test_a_cosigned_log_is_fresh_though_nothing_happens_in_it(world: World) -> None:
    note = world.log.fill(3).publish()
    world.log.files["log/checkpoint"] = cosigned(note, WITNESS, AT + 30 * DAY)
    seen = world.follow(policy=POLICY, max_age=DAY, now=AT + 30 * DAY)
    assert seen.witnessed is not None
    assert seen.witnessed.is_enough
    world.alarm("stale", policy=POLICY, max_age=DAY, now=AT + 32 * DAY)


def test_a_log_that_lost_its_witnesses_is_an_alarm(world: World) -> None:
    note = world.log.fill(3).publish()
    world.log.files["log/checkpoint"] = cosigned(note, OTHER)
    seen = world.follow(policy=POLICY)
    assert seen.witnessed is not None
    assert (seen.witnessed.is_enough, list(seen.witnessed.cosignatures)) == (False, ["v"])
    world.alarm("stale", policy=POLICY, max_age=DAY)


def test_the_last_witnessed_checkpoint_counts_while_the_log_grows(world: World) -> None:
    note = world.log.fill(3).publish()
    kept = cosigned(note, WITNESS)
    world.log.fill(4).publish()
    world.log.files["log/checkpoint.witnessed"] = kept
    seen = world.follow(policy=POLICY, max_age=DAY)
    assert seen.witnessed is not None
    assert (seen.size, seen.witnessed.is_enough) == (7, True)


def test_witnesses_who_saw_another_history_are_an_alarm(world: World) -> None:
    note = world.log.fill(3).publish()
    fork(world.log, 1)
    for n in (0, 4):
        world.log.fill(n).publish()
        world.log.files["log/checkpoint.witnessed"] = cosigned(note, WITNESS)
        evidence = world.alarm("forked", policy=POLICY)
        assert evidence["witnessed-checkpoint"] == cosigned(note, WITNESS)


def test_witnesses_who_saw_more_are_an_alarm(world: World) -> None:
    world.log.fill(3).publish()
    checkpoint = Checkpoint(world.log.signer.name, 9, bytes(32))
    note = sign_checkpoint(checkpoint, world.log.signer)
    world.log.files["log/checkpoint.witnessed"] = cosigned(note, WITNESS)
    world.alarm("shrunk", policy=POLICY)


def test_a_forged_cosignature_is_an_alarm(world: World) -> None:
    note = world.log.fill(3).publish()
    other = world.log.fill(1).publish()
    world.log.files["log/checkpoint"] = (other + WITNESS.cosign(note, int(AT.timestamp()))).encode()
    world.alarm("damaged", policy=POLICY)


def test_a_download_that_breaks_off_goes_on_where_it_was(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor_module, "SAVE_EVERY", 2)
    world.log.fill(20 * 256 + 10).publish()
    world.log.fails_after = 25
    with pytest.raises(UnavailableError):
        world.follow()
    n_before = world.state.size
    assert 256 <= n_before < len(world.log.entries)
    world.log.fails_after = None
    assert world.follow().n_read == len(world.log.entries) - n_before
    fetched = [path for path in world.log.requests if "entries" in path]
    assert fetched[0] == f"log/tile/entries/{n_before // 256:03d}"


def test_breaking_off_after_any_request_loses_no_news_and_no_progress(world: World) -> None:
    watches = Watches()
    watches.add_url("https://jane.example/a.jpg")
    for i in range(5):
        world.log.fill(200).add(opt_out(f"claim000{i}", "https://jane.example/a.jpg"))
    world.log.publish()
    for n in range(1, 40):
        world.log.fails_after = n
        try:
            world.follow(watches=watches)
        except UnavailableError:
            continue
        break
    else:
        pytest.fail("it never came to an end")
    assert n > 3
    assert sorted({happened.index for happened in world.told}) == [200, 401, 602, 803, 1004]


def test_a_log_rewritten_while_it_was_being_read_is_an_alarm(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint was accepted before its entries were; the next one must extend it all the same."""
    monkeypatch.setattr(monitor_module, "SAVE_EVERY", 1)
    world.log.fill(5 * 256).publish()
    world.log.fails_after = 8
    with pytest.raises(UnavailableError):
        world.follow()
    assert world.state.size < 5 * 256
    world.log.fails_after = None
    fork(world.log, 5 * 256 - 1)
    world.log.publish()
    world.alarm("forked")


def test_memory_does_not_grow_with_the_log(world: World) -> None:
    """What is kept is the right edge: tiles of hashes are read once and let go."""
    import tracemalloc

    peaks = []
    for n in (1_000, 9_000):
        world.log.fill(n).publish()
        world.log.transport()
        tracemalloc.start()
        world.follow()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0] + 500_000


def test_another_key_than_before_is_refused(world: World) -> None:
    world.log.fill(1).publish()
    world.follow()
    with pytest.raises(InputError, match="never changes its key"):
        world.follow(verifier=Signer(world.log.signer.name, b"\x02" * 32).verifier)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": "heldout-monitor/2"}', "\ud800"])
def test_a_damaged_state_is_refused(world: World, text: str) -> None:
    world.state_path.parent.mkdir(parents=True)
    world.state_path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError, match="move it away"):
        world.follow()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150)
@given(
    place=st.sampled_from(["vkey", "checkpoint", "size", "root", "newest_at", "floors", "positions", "n_seen"]),
    value=JSON,
)
def test_any_json_in_a_state_is_read_or_refused_in_order(
    tmp_path_factory: pytest.TempPathFactory, place: str, value: object
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-state.json"
    MonitorState("vkey").save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {place: value}))
    with suppress(InputError):
        MonitorState.load(path)


def opt_out(
    claim: str, *urls: str, images: tuple[ImageDigest, ...] = (), part: int = 1, n_parts: int = 1
) -> OptOutLeaf:
    addresses = tuple(UrlDigest(key_digest(canonical_key(url))) for url in urls)
    return OptOutLeaf(AT, claim, "declared", "train-ai=n", addresses + images, part, n_parts)


def test_what_happens_to_an_address_is_told_and_later_what_happens_to_its_claim(world: World) -> None:
    watches = Watches()
    watches.add_url("HTTPS://Jane.example:443/a.jpg?utm_source=x")
    world.log.fill(2).add(opt_out("claim0001", "https://jane.example/b.jpg", "https://jane.example/a.jpg"))
    world.log.add(opt_out("claim0002", "https://jane.example/c.jpg")).publish()
    world.follow(watches=watches)
    assert [(happened.index, happened.about) for happened in world.told] == [(2, ("url jane.example/a.jpg",))]
    assert "opt-out, train-ai=n, declared, claim claim0001" in world.told[0].words()
    world.told.clear()
    world.log.add(WithdrawLeaf(AT, "claim0002", "by-claimant"), WithdrawLeaf(AT, "claim0001", "by-operator")).publish()
    world.follow(watches=watches)
    assert [happened.to_json() for happened in world.told] == [
        {
            "index": 5,
            "at": "2026-11-22T12:00:00Z",
            "type": "withdraw",
            "claim": "claim0001",
            "about": ["url jane.example/a.jpg"],
            "reason": "by-operator",
        }
    ]


def test_what_is_watched_later_is_looked_for_from_the_beginning_and_nothing_is_told_twice(world: World) -> None:
    first, both = Watches(), Watches()
    for watches in (first, both):
        watches.add_url("https://jane.example/a.jpg")
    both.add_url("https://jane.example/b.jpg")
    world.log.add(opt_out("claim0001", "https://jane.example/b.jpg", "https://jane.example/a.jpg")).fill(300).publish()
    world.follow(watches=first)
    world.follow(watches=both)
    world.follow(watches=both)
    assert [happened.about for happened in world.told] == [("url jane.example/a.jpg",), ("url jane.example/b.jpg",)]


def test_an_entry_of_a_later_version_is_counted_and_stops_nothing(world: World) -> None:
    world.log.add(b'{"type":"poem","v":9}', b"\xff\x00").fill(1).publish()
    seen = world.follow()
    assert seen.n_by_type == {"unknown": 2, "list": 1}


def test_a_picture_is_found_by_its_bytes_and_by_its_look(world: World, picture: Callable[[], bytes]) -> None:
    from heldout.pictures import fingerprint

    data = picture()
    made = fingerprint(data)
    upright = made.pdq[0].tobytes()
    near = bytes([upright[0] ^ 0b111]) + upright[1:]
    turned = made.pdq[3].tobytes()
    watches = Watches()
    watches.add_picture(data, "a.png")
    images = [
        ImageDigest(near, 90),
        ImageDigest(turned, 90),
        ImageDigest(bytes(32), 0, made.sha256),
        ImageDigest(bytes(b ^ 255 for b in upright), 90),
        ImageDigest(near, 10),
    ]
    for i, image in enumerate(images):
        world.log.add(opt_out(f"claim000{i}", images=(image,)))
    world.log.publish()
    world.follow(watches=watches)
    assert [happened.index for happened in world.told] == [0, 1, 2]


@pytest.fixture
def picture() -> Callable[[], bytes]:
    def make() -> bytes:
        import io

        import numpy as np
        from PIL import Image

        pixels = np.random.default_rng(1).integers(0, 255, (16, 16, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).resize((256, 256), Image.Resampling.BICUBIC).save(stream, "PNG")
        return stream.getvalue()

    return make


def test_an_alarm_is_a_verification_error() -> None:
    assert issubclass(LogAlarm, VerificationError)
