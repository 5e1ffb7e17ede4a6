"""Bringing a version's data files into a list's folder: what is there stays, what is missing is made or fetched."""

from collections.abc import Callable, Mapping

from heldout.deltas import Deltas
from heldout.durable import sync_folder
from heldout.errors import NotFoundError, UnavailableError, VerificationError
from heldout.manifest import ListFile, Manifest
from heldout.mirrors import Mirrors, Wanted, check_room
from heldout.stored import ListFolder, read_data_file

Progress = Callable[[int, int], None]
"""(bytes done, bytes in all), of data files."""


class DataFiles:
    """The data files of one folder, for one pull. Memory holds one file's table at a time."""

    def __init__(self, folder: ListFolder, mirrors: Mirrors, progress: Progress | None) -> None:
        self._folder = folder
        self._mirrors = mirrors
        self._progress = progress

    def bring(self, manifest: Manifest, deltas: Deltas | None = None) -> None:
        """See that every data file of a version is there and holds what was signed for.

        Args:
            manifest: of the version, proved.
            deltas: the way to it from the version at hand, if there is one.

        Raises:
            VerificationError: somebody serves something else.
            UnavailableError: nobody has a file, or the disk has no room.
        """
        n_total = sum(file.size for file in manifest.files.values())
        missing = self._missing(manifest.files)
        if deltas is not None and missing:
            n_done = n_total - _size(missing)

            def tell(n_made: int) -> None:
                nonlocal n_done
                n_done += n_made
                self._tell(n_done, n_total)

            deltas.rebuild(manifest, _size(missing), tell)
            missing = self._missing(missing)
        check_room(self._folder.files, map(_wanted, missing.values()))
        self._fetch(missing, n_total)

    def _missing(self, files: Mapping[str, ListFile]) -> dict[str, ListFile]:
        return {name: file for name, file in sorted(files.items()) if not self._is_there(name, file)}

    def _fetch(self, missing: Mapping[str, ListFile], n_total: int) -> None:
        n_done = n_total - _size(missing)
        self._tell(n_done, n_total)
        fetched: set[bytes] = set()
        for name, file in missing.items():
            if file.content not in fetched:  # files of equal content are one
                start = n_done

                def tell(n_there: int, start: int = start) -> None:
                    self._tell(start + n_there, n_total)

                self._fetch_one(name, file, tell)
                fetched.add(file.content)
            n_done += file.size
            self._tell(n_done, n_total)

    def _fetch_one(self, name: str, file: ListFile, told: Callable[[int], None]) -> None:
        path = self._folder.data_file(file)
        arrived = path.with_name(f".{path.name}.arrived")  # the version in force may have `path`, and be right
        try:
            self._mirrors.fetch(_wanted(file), arrived, told)
            read_data_file(arrived, name, file)
            arrived.replace(path)
            sync_folder(path.parent)
        except VerificationError as error:
            raise VerificationError(f"{error}. The list at hand was kept") from error
        except (NotFoundError, UnavailableError) as error:
            raise UnavailableError(f"{error}. The list at hand was kept") from error
        finally:
            arrived.unlink(missing_ok=True)

    def _is_there(self, name: str, file: ListFile) -> bool:
        path = self._folder.data_file(file)
        try:
            if path.exists():
                read_data_file(path, name, file)
                return True
        except VerificationError:
            pass
        return False

    def _tell(self, n_done: int, n_total: int) -> None:
        if self._progress is not None:
            self._progress(n_done, n_total)


def _size(files: Mapping[str, ListFile]) -> int:
    return sum(file.size for file in files.values())


def _wanted(file: ListFile) -> Wanted:
    return Wanted(f"list/files/{file.sha256.hex()}.parquet", file.sha256, file.size)
