"""Addresses sorted outside memory are those sorted inside it, and hosts are numbered in their order."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.errors import InputError
from heldout.urls import canonical_key, host_of, surt_key, surt_range
from indexer.address_table import AddressSorter, AddressTable, HostTable
from indexer.digest_table import DigestSorter, DigestTable

HOSTS = ["a.example", "www.a.example", "b.a.example", "a-b.example", "example", "127.0.0.1", "[::1]", "a.example:8080"]
URLS = st.lists(
    st.one_of(
        st.none(),
        st.just("not an address"),
        st.builds("https://{}/{}".format, st.sampled_from(HOSTS), st.sampled_from(["", "1", "2", "ü", "x/y?z=1"])),
    ),
    max_size=60,
)


def _write(folder: Path, urls: list[str | None], run: int) -> tuple[AddressTable, HostTable, list[int]]:
    sorter = AddressSorter(folder, run=run)
    for start in range(0, len(urls), 7):
        sorter.append(urls[start : start + 7], start)
    host_ids = np.full(len(urls), -1, dtype=np.int32)
    n, n_hosts = sorter.finish(folder / "urls.arrow", folder / "hosts.arrow", host_ids)
    addresses, hosts = AddressTable(folder / "urls.arrow"), HostTable(folder / "hosts.arrow")
    assert (len(addresses), len(hosts)) == (n, n_hosts)
    assert not list(folder.glob("*.run"))
    return addresses, hosts, host_ids.tolist()


def _key(url: str | None) -> str | None:
    try:
        return None if url is None else canonical_key(url)
    except InputError:
        return None


@settings(deadline=None)  # it writes files
@given(urls=URLS, run=st.integers(1, 80))
def test_runs_merge_to_one_order_and_hosts_to_one_numbering(
    tmp_path_factory: pytest.TempPathFactory, urls: list[str | None], run: int
) -> None:
    addresses, hosts, host_ids = _write(tmp_path_factory.mktemp("sorted"), urls, run)
    keys = [_key(url) for url in urls]
    expected = sorted((surt_key(key), sample) for sample, key in enumerate(keys) if key is not None)
    assert [
        (addresses.key(row), int(addresses.slice(row, row + 1)["id"][0].as_py())) for row in range(len(addresses))
    ] == expected
    for key, number in zip(keys, host_ids, strict=True):
        assert (None if number < 0 else hosts.name(number)) == (None if key is None else host_of(key))
    for site in ("a.example", "example", "b.a.example", "127.0.0.1"):
        low, high = hosts.span(site)
        wanted = [sample for key, sample in expected if surt_range(site)[0] <= key < surt_range(site)[1]]
        assert sorted(np.flatnonzero([low <= number < high for number in host_ids]).tolist()) == sorted(wanted)
        assert addresses.range(*surt_range(site), limit=100, after=None).tolist() == wanted
        for place, after in enumerate((key, sample) for key, sample in expected if sample in wanted):
            assert addresses.range(*surt_range(site), limit=3, after=after).tolist() == wanted[place + 1 :][:3]


def test_only_bare_hosts_have_a_span(tmp_path: Path) -> None:
    _, hosts, _ = _write(tmp_path, ["https://a.example/"], 10)
    with pytest.raises(InputError, match="bare host"):
        hosts.span("a.example/path")


@pytest.mark.parametrize("part", [1, 10, 1000])
def test_digests_sorted_by_parts_are_found(tmp_path: Path, part: int) -> None:
    rng = np.random.default_rng(2)
    digests: list[bytes | None] = [rng.bytes(32) for _ in range(300)]
    digests[7] = digests[200] = digests[8]
    digests[9] = None
    sorter = DigestSorter(tmp_path, 300, part=part)
    sorter.append(digests[:100], 0)
    sorter.append(digests[100:], 100)
    assert sorter.finish(tmp_path / "d.npy") == 299
    assert [path.name for path in tmp_path.iterdir()] == ["d.npy"]
    table = DigestTable(tmp_path / "d.npy")
    for digest in digests:
        if digest is not None:
            assert table.candidates(digest) == [at for at, other in enumerate(digests) if other == digest]
    assert table.candidates(bytes(32)) == []
    assert sorted(map(tuple, table.repeated().tolist())) == [(7, 8), (8, 200)]
