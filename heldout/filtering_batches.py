"""The exclusion list as a function of batches, for the map functions of other programs.

    from heldout.filtering import Filter
    keep = Filter(Path("LIST")).keep

Verified when made. Picklable: another process opens the very same version again, verifies it, and keeps it for the
batches to come, so that a task costs no loading. Fails closed: a batch without URLs is an error.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from heldout.errors import InputError
from heldout.exclusion import ExclusionList
from heldout.filtering_columns import SHA256_NAME, is_url_name
from heldout.filtering_evidence import PICTURE_SUFFIXES, Evidence, fingerprinter
from heldout.filtering_options import FilterOptions, Preference, open_list
from heldout.filtering_tables import decide_rows, typed_columns
from heldout.records import Assurance
from heldout.stored import ListFolder

Mask = npt.NDArray[np.bool_]

_open_once = lru_cache(maxsize=2)(open_list)
"""Of this process: loading a large list takes seconds."""


def _open_fresh(options: FilterOptions) -> ExclusionList:
    """The list, if it was opened before and is fresh still; else it is verified anew."""
    exclusions = _open_once(options)
    if _is_stale(exclusions, datetime.now(UTC)) and not exclusions.doubts:
        _open_once.cache_clear()
        return _open_once(options)
    return exclusions


def _is_stale(exclusions: ExclusionList, now: datetime) -> bool:
    proved = exclusions.version.proved
    return proved is None or proved.trusted.expires_at <= now


class Filter:
    """Says which samples a list lets through, by their URL, SHA-256 and, for webdataset samples, picture."""

    def __init__(
        self,
        list_path: Path | str,
        *,
        min_assurance: Assurance = "declared",
        as_of: date | None = None,
        url_column: str | None = None,
        preference: Preference = "train-ai=n",
        min_grant_assurance: Assurance = "account",
        allow_unverified: bool = False,
    ) -> None:
        """Verify and load a pulled list.

        Args:
            list_path: folder that `heldout pull` wrote. Other machines need it under the same path.
            min_assurance: leave weaker entries out.
            as_of: leave out entries that were first declared after this day.
            url_column: name of the URLs, if it is not url in any case.
            preference: `train-ai=n` keeps what is not opted out; `train-ai=y`, opt-in only, keeps what is granted
                expressly and not opted out.
            min_grant_assurance: opt-in only: leave weaker grants out.
            allow_unverified: go on without proof; see `doubts`.

        Raises:
            HeldoutError: as `heldout.exclusion.ExclusionList.open`.
        """
        path = Path(list_path).absolute()
        name = ListFolder(path).current_name()
        self._options = FilterOptions(
            path,
            min_assurance,
            allow_unverified,
            url_column,
            list_version=name,
            as_of=as_of,
            preference=preference,
            min_grant_assurance=min_grant_assurance,
        )
        self._list: ExclusionList | None = _open_fresh(self._options)

    def __getstate__(self) -> FilterOptions:
        return self._options

    def __setstate__(self, options: FilterOptions) -> None:
        self._options = options
        self._list = None  # opened when it is needed: the process that unpickles may not be the one that filters

    @property
    def exclusions(self) -> ExclusionList:
        """The list.

        Raises:
            HeldoutError: in another process, if it is no longer there or does not verify.
        """
        if self._list is None:
            self._list = _open_fresh(self._options)
        return self._list

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why not to trust the list; empty unless that was allowed."""
        return self.exclusions.doubts

    def is_stale(self, now: datetime) -> bool:
        """Whether the list, fresh when it was opened, is so no more: pull it and make another filter."""
        return _is_stale(self.exclusions, now)

    def keep(
        self, batch: pa.Table | pa.RecordBatch | Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]]
    ) -> Mask:
        """Say which samples are kept.

        Args:
            batch: n samples: Arrow, a mapping of columns, or a sequence of mappings that all have a field of URLs.

        Returns:
            (n,) bool.

        Raises:
            InputError: no column or field of URLs, or one that does not hold text; digests that are no text or bytes.
        """
        if isinstance(batch, pa.Table | pa.RecordBatch):
            table = pa.table(batch) if isinstance(batch, pa.RecordBatch) else batch
            columns = typed_columns(table.schema, "the batch", self._options.url_column)
            return decide_rows(table, columns, self.exclusions, self._options.opt_in)[0].kept
        if isinstance(batch, Mapping):
            self._check_names(batch, "the batch")
            wanted = {name: list(values) for name, values in batch.items() if self._is_looked_at(name)}
            if len({len(values) for values in wanted.values()}) > 1:
                raise InputError("the columns of the batch have different lengths: give one value per sample in each")
            batch = [dict(zip(wanted, row, strict=True)) for row in zip(*wanted.values(), strict=True)]
        evidence = Evidence()
        for number, sample in enumerate(batch):
            self._check_names(sample, f"sample {number} of the batch")
            self._look_at(sample, number, evidence)
        return self.decide(evidence, len(batch))

    def kept(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """What is kept of each batch: what Spark's `mapInArrow` wants.

        Raises:
            InputError: as `keep`.
        """
        for batch in batches:
            yield batch.filter(pa.array(self.keep(batch)))

    def decide(self, evidence: Evidence, n: int) -> Mask:
        """(n,) Which of n samples are kept, by what is known of them."""
        return evidence.decide(n, self.exclusions, self._options.opt_in).kept

    def keep_webdataset(self, sample: Mapping[str, Any]) -> bool:
        """Say whether a webdataset sample is kept, by its JSON and its pictures, which are not to be decoded yet.

        Args:
            sample: fields by extension, as img2dataset packs and webdataset yields them: `json`, bytes or decoded,
                and pictures as bytes.

        Raises:
            InputError: a picture or the JSON is neither bytes nor what it decodes to, or there is neither; or pictures
                are to be compared and the extra heldout[images] is not installed.
        """
        evidence = Evidence(fingerprinter(self.exclusions), self._options.url_column)
        n_seen = 0
        for name, value in sample.items():
            suffix = name.rpartition(".")[2].lower()
            if suffix == "json" and isinstance(value, bytes):
                evidence.look_at_json(value, 0)
            elif suffix == "json" and isinstance(value, Mapping):
                evidence.look_at_fields(dict(value), 0)
            elif suffix in PICTURE_SUFFIXES and isinstance(value, bytes):
                evidence.look_at_picture(value, 0)
            elif suffix == "json" or suffix in PICTURE_SUFFIXES:
                raise InputError(f"{name} of {sample.get('__key__')} is {type(value).__name__}: filter before decoding")
            else:
                continue
            n_seen += 1
        if not n_seen:
            raise InputError(f"{sample.get('__key__')} has neither JSON nor a picture, so it cannot be checked")
        return bool(self.decide(evidence, 1)[0])

    def _is_looked_at(self, name: str) -> bool:
        return is_url_name(name, self._options.url_column) or name.lower() == SHA256_NAME

    def _check_names(self, names: Iterable[str], what: str) -> None:
        if not any(is_url_name(name, self._options.url_column) for name in names):
            raise InputError(
                f"{what} has no {self._options.url_column or 'url'!r}, so it cannot be checked; it has "
                f"{', '.join(names)[:500]}: name the URLs with url_column"
            )

    def _look_at(self, sample: Mapping[str, Any], number: int, evidence: Evidence) -> None:
        for name, value in sample.items():
            if is_url_name(name, self._options.url_column):
                if isinstance(value, str):
                    evidence.urls.append((number, value))
                elif value is not None:
                    raise InputError(f"sample {number} of the batch has a URL that is {type(value).__name__}, not text")
            elif name.lower() == SHA256_NAME and value is not None:
                if not isinstance(value, str | bytes):
                    raise InputError(
                        f"sample {number} of the batch has a digest that is {type(value).__name__}, so that no picture "
                        "would be met by its bytes: give text or bytes"
                    )
                evidence.look_at_digest(value, number)
