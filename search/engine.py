"""The search engine: five doors over the data sets' current generations, one shape of answer.

Each door makes a ranking (`picture`, `text`, `urls`), pages are cut from it with copies grouped (`pages`), and records
are made only for what is on the page. Everything here reads; all methods may be called from several threads at once.
Queries are neither stored nor logged.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
from PIL import Image

from heldout.errors import HeldoutError, InputError, NotFoundError
from heldout.fingerprints import MATCH_DISTANCE, PDQ_BYTES
from heldout.records import Copy, DatasetInfo, Evidence, Group, Hit, HitLabel, Sample, SearchFilters, SearchResult
from indexer.generation import Generation
from search.copies import is_busy
from search.cursor import Cursor, format_cursor, parse_cursor, question_digest
from search.filters import OptedOut, column_masks, not_opted_out, notes_of
from search.links import Links
from search.merge import Candidate, Ref
from search.pages import Card, Page, cut_page
from search.picks import Pick
from search.picture import MAX_PICTURE_BYTES, answer_picture
from search.query_encoder import QueryEncoder
from search.rankings import PROVED, Answer
from search.reading import Reading
from search.releases import Releases, Snapshot
from search.text import answer_caption, answer_text
from search.urls import answer_site, answer_url

DEFAULT_K: Final = 50
MAX_K: Final = 500
MAX_SHOWING: Final = 8
"""Samples near to a picture that are looked at for one to show it by."""


class PageOptions(TypedDict, total=False):
    """What every door takes besides its question."""

    k: int
    """Groups a page, 1 to `MAX_K`; exact and near hits come on top."""
    datasets: list[str] | None
    """Only these data sets."""
    cursor: str | None
    """`next_cursor` of the page before, asked with the same question, data sets and filters."""
    filters: SearchFilters
    """Which hits the answer is to have."""


class SearchEngine:
    """Searches every built data set below one folder."""

    def __init__(self, releases: Releases, encoder: QueryEncoder, *, opted_out: OptedOut | None = None) -> None:
        """Search `releases`; `opted_out` tells the filter of that name, which is refused without it."""
        self._releases = releases
        self._encoder = encoder
        self._opted_out = opted_out

    @classmethod
    def open(cls, datasets_dir: Path, encoder: QueryEncoder, *, opted_out: OptedOut | None = None) -> "SearchEngine":
        """Open the current generation of every data set that has one.

        Raises:
            ConflictError: an index was made by another encoder.
            NotFoundError: the folder cannot be read.
            VerificationError: a generation's manifest does not fit its files.
        """
        releases = Releases(datasets_dir, encoder, warm=partial(_warm, encoder))
        for error in releases.refresh().values():
            releases.close()
            raise error
        return cls(releases, encoder, opted_out=opted_out)

    def refresh(self) -> dict[str, HeldoutError]:
        """Take up new generations and data sets; requests under way end on the ones they began with.

        Returns:
            Data set -> why its newest generation was refused; it goes on with the one it had.
        """
        return self._releases.refresh()

    def close(self) -> None:
        """Let go of the index files, as soon as requests under way have ended."""
        self._releases.close()

    def datasets(self) -> list[DatasetInfo]:
        """The data sets that can be searched, by name."""
        with self._releases.lease() as snapshot:
            return [
                DatasetInfo(name=name, n_samples=each.n, generation=each.number, model_tag=each.model_tag, d=each.d)
                for name, each in snapshot.current.items()
            ]

    def search_picture(self, data: bytes, **options: Unpack[PageOptions]) -> SearchResult:
        """Copies of a picture, labelled by what proves them, then what looks alike.

        Raises:
            InputError: not a picture, too large, or a bad `k`, filter or cursor.
            ConflictError: the cursor's generation is gone.
            NotFoundError: no such data set.
            UnavailableError: too many queries are waiting for the encoder.
        """
        if len(data) > MAX_PICTURE_BYTES:
            raise InputError(f"the picture has {len(data)} bytes: give a copy of at most {MAX_PICTURE_BYTES} bytes")
        return self._answer("picture", data, partial(answer_picture, encoder=self._encoder, data=data), options)

    def search_text(self, text: str, **options: Unpack[PageOptions]) -> SearchResult:
        """What looks like the text or says it in its caption. Raises as `search_picture`."""
        return self._answer("text", text, partial(answer_text, encoder=self._encoder, text=text), options)

    def search_url(self, url: str, **options: Unpack[PageOptions]) -> SearchResult:
        """Samples of one address, and the copies of their pictures elsewhere. Raises as `search_picture`."""
        return self._answer("url", url, partial(answer_url, url=url), options)

    def search_site(self, site: str, **options: Unpack[PageOptions]) -> SearchResult:
        """Samples of a host and its subdomains, or below a profile's path. Raises as `search_picture`."""
        return self._answer("site", site, partial(answer_site, site=site), options)

    def search_caption(self, text: str, **options: Unpack[PageOptions]) -> SearchResult:
        """Samples whose caption has the words, quoted phrases as they stand. Raises as `search_picture`."""
        return self._answer("caption", text, partial(answer_caption, text=text), options)

    @property
    def encoder(self) -> QueryEncoder:
        """What queries are embedded with."""
        return self._encoder

    @contextmanager
    def generation(self, dataset: str) -> Iterator[Generation]:
        """A data set's current generation, open inside the block.

        Raises:
            NotFoundError: no such data set.
        """
        with self._releases.lease() as snapshot:
            yield _one(snapshot, dataset, None)

    def samples(self, dataset: str, ids: Sequence[int], *, generation: int | None = None) -> list[Sample]:
        """Samples by id, in the order of `ids`; of the current generation unless one is named.

        Raises:
            ConflictError: the generation is gone, so its ids may mean others now.
            NotFoundError: no such data set or id.
        """
        with self._lease({} if generation is None else {dataset: generation}) as snapshot:
            return _one(snapshot, dataset, generation).samples(ids)

    def picked(self, picks: Iterable[Pick]) -> list[Sample]:
        """The samples of picks, in their order. Raises as `samples`."""
        return [sample for pick in picks for sample in self.samples(pick.dataset, pick.ids, generation=pick.generation)]

    def thumbnail(self, dataset: str, sample_id: int, *, generation: int | None = None) -> tuple[bytes, int]:
        """A sample's thumbnail as WebP, and the number of the generation it is from.

        Raises:
            ConflictError: the generation is gone.
            NotFoundError: no such data set or id, or the sample has no picture.
        """
        with self._lease({} if generation is None else {dataset: generation}) as snapshot:
            opened = _one(snapshot, dataset, generation)
            webp = opened.thumbnail(sample_id)
        if webp is None:
            raise NotFoundError(f"sample {sample_id} of {dataset} has no picture: show its address and caption instead")
        return webp, opened.number

    def showing(self, pdq: npt.NDArray[np.uint8]) -> tuple[list[Sample | None], dict[str, int]]:
        """For each of some pictures, by their PDQ ((n, 32) uint8), a sample that shows it and has a thumbnail.

        Returns:
            (samples, None where there is none; data set -> generation they are from).
        """
        found: list[Sample | None] = [None] * len(pdq)
        with self._releases.lease() as snapshot:
            for generation in snapshot.current.values() if len(pdq) else ():
                for position, (ids, _) in enumerate(generation.search_pdq(pdq, MATCH_DISTANCE)):
                    if found[position] is None:
                        near = generation.samples(ids[:MAX_SHOWING].tolist())
                        found[position] = next((each for each in near if each.status == "ok" and is_busy(each)), None)
            return found, {name: generation.number for name, generation in snapshot.current.items()}

    def _answer(
        self, door: str, question: str | bytes, answer: Callable[[Reading], Answer], options: PageOptions
    ) -> SearchResult:
        k, datasets = options.get("k", DEFAULT_K), options.get("datasets")
        filters = options.get("filters", SearchFilters())
        if not 1 <= k <= MAX_K:
            raise InputError(f"k is {k}: ask for 1 to {MAX_K} results a page")
        if filters.not_opted_out and self._opted_out is None:
            raise InputError("opt-outs are not known here: leave the filter not_opted_out away")
        asked = question.encode("utf-8", "surrogatepass") if isinstance(question, str) else question
        names = None if datasets is None else sorted(set(datasets))
        digest = question_digest(door, asked, names, filters.model_dump_json(exclude_defaults=True))
        place = _place(options.get("cursor"), digest)
        with self._lease({} if place is None else place.generations) as snapshot:
            generations = snapshot.select(datasets) if place is None else snapshot.at(place.generations)
            rank = 0 if place is None else place.rank
            reading = Reading(generations, column_masks(filters, generations))
            said = answer(reading)
            ranking, left_out = said.ranking.sifted(reading.masks, filters.labels)
            said = replace(said, ranking=ranking)
            keep = not_opted_out(reading, self._opted_out) if filters.not_opted_out and self._opted_out else None
            page = cut_page(said, rank, k, Links(reading), keep=keep)
            numbers = {name: generation.number for name, generation in generations.items()}
            following = None if page.next_rank is None else format_cursor(Cursor(digest, page.next_rank, numbers))
            missing = _left_out(page, left_out if rank == 0 else [])
            result = _records(page, reading, is_picture=door == "picture")
        return result.model_copy(
            update={
                "next_cursor": following,
                "generations": numbers,
                "total": None if keep is not None else ranking.total,
                "left_out": missing,
                "notes": [*said.notes, *notes_of(missing, len(page.passed_over))],
            }
        )

    @contextmanager
    def _lease(self, numbers: Mapping[str, int]) -> Iterator[Snapshot]:
        """A snapshot. Another process may have taken a generation up that this one has yet to see: it looks first."""
        known = {info.name: info.generation for info in self.datasets()} if numbers else {}
        if any(number > known.get(name, -1) for name, number in numbers.items()):
            self.refresh()
        with self._releases.lease() as snapshot:
            yield snapshot


def _warm(encoder: QueryEncoder, generation: Generation) -> None:
    """Ask every channel once: whoever comes first then finds sessions made and the tops of the indexes in memory."""
    reading = Reading({generation.dataset: generation})
    answer_text(reading, encoder, "a picture")
    encoder.embed_images([Image.new("RGB", (8, 8))])
    generation.search_pdq(np.zeros((1, PDQ_BYTES), np.uint8), 0)


def _place(text: str | None, digest: str) -> Cursor | None:
    if text is None:
        return None
    place = parse_cursor(text)
    if place.question != digest:
        raise InputError("this cursor belongs to another question: send it with the question of its first page")
    return place


def _left_out(page: Page, sifted: Sequence[Candidate]) -> dict[HitLabel, int]:
    """Exact and near candidates that filters leave out, by label; those that a card lists as copies are shown."""
    listed = {ref for card in page.cards for ref, link in card.component.members.items() if link is not None}
    proved = [each for each in (*sifted, *page.passed_over) if each.label in PROVED and each.ref not in listed]
    return dict(Counter(each.label for each in proved))


def _one(snapshot: Snapshot, dataset: str, generation: int | None) -> Generation:
    chosen = snapshot.select([dataset]) if generation is None else snapshot.at({dataset: generation})
    return chosen[dataset]


def _records(page: Page, reading: Reading, *, is_picture: bool) -> SearchResult:
    wanted = [candidate.ref for candidate in page.candidates]
    wanted += [ref for card in page.cards for ref in card.component.members]
    samples = reading.samples(wanted)
    hits = []
    for each in page.candidates:
        sample = samples[each.ref]
        unverified = is_picture and each.label == "similar" and is_unverified(sample)
        hits.append(
            Hit(sample=sample, label=each.label, score=each.score, evidence=_evidence(each), unverified=unverified)
        )
    return SearchResult(hits=hits, groups=[_group(card, page, samples) for card in page.cards])


def is_unverified(sample: Sample) -> bool:
    """Whether a sample has an address but nothing of its picture to compare by: only its embedding came along."""
    return sample.url is not None and sample.pdq is None and sample.sha256 is None


def _evidence(candidate: Candidate) -> list[Evidence]:
    return [Evidence(**proof._asdict()) for proof in candidate.evidence]


def _group(card: Card, page: Page, samples: Mapping[Ref, Sample]) -> Group:
    hits = [page.candidates[position].ref for position in card.hits]
    listed = set(hits)
    copies = [
        Copy(sample=samples[ref], channel=link.channel, distance=link.distance)
        for ref, link in sorted(card.component.members.items(), key=lambda item: item[0])
        if ref not in listed and link is not None
    ]
    members = [samples[ref] for ref in hits] + [copy.sample for copy in copies]
    return Group(
        hits=card.hits,
        copies=copies,
        hosts=sorted({member.host for member in members if member.host is not None}),
        n_samples=len(members),
        complete=card.component.complete,
    )
