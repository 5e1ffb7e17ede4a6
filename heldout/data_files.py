"""Bringing a version's data files into a list's folder: what is there stays, what is missing is fetched."""

from collections.abc import Callable, Mapping
from pathlib import Path

from heldout.durable import sync_folder
from heldout.errors import VerificationError
from heldout.list_tables import read_table, table_of
from heldout.manifest import ListFile, Manifest
from heldout.mirrors import Mirrors, Wanted, check_room
from heldout.stored import ListFolder, check_content

Progress = Callable[[int, int], None]
"""(bytes done, bytes in all), of data files."""


class DataFiles:
    """The data files of one folder, for one pull. Memory holds one file's table at a time."""

    def __init__(self, folder: ListFolder, mirrors: Mirrors, progress: Progress | None) -> None:
        self._folder = folder
        self._mirrors = mirrors
        self._progress = progress

    def bring(self, manifest: Manifest) -> None:
        """See that every data file of a version is there and holds what was signed for.

        Raises:
            VerificationError: somebody serves something else.
            UnavailableError: nobody has a file, or the disk has no room.
        """
        missing = {name: file for name, file in sorted(manifest.files.items()) if not self._is_there(name, file)}
        check_room(self._folder.files, map(_wanted, missing.values()))
        self._fetch(missing, sum(file.size for file in manifest.files.values()))

    def _fetch(self, missing: Mapping[str, ListFile], n_total: int) -> None:
        n_done = n_total - sum(file.size for file in missing.values())
        self._tell(n_done, n_total)
        for name, file in missing.items():
            if not self._is_there(name, file):  # files of equal content are one
                start = n_done

                def tell(n_there: int, start: int = start) -> None:
                    self._tell(start + n_there, n_total)

                self._fetch_one(name, file, tell)
            n_done += file.size
            self._tell(n_done, n_total)

    def _fetch_one(self, name: str, file: ListFile, told: Callable[[int], None]) -> None:
        path = self._folder.data_file(file)
        arrived = path.with_name(f".{path.name}.arrived")  # the version in force may have `path`, and be right
        try:
            self._mirrors.fetch(_wanted(file), arrived, told)
            _check(arrived, name, file)
            arrived.replace(path)
            sync_folder(path.parent)
        finally:
            arrived.unlink(missing_ok=True)

    def _is_there(self, name: str, file: ListFile) -> bool:
        path = self._folder.data_file(file)
        try:
            if path.exists():
                _check(path, name, file)
                return True
        except VerificationError:
            pass
        return False

    def _tell(self, n_done: int, n_total: int) -> None:
        if self._progress is not None:
            self._progress(n_done, n_total)


def _wanted(file: ListFile) -> Wanted:
    return Wanted(f"list/files/{file.sha256.hex()}.parquet", file.sha256, file.size)


def _check(path: Path, name: str, file: ListFile) -> None:
    table = table_of(name)
    check_content(read_table(path, table, f"{path} ({name})"), name, file, f"{path} ({name})")
