"""An exclusion list in memory: verified as it is opened, then asked in batches.

Only what counts is loaded: entries with the preference `train-ai=n` and at least the assurance asked for. URLs are
looked up by the first 64 bits of SHA-256 of their canonical key, pictures by SHA-256 of their bytes or by PDQ
(`heldout.fingerprints`). Format of the files: docs/formats/exclusion-list.md.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from heldout.errors import VerificationError
from heldout.fingerprints import MIN_QUALITY, PDQ_BYTES
from heldout.kernel import KeyIndex, keys_of
from heldout.manifest import ListFile
from heldout.pdq_index import PdqIndex
from heldout.records import ASSURANCES, Assurance
from heldout.stored import Doubts, StoredVersion, check_digest, verify_current

Kind = Literal["url", "sha256", "pdq"]
"""How a sample met an entry: same canonical URL, same bytes, or a copy by PDQ."""

NO_RULE: Final = -1
_EPOCH: Final = date(1970, 1, 1).toordinal()
_OPTED_OUT: Final = 0  # preference code of train-ai=n; 1 is train-ai=y, which excludes nothing

_COMMON: Final = {"preference": pa.uint8(), "assurance": pa.uint8(), "since": pa.date32()}
URL_COLUMNS: Final = {"key": pa.uint64(), **_COMMON}
IMAGE_COLUMNS: Final = {"pdq": pa.binary(PDQ_BYTES), "quality": pa.uint8(), "sha256": pa.binary(32), **_COMMON}


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


@dataclass(frozen=True)
class _Entries:
    """What every entry carries, in one order for each table."""

    assurance: npt.NDArray[np.uint8]
    since: npt.NDArray[np.int32]

    def answer(self, rule: npt.NDArray[np.int64], unreadable: npt.NDArray[np.bool_] | None = None) -> Matches:
        found = rule != NO_RULE
        assurance = np.zeros(len(rule), np.uint8)
        since = np.zeros(len(rule), np.int32)
        assurance[found] = self.assurance[rule[found]]
        since[found] = self.since[rule[found]]
        return Matches(rule, assurance, since, np.zeros(len(rule), np.bool_) if unreadable is None else unreadable)


class ExclusionList:
    """The entries of one version of a list that exclude something."""

    def __init__(
        self, version: StoredVersion, urls: pa.Table, images: pa.Table, min_assurance: Assurance, as_of: date | None
    ) -> None:
        """Use `open`."""
        self._version = version
        self.min_assurance = min_assurance
        self.as_of = as_of
        urls, images = (_in_force(table, min_assurance, as_of) for table in (urls, images))
        self._key_index = KeyIndex(urls["key"].to_numpy())
        self._urls = _Entries(urls["assurance"].to_numpy(), urls["since"].cast(pa.int32()).to_numpy())
        self._images = _Entries(images["assurance"].to_numpy(), images["since"].cast(pa.int32()).to_numpy())
        self._sha256_index = _DigestIndex(images["sha256"], self._images.assurance)
        quality = images["quality"].to_numpy()
        self._pdq_rows = np.flatnonzero(quality >= MIN_QUALITY)
        self._pdq_index = PdqIndex(_fixed_bytes(images["pdq"], PDQ_BYTES)[self._pdq_rows])

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
        doubts = Doubts(allowed=allow_unverified)
        tables: dict[bool, list[pa.Table]] = {True: [], False: []}
        for name, file in sorted(stored.manifest.files.items()):
            is_url = name.startswith("urls/")
            tables[is_url].append(_read_file(stored, name, file, URL_COLUMNS if is_url else IMAGE_COLUMNS, doubts))
        urls, images = (
            pa.concat_tables([pa.schema(columns.items()).empty_table(), *tables[is_url]])
            for is_url, columns in ((True, URL_COLUMNS), (False, IMAGE_COLUMNS))
        )
        _check_sorted(urls["key"].to_numpy())
        stored = replace(stored, doubts=(*stored.doubts, *doubts.reasons))
        return cls(stored, urls, images, min_assurance, as_of)

    @property
    def version(self) -> StoredVersion:
        """Which version this is, and what it proved."""
        return self._version

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why not to trust this list; empty unless that was allowed."""
        return self._version.doubts

    @property
    def n_urls(self) -> int:
        """Entries about URLs, loaded."""
        return len(self._urls.assurance)

    @property
    def n_images(self) -> int:
        """Entries about pictures, loaded."""
        return len(self._images.assurance)

    @property
    def has_pdq(self) -> bool:
        """Whether any picture can be met by its PDQ, so that pictures are worth decoding."""
        return len(self._pdq_rows) > 0

    def lookup_urls(self, urls: Sequence[str | None] | pa.Array | pa.ChunkedArray) -> Matches:
        """Entries of URLs. A null has no entry; what has no canonical key is `unreadable`."""
        column = urls if isinstance(urls, pa.Array | pa.ChunkedArray) else pa.array(map(_utf8, urls), pa.string())
        keys, has_key = keys_of(column)
        rule = np.where(has_key, self._key_index.find(keys), NO_RULE)
        return self._urls.answer(rule, column.is_valid().to_numpy(zero_copy_only=False) & ~has_key)

    def lookup_sha256(self, digests: Sequence[bytes | None]) -> Matches:
        """Entries of pictures with these very bytes. None, and what is not 32 bytes, has no entry."""
        return self._images.answer(self._sha256_index.lookup(digests))

    def lookup_pdq(self, pdq: npt.NDArray[np.uint8], quality: npt.NDArray[np.uint8]) -> Matches:
        """Entries of pictures of which these are copies, nearest first.

        Args:
            pdq: (n, 8, 32) uint8, all orientations.
            quality: (n,) uint8.
        """
        rule = np.full(len(pdq), NO_RULE, np.int64)
        asked = np.flatnonzero(np.asarray(quality) >= MIN_QUALITY)
        index, _ = self._pdq_index.nearest(pdq[asked])
        found = index != NO_RULE
        rule[asked[found]] = self._pdq_rows[index[found]]
        return self._images.answer(rule)


class _DigestIndex:
    """Rows by SHA-256: sorted by the first 8 bytes, compared whole. The strongest of equal entries is found."""

    def __init__(self, column: pa.ChunkedArray, assurance: npt.NDArray[np.uint8]) -> None:
        rows = np.flatnonzero(column.is_valid().to_numpy())
        digests = _fixed_bytes(column.drop_null(), 32)
        words = digests.view(">u8").astype(np.uint64)
        order = np.lexsort((-assurance[rows].astype(np.int16), words[:, 3], words[:, 2], words[:, 1], words[:, 0]))
        self._rows = rows[order]
        self._digests = digests[order]
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
            same = (self._digests[candidates] == wanted[open_]).all(axis=1)
            rule[np.asarray(asked)[open_[same]]] = self._rows[candidates[same]]
        return rule


def sha256_of(value: str | bytes | None) -> bytes | None:
    """A data set's SHA-256, hexadecimal or raw, as bytes; None if it is none."""
    if isinstance(value, str):
        try:
            value = bytes.fromhex(value)
        except ValueError:
            return None
    return value if value is not None and len(value) == hashlib.sha256().digest_size else None


def _in_force(table: pa.Table, min_assurance: Assurance, as_of: date | None) -> pa.Table:
    preference, assurance = table["preference"].to_numpy(), table["assurance"].to_numpy()
    mask = (preference == _OPTED_OUT) & (assurance >= ASSURANCES.index(min_assurance))
    if as_of is not None:
        mask &= table["since"].cast(pa.int32()).to_numpy() <= as_of.toordinal() - _EPOCH
    return table.filter(pa.array(mask))


def _read_file(
    stored: StoredVersion, name: str, file: ListFile, columns: dict[str, pa.DataType], doubts: Doubts
) -> pa.Table:
    path = stored.folder.data_file(file)
    try:
        with path.open("rb") as stream:
            doubts.check(lambda: check_digest(stream, file, f"{path} ({name})"))
            table = pq.ParquetFile(stream).read(columns=list(columns))
    except (OSError, pa.ArrowException) as error:
        raise VerificationError(f"{path} ({name}) cannot be read ({error}): pull the list again") from error
    if not table.schema.equals(pa.schema(columns.items())):
        raise VerificationError(f"{path} ({name}) does not have the columns of its format, but {table.schema.names}")
    n_rows = table.num_rows
    if n_rows != file.count:
        doubts.check(
            lambda: _refuse(f"{path} ({name}) has {n_rows} entries instead of {file.count}: pull the list again")
        )
    return table


def _check_sorted(keys: npt.NDArray[np.uint64]) -> None:
    if len(keys) > 1 and not (keys[:-1] < keys[1:]).all():
        raise VerificationError("the list's URL keys are not in order, so that lookups would miss some: pull it again")


def _refuse(message: str) -> None:
    raise VerificationError(message)


def _utf8(url: str | None) -> str | None:
    """Text with lone surrogates is no URL, and nothing that Arrow can hold."""
    try:
        if url is not None:
            url.encode()
    except UnicodeEncodeError:
        return ""
    return url


def _fixed_bytes(column: pa.ChunkedArray, width: int) -> npt.NDArray[np.uint8]:
    """(n, width) uint8 of a fixed_size_binary column without nulls."""
    chunks: Iterable[pa.Array] = column.chunks
    parts = [
        np.frombuffer(chunk.buffers()[1], np.uint8)[chunk.offset * width : (chunk.offset + len(chunk)) * width]
        for chunk in chunks
        if len(chunk)
    ]
    data = np.concatenate(parts) if parts else np.empty(0, np.uint8)
    return data.reshape(-1, width)
