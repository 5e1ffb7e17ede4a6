"""Which shards a filter run takes, what they become, and which belong together."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from heldout.errors import InputError
from heldout.filtering_text import TEXT_SUFFIXES
from heldout.report import REPORT_NAME

SUFFIXES: Final = (".parquet", ".tar", *TEXT_SUFFIXES)
_WANTED = "parquet, webdataset tar, JSONL, CSV or TSV (the last three also .gz)"
_EMITTED = ("removal", "url-list", "masks", ".heldout")
"""Folders that a run fills besides its shards."""


@dataclass(frozen=True)
class Source:
    """One input."""

    name: str
    """Path of its output below the output folder, with slashes."""
    path: Path


@dataclass(frozen=True)
class Job:
    """What is filtered in one go: one shard, or a tar and then the Parquet file of the same samples."""

    sources: tuple[Source, ...]

    @property
    def name(self) -> str:
        """Of the job: of its first shard."""
        return self.sources[0].name


def plan_jobs(inputs: Sequence[Path], out: Path) -> list[Job]:
    """What to filter, in order of names.

    Raises:
        InputError: there is nothing to filter, two inputs have one name, an output would replace its input, or a folder
            holds a link to another one.
    """
    sources: dict[str, Source] = {}
    for name, path in _iter_sources(inputs, out.resolve()):
        if name in sources:
            raise InputError(f"{path} and {sources[name].path} would both become {out / name}: filter them apart")
        if name.partition("/")[0] in _EMITTED:
            raise InputError(f"{path} would become {out / name}, a name of heldout's own: rename its folder")
        target = out / name
        if target.exists() and target.samefile(path):
            raise InputError(f"{target} would replace its own input: give another folder with -o")
        sources[name] = Source(name, path)
    if not sources:
        raise InputError(f"there is nothing to filter: give {_WANTED} files, or folders that hold some")
    return sorted(_iter_jobs(sources.values()), key=lambda job: job.name)


def _iter_jobs(sources: Iterable[Source]) -> Iterator[Job]:
    """img2dataset writes `00000.parquet` about the samples in `00000.tar`."""
    stems = {source.path: source for source in sources}
    tars = {path.with_suffix(".parquet"): source for path, source in stems.items() if path.suffix == ".tar"}
    for path, source in stems.items():
        if path.suffix == ".tar":
            sibling = stems.get(path.with_suffix(".parquet"))
            yield Job((source,) if sibling is None else (source, sibling))
        elif path not in tars:
            yield Job((source,))


def _iter_sources(inputs: Iterable[Path], out: Path) -> Iterator[tuple[str, Path]]:
    """Names and files; what lies in `out` is no input, so that a folder within the input folder will do as output."""
    for path in inputs:
        if path.is_dir():
            held = sorted(path.rglob("*"))
            links = [each for each in held if each.is_symlink() and each.is_dir() and each.resolve() != out]
            if links:
                raise InputError(
                    f"{links[0]} is a link to a folder, and what lies there would not be looked at: take it away, "
                    "and give that folder as an input of its own"
                )
            found = [
                source
                for source in held
                if is_shard(source) and out not in source.resolve().parents and not _is_emitted(source, path)
            ]
            if not found and out in {path.resolve(), *path.resolve().parents}:
                raise InputError(f"{path} is the output folder, or lies in it: give another folder with -o")
            if not found:
                raise InputError(f"{path} holds no {_WANTED} file: give the folder of the shards")
            yield from ((source.relative_to(path).as_posix(), source) for source in found)
        elif not path.exists():
            raise InputError(f"{path} does not exist")
        elif not path.name.endswith(SUFFIXES):
            raise InputError(f"{path} is not {_WANTED}, by its name: rename it, or convert it first")
        else:
            yield path.name, path


def is_shard(path: Path) -> bool:
    """Whether a run over its folder would take this file."""
    return path.name.endswith(SUFFIXES) and path.is_file()


def _is_emitted(path: Path, folder: Path) -> bool:
    """Whether it was written besides the shards by an earlier run, whose output folder this is."""
    return path.relative_to(folder).parts[0] in _EMITTED and (folder / REPORT_NAME).exists()
