"""One index generation of a release, opened for reading: every look-up that search needs, by id.

A generation is immutable once `CURRENT` names it; `Generation.open` refuses one whose manifest does not fit its files.
All methods may be called from several threads at once.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from heldout.errors import InputError, NotFoundError, VerificationError
from heldout.records import Sample
from heldout.urls import canonical_key, surt_key
from indexer.address_table import AddressTable, HostTable
from indexer.build_tables import (
    ADDRESSES_FILE,
    CAPTIONS_FOLDER,
    COLUMNS,
    DIGESTS_FILE,
    GROUPED_FILE,
    GROUPS_FILE,
    HOSTS_FILE,
    PARTS_FOLDER,
    PDQ_IDS_FILE,
    SAMPLES_FILE,
    column_file,
)
from indexer.captions import CaptionIndex
from indexer.copies import HASHES_FILE, PdqIndex
from indexer.copy_groups import GroupTable
from indexer.digest_table import DigestTable
from indexer.image_index import ImageIndex, Kind, read_widths
from indexer.manifest import Manifest, load_manifest, verify_files
from indexer.pruning import Hold
from indexer.shards import THUMBNAILS_FILE, shards_dir
from indexer.tables import SampleTable
from indexer.vectors import IMAGE_FILE, unit_rows

GENERATIONS_FOLDER: Final = "generations"
CURRENT_FILE: Final = "CURRENT"
VECTORS_FILE, EMBEDDING_IDS_FILE = "embeddings.npy", "embedding_ids.npy"
MAX_OPEN_THUMBNAILS: Final = 64
"""Shards whose thumbnails are open at once: each holds a descriptor, of which a process has about 1,000."""
_MAPPED: Final = (
    *("_samples", "_addresses", "_hosts", "_digests", "_columns", "_groups", "_captions"),
    *("_vectors", "_embedding_ids", "_image", "_pdq", "_pdq_ids", "_parts", "_part_ids"),
)
Ids = Sequence[int] | npt.NDArray[np.int64]


def current_generation(release: Path) -> int:
    """Number that the release's `CURRENT` names; one small read, fit for polling.

    Raises:
        NotFoundError: the release has no finished generation.
    """
    try:
        return int((release / CURRENT_FILE).read_text(encoding="ascii"))
    except FileNotFoundError as error:
        raise NotFoundError(f"{release} has no index: run `python -m indexer build`") from error
    except ValueError as error:
        raise VerificationError(f"{release / CURRENT_FILE} names no generation: build the index again") from error


class Generation:
    """A finished index generation. Ids are dense int64 over the release's shards in name order.

    Attributes:
        manifest: What it was made of.
        dataset: Name of the data set (the release folder's name when it was built).
        number: Number of the generation.
        n: Number of samples, those without a picture included.
        d: Length of an embedding.
        model_tag: Tag of the encoder that made the embeddings; a query must be embedded by the same one.
    """

    def __init__(self, release: Path, folder: Path, manifest: Manifest) -> None:
        """Open the files; `open` has checked them."""
        self._hold = Hold(folder)
        self.manifest = manifest
        self.dataset, self.number = manifest.dataset, manifest.number
        self.n, self.d, self.model_tag = manifest.n_samples, manifest.d, manifest.model_tag
        self._samples = SampleTable(folder / SAMPLES_FILE, manifest.dataset)
        self._addresses = AddressTable(folder / ADDRESSES_FILE)
        self._hosts = HostTable(folder / HOSTS_FILE)
        self._digests = DigestTable(folder / DIGESTS_FILE)
        self._columns = {name: np.load(folder / column_file(name), mmap_mode="r") for name in COLUMNS}
        self._groups = GroupTable(folder / GROUPS_FILE, folder / GROUPED_FILE)
        self._captions = CaptionIndex(folder / CAPTIONS_FOLDER)
        # numpy cannot map an empty array
        self._vectors = np.load(folder / VECTORS_FILE, mmap_mode="r" if manifest.n_embeddings else None)
        self._embedding_ids = np.load(folder / EMBEDDING_IDS_FILE, mmap_mode="r" if manifest.n_embeddings else None)
        self._image = ImageIndex(folder, self._vectors, read_widths(manifest.image_widths))
        self._pdq = PdqIndex(folder, manifest.pdq_index)
        self._pdq_ids = np.load(folder / PDQ_IDS_FILE, mmap_mode="r")
        self._parts = PdqIndex(folder / PARTS_FOLDER, manifest.parts_index)
        self._part_ids = np.load(folder / PARTS_FOLDER / PDQ_IDS_FILE, mmap_mode="r")
        self._first_ids = np.array([shard.first_id for shard in manifest.shards], dtype=np.int64)
        self._shards = shards_dir(release)
        self._thumbnails: dict[int, tuple[Any, npt.NDArray[np.int64]]] = {}
        self._thumbnails_lock = threading.Lock()
        self._check_counts(folder)

    @classmethod
    def open(cls, release: Path, number: int | None = None, *, with_shards: bool = True) -> Self:
        """Open the generation that `CURRENT` names, or `number`.

        Args:
            release: Folder of the release.
            number: Of the generation.
            with_shards: Whether the shards must still be those that were indexed; without them there are no thumbnails.

        Raises:
            NotFoundError: no such release or generation.
            VerificationError: the manifest does not fit the files (format, digest, count, size), or one is damaged.
        """
        if number is None:
            number = current_generation(release)
        folder = release / GENERATIONS_FOLDER / str(number)
        if not folder.is_dir():
            raise NotFoundError(f"{release} has no generation {number}: run `python -m indexer build`")
        manifest = load_manifest(folder)
        if manifest.number != number:
            raise VerificationError(f"{folder} holds generation {manifest.number}: build the index again")
        verify_files(folder, manifest, shards_dir(release) if with_shards else None)
        try:
            return cls(release, folder, manifest)
        except (OSError, ValueError, RuntimeError) as error:  # as files of several libraries are found damaged
            if not folder.is_dir():
                raise NotFoundError(f"{folder} was removed just now: open the current generation") from error
            raise VerificationError(f"{folder} cannot be opened ({error}): build the index again") from error

    def _check_counts(self, folder: Path) -> None:
        manifest = self.manifest
        for name, found, said in (
            (SAMPLES_FILE, self._samples.n, manifest.n_samples),
            (ADDRESSES_FILE, len(self._addresses), manifest.n_urls),
            (IMAGE_FILE, len(self._image), manifest.n_embeddings),
            (f"{IMAGE_FILE}'s vectors", self._image.d, manifest.d),
            (VECTORS_FILE, len(self._vectors), manifest.n_embeddings),
            (EMBEDDING_IDS_FILE, len(self._embedding_ids), manifest.n_embeddings),
            (HASHES_FILE, len(self._pdq), manifest.n_pdq),
            (PDQ_IDS_FILE, len(self._pdq_ids), manifest.n_pdq),
            (f"{PARTS_FOLDER}/{HASHES_FILE}", len(self._parts), manifest.n_parts),
            (f"{PARTS_FOLDER}/{PDQ_IDS_FILE}", len(self._part_ids), manifest.n_parts),
            (HOSTS_FILE, len(self._hosts), manifest.n_hosts),
            (GROUPS_FILE, len(self._groups.groups), manifest.n_samples),
            *((column_file(name), len(column), manifest.n_samples) for name, column in self._columns.items()),
        ):
            if found != said:
                raise VerificationError(f"{folder}: {name} holds {found:,}, the manifest says {said:,}: build again")

    def samples(self, ids: Ids) -> list[Sample]:
        """Samples of `ids`, in their order, duplicates kept.

        Raises:
            NotFoundError: an id is not in 0..n-1.
        """
        return [self._samples.sample(int(sample_id)) for sample_id in ids]

    def captions(self, ids: Ids) -> list[str | None]:
        """Captions of `ids`, in their order: a tenth of the work of whole samples.

        Raises:
            NotFoundError: an id is not in 0..n-1.
        """
        return [self._samples.value(int(sample_id), "caption") for sample_id in ids]

    def column(self, name: str) -> npt.NDArray[Any]:
        """(n,) array over all samples, mapped, for filters: `width`, `height`, `unsafe`, `pdq_quality` or `host_ids`.

        Sizes are 0 where unknown, `pdq_quality` where there is no hash; `host_ids` is -1 where there is no host.

        Raises:
            InputError: no such column.
        """
        if name not in self._columns:
            raise InputError(f"{name!r} is no column: there are {', '.join(self._columns)}")
        column: npt.NDArray[Any] = self._columns[name]
        return column

    def host_span(self, host: str) -> tuple[int, int]:
        """Numbers [low, high) of a host and its subdomains in the column `host_ids`; empty when it has no samples.

        Raises:
            InputError: not a bare host.
        """
        return self._hosts.span(host)

    def host_name(self, number: int) -> str:
        """The host of a number in the column `host_ids`."""
        return self._hosts.name(number)

    def groups(self, ids: Ids) -> npt.NDArray[np.int64]:
        """Group of each of `ids`, a group being proved copies of one picture, and its number its smallest id.

        Proofs are equal bytes, or PDQ in any orientation by the rule of `heldout.fingerprints`, directly or in a chain.
        """
        return np.asarray(self._groups.groups[np.asarray(ids, dtype=np.int64)], dtype=np.int64)

    def group_members(self, group: int) -> npt.NDArray[np.int64]:
        """Ids of all samples of a group, ascending."""
        return self._groups.members(group)

    def search_embedding(
        self,
        queries: npt.NDArray[np.float32],
        k: int,
        *,
        kind: Kind = "image",
        nprobe: int | None = None,
        rerank: int | None = None,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Nearest pictures of `queries` ((nq, d) float32 unit rows) by cosine.

        `kind` says what was embedded: a large index is searched as widely as its build found necessary for that, or
        as `nprobe` and `rerank` say. A small index is exact.

        Returns:
            (scores (nq, k) float32, ids (nq, k) int64), best first; short answers are padded with -inf and -1.

        Raises:
            InputError: the queries are not of length `d`, or `k` is below 1.
        """
        if queries.ndim != 2 or queries.shape[1] != self.d or k < 1:
            raise InputError(
                f"queries of shape {queries.shape} and k = {k}: {self.dataset} needs (n, {self.d}), k >= 1"
            )
        scores, positions = self._image.search(queries, k, kind=kind, nprobe=nprobe, rerank=rerank)
        ids = np.full(positions.shape, -1, dtype=np.int64)
        ids[positions >= 0] = self._embedding_ids[positions[positions >= 0]]
        return scores, ids

    def search_pdq(
        self, queries: npt.NDArray[np.uint8], radius: int = 31
    ) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]]:
        """All samples whose upright PDQ is within `radius` (Hamming) of each of `queries` ((q, 32) uint8).

        Qualities are not looked at: the caller applies the rule of `heldout.fingerprints`.

        Returns:
            For each query (ids int64, distances int32), nearest first, ties by id.
        """
        _check_hashes(queries)
        return [(self._pdq_ids[positions], distances) for positions, distances in self._pdq.search(queries, radius)]

    def search_parts(
        self, queries: npt.NDArray[np.uint8], radius: int
    ) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]]:
        """All pictures within samples' pictures (`indexer.parts`), as `search_pdq` does: candidates, nothing proved.

        A sample is given once for each of its parts that is near.
        """
        _check_hashes(queries)
        return [(self._part_ids[positions], distances) for positions, distances in self._parts.search(queries, radius)]

    def search_caption(
        self, text: str, k: int, *, offset: int = 0, phrases: Sequence[str] = ()
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Samples whose caption has every word of `text` (accents and case folded) and every phrase as it stands.

        The last word may be the beginning of a longer one; captions that have it whole come first.

        Returns:
            (scores (m,) float32, ids (m,) int64), best first, m <= k; empty when `text` holds no word.
        """
        return self._captions.search(text, k, offset=offset, phrases=phrases)

    def url_range(self, low: str, high: str, *, limit: int, after: int | None = None) -> npt.NDArray[np.int64]:
        r"""Ids whose `heldout.urls.surt_key` is in [low, high), in SURT order, ties by id.

        One URL is the range [key, key + "\0"). `after` is the last id already given of the same range.

        Raises:
            NotFoundError: `after` is no id, or has no address.
        """
        if after is None:
            return self._addresses.range(low, high, limit=limit, after=None)
        url = self._samples.value(after, "url")
        try:
            if url is None:
                raise NotFoundError(f"sample {after} of {self.dataset} has no address to go on from")
            key = surt_key(canonical_key(url))
        except InputError as error:
            raise NotFoundError(f"sample {after} of {self.dataset} has no address to go on from") from error
        return self._addresses.range(low, high, limit=limit, after=(key, after))

    def sha256_lookup(self, digest: bytes) -> npt.NDArray[np.int64]:
        """Ids of the samples whose picture's bytes have this SHA-256 (32 bytes), ascending."""
        found = self._digests.candidates(digest)
        return np.array([each for each in found if self._samples.value(each, "sha256") == digest], dtype=np.int64)

    def embeddings(self, ids: Ids) -> npt.NDArray[np.float32]:
        """(m, d) float32 unit rows of `ids`; a row of NaN where a sample has no picture."""
        wanted = np.asarray(ids, dtype=np.int64)
        rows = np.full((len(wanted), self.d), np.nan, dtype=np.float32)
        if len(self._embedding_ids) == 0:
            return rows
        places = np.minimum(np.searchsorted(self._embedding_ids, wanted), len(self._embedding_ids) - 1)
        has = self._embedding_ids[places] == wanted
        rows[has] = unit_rows(self._vectors[places[has]])
        return rows

    def thumbnail(self, sample_id: int) -> bytes | None:
        """WebP bytes (long side <= 256), or None where the sample has no picture.

        Raises:
            NotFoundError: `sample_id` is not in 0..n-1.
        """
        if not 0 <= sample_id < self.n:
            raise NotFoundError(f"{self.dataset} has no sample {sample_id}: ids go from 0 to {self.n - 1}")
        shard = int(np.searchsorted(self._first_ids, sample_id, side="right")) - 1
        reader, first_rows = self._open_thumbnails(shard)
        row = sample_id - int(self._first_ids[shard])
        number = int(np.searchsorted(first_rows, row, side="right")) - 1
        webp: bytes | None = reader.get_batch(number).column(0)[row - int(first_rows[number])].as_py()
        return webp

    def _open_thumbnails(self, shard: int) -> tuple[Any, npt.NDArray[np.int64]]:
        """Reader of a shard's thumbnails and the first row of each of its batches."""
        with self._thumbnails_lock:
            opened = self._thumbnails.get(shard)
            if opened is None:
                path = self._shards / self.manifest.shards[shard].name / THUMBNAILS_FILE
                reader = pa.ipc.open_file(pa.memory_map(str(path)))
                lengths = [len(reader.get_batch(number)) for number in range(reader.num_record_batches)]
                opened = reader, np.cumsum([0, *lengths], dtype=np.int64)[:-1]
                if len(self._thumbnails) >= MAX_OPEN_THUMBNAILS:
                    del self._thumbnails[next(iter(self._thumbnails))]  # a reader at work in it keeps it
            else:
                del self._thumbnails[shard]  # and last again: the first is the one unused for longest
            self._thumbnails[shard] = opened
            return opened

    def close(self) -> None:
        """Let go of the mapped files. Calls under way must have ended."""
        with self._thumbnails_lock:
            self._thumbnails.clear()
        self._hold.release()
        for name in _MAPPED:
            if hasattr(self, name):
                delattr(self, name)


def _check_hashes(queries: npt.NDArray[np.uint8]) -> None:
    if queries.ndim != 2 or queries.shape[1] != 32 or queries.dtype != np.uint8:
        raise InputError(f"PDQ queries are (q, 32) uint8, not {queries.shape} {queries.dtype}")
