"""The list that is published now, in memory, to be asked online. A new version takes over without a failed request.

What answers is what everybody can pull, never the database: an answer names its version, and can be checked against it.
Each process holds the list by itself, and for a moment two of them while a new version takes over.
"""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import pyarrow.compute as pc

from heldout.errors import NotFoundError
from heldout.exclusion import ExclusionList
from heldout.list_tables import fixed_bytes
from heldout.stored import verify_published
from registry.ranges import RangeSpace

MARKER: Final = Path("metadata") / "timestamp.json"
"""The last file that publishing writes, below the list's folder."""

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
        urls, images = exclusions.tables["url"], exclusions.tables["image"]
        has_file = images.filter(pc.is_valid(images["sha256"]))
        spaces = {
            "url": RangeSpace(
                "url", urls["key"].to_numpy(), urls["assurance"].to_numpy(), urls["since"].cast("int32").to_numpy()
            ),
            "sha256": RangeSpace.of_digests(
                "sha256",
                fixed_bytes(has_file["sha256"], 32),
                has_file["assurance"].to_numpy(),
                has_file["since"].cast("int32").to_numpy(),
            ),
        }
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
