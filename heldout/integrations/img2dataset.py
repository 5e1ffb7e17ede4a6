"""Leave out of img2dataset's input what a list excludes, before anything is downloaded.

`prefilter` needs heldout alone: it is `heldout filter` as a function. `download` needs img2dataset in the same Python.
"""

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from heldout.errors import ConflictError, InputError
from heldout.filtering import FilterOptions, FilterResult, Progress, filter_shards
from heldout.filtering_options import Preference
from heldout.records import Assurance
from heldout.report import REPORT_NAME
from heldout.report_reading import load_report
from heldout.stored import verify_current

INPUT_FORMATS: Final = ("parquet", "csv", "csv.gz", "tsv", "tsv.gz", "jsonl", "jsonl.gz")
"""Of img2dataset's, those that can be filtered."""


def prefilter(
    url_list: Path | str | Iterable[Path | str],
    out: Path | str,
    list_path: Path | str,
    *,
    url_col: str | None = None,
    min_assurance: Assurance = "declared",
    preference: Preference = "train-ai=n",
    min_grant_assurance: Assurance = "account",
    workers: int = 1,
    progress: Progress | None = None,
) -> FilterResult:
    """Write what a list leaves of img2dataset's input, in the same files and formats, with a report beside them.

    Args:
        url_list: file, folder, or several of them; of `INPUT_FORMATS` by their names.
        out: folder, which becomes img2dataset's `url_list`.
        list_path: folder that `heldout pull` wrote.
        url_col: as img2dataset's; found in any case if left out.
        min_assurance: leave weaker entries out.
        preference: drop what is opted out, or keep only what is granted; see `heldout.filtering.Filter`.
        min_grant_assurance: opt-in only: leave weaker grants out.
        workers: processes.
        progress: told after each file.

    Raises:
        HeldoutError: as `heldout.filtering.filter_shards`; or a file could not be filtered, and has no output.
    """
    given = [url_list] if isinstance(url_list, Path | str) else url_list
    options = FilterOptions(
        Path(list_path),
        min_assurance,
        url_column=url_col,
        preference=preference,
        min_grant_assurance=min_grant_assurance,
    )
    result = filter_shards([Path(path) for path in given], Path(out), options, workers=workers, progress=progress)
    for error in result.failures.values():
        raise error
    return result


def download(
    url_list: Path | str,
    list_path: Path | str,
    *,
    output_folder: Path | str = "images",
    filtered: Path | str | None = None,
    input_format: str = "parquet",
    url_col: str = "url",
    min_assurance: Assurance = "declared",
    preference: Preference = "train-ai=n",
    min_grant_assurance: Assurance = "account",
    **options: Any,  # noqa: ANN401 - img2dataset's
) -> None:
    """Download, as `img2dataset.download` does, what a list leaves of `url_list`.

    img2dataset numbers its shards by position: one run goes on with another only over the same samples. So a download
    that was begun under one version of the list is not gone on with under the next.

    Args:
        url_list: local file or folder.
        list_path: folder that `heldout pull` wrote.
        output_folder: as img2dataset's.
        filtered: where what is left of `url_list` goes; `<output_folder>-url-list` if left out.
        input_format: one of `INPUT_FORMATS`.
        url_col: as img2dataset's.
        min_assurance: leave weaker entries out.
        preference: drop what is opted out, or keep only what is granted; see `heldout.filtering.Filter`.
        min_grant_assurance: opt-in only: leave weaker grants out.
        **options: img2dataset's other arguments.

    Raises:
        InputError: a format that cannot be filtered, or img2dataset is not installed.
        ConflictError: the download was begun under another version of the list.
        HeldoutError: as `prefilter`; nothing is downloaded then.
    """
    if input_format not in INPUT_FORMATS:
        raise InputError(f"input_format {input_format!r} cannot be filtered: give one of {', '.join(INPUT_FORMATS)}")
    if find_spec("img2dataset") is None:
        raise InputError("img2dataset is not installed here: pip install img2dataset, or use `prefilter` alone")
    output = Path(output_folder)
    out = output.with_name(f"{output.name}-url-list") if filtered is None else Path(filtered)
    if options.get("incremental_mode", "incremental") != "overwrite":
        _check_begun(out, output, Path(list_path))
    prefilter(
        url_list,
        out,
        list_path,
        url_col=url_col,
        min_assurance=min_assurance,
        preference=preference,
        min_grant_assurance=min_grant_assurance,
    )
    import img2dataset

    img2dataset.download(
        url_list=str(out), output_folder=str(output), input_format=input_format, url_col=url_col, **options
    )


def _check_begun(out: Path, output: Path, list_path: Path) -> None:
    if not (out / REPORT_NAME).exists() or not any(output.glob("*_stats.json")):
        return
    begun = load_report(out / REPORT_NAME).manifest_sha256
    if begun != verify_current(list_path, now=None, allow_unverified=True).manifest_sha256.hex():
        raise ConflictError(
            f"{output} was begun with another version of the list, and its shards are numbered by what that left: "
            "give another output_folder, or incremental_mode='overwrite'"
        )
