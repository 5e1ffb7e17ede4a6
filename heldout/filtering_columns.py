"""Which columns of a shard hold what: one detection for Parquet, JSONL, CSV and batches.

LAION, Re-LAION, DataComp, COYO, PD12M and img2dataset name the same things differently, mostly in case alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from heldout.errors import InputError

URL_NAME: Final = "url"
SHA256_NAME: Final = "sha256"
ID_NAMES: Final = ("key", "uid", "sample_id", "id")
CAPTION_NAMES: Final = ("caption", "text", "alt_text", "top_caption")
"""In lower case; the first that is there."""
ABOUT_NAMES: Final = ("width", "height", "original_width", "original_height", "language", "status", "signals")
"""What an audit counts."""


@dataclass(frozen=True)
class Columns:
    """Positions among a shard's columns."""

    urls: tuple[int, ...]
    """At least one."""
    sha256: tuple[int, ...]
    ids: dict[str, int]
    """By name in lower case, of `ID_NAMES`."""
    caption: int | None
    about: dict[str, int]
    """By name in lower case, of `ABOUT_NAMES`."""


def is_url_name(name: str, url_column: str | None) -> bool:
    """Whether a column of this name holds URLs; `url_column` is the name the caller gave, if any."""
    return name.lower() == URL_NAME if url_column is None else name == url_column


def find_columns(names: Sequence[str], source: Path | str, url_column: str | None) -> Columns:
    """Find the columns by their names.

    Raises:
        InputError: there is no column of URLs.
    """
    urls = tuple(i for i, name in enumerate(names) if is_url_name(name, url_column))
    if not urls:
        wanted = f"column {url_column!r}" if url_column is not None else "column named url or URL"
        raise InputError(
            f"{source} has no {wanted}, so its samples cannot be checked by URL; its columns are "
            f"{', '.join(names)[:500]}: name the right one with --url-column"
        )
    lower = [name.lower() for name in names]
    captions = [lower.index(name) for name in CAPTION_NAMES if name in lower]
    return Columns(
        urls,
        tuple(i for i, name in enumerate(lower) if name == SHA256_NAME),
        {name: lower.index(name) for name in ID_NAMES if name in lower},
        captions[0] if captions else None,
        {name: lower.index(name) for name in ABOUT_NAMES if name in lower},
    )
