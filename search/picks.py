"""Samples named in a form's field: `demo@3:17,204` are samples 17 and 204 of generation 3 of the data set `demo`.

Parts are joined by `;` when samples are of several data sets. A pick names the generation because ids mean other
samples in the next one. Pure.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from heldout.errors import InputError
from heldout.records import Sample

_PART = re.compile(r"(?P<dataset>[^@:;]{1,300})@(?P<generation>\d{1,9}):(?P<ids>\d{1,18}(?:,\d{1,18})*)", re.ASCII)


@dataclass(frozen=True)
class Pick:
    """Samples of one generation of one data set."""

    dataset: str
    generation: int
    ids: tuple[int, ...]

    def __str__(self) -> str:
        return f"{quote(self.dataset, safe='')}@{self.generation}:{','.join(map(str, self.ids))}"


def format_picks(samples: Iterable[Sample], generations: Mapping[str, int]) -> str:
    """The field that stands for these samples, each once."""
    ids: dict[str, dict[int, None]] = {}
    for sample in samples:
        ids.setdefault(sample.dataset, {})[sample.id] = None
    return ";".join(str(Pick(dataset, generations[dataset], tuple(of_it))) for dataset, of_it in ids.items())


def parse_picks(fields: Iterable[str]) -> list[Pick]:
    """What fields stand for: one pick for each generation, ids ascending, each once.

    Raises:
        InputError: a field is not one that `format_picks` makes.
    """
    ids: dict[tuple[str, int], set[int]] = {}
    for field in fields:
        for part in field.split(";"):
            match = _PART.fullmatch(part)
            if match is None:
                raise InputError(f"{part[:40]!r} names no samples: write them as dataset@generation:id,id")
            key = (unquote(match["dataset"]), int(match["generation"]))
            ids.setdefault(key, set()).update(int(each) for each in match["ids"].split(","))
    return [Pick(dataset, number, tuple(sorted(of_it))) for (dataset, number), of_it in sorted(ids.items())]
