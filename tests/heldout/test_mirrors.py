"""Mirrors: bytes from anywhere, trust from the site alone."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from heldout.cli import run
from heldout.errors import InputError, UnavailableError, VerificationError
from heldout.exclusion import ExclusionList
from heldout.mirrors import Wanted, check_room
from heldout.pull import pull
from heldout.witnesses import WitnessPolicy
from tests.heldout.conftest import IMAGES, URLS, PullSite
from tests.heldout.cosigning import Witness
from tests.heldout.published import BASE_URL, Site, UrlRule

NEW_URL = UrlRule("https://art.example/new.jpg")
GOOD, LIAR, DEAD, BEHIND = (f"http://{name}.example" for name in ("good", "liar", "dead", "behind"))
Capture = pytest.CaptureFixture[str]


class World:
    """The site, and mirrors that tell the truth, lie, are dead, or have nothing yet. Notes who is asked for what."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.asked: list[tuple[str, str]] = []
        self.is_site_full = True

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        parts = urlsplit(str(request.url))
        base, path = f"http://{parts.netloc}", parts.path.lstrip("/")
        self.asked.append((base, path))
        if base == DEAD:
            raise httpx.ConnectError("refused")
        if base == BEHIND or (base == BASE_URL and path.startswith("list/files/") and not self.is_site_full):
            return httpx.Response(404)
        answer = self.site.transport().handle_request(request)
        if base == LIAR:
            return httpx.Response(200, content=answer.content[:-1] + b"?")
        return answer

    def data_from(self, base: str) -> int:
        return sum(asked == base and path.startswith("list/files/") for asked, path in self.asked)


@pytest.fixture
def world(site: Site) -> World:
    return World(site)


def test_data_comes_from_the_mirror_and_trust_from_the_site(world: World, pull_site: PullSite) -> None:
    result = pull_site(transport=world.transport(), mirrors=[GOOD])
    assert world.data_from(GOOD) == len({path for path in world.site.files if path.startswith("list/files/")})
    assert world.data_from(BASE_URL) == 0
    assert {path.split("/")[1] for base, path in world.asked if base == GOOD} == {"files"}
    assert result.refused == ()
    assert result.n_bytes > 0


def test_a_lying_mirror_is_named_and_left_out_after_its_first_lie(
    world: World, tmp_path: Path, pull_site: PullSite
) -> None:
    result = pull_site(transport=world.transport(), mirrors=[LIAR, GOOD])
    assert world.data_from(LIAR) == 1
    assert len(result.refused) == 1
    assert result.refused[0].startswith(LIAR)
    assert ExclusionList.open(tmp_path / "list").doubts == ()


def test_dead_mirrors_and_mirrors_that_are_behind_are_passed_over(world: World, pull_site: PullSite) -> None:
    result = pull_site(transport=world.transport(), mirrors=[DEAD, BEHIND, GOOD])
    assert world.data_from(DEAD) == 1
    assert world.data_from(BEHIND) == world.data_from(GOOD) > 1
    assert [refusal.partition("/list")[0] for refusal in result.refused] == [DEAD]


def test_the_site_is_asked_last(world: World, pull_site: PullSite) -> None:
    pull_site(transport=world.transport(), mirrors=[LIAR, DEAD, BEHIND])
    assert world.data_from(BASE_URL) > 1


def test_when_only_liars_have_the_data_the_list_at_hand_stays(
    world: World, site: Site, pulled: Path, pull_site: PullSite
) -> None:
    site.publish([*URLS, NEW_URL], IMAGES)
    world.is_site_full = False
    with pytest.raises(VerificationError, match=LIAR):
        pull_site(transport=world.transport(), mirrors=[LIAR, DEAD])
    assert ExclusionList.open(pulled).version.manifest.version == 1


def test_when_nobody_has_the_data_it_is_the_outside_worlds_fault(
    world: World, site: Site, pulled: Path, pull_site: PullSite
) -> None:
    site.publish([*URLS, NEW_URL], IMAGES)
    world.is_site_full = False
    with pytest.raises(UnavailableError, match="does not exist"):
        pull_site(transport=world.transport(), mirrors=[BEHIND])
    with pytest.raises(UnavailableError, match="refused"):
        pull_site(transport=world.transport(), mirrors=[BEHIND, DEAD])
    assert ExclusionList.open(pulled).version.manifest.version == 1


def test_a_mirror_cannot_bring_another_list_of_its_own(world: World, pull_site: PullSite, tmp_path: Path) -> None:
    """What a mirror says about metadata, manifest and log is not even asked."""
    pull_site(transport=world.transport(), mirrors=[LIAR])
    assert not [path for base, path in world.asked if base == LIAR and not path.startswith("list/files/")]
    assert ExclusionList.open(tmp_path / "list").doubts == ()


def test_an_unusable_mirror_is_an_input_error(pull_site: PullSite) -> None:
    with pytest.raises(InputError, match="neither a URL"):
        pull_site(mirrors=["mirror.example"])


# --- folders and file servers -------------------------------------------------------------------------------------


@pytest.fixture
def copied(site: Site, tmp_path: Path) -> Path:
    """The site's files in a folder with a space, as rsync leaves them."""
    folder = tmp_path / "a mirror"
    for path, data in site.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def test_a_folder_is_a_site(copied: Path, site: Site, tmp_path: Path) -> None:
    root = site.write_root(tmp_path)
    for number, address in enumerate((str(copied), copied.as_uri(), f"{copied.as_uri()}/")):
        out = tmp_path / f"list{number}"
        pull(address, out, root=root)
        assert ExclusionList.open(out).doubts == ()


def test_a_folder_that_lacks_files_is_the_outside_worlds_fault(copied: Path, site: Site, tmp_path: Path) -> None:
    shutil.rmtree(copied / "list" / "files")
    with pytest.raises(UnavailableError, match="does not exist"):
        pull(str(copied), tmp_path / "list", root=site.write_root(tmp_path))


def test_the_command_takes_mirrors_and_tells_of_liars(
    copied: Path, served: str, site: Site, tmp_path: Path, capsys: Capture
) -> None:
    liar = tmp_path / "liar"
    shutil.copytree(copied, liar)
    for path in (liar / "list" / "files").iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    arguments = ["pull", served, "-o", str(tmp_path / "list"), "--root", str(site.write_root(tmp_path))]
    assert run([*arguments, "--mirror", str(liar), "--mirror", str(copied), "--json"]) == 0
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert len(told["refused"]) == 1
    assert "liar" in told["refused"][0]
    assert "liar" in captured.err
    assert told["n_bytes"] == sum(path.stat().st_size for path in (copied / "list" / "files").iterdir())


# --- witnesses ----------------------------------------------------------------------------------------------------


def policy(*witnesses: Witness, quorum: str = "all", log: str = "") -> WitnessPolicy:
    lines = [log, *(f"witness w{i} {witness.vkey}" for i, witness in enumerate(witnesses))]
    names = " ".join(f"w{i}" for i in range(len(witnesses)))
    return WitnessPolicy.parse("\n".join([*lines, f"group g {quorum} {names}", "quorum g", ""]).encode())


ONE, TWO = Witness("one.example/w", b"\x01" * 32), Witness("two.example/w", b"\x02" * 32)


def test_a_pull_that_asks_for_witnesses_keeps_the_old_list_until_enough_have_signed(
    site: Site, pulled: Path, pull_site: PullSite
) -> None:
    site.cosigners = [ONE]
    site.publish([*URLS, NEW_URL], IMAGES)
    with pytest.raises(VerificationError, match=r"cosigned by w0.*list at hand was kept"):
        pull_site(witnesses=policy(ONE, TWO))
    assert ExclusionList.open(pulled).version.manifest.version == 1
    assert pull_site(witnesses=policy(ONE, TWO, quorum="any")).witnesses == ("w0",)
    site.cosigners = [ONE, TWO]
    site.publish(URLS, IMAGES)
    assert pull_site(witnesses=policy(ONE, TWO)).witnesses == ("w0", "w1")


def test_a_policy_of_another_log_refuses_the_list(site: Site, pull_site: PullSite) -> None:
    site.cosigners = [ONE]
    site.publish(URLS, IMAGES)
    other = Site().publish().log_signer.verifier.vkey
    with pytest.raises(VerificationError, match="none of those"):
        pull_site(witnesses=policy(ONE, log=f"log {other}"))
    assert pull_site(witnesses=policy(ONE, log=f"log {site.log_signer.verifier.vkey}")).witnesses == ("w0",)


def test_the_command_asks_for_witnesses(served: str, site: Site, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "policy"
    path.write_text(f"witness w {ONE.vkey}\nquorum w\n")
    arguments = ["pull", served, "-o", str(tmp_path / "list"), "--root", str(site.write_root(tmp_path))]
    assert run([*arguments, "--witnesses", str(path)]) == 4
    assert "cosigned by none" in capsys.readouterr().err
    assert run(arguments) == 0


# --- disks --------------------------------------------------------------------------------------------------------


def test_a_disk_without_room_is_told_before_anything_is_fetched(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(UnavailableError, match=r"bytes free.*make room"):
        check_room(tmp_path, [Wanted("a", b"a" * 32, free), Wanted("b", b"b" * 32, free)])
    check_room(tmp_path, [Wanted("a", b"a" * 32, 10)])


def test_what_is_there_of_a_file_already_needs_no_room(tmp_path: Path) -> None:
    size = shutil.disk_usage(tmp_path).free + 1024**2
    wanted = Wanted("a", b"a" * 32, size)
    with (tmp_path / f".{wanted.sha256.hex()}.partial").open("wb") as sparse:
        sparse.truncate(size)
    check_room(tmp_path, [wanted])


LIMITED = """
import resource, signal, sys
from heldout.cli import run
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on the size of files")
def test_a_write_that_fails_says_so_and_leaves_the_list_at_hand(
    served: str, site: Site, tmp_path: Path, pulled: Path
) -> None:
    before = {path: path.read_bytes() for path in pulled.rglob("*") if path.is_file()}
    assert site.version == 1
    root = str(site.write_root(tmp_path))
    for held in (pulled, tmp_path / "first"):
        done = subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, "-c", LIMITED, "pull", served, "-o", str(held), "--root", root],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        assert done.returncode == 3, done.stderr
        assert "File too large" in done.stderr
        assert done.stderr.endswith("check the disk; nothing is lost\n")
        assert len(done.stderr) < 250
    assert {path: path.read_bytes() for path in before} == before
    assert ExclusionList.open(pulled).doubts == ()
    assert pull(served, tmp_path / "first", root=Path(root)).is_new
