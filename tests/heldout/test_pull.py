"""Servers that lie, fail or fall behind: whatever they do, the list at hand stays."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from heldout.checkpoint import Signer, to_base64
from heldout.errors import ConflictError, HeldoutError, InputError, NotFoundError, UnavailableError, VerificationError
from heldout.exclusion import ExclusionList
from heldout.leaves import WithdrawLeaf, format_leaf
from heldout.pull import pull
from heldout.stored import ListFolder
from tests.heldout.conftest import IMAGES, URLS, PullSite
from tests.heldout.published import BASE_URL, Site, UrlRule, new_key

NEW_URL = UrlRule("https://art.example/new.jpg")


def held_state(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_pulled_list_opens_and_holds_what_was_published(pulled: Path) -> None:
    opened = ExclusionList.open(pulled)
    assert opened.counts == {"url": 2, "prefix": 0, "host": 0, "image": 2}
    assert opened.doubts == ()


def test_second_pull_moves_to_the_new_version_and_fetches_only_what_changed(
    site: Site, pulled: Path, pull_site: PullSite
) -> None:
    site.publish([*URLS, NEW_URL], IMAGES)
    site.requests.clear()
    result = pull_site()
    assert (result.is_new, result.manifest.version) == (True, 2)
    assert ExclusionList.open(pulled).lookup_urls([NEW_URL.url])["url"].found.all()
    assert sum(path.startswith("list/files/") for path in site.requests) == 1


def test_pull_of_the_same_version_changes_nothing(pulled: Path, pull_site: PullSite) -> None:
    before = held_state(pulled)
    result = pull_site()
    assert not result.is_new
    assert held_state(pulled) == before


def test_renewed_signatures_over_the_same_list_extend_its_freshness(
    site: Site, pulled: Path, pull_site: PullSite
) -> None:
    site.expires += timedelta(days=7)
    site.sign()
    result = pull_site()
    assert not result.is_new
    assert ExclusionList.open(pulled, now=datetime.now(UTC) + timedelta(days=10)).doubts == ()


def test_old_versions_and_their_files_are_swept(site: Site, pulled: Path, pull_site: PullSite) -> None:
    for n in range(3):
        site.publish([UrlRule(f"https://art.example/{n}")], IMAGES)
        (pulled / "files" / ".leftover.part").touch()
        (pulled / "versions" / ".staged-leftover").mkdir()
        pull_site()
    assert sorted(path.name for path in (pulled / "versions").iterdir()) == ["3-3", "4-4"]
    assert len(list((pulled / "files").iterdir())) == 5


def test_damaged_data_file_is_fetched_again(pulled: Path, pull_site: PullSite) -> None:
    damaged = next((pulled / "files").iterdir())
    damaged.write_bytes(b"PAR1")
    with pytest.raises(VerificationError):
        ExclusionList.open(pulled)
    pull_site()
    assert ExclusionList.open(pulled).doubts == ()


def test_log_that_dropped_its_partial_tiles_is_read_through_full_ones(
    site: Site, pulled: Path, pull_site: PullSite
) -> None:
    site.publish(URLS, IMAGES, n_other_leaves=100)
    tile = f"log/tile/0/000.p/{len(site.leaves)}"
    site.files["log/tile/0/000"] = site.files.pop(tile) + bytes(32) * (256 - len(site.leaves))
    assert pull_site().manifest.version == 2
    assert pulled.exists()


def test_list_of_many_thousand_entries_is_consistent_over_several_tile_levels(
    site: Site, pulled: Path, pull_site: PullSite
) -> None:
    site.publish(URLS, IMAGES, n_other_leaves=70_000)
    assert pull_site().manifest.log.size > 65_536
    assert pulled.exists()


def test_root_rotation_is_followed(site: Site, pulled: Path, pull_site: PullSite) -> None:
    site.rotate_root(new_keys={role: new_key() for role in ("root", "timestamp", "targets")})
    site.publish([*URLS, NEW_URL], IMAGES)
    assert pull_site().manifest.version == 2
    assert ExclusionList.open(pulled).doubts == ()


def test_mirror_may_redirect(site: Site, pull_site: PullSite) -> None:
    site.files["elsewhere.json"] = site.files.pop("list/metadata/timestamp.json")
    site.redirects["list/metadata/timestamp.json"] = f"{BASE_URL}/elsewhere.json"
    assert pull_site().is_new


# --- lies ---------------------------------------------------------------------------------------------------------


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def served_at_update(site: Site) -> list[str]:
    """Paths an update needs, signed metadata first."""
    site.publish([*URLS, NEW_URL], [*IMAGES, *IMAGES[:1]])
    names = ["timestamp.json", f"{site.tuf_version}.snapshot.json", f"{site.tuf_version}.targets.json"]
    paths = [f"list/metadata/{name}" for name in names]
    new = [path for path in site.files if path.startswith("list/targets/")][-2:]
    files = [path for path in site.files if path.startswith("list/files/")][-2:]
    return [*paths, *new, *files, f"log/tile/0/000.p/{len(site.leaves)}"]


@pytest.mark.parametrize("which", range(8))
def test_every_flipped_byte_is_refused_and_the_list_at_hand_kept(
    site: Site, pulled: Path, pull_site: PullSite, which: int
) -> None:
    path = served_at_update(site)[which]
    before = held_state(pulled)
    good = site.files[path]
    # A stride, to stay within seconds; it differs from path to path and run to run, since keys and sizes do.
    stride = max(1, len(good) // 25)
    for position in range(0, len(good), stride):
        site.files[path] = flipped(good, position)
        with pytest.raises(VerificationError):
            pull_site()
        assert held_state(pulled) == before | _new_data_files(pulled, before)
    site.files[path] = good
    assert pull_site().manifest.version == 2


def _new_data_files(folder: Path, before: dict[str, bytes]) -> dict[str, bytes]:
    """Data files are named by their digest and shared, so that a failed pull may leave good ones behind."""
    return {name: data for name, data in held_state(folder).items() if name not in before and name.startswith("files/")}


@pytest.mark.parametrize("which", range(8))
def test_truncated_and_padded_files_are_refused(site: Site, pulled: Path, pull_site: PullSite, which: int) -> None:
    path = served_at_update(site)[which]
    good = site.files[path]
    for bad in (good[:-1], good[: len(good) // 2], b"", good + b"x"):
        site.files[path] = bad
        with pytest.raises(VerificationError):
            pull_site()
    assert ListFolder(pulled).current_name() == "1-1"


def lie_older_timestamp(site: Site) -> None:
    site.tuf_version -= 2
    site.sign()


def lie_rolled_back_list(site: Site) -> None:
    """Newer metadata over an older list."""
    site.version, site.leaves = 0, site.leaves[:3]
    site.publish(URLS[:1], IMAGES)


def lie_same_version_other_content(site: Site) -> None:
    site.version -= 1
    site.publish(URLS[:1], IMAGES)


def lie_rewritten_log(site: Site) -> None:
    site.leaves[0] = b"another first entry"
    site.publish(URLS, IMAGES)


def lie_shortened_log(site: Site) -> None:
    site.leaves = site.leaves[:1]
    site.publish(URLS, IMAGES, n_other_leaves=0)


def lie_about_root_of_the_log(site: Site) -> None:
    site.publish(URLS, IMAGES, lie_about_root=True)


def lie_about_size_of_the_log(site: Site) -> None:
    site.publish(URLS, IMAGES, claimed_size=len(site.leaves) + 100)


def lie_unlogged_manifest(site: Site) -> None:
    """Sign a list for one customer that the log has never seen."""
    site.publish(URLS, IMAGES)
    site.manifest = site.manifest.replace(b'"as_of":"2026-11-22T01:02:03Z"', b'"as_of":"2026-11-22T01:02:09Z"')
    site.sign()


def lie_proof_of_another_entry(site: Site) -> None:
    site.publish(URLS, IMAGES)
    old = site.proof
    site.publish([*URLS, NEW_URL], IMAGES)
    site.proof = old
    site.sign()


def lie_proof_without_entry(site: Site) -> None:
    site.publish(URLS, IMAGES)
    site.proof = b"\n".join(line for line in site.proof.split(b"\n") if not line.startswith(b"extra "))
    site.sign()


def lie_proof_of_an_opt_out(site: Site) -> None:
    site.publish(URLS, IMAGES)
    site.proof = site.proof.replace(b"extra ", b"extra bm90IGpzb24=")
    site.sign()


def lie_log_of_another_key(site: Site) -> None:
    site.log_signer = Signer.generate(site.log_signer.name)
    site.publish(URLS, IMAGES)


def lie_log_of_another_name(site: Site) -> None:
    site.log_signer = Signer.generate("elsewhere.example/log")
    site.publish(URLS, IMAGES)


def lie_about_previous_version(site: Site) -> None:
    site.manifest = b"another list"
    site.publish(URLS, IMAGES)


def lie_unusable_log_key(site: Site) -> None:
    site.publish(URLS, IMAGES, vkey="no key")


def lie_log_key_of_another_name(site: Site) -> None:
    site.publish(URLS, IMAGES, vkey=Signer("elsewhere.example/log", site.log_signer.seed).verifier.vkey)


def lie_log_key_that_did_not_sign(site: Site) -> None:
    site.publish(URLS, IMAGES, vkey=Signer.generate(site.log_signer.name).verifier.vkey)


def lie_no_manifest(site: Site) -> None:
    site.publish(URLS, IMAGES)
    site.sign(omit="manifest.json")


def lie_no_proof(site: Site) -> None:
    site.publish(URLS, IMAGES)
    site.sign(omit="manifest.tlog-proof")


def lie_proof_of_a_withdrawal(site: Site) -> None:
    site.publish(URLS, IMAGES)
    leaf = format_leaf(WithdrawLeaf(datetime(2026, 11, 22, tzinfo=UTC), "0123456789abcdef", "by-claimant"))
    start, end = site.proof.index(b"extra ") + 6, site.proof.index(b"\nindex")
    site.proof = site.proof[:start] + to_base64(leaf).encode() + site.proof[end:]
    site.sign()


def lie_full_tile_missing_too(site: Site) -> None:
    site.publish(URLS, IMAGES, n_other_leaves=300)
    for path in [path for path in site.files if path.startswith("log/tile/0/")]:
        del site.files[path]


def lie_expired(site: Site) -> None:
    site.expires = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    site.publish(URLS, IMAGES)


def lie_stranger_signs_targets(site: Site) -> None:
    site.keys["targets"] = new_key()
    site.publish(URLS, IMAGES)


def lie_stranger_signs_timestamp(site: Site) -> None:
    site.keys["timestamp"] = new_key()
    site.publish(URLS, IMAGES)


def lie_stranger_rotates_root(site: Site) -> None:
    site.keys["root"] = new_key()
    site.rotate_root()
    site.publish(URLS, IMAGES)


def lie_swapped_snapshot(site: Site) -> None:
    """Mix and match: the old snapshot under the new version's name."""
    site.publish(URLS, IMAGES)
    old = site.files[f"list/metadata/{site.tuf_version - 1}.snapshot.json"]
    site.files[f"list/metadata/{site.tuf_version}.snapshot.json"] = old


def lie_swapped_data_files(site: Site) -> None:
    site.publish([*URLS, NEW_URL], [*IMAGES, *IMAGES])
    first, second = [path for path in site.files if path.startswith("list/files/")][-2:]
    site.files[first], site.files[second] = site.files[second], site.files[first]


def lie_no_tiles(site: Site) -> None:
    site.publish(URLS, IMAGES)
    for path in [path for path in site.files if path.startswith("log/tile/")]:
        del site.files[path]


def lie_endless_timestamp(site: Site) -> None:
    site.publish(URLS, IMAGES)
    site.files["list/metadata/timestamp.json"] += b" " * 20_000


LIES = [value for name, value in sorted(globals().items()) if name.startswith("lie_")]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_lying_server_is_refused_and_the_list_at_hand_kept(
    site: Site, pulled: Path, pull_site: PullSite, lie: Callable[[Site], None]
) -> None:
    site.publish(URLS, IMAGES)
    pull_site()
    before = held_state(pulled)
    lie(site)
    with pytest.raises(VerificationError) as caught:
        pull_site()
    assert len(str(caught.value)) > 30
    assert held_state(pulled) == before | _new_data_files(pulled, before)
    assert not list((pulled / "versions").glob(".*"))
    assert ExclusionList.open(pulled).version.manifest.version == 2


@pytest.mark.parametrize("lie", [lie_unlogged_manifest, lie_about_root_of_the_log, lie_expired, lie_swapped_data_files])
def test_lie_at_the_first_pull_leaves_no_list(
    site: Site, tmp_path: Path, pull_site: PullSite, lie: Callable[[Site], None]
) -> None:
    lie(site)
    with pytest.raises(VerificationError):
        pull_site()
    with pytest.raises(NotFoundError, match="heldout pull"):
        ExclusionList.open(tmp_path / "list")


def test_list_with_a_wrong_count_is_refused(site: Site, pulled: Path, pull_site: PullSite) -> None:
    site.publish(URLS, IMAGES, claimed_count=7)
    with pytest.raises(VerificationError, match="2 entries instead of 7"):
        pull_site()
    assert ExclusionList.open(pulled).version.manifest.version == 1


def test_list_of_unknown_canonicalisation_asks_for_an_update(site: Site, pulled: Path, pull_site: PullSite) -> None:
    site.canonicalisation = "heldout-url/2"
    site.publish(URLS, IMAGES)
    with pytest.raises(InputError, match="update heldout"):
        pull_site()
    assert ListFolder(pulled).current_name() == "1-1"


# --- roots --------------------------------------------------------------------------------------------------------


def test_first_pull_without_a_root_is_refused(site: Site, tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match="--root"):
        pull(BASE_URL, tmp_path / "list", transport=site.transport())


def test_root_taken_from_the_server_has_to_be_allowed_every_time(
    site: Site, tmp_path: Path, pull_site: PullSite
) -> None:
    assert not pull_site(root=None, allow_unverified=True).is_vouched
    with pytest.raises(VerificationError, match="--allow-unverified"):
        pull_site(root=None)
    with pytest.raises(VerificationError, match="--allow-unverified"):
        ExclusionList.open(tmp_path / "list")
    assert len(ExclusionList.open(tmp_path / "list", allow_unverified=True).doubts) == 1
    assert pull_site(root=site.write_root(tmp_path)).is_vouched
    assert ExclusionList.open(tmp_path / "list").doubts == ()


def test_another_root_than_the_folder_trusts_is_an_input_error(
    pulled: Path, tmp_path: Path, pull_site: PullSite
) -> None:
    stranger = Site().publish()
    path = tmp_path / "stranger.json"
    path.write_bytes(stranger.root)
    before = held_state(pulled)
    with pytest.raises(InputError, match="another root"):
        pull_site(root=path)
    assert held_state(pulled) == before


def test_wrong_root_at_the_first_pull_is_refused(site: Site, tmp_path: Path) -> None:
    stranger = Site().publish()
    path = tmp_path / "stranger.json"
    path.write_bytes(stranger.root)
    with pytest.raises(VerificationError):
        pull(BASE_URL, tmp_path / "list", root=path, transport=site.transport())


@pytest.mark.parametrize("content", [None, b"", b"{}", b"not json"])
def test_unusable_root_file_is_an_input_error(tmp_path: Path, pull_site: PullSite, content: bytes | None) -> None:
    path = tmp_path / "bad.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.json"):
        pull_site(root=path)


def test_damaged_memory_of_versions_seen_is_not_pulled_over(pulled: Path, pull_site: PullSite) -> None:
    path = pulled / "versions" / "1-1" / "metadata" / "timestamp.json"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(VerificationError, match="move the folder away"):
        pull_site()


# --- the outside world --------------------------------------------------------------------------------------------


def failing(error: Exception) -> httpx.MockTransport:
    def answer(_: httpx.Request) -> httpx.Response:
        raise error

    return httpx.MockTransport(answer)


@pytest.mark.parametrize(
    "transport",
    [
        failing(httpx.ConnectError("refused")),
        failing(httpx.ReadTimeout("slow")),
        httpx.MockTransport(lambda _: httpx.Response(500)),
        httpx.MockTransport(lambda _: httpx.Response(404)),
        httpx.MockTransport(lambda _: httpx.Response(302, headers={"Location": "/again"})),
    ],
    ids=["refused", "slow", "500", "404", "redirect loop"],
)
def test_unreachable_server_is_the_outside_worlds_fault(
    pulled: Path, pull_site: PullSite, transport: httpx.MockTransport
) -> None:
    before = held_state(pulled)
    with pytest.raises(UnavailableError):
        pull_site(transport=transport)
    assert held_state(pulled) == before


def lost_after(n_requests: int, site: Site) -> httpx.MockTransport:
    real = site.transport()
    served = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal served
        served += 1
        if served > n_requests:
            raise httpx.ReadError("connection lost")
        return real.handle_request(request)

    return httpx.MockTransport(answer)


def test_connection_lost_at_any_request_leaves_the_list_at_hand(site: Site, pulled: Path, pull_site: PullSite) -> None:
    site.publish([*URLS, NEW_URL], IMAGES)
    for last in range(20):
        transport = lost_after(last, site)
        try:
            pull_site(transport=transport)
        except UnavailableError:
            assert ExclusionList.open(pulled).version.manifest.version == 1
        else:
            break
    assert ExclusionList.open(pulled).version.manifest.version == 2


@pytest.mark.parametrize("url", ["ftp://registry.example", "registry.example", "http://", "http://[::1"])
def test_unusable_address_is_reported(site: Site, tmp_path: Path, url: str) -> None:
    with pytest.raises(HeldoutError) as caught:
        pull(url, tmp_path / "list", root=site.write_root(tmp_path))
    assert type(caught.value) in {InputError, UnavailableError}


@pytest.mark.usefixtures("pulled")
def test_two_pulls_at_once_do_not_meet(pull_site: PullSite) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        with pytest.raises(ConflictError, match="another process"):
            pull_site()
        return httpx.Response(500)

    with pytest.raises(UnavailableError):
        pull_site(transport=httpx.MockTransport(answer))


def test_progress_is_told_in_bytes(site: Site, pull_site: PullSite) -> None:
    seen: list[tuple[int, int]] = []
    pull_site(progress=lambda *step: seen.append(step))
    sizes = [len(data) for path, data in site.files.items() if path.startswith("list/files/")]
    assert seen[-1] == (sum(sizes), sum(sizes))


def test_folder_that_cannot_be_written_is_reported(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match="cannot be written"):
        pull(BASE_URL, tmp_path / "file" / "list", root=site.write_root(tmp_path), transport=site.transport())


def test_dead_pull_with_the_same_name_is_replaced(pulled: Path, site: Site, pull_site: PullSite) -> None:
    site.publish([*URLS, NEW_URL], IMAGES)
    shutil.copytree(pulled / "versions" / "1-1", pulled / "versions" / "2-2")
    pull_site()
    assert ExclusionList.open(pulled).version.manifest.version == 2


def test_signing_a_list_anew_does_not_push_out_the_list_before(tmp_path: Path) -> None:
    site = Site().publish(URLS, IMAGES)
    root = site.write_root(tmp_path)
    pull(BASE_URL, tmp_path / "list", root=root, transport=site.transport())
    site.publish(URLS[:1], IMAGES)
    for _ in range(3):
        site.sign()
        pull(BASE_URL, tmp_path / "list", transport=site.transport())
    assert sorted(path.name for path in (tmp_path / "list/versions").iterdir()) == ["1-1", "2-4", "2-5"]
    old = ExclusionList.open(tmp_path / "list", version="1-1")
    assert old.counts["url"] == len(URLS)
