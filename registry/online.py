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

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from heldout.errors import NotFoundError
from heldout.exclusion import ExclusionList
from heldout.list_tables import TableName, fixed_bytes
from heldout.lookup_records import GRANTED, OPTED_OUT
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
        urls, url_codes = _told(exclusions, "url")
        keys, since = urls["key"].to_numpy(), _days(urls)
        if len(exclusions.grants.tables["url"]):  # they follow the opt-outs
            order = np.argsort(keys, kind="stable")
            keys, url_codes, since = keys[order], url_codes[order], since[order]
        images, image_codes = _told(exclusions, "image")
        has_file = pc.is_valid(images["sha256"])
        files = images.filter(has_file)
        digests = fixed_bytes(files["sha256"], 32)
        spaces = {
            "url": RangeSpace("url", keys, url_codes, since),
            "sha256": RangeSpace.of_digests("sha256", digests, image_codes[has_file.to_numpy()], _days(files)),
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


def _told(exclusions: ExclusionList, name: TableName) -> tuple[pa.Table, npt.NDArray[np.uint8]]:
    """A table's entries, opt-outs and then grants, and what a line of a range says of each."""
    parts = [(exclusions.tables[name], OPTED_OUT), (exclusions.grants.tables[name], GRANTED)]
    codes = [np.add(table["assurance"].to_numpy(), codes.start, dtype=np.uint8) for table, codes in parts]
    return pa.concat_tables([table for table, _ in parts if len(table)] or [parts[0][0]]), np.concatenate(codes)


def _days(table: pa.Table) -> npt.NDArray[np.int32]:
    days: npt.NDArray[np.int32] = table["since"].cast(pa.int32()).to_numpy()
    return days
