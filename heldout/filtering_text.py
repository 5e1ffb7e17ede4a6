"""One JSONL, CSV or TSV shard minus the samples a list excludes; what is kept is kept byte for byte.

Plain or gzip. Memory holds a batch of lines. A gzip output has the input's decompressed bytes, not its compressed ones.
"""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from io import BufferedRandom
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from heldout.errors import InputError
from heldout.exclusion import ExclusionList
from heldout.filtering_emit import SAID
from heldout.filtering_evidence import Evidence
from heldout.filtering_lines import Line, LineReader, Values, iter_csv, iter_jsonl, iter_tsv
from heldout.filtering_masks import MaskWriter
from heldout.filtering_observer import Observer
from heldout.records import Assurance
from heldout.report import Tally

READERS: Final = {".jsonl": iter_jsonl, ".ndjson": iter_jsonl, ".csv": iter_csv, ".tsv": iter_tsv}
TEXT_SUFFIXES: Final = tuple(f"{suffix}{gz}" for suffix in READERS for gz in ("", ".gz"))

Kept = npt.NDArray[np.bool_]

_BATCH_LINES = 16_384
_BATCH_BYTES = 64 * 1024 * 1024
_GZIP_LEVEL = 6


def filter_text(
    source: Path,
    stream: BufferedRandom | None,
    exclusions: ExclusionList,
    *,
    url_column: str | None = None,
    opt_in: Assurance | None = None,
    observer: Observer | None = None,
    mask: MaskWriter | None = None,
) -> Tally:
    """Write what is kept of a shard to an open file; None writes nothing. Observer and mask are told of every sample.

    With `opt_in`, only what is granted is kept, by an entry that is proved at least so well.

    Raises:
        InputError: damaged, without a field of URLs, or a line that cannot be read.
    """
    tally = Tally()
    read = READERS[Path(source.name.removesuffix(".gz")).suffix.lower()]
    with _reading(source) as plain, _writing(stream, is_gzip=source.name.endswith(".gz")) as out:
        lines = read(LineReader(plain, str(source)), url_column)
        while batch := list(_batch(lines)):
            kept = _keep(batch, exclusions, opt_in, tally, observer)
            if mask is not None:
                mask.take(kept)
            if out is not None:
                answers = iter(kept.tolist())
                out.writelines(line.data for line in batch if line.values is None or next(answers))
    return tally


def _batch(lines: Iterator[Line]) -> Iterator[Line]:
    size = 0
    for line in islice(lines, _BATCH_LINES):
        yield line
        size += len(line.data)
        if size > _BATCH_BYTES:
            return


def _keep(
    batch: list[Line], exclusions: ExclusionList, opt_in: Assurance | None, tally: Tally, observer: Observer | None
) -> Kept:
    """(n,) One answer per sample."""
    samples: list[Values] = [line.values for line in batch if line.values is not None]
    evidence = Evidence()
    for number, sample in enumerate(samples):
        evidence.urls += [(number, url) for url in sample.urls if url is not None]
        for digest in sample.digests:
            evidence.look_at_digest(digest, number)
    decision = evidence.decide(len(samples), exclusions, opt_in)
    tally.count(decision)
    tally.n_unreadable_urls += len(evidence.unreadable_urls)
    if observer is not None:
        said = {name: [sample.said.get(name) for sample in samples] for name in (*SAID, *observer.asks - {"caption"})}
        observer.take(pa.table({name: _texts(values) for name, values in said.items()}), decision)
    return decision.kept


def _texts(values: list[str | None]) -> pa.Array:
    return pa.array([None if v is None else v.encode(errors="replace").decode() for v in values], pa.string())


@contextmanager
def _reading(source: Path) -> Iterator[BinaryIO]:
    """The decompressed bytes."""
    opened = partial(gzip.open, source, "rb") if source.name.endswith(".gz") else partial(source.open, "rb")
    try:
        with opened() as stream:
            yield cast("BinaryIO", stream)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(
            f"{source} cannot be decompressed ({error}): it is damaged or truncated, get it again"
        ) from error


@contextmanager
def _writing(stream: BufferedRandom | None, *, is_gzip: bool) -> Iterator[BinaryIO | None]:
    if stream is None or not is_gzip:
        yield stream
        return
    # No name and no time in the header: the same lines give the same bytes.
    with gzip.GzipFile("", "wb", _GZIP_LEVEL, stream, mtime=0) as compressed:
        yield cast("BinaryIO", compressed)
