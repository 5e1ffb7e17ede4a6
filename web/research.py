"""What was counted for researchers, read from disk: a page costs a look at one small file."""

import json
import re
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from heldout.audit import TABLES_FOLDER
from heldout.audit_sections import Cell, Legend, Section
from heldout.errors import NotFoundError
from web.survey import RESULT_NAME, made, results

_RESULT: Final = re.compile(r"g[0-9]{1,9}-l[0-9]{1,9}", re.ASCII)
_FILE: Final = re.compile(r"[a-z_]+\.(?:csv|parquet)", re.ASCII)
_REMEMBERED: Final = 32
"""Results in memory: some 100 kB each."""


class Result:
    """One count of one data set: never changes."""

    def __init__(self, folder: Path, said: dict[str, Any]) -> None:
        """As `web.survey` wrote it into `folder`."""
        self.folder = folder
        self.name = folder.name
        self.dataset: str = said["dataset"]
        self.generation: int = said["generation"]
        self.list: dict[str, Any] = said["list"]
        self.made_at = datetime.fromisoformat(said["made_at"])
        self.totals: dict[str, int] = said["totals"]
        self.rows: dict[str, int] = said["rows"]
        self._sections: dict[str, list[Section]] = {
            code: [_section(each) for each in sections] for code, sections in said["sections"].items()
        }

    def sections(self, language: str) -> list[Section]:
        """The parts of its page."""
        return self._sections[language]

    @property
    def has_tables(self) -> bool:
        """Whether its files are still kept."""
        return (self.folder / TABLES_FOLDER).is_dir()


class Research:
    """Everything that was counted, below one folder. Fit for many threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._load = lru_cache(maxsize=_REMEMBERED)(_load)

    def current(self) -> dict[str, Any]:
        """What was counted last, `web.survey.made`."""
        return made(self._folder)

    def newest(self, dataset: str) -> Result:
        """The newest count of a data set.

        Raises:
            NotFoundError: there is none.
        """
        counted = self.current().get("wanted", {})
        generation = counted.get("generations", {}).get(dataset)
        if generation is None:
            raise NotFoundError(f"{dataset[:100]!r} is no data set that was counted here: choose one on /research")
        return self.result(dataset, f"g{generation}-l{counted['list_version']}")

    def result(self, dataset: str, name: str) -> Result:
        """A count by its name.

        Raises:
            NotFoundError: there is none of this name.
        """
        if not _RESULT.fullmatch(name) or dataset in {"", ".", ".."} or "/" in dataset or "\0" in dataset:
            raise NotFoundError(f"{dataset[:100]}/{name[:100]} names no count of a data set")
        try:
            return self._load(self._folder / dataset / name)
        except FileNotFoundError as error:
            raise NotFoundError(
                f"{dataset[:100]} was never counted as {name[:100]} here: choose one on /research"
            ) from error

    def others(self, result: Result) -> list[str]:
        """Names of the data set's other counts, the newest first."""
        return [name for name in results(result.folder.parent) if name != result.name]

    def table(self, dataset: str, name: str, file: str) -> Path:
        """A file of a count.

        Raises:
            NotFoundError: there is none of this name, or it is no longer kept.
        """
        path = self.result(dataset, name).folder / TABLES_FOLDER / file
        if not _FILE.fullmatch(file) or not path.is_file():
            raise NotFoundError(
                f"{file[:100]} of {dataset[:100]} ({name}) is not kept here: heldout audit makes it again"
            )
        return path


def _load(folder: Path) -> Result:
    return Result(folder, json.loads((folder / RESULT_NAME).read_bytes()))


def _section(said: dict[str, Any]) -> Section:
    cells = {
        "legend": [Legend(**each) for each in said["legend"]],
        "heads": [Cell(**each) for each in said["heads"]],
        "rows": [[Cell(**cell) for cell in row] for row in said["rows"]],
    }
    return Section(**{**said, **cells})
