"""Where the indexes have a claimed picture or address: at how many unrelated sites, whether it is flat, a thumbnail."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from heldout.fingerprints import MATCH_DISTANCE, MIN_QUALITY, PDQ_BYTES
from heldout.urls import surt_key
from indexer.generation import Generation
from registry.quarantine import Claimed, Found
from registry.subjects import public_suffixes
from search.engine import SearchEngine

FLAT_SIDE: Final = 64
"""Pixels a side of what a thumbnail is reduced to before it is looked at."""
FLAT_STEP: Final = 4.0
"""Of 255: neighbours less apart than this are the same."""
FLAT_SHARE: Final = 0.85
"""Share of pixels like both neighbours from which a picture is flat. In the bundled collection half have 0.63, one in a
hundred 0.85 or more (silhouettes, clip art), and the flattest 0.88."""
MAX_ADDRESSES: Final = 20

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Shown:
    """A sample that can be looked at."""

    dataset: str
    generation: int
    id: int


@contextmanager
def all_generations(engine: SearchEngine) -> Iterator[dict[str, Generation]]:
    """The current generation of every data set, open inside the block."""
    with ExitStack() as stack:
        yield {each.name: stack.enter_context(engine.generation(each.name)) for each in engine.datasets()}


def label_of(generations: Mapping[str, Generation]) -> str:
    """Names these indexes: another text is others."""
    return ",".join(f"{name}:{each.number}" for name, each in sorted(generations.items()))


def find_pictures(generations: Mapping[str, Generation], pictures: Sequence[Claimed]) -> list[Found]:
    """Where these pictures are, by the list's own rule: PDQ near in busy pictures, or the very file."""
    return [
        Found(len(_domains(generations, samples)), is_flat=_is_flat(generations, samples))
        for samples in _samples_of(generations, pictures)
    ]


def shown_picture(generations: Mapping[str, Generation], picture: Claimed) -> tuple[Shown | None, int]:
    """A sample of a claimed picture, and at how many registered domains it is."""
    (samples,) = _samples_of(generations, [picture])
    return _first_shown(generations, samples), len(_domains(generations, samples))


def shown_address(generations: Mapping[str, Generation], key: str) -> Shown | None:
    """A sample of an address, given as its canonical key."""
    low = surt_key(key)
    samples = {name: each.url_range(low, f"{low}\0", limit=MAX_ADDRESSES) for name, each in generations.items()}
    return _first_shown(generations, samples)


def registered_domain(host: str) -> str:
    """What somebody registered: `jane.example` of `cdn.jane.example`; a host below which anybody can be, itself."""
    domain: str | None = public_suffixes().privatesuffix(host)
    return domain or host


def _samples_of(generations: Mapping[str, Generation], pictures: Sequence[Claimed]) -> list[dict[str, Ids]]:
    """For each picture its samples in each data set."""
    found: list[dict[str, Ids]] = [{} for _ in pictures]
    queries = np.frombuffer(b"".join(each.pdq for each in pictures), np.uint8).reshape(-1, PDQ_BYTES)
    for name, generation in generations.items():
        qualities = generation.column("pdq_quality")
        near = generation.search_pdq(queries, MATCH_DISTANCE) if len(queries) else []
        for picture, of_one, (ids, _) in zip(pictures, found, near, strict=True):
            is_busy = picture.quality >= MIN_QUALITY
            copies = ids[qualities[ids] >= MIN_QUALITY] if is_busy else np.empty(0, np.int64)
            files = np.empty(0, np.int64) if picture.sha256 is None else generation.sha256_lookup(picture.sha256)
            of_one[name] = np.union1d(copies, files)
    return found


def _domains(generations: Mapping[str, Generation], samples: Mapping[str, Ids]) -> set[str]:
    hosts: set[str] = set()
    for name, ids in samples.items():
        numbers = np.unique(generations[name].column("host_ids")[ids])
        hosts.update(generations[name].host_name(int(number)) for number in numbers[numbers >= 0])
    return {registered_domain(host) for host in hosts}


def _first_shown(generations: Mapping[str, Generation], samples: Mapping[str, Ids]) -> Shown | None:
    for name, ids in samples.items():
        for sample in ids[:MAX_ADDRESSES].tolist():
            if generations[name].thumbnail(sample) is not None:
                return Shown(name, generations[name].number, sample)
    return None


def _is_flat(generations: Mapping[str, Generation], samples: Mapping[str, Ids]) -> bool:
    shown = _first_shown(generations, samples)
    webp = None if shown is None else generations[shown.dataset].thumbnail(shown.id)
    return webp is not None and flat_share(webp) >= FLAT_SHARE


def flat_share(picture: bytes) -> float:
    """Share of pixels that hardly differ from the next ones right and below, 0-1, after reduction to `FLAT_SIDE`."""
    with Image.open(io.BytesIO(picture)) as image:
        small = image.convert("L").resize((FLAT_SIDE, FLAT_SIDE), Image.Resampling.BOX)
    grey = np.asarray(small).astype(np.float64)
    down = np.abs(np.diff(grey, axis=0))[:, :-1] < FLAT_STEP
    right = np.abs(np.diff(grey, axis=1))[:-1] < FLAT_STEP
    return float((down & right).mean())
