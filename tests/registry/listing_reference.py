"""The list's tables by plain Python objects, a claim after the other: what the vectorised way must agree with."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from heldout.leaves import PREFERENCES, HostRule, ImageDigest, LoggedSubject, PrefixRule, UrlDigest
from heldout.list_tables import SCHEMAS, TableName
from heldout.records import ASSURANCES
from heldout.replay import LoggedClaim

_EPOCH = date(1970, 1, 1).toordinal()


@dataclass(frozen=True)
class Standing:
    """What the claims about one subject amount to."""

    preference: int
    """Position in `leaves.PREFERENCES`."""
    assurance: int
    """Position in `records.ASSURANCES`: the best of the claims of this preference."""
    since: int
    """Days since 1970-01-01: the earliest of the claims of this preference."""


def standings(claims: Iterable[LoggedClaim]) -> dict[LoggedSubject, Standing]:
    """What holds for each subject that counts.

    `train-ai=n` holds unless a `train-ai=y` was declared at a strictly higher assurance: a claim that nobody proved
    cannot lift another's. A picture that claims measured differently is one subject, of the highest quality.
    """
    held_by = [(claim, list(claim.effective())) for claim in claims]
    quality: dict[tuple[bytes, bytes | None], int] = defaultdict(int)
    for image in (s for _, subjects in held_by for s, _ in subjects if isinstance(s, ImageDigest)):
        quality[image.pdq, image.sha256] = max(quality[image.pdq, image.sha256], image.quality)
    by_subject: dict[LoggedSubject, dict[int, Standing]] = defaultdict(dict)
    for claim, subjects in held_by:
        preference = PREFERENCES.index(claim.preference)
        since = claim.received_at.date().toordinal() - _EPOCH
        for subject, assurance in subjects:
            key: LoggedSubject = subject
            if isinstance(subject, ImageDigest):
                key = replace(subject, quality=quality[subject.pdq, subject.sha256])
            new = Standing(preference, ASSURANCES.index(assurance), since)
            held = by_subject[key].get(preference, new)
            by_subject[key][preference] = Standing(
                preference, max(held.assurance, new.assurance), min(held.since, new.since)
            )
    return {subject: resolve(held.values()) for subject, held in by_subject.items()}


def resolve(held: Iterable[Standing]) -> Standing:
    """The one of several standings about one subject that holds: highest assurance, `train-ai=n` among equals."""
    return max(held, key=lambda standing: (standing.assurance, -standing.preference))


def tables_of(standing: Mapping[LoggedSubject, Standing]) -> dict[TableName, pa.Table]:
    """Of each kind of subject."""
    return {
        "url": _url_table({subject: held for subject, held in standing.items() if isinstance(subject, UrlDigest)}),
        "prefix": _place_table({s.prefix: held for s, held in standing.items() if isinstance(s, PrefixRule)}, "prefix"),
        "host": _place_table({s.host: held for s, held in standing.items() if isinstance(s, HostRule)}, "host"),
        "image": _image_table(
            {subject: held for subject, held in standing.items() if isinstance(subject, ImageDigest)}
        ),
    }


def _url_table(standing: Mapping[UrlDigest, Standing]) -> pa.Table:
    by_key: dict[int, Standing] = {}
    for subject, held in standing.items():
        key = int.from_bytes(subject.key[:8], "big")
        # Two URLs of one 64-bit key: exclude if either is.
        by_key[key] = min(held, by_key.get(key, held), key=lambda s: (s.preference, -s.assurance, s.since))
    keys = sorted(by_key)
    columns = {"key": np.array(keys, dtype=np.uint64), **_standing_columns([by_key[key] for key in keys])}
    return pa.table(columns, schema=SCHEMAS["url"])


def _place_table(standing: Mapping[str, Standing], name: TableName) -> pa.Table:
    places = sorted(standing)
    columns = {name: places, **_standing_columns([standing[place] for place in places])}
    return pa.table(columns, schema=SCHEMAS[name])


def _image_table(standing: Mapping[ImageDigest, Standing]) -> pa.Table:
    images = sorted(standing, key=lambda image: (image.pdq, image.sha256 is not None, image.sha256 or b""))
    columns = {
        "pdq": [image.pdq for image in images],
        "quality": np.array([image.quality for image in images], dtype=np.uint8),
        "sha256": [image.sha256 for image in images],
        **_standing_columns([standing[image] for image in images]),
    }
    return pa.table(columns, schema=SCHEMAS["image"])


def _standing_columns(held: list[Standing]) -> dict[str, npt.NDArray[np.generic] | pa.Array]:
    return {
        "preference": np.array([standing.preference for standing in held], dtype=np.uint8),
        "assurance": np.array([standing.assurance for standing in held], dtype=np.uint8),
        "since": pa.array([standing.since for standing in held], type=pa.int32()).cast(pa.date32()),
    }
