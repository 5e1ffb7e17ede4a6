"""Lists of the real publisher: what it writes, the client accepts, and no altered byte of it."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from heldout.errors import VerificationError
from heldout.exclusion import ExclusionList
from heldout.leaves import OptOutLeaf
from heldout.pull import PullResult, pull
from heldout.receipts import verify_receipt
from heldout.records import ClaimRequest, ImageSubject, Preference, UrlSubject
from registry.service import Registry
from tests.heldout.published import BASE_URL, some_pdq

SHA256 = bytes(range(32))
IMAGE = ImageSubject(pdq=some_pdq(1).hex(), quality=90, sha256=SHA256.hex())


def claim_of(*urls: str, images: tuple[ImageSubject, ...] = (), preference: Preference = "train-ai=n") -> ClaimRequest:
    return ClaimRequest(subjects=[*(UrlSubject(url=url) for url in urls), *images], preference=preference)


class Server:
    """The registry's public folder, and what to alter in it on the way."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.altered: dict[str, bytes] = {}
        self.asked: list[str] = []

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path = urlsplit(str(request.url)).path.lstrip("/")
        self.asked.append(path)
        if path in self.altered:
            return httpx.Response(200, content=self.altered[path])
        file = self.folder / path
        return httpx.Response(200, content=file.read_bytes()) if file.is_file() else httpx.Response(404)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    opened = Registry.prepare(tmp_path / "state", origin="registry.example/log")
    yield opened
    opened.close()


@pytest.fixture
def server(registry: Registry) -> Server:
    return Server(registry.public_dir)


def pull_from(server: Server, tmp_path: Path, *, to: str = "list", now: datetime | None = None) -> PullResult:
    root = tmp_path / "state" / "keys" / "1.root.json"
    return pull(BASE_URL, tmp_path / to, root=root, transport=server.transport(), now=now)


def test_claims_reach_the_list_and_leave_it(registry: Registry, server: Server, tmp_path: Path) -> None:
    claim = registry.submit(claim_of("https://art.example/1.jpg?utm_source=x", images=(IMAGE,)))
    registry.submit(claim_of("https://art.example/2.jpg"))
    registry.submit(claim_of("https://art.example/3.jpg", preference="train-ai=y"))
    registry.publish()
    pull_from(server, tmp_path)
    exclusions = ExclusionList.open(tmp_path / "list")
    urls = [f"http://ART.example/{n}.jpg" for n in (1, 2, 3)]
    assert exclusions.lookup_urls(urls)["url"].found.tolist() == [True, True, False]
    assert exclusions.lookup_sha256([SHA256]).found.all()

    registry.withdraw(claim.id, reason="by-claimant")
    registry.publish()
    assert pull_from(server, tmp_path).manifest.version == 2
    exclusions = ExclusionList.open(tmp_path / "list")
    assert exclusions.lookup_urls(urls)["url"].found.tolist() == [False, True, False]
    assert not exclusions.lookup_sha256([SHA256]).found.any()


def test_empty_registry_publishes_a_list_that_excludes_nothing(
    registry: Registry, server: Server, tmp_path: Path
) -> None:
    registry.publish()
    pull_from(server, tmp_path)
    assert ExclusionList.open(tmp_path / "list").counts["url"] == 0


def test_long_history_stays_consistent(registry: Registry, server: Server, tmp_path: Path) -> None:
    for n in range(1, 6):
        registry.submit(claim_of(*(f"https://art.example/{n}/{i}" for i in range(n * 90))))
        registry.publish()
        assert pull_from(server, tmp_path).manifest.version == n
    registry.publish()
    assert not pull_from(server, tmp_path).is_new


def test_receipt_is_verified_by_the_key_of_the_pulled_list(registry: Registry, server: Server, tmp_path: Path) -> None:
    claim = registry.submit(claim_of("https://art.example/1.jpg"))
    registry.publish()
    vkey = pull_from(server, tmp_path).manifest.log.vkey
    (leaf,) = verify_receipt(registry.receipt(claim.id), vkey)
    assert isinstance(leaf, OptOutLeaf)
    assert leaf.claim == claim.id


def test_list_goes_stale(registry: Registry, server: Server, tmp_path: Path) -> None:
    registry.publish()
    later = datetime.now(UTC) + timedelta(days=60)
    with pytest.raises(VerificationError, match="stale"):
        pull_from(server, tmp_path, now=later)
    pull_from(server, tmp_path)
    with pytest.raises(VerificationError, match="stale"):
        ExclusionList.open(tmp_path / "list", now=later)


def flips(data: bytes) -> Iterator[bytes]:
    for position in range(0, len(data), max(1, len(data) // 12)):
        yield data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def test_every_altered_byte_of_an_update_is_refused(registry: Registry, server: Server, tmp_path: Path) -> None:
    registry.submit(claim_of("https://art.example/1.jpg"))
    registry.publish()
    pull_from(server, tmp_path)
    registry.submit(claim_of("https://art.example/2.jpg", images=(IMAGE,)))
    registry.publish()
    probe = Server(registry.public_dir)
    shutil.copytree(tmp_path / "list", tmp_path / "probe", symlinks=True)
    assert pull_from(probe, tmp_path, to="probe").n_deltas == 1
    served = sorted({path for path in probe.asked if (registry.public_dir / path).is_file()})
    assert len(served) == 7
    (delta,) = (path for path in served if path.endswith(".delta"))
    for path in set(served) - {delta}:
        for changed in flips((registry.public_dir / path).read_bytes()):
            server.altered = {path: changed}
            with pytest.raises(VerificationError):
                pull_from(server, tmp_path)
            assert ExclusionList.open(tmp_path / "list").version.manifest.version == 1, path
    server.altered = {delta: next(flips((registry.public_dir / delta).read_bytes()))}
    result = pull_from(server, tmp_path)
    assert (result.manifest.version, result.n_deltas) == (2, 0)
    assert result.delta_doubt is not None


def test_every_altered_byte_of_what_a_delta_is_fetched_instead_of_is_refused(
    registry: Registry, server: Server, tmp_path: Path
) -> None:
    registry.submit(claim_of("https://art.example/1.jpg"))
    registry.publish()
    pull_from(server, tmp_path)
    registry.submit(claim_of("https://art.example/2.jpg", images=(IMAGE,)))
    registry.publish()
    (delta,) = (registry.public_dir / "list" / "files").glob("*.delta")
    delta.unlink()
    probe = Server(registry.public_dir)
    shutil.copytree(tmp_path / "list", tmp_path / "probe", symlinks=True)
    pull_from(probe, tmp_path, to="probe")
    files = sorted({path for path in probe.asked if path.endswith(".parquet")})
    assert len(files) == 2
    for path in files:
        for changed in flips((registry.public_dir / path).read_bytes()):
            server.altered = {path: changed}
            with pytest.raises(VerificationError):
                pull_from(server, tmp_path)
            assert ExclusionList.open(tmp_path / "list").version.manifest.version == 1, path


def test_a_lab_that_missed_many_versions_goes_through_their_deltas(
    registry: Registry, server: Server, tmp_path: Path
) -> None:
    registry.submit(claim_of(*(f"https://art.example/{n}" for n in range(900))))
    registry.publish()
    pull_from(server, tmp_path)
    claims = []
    for n in range(6):
        claims.append(registry.submit(claim_of(f"https://art.example/new/{n}", images=(IMAGE,))))
        if n == 3:
            registry.withdraw(claims[1].id, reason="by-claimant")
        registry.publish()
    server.asked.clear()
    result = pull_from(server, tmp_path)
    assert (result.n_deltas, result.delta_doubt, result.manifest.version) == (6, None, 7)
    assert not any(path.endswith(".parquet") for path in server.asked)
    urls = [f"https://art.example/new/{n}" for n in range(6)]
    found = ExclusionList.open(tmp_path / "list").lookup_urls(urls)["url"].found.tolist()
    assert found == [True, False, True, True, True, True]


def test_older_state_is_a_rollback(registry: Registry, server: Server, tmp_path: Path) -> None:
    registry.submit(claim_of("https://art.example/1.jpg"))
    registry.publish()
    old = (registry.public_dir / "list" / "metadata" / "timestamp.json").read_bytes()
    registry.submit(claim_of("https://art.example/2.jpg"))
    registry.publish()
    pull_from(server, tmp_path)
    server.altered = {"list/metadata/timestamp.json": old}
    with pytest.raises(VerificationError, match="older"):
        pull_from(server, tmp_path)
    assert ExclusionList.open(tmp_path / "list").version.manifest.version == 2
