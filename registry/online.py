"""The list that is published now, in memory, to be asked online. A new version takes over without a failed request.

What answers is what everybody can pull, never the database: an answer names its version, and can be checked against it.
Each process holds the list by itself, and for a moment two of them while a new version takes over.
"""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeVar

import numpy as np
import numpy.typing as npt

from heldout.errors import NotFoundError
from heldout.exclusion import ExclusionList
from heldout.lookup_records import GRANTED, OPTED_OUT
from heldout.stored import verify_published
from registry.ranges import RangeSpace

MARKER: Final = Path("metadata") / "timestamp.json"
"""The last file that publishing writes, below the list's folder."""

_Digests = TypeVar("_Digests", npt.NDArray[np.uint8], npt.NDArray[np.uint64])
_Codes = npt.NDArray[np.uint8]
_Days = npt.NDArray[np.int32]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OnlineList:
    """One version, with all that is asked of it."""

    exclusions: ExclusionList
    spaces: Mapping[str, RangeSpace]
    """By name: `url`, `sha256`."""

    @classmethod
    def of(cls, exclusions: ExclusionList) -> Self:
        """Make the ranges of a list."""
        keys, codes, since = _told(exclusions.url_entries, exclusions.grants.url_entries)
        if len(exclusions.grants.url_entries[0]):  # they follow the opt-outs
            order = np.argsort(keys, kind="stable")
            keys, codes, since = keys[order], codes[order], since[order]
        files = _told(exclusions.file_entries, exclusions.grants.file_entries)
        spaces = {"url": RangeSpace("url", keys, codes, since), "sha256": RangeSpace.of_digests("sha256", *files)}
        return cls(exclusions, spaces)

    @property
    def headers(self) -> dict[str, str]:
        """What says which version answered."""
        version = self.exclusions.version
        return {
            "Heldout-List-Version": str(version.manifest.version),
            "Heldout-List-Manifest": version.manifest_sha256.hex(),
        }


class OnlineLists:
    """Holds the newest version of a registry's list. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        """Hold what is published in `folder`, which the registry serves as `/list`; nothing is read yet."""
        self._folder = folder
        self._lock = threading.Lock()
        self._seen: bytes | None = None
        self._held: OnlineList | None = None

    def refresh(self) -> bool:
        """Take the newest version up, if there is one that is not held yet; whether there was.

        Whoever asks meanwhile is answered from the old one. Looks at one small file if nothing was published.

        Raises:
            HeldoutError: what is published cannot be read; the old version goes on answering.
        """
        with self._lock:
            try:
                marker = (self._folder / MARKER).read_bytes()
            except FileNotFoundError:  # nothing was published yet
                return False
            if marker == self._seen:
                return False
            held = self._held
            if held is not None and (
                verify_published(self._folder).manifest_sha256 == held.exclusions.version.manifest_sha256
            ):
                self._seen = marker  # signed anew, and the same list
                return False
            made = OnlineList.of(ExclusionList.from_published(self._folder))
            self._held, self._seen = made, marker
        logger.info("list_taken_up", extra={"version": made.exclusions.version.manifest.version})
        return True

    def newest(self) -> OnlineList:
        """The version that is held.

        Raises:
            NotFoundError: none is published yet.
        """
        if self._held is None:
            raise NotFoundError("no list has been published here yet, so nothing can be looked up: ask again later")
        return self._held


def _told(
    opted_out: tuple[_Digests, _Codes, _Days], granted: tuple[_Digests, _Codes, _Days]
) -> tuple[_Digests, _Codes, _Days]:
    """Entries, opt-outs and then grants, and what a line of a range says of each."""
    codes = [np.add(opted_out[1], OPTED_OUT.start, dtype=np.uint8), np.add(granted[1], GRANTED.start, dtype=np.uint8)]
    if not len(granted[0]):  # as nearly always: nothing is copied but one byte an entry
        return opted_out[0], codes[0], opted_out[2]
    return np.concatenate([opted_out[0], granted[0]]), np.concatenate(codes), np.concatenate([opted_out[2], granted[2]])
