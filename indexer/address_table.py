"""Addresses of a release in SURT order: sorted outside memory, mapped for reading, with the hosts they lie on.

Sorted runs are written beside the target, then merged range by range: memory holds one run or one range, however many
samples there are. Batches of `urls.arrow` follow each other in order; each is read where it lies. A host's rank in SURT
order is its number, so that a host and its subdomains are one range of numbers, as they are one range of addresses.
"""

import bisect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from heldout.errors import InputError
from heldout.urls import canonical_key, surt_key, surt_range

ADDRESS_SCHEMA: Final = pa.schema([pa.field("surt", pa.large_string()), pa.field("id", pa.int64())])
HOST_SCHEMA: Final = pa.schema([pa.field("surt", pa.large_string())])
RUN: Final = 1_000_000
"""Addresses sorted in memory at once: some 150 MB."""
_SAMPLES_PER_RUN: Final = 64
_HOST: Final = r"^(?P<host>[^)]*)\)"


class AddressSorter:
    """Takes addresses in any order; `finish` writes them sorted. Runs are kept in `folder` until then."""

    def __init__(self, folder: Path, *, run: int = RUN) -> None:
        self._folder = folder
        self._run = run
        self._parts: list[pa.Table] = []
        self._n_held = 0
        self._runs: list[Path] = []

    def append(self, urls: Sequence[str | None], first_id: int) -> None:
        """Add the addresses of consecutive samples; those that are none are left out."""
        keys, ids = [], []
        for sample_id, url in enumerate(urls, start=first_id):
            if url is None:
                continue
            try:
                keys.append(surt_key(canonical_key(url)))
            except InputError:
                continue
            ids.append(sample_id)
        self._parts.append(pa.table([pa.array(keys, pa.large_string()), pa.array(ids)], schema=ADDRESS_SCHEMA))
        self._n_held += len(ids)
        if self._n_held >= self._run:
            self._write_run()

    def finish(self, addresses: Path, hosts: Path, host_ids: npt.NDArray[np.int32]) -> tuple[int, int]:
        """Write `urls.arrow` and `hosts.arrow`, and each sample's host number into `host_ids`.

        Returns:
            How many addresses and how many hosts there are.
        """
        self._write_run()
        n, last, n_hosts = 0, None, 0
        with (
            pa.OSFile(str(addresses), "wb") as address_file,
            pa.ipc.new_file(address_file, ADDRESS_SCHEMA) as address_writer,
            pa.OSFile(str(hosts), "wb") as host_file,
            pa.ipc.new_file(host_file, HOST_SCHEMA) as host_writer,
        ):
            for table in _merge([AddressTable(path) for path in self._runs]):
                address_writer.write_table(table)
                n += len(table)
                named = pc.struct_field(pc.extract_regex(table["surt"].combine_chunks(), _HOST), "host")
                encoded = named.dictionary_encode()  # in order of appearance, which is SURT order
                names = encoded.dictionary
                goes_on = len(names) > 0 and names[0].as_py() == last
                numbers = encoded.indices.to_numpy() + (n_hosts - goes_on)
                host_ids[table["id"].to_numpy()] = numbers
                fresh = names.slice(int(goes_on))
                host_writer.write_batch(pa.record_batch([fresh.cast(pa.large_string())], schema=HOST_SCHEMA))
                n_hosts += len(fresh)
                last = names[-1].as_py() if len(names) else last
        for path in self._runs:
            path.unlink()
        return n, n_hosts

    def _write_run(self) -> None:
        if not self._n_held:
            return
        table = _sorted(pa.concat_tables(self._parts))
        path = self._folder / f"addresses-{len(self._runs)}.run"
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, ADDRESS_SCHEMA) as writer:
            writer.write_table(table)
        self._runs.append(path)
        self._parts, self._n_held = [], 0


def _sorted(table: pa.Table) -> pa.Table:
    return table.sort_by([("surt", "ascending"), ("id", "ascending")]).combine_chunks()


def _merge(runs: Sequence["AddressTable"]) -> Iterator[pa.Table]:
    """All rows of sorted runs, in order, in tables of about the length of a run."""
    splitters = sorted(key for run in runs for key in run.sample(_SAMPLES_PER_RUN))
    highs: list[str | None] = [*dict.fromkeys(splitters[_SAMPLES_PER_RUN::_SAMPLES_PER_RUN]), None]
    starts = [0] * len(runs)
    for high in highs:
        stops = [len(run) if high is None else run.position(high) for run in runs]
        parts = [run.slice(start, stop) for run, start, stop in zip(runs, starts, stops, strict=True)]
        if parts:
            yield _sorted(pa.concat_tables(parts))
        starts = stops


class _Keys:
    """A file of record batches whose first column is sorted text, mapped."""

    def __init__(self, path: Path) -> None:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        self._batches: list[Any] = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        self._starts = np.cumsum([0, *(len(batch) for batch in self._batches)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def key(self, row: int) -> str:
        """The key of a row."""
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        return str(self._batches[number].column(0)[row - int(self._starts[number])].as_py())

    def position(self, key: str, *, suffix: str = "") -> int:
        """The first row whose key with `suffix` is not below `key`."""
        return bisect.bisect_left(range(len(self)), key, key=lambda row: self.key(row) + suffix)


class AddressTable(_Keys):
    """`urls.arrow`, mapped."""

    def range(self, low: str, high: str, *, limit: int, after: tuple[str, int] | None) -> npt.NDArray[np.int64]:
        """Ids with a key in [low, high), in order; `after` (key, id) starts behind that row."""
        start = self.position(low)
        if after is not None:
            start = max(start, self.position(after[0]))
            while start < len(self) and (self.key(start), self._id(start)) <= after:
                start += 1
        stop = max(start, min(self.position(high), start + limit))
        return np.asarray(self.slice(start, stop)["id"].to_numpy(), dtype=np.int64)

    def slice(self, start: int, stop: int) -> pa.Table:
        """Rows start..stop-1."""
        parts = [
            batch.slice(max(0, start - first), stop - max(first, start))
            for batch, first in zip(self._batches, self._starts.tolist(), strict=False)
            if first < stop and start < first + len(batch)
        ]
        return pa.Table.from_batches(parts, schema=ADDRESS_SCHEMA)

    def sample(self, n: int) -> list[str]:
        """About `n` keys, evenly apart."""
        return [self.key(row) for row in range(0, len(self), max(1, len(self) // n))]

    def _id(self, row: int) -> int:
        return int(self.slice(row, row + 1)["id"][0].as_py())


class HostTable(_Keys):
    """`hosts.arrow`, mapped: a host's row is its number."""

    def name(self, number: int) -> str:
        """The host of a number."""
        surt = self.key(number)
        return ".".join(reversed(surt.split(",")))

    def span(self, host: str) -> tuple[int, int]:
        """Numbers [low, high) of a host and its subdomains.

        Raises:
            InputError: not a bare host.
        """
        low, high = surt_range(host)
        if not low.endswith(")"):
            raise InputError(f"{host[:200]!r} is not a bare host: leave port and path off")
        return self.position(low, suffix=")"), self.position(high, suffix=")")
