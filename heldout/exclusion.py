"""An exclusion list in memory: verified as it is opened, then asked in batches.

Only what counts is loaded: entries of at least the assurance asked for. Those with the preference `train-ai=n` exclude;
those with `train-ai=y` are kept apart as `grants`, for whoever trains only on what was granted. Addresses are looked up
by the first 64 bits of SHA-256 of their canonical key, by the folders and by the hosts that cover them, in one pass
(`heldout.kernel`); pictures by SHA-256 of their bytes or by PDQ (`heldout.fingerprints`). Format of the files:
docs/formats/exclusion-list.md.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from heldout.fingerprints import MIN_QUALITY, PDQ_BYTES
from heldout.kernel import AddressIndex
from heldout.list_tables import SCHEMAS, TableName, check_sorted, fixed_bytes, read_table, table_of
from heldout.manifest import ListFile
from heldout.pdq_index import PdqIndex
from heldout.records import ASSURANCES, Assurance
from heldout.stored import Doubts, StoredVersion, check_content, verify_current, verify_published

Kind = Literal["url", "prefix", "host", "sha256", "pdq"]
"""How a sample met an entry: same canonical URL, below its folder, on its host, same bytes, or a copy by PDQ."""

ADDRESS_KINDS: Final[tuple[Kind, ...]] = ("url", "prefix", "host")

NO_RULE: Final = -1
_EPOCH: Final = date(1970, 1, 1).toordinal()
_OPTED_OUT: Final = 0  # preference code of train-ai=n
_GRANTED: Final = 1  # of train-ai=y
_PLACES: Final[tuple[TableName, ...]] = ("prefix", "host")


@dataclass(frozen=True)
class Matches:
    """Answers to a batch, one per question."""

    rule: npt.NDArray[np.int64]
    """(n,) Number of the entry among those of its table that were loaded, or -1."""
    assurance: npt.NDArray[np.uint8]
    """(n,) Position in `records.ASSURANCES`; 0 where there is no rule."""
    since: npt.NDArray[np.int32]
    """(n,) Days since 1970-01-01; 0 where there is no rule."""
    unreadable: npt.NDArray[np.bool_]
    """(n,) Where something was given that could not be looked up, as a URL without a canonical key."""

    @property
    def found(self) -> npt.NDArray[np.bool_]:
        """(n,) Where there is a rule."""
        return np.not_equal(self.rule, NO_RULE)

    def or_else(self, other: "Matches") -> "Matches":
        """These answers, and where there is no rule the other's to the same questions."""
        found = self.found
        return Matches(
            np.where(found, self.rule, other.rule),
            np.where(found, self.assurance, other.assurance),
            np.where(found, self.since, other.since),
            self.unreadable | other.unreadable,
        )

    def grouped(self, owner: Sequence[int], n: int) -> "Matches":
        """Answers to n samples, of which each owns some of these questions: the one of highest assurance.

        Args:
            owner: for each question the number of its sample.
            n: number of samples.
        """
        owners = np.asarray(owner, dtype=np.int64)
        order = np.argsort(self.assurance, kind="stable")
        found = order[self.found[order]]  # weakest first: the strongest is written last
        rule = np.full(n, NO_RULE, np.int64)
        assurance, since = np.zeros(n, np.uint8), np.zeros(n, np.int32)
        unreadable = np.zeros(n, np.bool_)
        rule[owners[found]] = self.rule[found]
        assurance[owners[found]] = self.assurance[found]
        since[owners[found]] = self.since[found]
        unreadable[owners[self.unreadable]] = True
        return Matches(rule, assurance, since, unreadable)

    def since_date(self, position: int) -> date:
        """Since when the entry at this position has been in force."""
        return date.fromordinal(_EPOCH + int(self.since[position]))


class Rules:
    """Entries of one preference, ready to be asked."""

    def __init__(self, tables: Mapping[TableName, pa.Table]) -> None:
        """Load entries: of each table all that are in force, sorted as the list has them; in one piece, not copied."""
        self.tables = {name: tables[name] for name in _PLACES}
        """The entries about hosts and folders themselves."""
        self._entries = {name: _Entries.of(table) for name, table in tables.items()}
        prefixes, hosts = self._entries["prefix"], self._entries["host"]
        self._keys = tables["url"]["key"].to_numpy()
        self._addresses = AddressIndex(
            self._keys,
            (tables["prefix"]["prefix"], prefixes.assurance),
            (tables["host"]["host"], hosts.assurance),
        )
        images = tables["image"]
        self._sha256_index = _DigestIndex(images["sha256"], self._entries["image"].assurance)
        quality = images["quality"].to_numpy()
        self._pdq_rows = np.flatnonzero(quality >= MIN_QUALITY)
        strongest_first = len(ASSURANCES) - 1 - self._entries["image"].assurance[self._pdq_rows]
        self._pdq_index = PdqIndex(fixed_bytes(images["pdq"], PDQ_BYTES)[self._pdq_rows], strongest_first)

    @property
    def counts(self) -> dict[TableName, int]:
        """Entries, by what they are about."""
        return {name: len(entries.assurance) for name, entries in self._entries.items()}

    @property
    def has_pdq(self) -> bool:
        """Whether any picture can be met by its PDQ, so that pictures are worth decoding."""
        return len(self._pdq_rows) > 0

    @property
    def url_entries(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
        """Keys of addresses, ascending; assurance and day of each. Not copied."""
        return self._keys, self._entries["url"].assurance, self._entries["url"].since

    @property
    def file_entries(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
        """(n, 32) SHA-256 of pictures' files, ascending, some repeatedly; assurance and day of each."""
        rows, images = self._sha256_index.rows, self._entries["image"]
        return self._sha256_index.digests, images.assurance[rows], images.since[rows]

    def lookup_urls(self, urls: Sequence[str | None] | pa.Array | pa.ChunkedArray) -> dict[Kind, Matches]:
        """Entries of addresses, under each of `ADDRESS_KINDS`.

        Of several entries of one kind it is the best proved, then the nearest. A null has no entry. What has no
        canonical key is `unreadable`, which all three kinds say alike.
        """
        column = urls if isinstance(urls, pa.Array | pa.ChunkedArray) else pa.array(map(_utf8, urls), pa.string())
        found = self._addresses.find(column)
        unreadable = column.is_valid().to_numpy(zero_copy_only=False) & ~found.has_key
        return {
            "url": self._entries["url"].answer(found.url, unreadable),
            "prefix": self._entries["prefix"].answer(found.prefix, unreadable),
            "host": self._entries["host"].answer(found.host, unreadable),
        }

    def lookup_sha256(self, digests: Sequence[bytes | None]) -> Matches:
        """Entries of pictures with these very bytes. None, and what is not 32 bytes, has no entry."""
        return self._entries["image"].answer(self._sha256_index.lookup(digests))

    def lookup_pdq(self, pdq: npt.NDArray[np.uint8], quality: npt.NDArray[np.uint8]) -> Matches:
        """Entries of pictures of which these are copies: of several the best proved, then the nearest.

        Args:
            pdq: (n, 8, 32) uint8, all orientations.
            quality: (n,) uint8.
        """
        rule = np.full(len(pdq), NO_RULE, np.int64)
        asked = np.flatnonzero(np.asarray(quality) >= MIN_QUALITY)
        index, _ = self._pdq_index.best(pdq[asked])
        found = index != NO_RULE
        rule[asked[found]] = self._pdq_rows[index[found]]
        return self._entries["image"].answer(rule)


class ExclusionList(Rules):
    """One version of a list: the entries that exclude, and beside them those that grant."""

    def __init__(
        self,
        version: StoredVersion,
        excluding: Mapping[TableName, pa.Table],
        granting: Mapping[TableName, pa.Table],
        min_assurance: Assurance,
        as_of: date | None,
    ) -> None:
        """Use `open`."""
        self._version = version
        self.min_assurance = min_assurance
        self.as_of = as_of
        super().__init__(excluding)
        self.grants = Rules(granting)
        """The entries with the preference `train-ai=y`, to be asked as the list is. One excludes nothing, and takes
        nothing back: what a `train-ai=n` entry of any kind excludes stays excluded."""

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        min_assurance: Assurance = "declared",
        allow_unverified: bool = False,
        now: datetime | None = None,
        version: str | None = None,
        as_of: date | None = None,
    ) -> "ExclusionList":
        """Verify and load the version in force of a pulled list.

        Args:
            path: folder that `heldout pull` wrote.
            min_assurance: leave weaker entries out.
            allow_unverified: go on without proof; see `doubts`.
            now: for tests of freshness.
            version: name of a version folder, to open the same one again.
            as_of: leave out entries that were first declared after this day.

        Raises:
            NotFoundError: nothing was pulled there.
            InputError: the list needs a newer heldout.
            VerificationError: something is missing, damaged, forged or stale.
        """
        stored = verify_current(path, now=now or datetime.now(UTC), allow_unverified=allow_unverified, name=version)
        return cls._load(stored, Doubts(allowed=allow_unverified), min_assurance, as_of)

    @classmethod
    def from_published(
        cls, folder: Path, *, min_assurance: Assurance = "declared", as_of: date | None = None
    ) -> "ExclusionList":
        """Load what a registry on this machine published last, from the folder that it serves as `/list`.

        Digests are checked and the log's proof, but no signature and no freshness: the files are the registry's own.

        Args:
            folder: with `metadata/`, `targets/` and `files/`.
            min_assurance: leave weaker entries out.
            as_of: leave out entries that were first declared after this day.

        Raises:
            NotFoundError: nothing was published there.
            VerificationError: something is missing or damaged.
        """
        return cls._load(verify_published(folder), Doubts(), min_assurance, as_of)

    @classmethod
    def _load(
        cls, stored: StoredVersion, doubts: Doubts, min_assurance: Assurance, as_of: date | None
    ) -> "ExclusionList":
        # File by file, and column by column where they become one: memory holds the entries in force, and one copy of
        # one column, never the whole list twice.
        parts = {preference: _Parts() for preference in (_OPTED_OUT, _GRANTED)}
        ends = _Parts()
        for name, file in sorted(stored.manifest.files.items()):
            table = _read_file(stored, name, file, doubts)
            check_sorted(table, table_of(name))
            # Taken, not sliced: a slice would hold on to all of the table.
            ends.add(table_of(name), table.take(pa.array(np.unique([0, len(table) - 1])[: len(table)])))
            for preference, part in parts.items():
                part.add(table_of(name), _in_force(table, preference, min_assurance, as_of))
            del table
            pa.default_memory_pool().release_unused()  # or it keeps as much again as the entries take
        for kind, table in ends.joined().items():
            check_sorted(table, kind)
        stored = replace(stored, doubts=(*stored.doubts, *doubts.reasons))
        return cls(stored, parts[_OPTED_OUT].joined(), parts[_GRANTED].joined(), min_assurance, as_of)

    @property
    def version(self) -> StoredVersion:
        """Which version this is, and what it proved."""
        return self._version

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why not to trust this list; empty unless that was allowed."""
        return self._version.doubts


class _Parts:
    """Tables that come in parts."""

    def __init__(self) -> None:
        self._columns: dict[TableName, dict[str, list[pa.Array]]] = {
            name: {column: [] for column in schema.names} for name, schema in SCHEMAS.items()
        }

    def add(self, name: TableName, part: pa.Table) -> None:
        for column, chunks in self._columns[name].items():
            chunks.extend(part[column].chunks)

    def joined(self) -> dict[TableName, pa.Table]:
        """Each in one piece; the parts are used up."""
        return {name: self._join(SCHEMAS[name], self._columns.pop(name)) for name in SCHEMAS}

    def _join(self, schema: pa.Schema, columns: dict[str, list[pa.Array]]) -> pa.Table:
        whole = []
        for name in schema.names:
            chunks = columns.pop(name)
            column = pa.chunked_array(chunks, schema.field(name).type)
            chunks.clear()
            whole.append(column.combine_chunks())
            del column
            pa.default_memory_pool().release_unused()
        return pa.table(whole, schema=schema)


@dataclass(frozen=True)
class _Entries:
    """What every entry carries, in one order for each table."""

    assurance: npt.NDArray[np.uint8]
    since: npt.NDArray[np.int32]

    @classmethod
    def of(cls, table: pa.Table) -> "_Entries":
        return cls(table["assurance"].to_numpy(), table["since"].cast(pa.int32()).to_numpy())

    def answer(self, rule: npt.NDArray[np.int64], unreadable: npt.NDArray[np.bool_] | None = None) -> Matches:
        found = np.flatnonzero(rule != NO_RULE)
        assurance = np.zeros(len(rule), np.uint8)
        since = np.zeros(len(rule), np.int32)
        assurance[found] = self.assurance[rule[found]]
        since[found] = self.since[rule[found]]
        return Matches(rule, assurance, since, np.zeros(len(rule), np.bool_) if unreadable is None else unreadable)


class _DigestIndex:
    """Rows by SHA-256: sorted by the first 8 bytes, compared whole. The strongest of equal entries is found."""

    def __init__(self, column: pa.ChunkedArray, assurance: npt.NDArray[np.uint8]) -> None:
        rows = np.flatnonzero(column.is_valid().to_numpy())
        digests = fixed_bytes(column.drop_null(), 32)
        words = digests.view(">u8").astype(np.uint64)
        order = np.lexsort((-assurance[rows].astype(np.int16), words[:, 3], words[:, 2], words[:, 1], words[:, 0]))
        self.rows = rows[order]
        self.digests = digests[order]
        self._first = words[order, 0]

    def lookup(self, digests: Sequence[bytes | None]) -> npt.NDArray[np.int64]:
        rule = np.full(len(digests), NO_RULE, np.int64)
        asked = [position for position, digest in enumerate(digests) if digest is not None and len(digest) == 32]
        wanted = np.frombuffer(b"".join(digests[i] or b"" for i in asked), np.uint8).reshape(-1, 32)
        first = np.ascontiguousarray(wanted[:, :8]).view(">u8")[:, 0].astype(np.uint64)
        start = np.searchsorted(self._first, first, side="left")
        end = np.searchsorted(self._first, first, side="right")
        for offset in range(int((end - start).max(initial=0))):  # once, but for equal entries
            open_ = np.flatnonzero((start + offset < end) & (rule[asked] == NO_RULE))
            candidates = start[open_] + offset
            same = (self.digests[candidates] == wanted[open_]).all(axis=1)
            rule[np.asarray(asked)[open_[same]]] = self.rows[candidates[same]]
        return rule


def sha256_of(value: str | bytes | None) -> bytes | None:
    """A data set's SHA-256, hexadecimal or raw, as bytes; None if it is none."""
    if isinstance(value, str):
        try:
            value = bytes.fromhex(value)
        except ValueError:
            return None
    return value if value is not None and len(value) == hashlib.sha256().digest_size else None


def _in_force(table: pa.Table, preference: int, min_assurance: Assurance, as_of: date | None) -> pa.Table:
    mask = (table["preference"].to_numpy() == preference) & (
        table["assurance"].to_numpy() >= ASSURANCES.index(min_assurance)
    )
    if as_of is not None:
        mask &= table["since"].cast(pa.int32()).to_numpy() <= as_of.toordinal() - _EPOCH
    return table.filter(pa.array(mask))


def _read_file(stored: StoredVersion, name: str, file: ListFile, doubts: Doubts) -> pa.Table:
    path = stored.folder.data_file(file)
    shown = f"{path} ({name})"
    table = read_table(path, table_of(name), shown)
    doubts.check(lambda: check_content(table, name, file, shown))
    return table


def _utf8(url: str | None) -> str | None:
    """Text with lone surrogates is no URL, and nothing that Arrow can hold."""
    try:
        if url is not None:
            url.encode()
    except UnicodeEncodeError:
        return ""
    return url
