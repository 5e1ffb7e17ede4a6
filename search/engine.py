"""The search engine: five doors over the data sets' current generations, one shape of answer.

Each door makes a ranking (`picture`, `text`, `urls`), pages are cut from it with copies grouped (`pages`), and records
are made only for what is on the page. Everything here reads; all methods may be called from several threads at once.
Queries are neither stored nor logged.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from heldout.errors import HeldoutError, InputError, NotFoundError
from heldout.records import Copy, DatasetInfo, Evidence, Group, Hit, Sample, SearchResult
from indexer.encoder import Encoder
from indexer.generation import Generation
from search.copies import links_of
from search.cursor import Cursor, format_cursor, parse_cursor, question_digest
from search.merge import Candidate, Ref
from search.pages import Card, Page, cut_page
from search.picture import MAX_PICTURE_BYTES, answer_picture
from search.rankings import Answer
from search.reading import Reading
from search.releases import Releases, Snapshot
from search.text import answer_caption, answer_text
from search.urls import answer_site, answer_url

DEFAULT_K: Final = 50
MAX_K: Final = 500


class SearchEngine:
    """Searches every built data set below one folder."""

    def __init__(self, releases: Releases, encoder: Encoder) -> None:
        self._releases = releases
        self._encoder = encoder

    @classmethod
    def open(cls, datasets_dir: Path, encoder: Encoder) -> "SearchEngine":
        """Open the current generation of every data set that has one.

        Raises:
            ConflictError: an index was made by another encoder.
            NotFoundError: the folder cannot be read.
            VerificationError: a generation's manifest does not fit its files.
        """
        releases = Releases(datasets_dir, encoder)
        for error in releases.refresh().values():
            releases.close()
            raise error
        return cls(releases, encoder)

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

    def search_picture(
        self, data: bytes, *, k: int = DEFAULT_K, datasets: list[str] | None = None, cursor: str | None = None
    ) -> SearchResult:
        """Copies of a picture, labelled by what proves them, then what looks alike.

        Raises:
            InputError: not a picture, too large, or a bad `k` or cursor.
            ConflictError: the cursor's generation is gone.
            NotFoundError: no such data set.
        """
        if len(data) > MAX_PICTURE_BYTES:
            raise InputError(f"the picture has {len(data)} bytes: give a copy of at most {MAX_PICTURE_BYTES} bytes")
        door = partial(answer_picture, encoder=self._encoder, data=data)
        return self._answer("picture", data, door, k=k, datasets=datasets, cursor=cursor)

    def search_text(
        self, text: str, *, k: int = DEFAULT_K, datasets: list[str] | None = None, cursor: str | None = None
    ) -> SearchResult:
        """What looks like the text or says it in its caption. Raises as `search_picture`."""
        door = partial(answer_text, encoder=self._encoder, text=text)
        return self._answer("text", text, door, k=k, datasets=datasets, cursor=cursor)

    def search_url(
        self, url: str, *, k: int = DEFAULT_K, datasets: list[str] | None = None, cursor: str | None = None
    ) -> SearchResult:
        """Samples of one address, and the copies of their pictures elsewhere. Raises as `search_picture`."""
        return self._answer("url", url, partial(answer_url, url=url), k=k, datasets=datasets, cursor=cursor)

    def search_site(
        self, site: str, *, k: int = DEFAULT_K, datasets: list[str] | None = None, cursor: str | None = None
    ) -> SearchResult:
        """Samples of a host and its subdomains, or below a profile's path. Raises as `search_picture`."""
        return self._answer("site", site, partial(answer_site, site=site), k=k, datasets=datasets, cursor=cursor)

    def search_caption(
        self, text: str, *, k: int = DEFAULT_K, datasets: list[str] | None = None, cursor: str | None = None
    ) -> SearchResult:
        """Samples whose caption has the words, quoted phrases as they stand. Raises as `search_picture`."""
        return self._answer("caption", text, partial(answer_caption, text=text), k=k, datasets=datasets, cursor=cursor)

    @property
    def encoder(self) -> Encoder:
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
        with self._releases.lease() as snapshot:
            return _one(snapshot, dataset, generation).samples(ids)

    def thumbnail(self, dataset: str, sample_id: int, *, generation: int | None = None) -> tuple[bytes, int]:
        """A sample's thumbnail as WebP, and the number of the generation it is from.

        Raises:
            ConflictError: the generation is gone.
            NotFoundError: no such data set or id, or the sample has no picture.
        """
        with self._releases.lease() as snapshot:
            opened = _one(snapshot, dataset, generation)
            webp = opened.thumbnail(sample_id)
        if webp is None:
            raise NotFoundError(f"sample {sample_id} of {dataset} has no picture: show its address and caption instead")
        return webp, opened.number

    def _answer(
        self,
        door: str,
        question: str | bytes,
        answer: Callable[[Reading], Answer],
        *,
        k: int,
        datasets: list[str] | None,
        cursor: str | None,
    ) -> SearchResult:
        if not 1 <= k <= MAX_K:
            raise InputError(f"k is {k}: ask for 1 to {MAX_K} results a page")
        asked = question.encode("utf-8", "surrogatepass") if isinstance(question, str) else question
        digest = question_digest(door, asked, None if datasets is None else sorted(set(datasets)))
        with self._releases.lease() as snapshot:
            generations, rank = _start(snapshot, digest, datasets, cursor)
            reading = Reading(generations)
            said = answer(reading)
            page = cut_page(said, rank, k, partial(links_of, reading))
            numbers = {name: generation.number for name, generation in generations.items()}
            following = None if page.next_rank is None else format_cursor(Cursor(digest, page.next_rank, numbers))
            return _records(page, said, reading).model_copy(update={"next_cursor": following, "generations": numbers})


def _start(
    snapshot: Snapshot, digest: str, datasets: list[str] | None, cursor: str | None
) -> tuple[dict[str, Generation], int]:
    if cursor is None:
        return snapshot.select(datasets), 0
    place = parse_cursor(cursor)
    if place.question != digest:
        raise InputError("this cursor belongs to another question: send it with the question of its first page")
    return snapshot.at(place.generations), place.rank


def _one(snapshot: Snapshot, dataset: str, generation: int | None) -> Generation:
    chosen = snapshot.select([dataset]) if generation is None else snapshot.at({dataset: generation})
    return chosen[dataset]


def _records(page: Page, answer: Answer, reading: Reading) -> SearchResult:
    wanted = [candidate.ref for candidate in page.candidates]
    wanted += [ref for card in page.cards for ref in card.component.members]
    samples = reading.samples(wanted)
    hits = [
        Hit(sample=samples[each.ref], label=each.label, score=each.score, evidence=_evidence(each))
        for each in page.candidates
    ]
    return SearchResult(
        hits=hits,
        groups=[_group(card, page, samples) for card in page.cards],
        total=answer.ranking.total,
        notes=list(answer.notes),
    )


def _evidence(candidate: Candidate) -> list[Evidence]:
    return [Evidence(channel=proof.channel, value=proof.value) for proof in candidate.evidence]


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
