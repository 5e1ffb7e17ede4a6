"""The `heldout` command: prints, exit codes, nothing else. What the commands do is in the modules they import.

Imports are inside the commands, so that `heldout --help` does not load pyarrow and TUF.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heldout import __version__
from heldout.errors import ExitCode, HeldoutError, InputError, VerificationError

if TYPE_CHECKING:
    from heldout.exclusion import ExclusionList, Matches
    from heldout.records import Assurance, SearchResult

app = typer.Typer(
    name="heldout",
    help="The open do-not-train registry: pull a signed exclusion list, verify it, and filter training shards with it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class MinAssurance(StrEnum):
    """`heldout.records.ASSURANCES`, weakest first; a test compares them."""

    DECLARED = "declared"
    ACCOUNT = "account"
    HOST = "host"
    CREDENTIAL = "credential"
    REVIEWED = "reviewed"


class EmitKind(StrEnum):
    """`heldout.filtering.EMITS`; a test compares them."""

    REMOVAL = "removal"
    URL_LIST = "url-list"
    DATACOMP_UIDS = "datacomp-uids"


AllowUnverified = Annotated[
    bool, typer.Option("--allow-unverified", help="Go on where verification fails, and say so. Never the default.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
ListOption = Annotated[Path, typer.Option("--list", metavar="LIST", help="Folder that heldout pull wrote.")]
MinAssuranceOption = Annotated[
    MinAssurance, typer.Option("--min-assurance", help="Leave out entries that are proved less well than this.")
]
ServerOption = Annotated[
    str | None, typer.Option("--server", metavar="URL", envvar="HELDOUT_SERVER", help="Base address of a site.")
]
RootOption = Annotated[
    Path | None,
    typer.Option(
        "--root", metavar="FILE", help="Trusted root.json, from elsewhere than the server; at the first pull."
    ),
]


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run(sys.argv[1:]))


def run(args: Sequence[str]) -> int:
    """Run one command line; its exit code."""
    try:
        app(args=list(args), prog_name="heldout")
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else int(ExitCode.OK if done.code is None else 1)
    except HeldoutError as error:
        _complain(str(error))
        return int(error.exit_code)
    return int(ExitCode.OK)


def _version(on: bool) -> None:
    if on:
        from heldout.kernel import IMPLEMENTATION

        print(f"heldout {__version__} ({IMPLEMENTATION} kernel)")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_version),
    ] = False,
) -> None:
    """Options of every command; typer needs the function, the callback does the work."""


@app.command()
def pull(
    url: Annotated[str, typer.Argument(metavar="URL", help="Base address of the site, or of a mirror.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="LIST", help="Folder of the list.")],
    root: RootOption = None,
    allow_unverified: Annotated[
        bool,
        typer.Option("--allow-unverified", help="At the first pull, take the root from the server itself."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch or update an exclusion list, verify it, and only then switch to it."""
    from heldout.leaves import format_at
    from heldout.pull import pull as pull_list

    with _progress("bytes") as progress:
        result = pull_list(url, out, root=root, allow_unverified=allow_unverified, progress=progress)
    if not result.is_vouched:
        _complain(f"the root of {out} is the server's own word; pull again with --root FILE once you have it")
    manifest = result.manifest
    if as_json:
        as_of = None if manifest.as_of is None else format_at(manifest.as_of)
        _print_json(
            {
                "version": manifest.version,
                "manifest_sha256": result.manifest_sha256.hex(),
                "as_of": as_of,
                "expires_at": format_at(result.expires_at),
                "counts": manifest.counts,
                "log": {"origin": manifest.log.origin, "vkey": manifest.log.vkey, "size": manifest.log.size},
                "is_new": result.is_new,
                "is_vouched": result.is_vouched,
            }
        )
        return
    state = "new" if result.is_new else "unchanged"
    print(
        f"{out}: version {manifest.version} ({state}), {_counts(manifest.counts)}, made from {manifest.log.size} log "
        f"entries of {manifest.log.origin}; fresh until {format_at(result.expires_at)}"
    )


@app.command("filter")
def filter_(
    *,
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="IN...", help="Shards, or folders: parquet, webdataset tar, JSONL, CSV, TSV; .gz of text."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="Folder of the outputs and report.json.")],
    list_path: ListOption,
    min_assurance: MinAssuranceOption = MinAssurance.DECLARED,
    workers: Annotated[int, typer.Option(min=1, help="Processes; each holds the list in memory.")] = 1,
    url_column: Annotated[
        str | None, typer.Option("--url-column", metavar="NAME", help="URL column, if it is not called url or URL.")
    ] = None,
    as_of: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help="Only entries first declared on this day or before."),
    ] = None,
    emit: Annotated[
        list[EmitKind] | None,
        typer.Option(
            help="Write besides: what was dropped, url and caption of what was kept, or its uids; repeatable."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write no shards: counts, a report, what is emitted.")
    ] = False,
    allow_unverified: AllowUnverified = False,
    as_json: AsJson = False,
) -> None:
    """Drop the samples that a list excludes from shards, and write a report of what was applied.

    Run again after it was stopped, it goes on where it was.
    """
    from heldout.filtering import FilterOptions, filter_shards

    options = FilterOptions(
        list_path,
        _assurance(min_assurance),
        allow_unverified,
        url_column,
        as_of=None if as_of is None else as_of.date(),
        emit=frozenset(kind.value for kind in emit or ()),
        dry_run=dry_run,
    )
    with _progress("shards") as progress:
        result = filter_shards(inputs, out, options, workers=workers, progress=progress)
    _tell_doubts(result.doubts)
    for message in dict.fromkeys(str(error) for error in result.failures.values()):  # one for both forms of a shard
        _complain(message)
    total = result.total.to_json()
    if as_json:
        _print_json(
            {
                "report": None if result.report is None else os.fspath(result.report),
                "emitted": result.emitted,
                "n_shards": len(result.shards),
                "failed": {name: str(error) for name, error in result.failures.items()},
                "total": total,
            }
        )
    else:
        print(
            f"{out}: {len(result.shards)} shards, {total['n_in']} samples in, {total['n_kept']} kept, "
            f"{total['n_dropped']} dropped{_by_kind(total['dropped'])}{'; no shards were written' if dry_run else ''}"
        )
        for key, what in (
            ("n_unreadable_urls", "samples have no usable URL, and were not checked by it"),
            ("n_unreadable_pictures", "pictures could not be read, and were not checked for copies"),
        ):
            if total[key]:
                print(f"{what}: {total[key]}")
    if result.failures:
        if not as_json:
            _complain(f"{len(result.failures)} of {len(result.failures) + len(result.shards)} inputs gave no output")
        raise typer.Exit(max(int(error.exit_code) for error in result.failures.values()))


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A list's folder, a receipt or a filter report.")],
    list_path: Annotated[
        Path | None, typer.Option("--list", metavar="LIST", help="Pulled list that a receipt or report belongs to.")
    ] = None,
    log_key: Annotated[
        str | None, typer.Option("--log-key", metavar="VKEY", help="The log's verifier key, or a file that holds it.")
    ] = None,
    allow_unverified: AllowUnverified = False,
    as_json: AsJson = False,
) -> None:
    """Check a pulled list, an artist's receipt or a filter report again, offline."""
    from heldout.report_check import is_report

    if path.is_dir():
        _verify_list(path, allow_unverified=allow_unverified, as_json=as_json)
        return
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}): give a list's folder, a receipt or a filter report") from error
    if is_report(value):
        _verify_report(path, list_path, allow_unverified=allow_unverified, as_json=as_json)
    else:
        _verify_receipt(path, value, list_path, log_key, allow_unverified=allow_unverified, as_json=as_json)


@app.command()
def check(
    *,
    what: Annotated[list[str], typer.Argument(metavar="URL-OR-IMAGE...", help="Addresses, or files of pictures.")],
    list_path: Annotated[
        Path | None, typer.Option("--list", metavar="LIST", help="Folder that heldout pull wrote.")
    ] = None,
    server: ServerOption = None,
    root: RootOption = None,
    min_assurance: MinAssuranceOption = MinAssurance.DECLARED,
    allow_unverified: AllowUnverified = False,
    as_json: AsJson = False,
) -> None:
    """Is this opted out, by which rule, since when? Looked up on this machine: nobody learns what was asked."""
    if (list_path is None) == (server is None):
        raise InputError("give either --list LIST or --server URL")
    from heldout.exclusion import ExclusionList

    if list_path is not None:
        exclusions = ExclusionList.open(
            list_path, min_assurance=_assurance(min_assurance), allow_unverified=allow_unverified
        )
        _tell_doubts(exclusions.doubts)
    else:
        exclusions = _open_from_server(server or "", root, _assurance(min_assurance))
    answers = [_check_one(text, exclusions) for text in what]
    if as_json:
        _print_json(answers)
        return
    for answer in answers:
        rule = answer["rule"]
        found = f"opted out since {rule['since']} by {rule['kind']} ({rule['assurance']})" if rule else "not listed"
        print(f"{found}\t{_plain(answer['what'])}")


@app.command()
def search(
    *,
    server: ServerOption = None,
    image: Annotated[Path | None, typer.Option(metavar="FILE", help="A picture.")] = None,
    text: Annotated[str | None, typer.Option(help="What the picture shows, or a name.")] = None,
    url: Annotated[str | None, typer.Option(help="A picture's address, however written.")] = None,
    site: Annotated[str | None, typer.Option(help="A host with its subdomains, or a profile's path.")] = None,
    caption: Annotated[str | None, typer.Option(help="Words of the caption; a quoted phrase as it stands.")] = None,
    dataset: Annotated[list[str] | None, typer.Option(help="Only in this data set; repeat for several.")] = None,
    k: Annotated[int | None, typer.Option("-k", min=1, help="Answers per page.")] = None,
    as_json: AsJson = False,
) -> None:
    """Search a site's data sets by picture, words, address, site or caption."""
    from heldout.client import Client

    doors: dict[str, Any] = {"image": image, "text": text, "url": url, "site": site, "caption": caption}
    asked = [name for name, value in doors.items() if value is not None]
    if server is None or len(asked) != 1:
        raise InputError("give --server URL and exactly one of --image, --text, --url, --site and --caption")
    (door,) = asked
    with Client(server) as client:
        methods: dict[str, Callable[..., SearchResult]] = {
            "image": client.search_picture,
            "text": client.search_text,
            "url": client.search_url,
            "site": client.search_site,
            "caption": client.search_caption,
        }
        question = _read_picture(image) if image is not None else doors[door]
        result = methods[door](question, k=k, datasets=dataset or [])
    if as_json:
        print(result.model_dump_json(indent=1))
        return
    for hit in result.hits:
        sample = hit.sample
        where = f"{sample.dataset}/{sample.key}"
        print("\t".join(_plain(part or "") for part in (hit.label, where, sample.url, sample.caption)))
    for note in result.notes:
        _complain(note)


def _verify_list(path: Path, *, allow_unverified: bool, as_json: bool) -> None:
    from heldout.exclusion import ExclusionList
    from heldout.leaves import format_at

    exclusions = ExclusionList.open(path, allow_unverified=allow_unverified)
    _tell_doubts(exclusions.doubts)
    version = exclusions.version
    proved = version.proved
    if as_json:
        _print_json(
            {
                "kind": "list",
                "is_verified": not exclusions.doubts,
                "doubts": list(exclusions.doubts),
                "version": version.manifest.version,
                "manifest_sha256": version.manifest_sha256.hex(),
                "counts": version.manifest.counts,
                "expires_at": None if proved is None else format_at(proved.trusted.expires_at),
            }
        )
        return
    state = "NOT verified" if exclusions.doubts else "verified"
    until = "" if proved is None else f"; fresh until {format_at(proved.trusted.expires_at)}"
    print(f"{path}: {state}: version {version.manifest.version}, {_counts(version.manifest.counts)}{until}")


def _verify_report(path: Path, list_path: Path | None, *, allow_unverified: bool, as_json: bool) -> None:
    from heldout.report_check import verify_report
    from heldout.stored import verify_current

    applied = None
    if list_path is not None:  # a report stays true when its list has gone stale
        applied = verify_current(list_path, now=None, allow_unverified=allow_unverified)
        _tell_doubts(applied.doubts)
    checked = verify_report(path, applied=applied)
    if checked.doubts and not allow_unverified:
        raise VerificationError(f"{path}: {'; '.join(checked.doubts)}")
    _tell_doubts(checked.doubts)
    if as_json:
        _print_json(
            {
                "kind": "filter-report",
                "is_verified": not checked.doubts,
                "doubts": list(checked.doubts),
                "is_list_checked": applied is not None,
                "n_intact": checked.n_intact,
                "missing": list(checked.missing),
                "unlisted": list(checked.unlisted),
                "failed": list(checked.failed),
                "manifest_sha256": checked.manifest_sha256,
                "total": checked.total,
            }
        )
        return
    state = "NOT verified" if checked.doubts else "verified"
    by = "this list" if applied is not None else "a list that was not checked (give --list)"
    print(
        f"{path}: {state}: {checked.n_intact} files are as the run wrote them; it dropped {checked.total['n_dropped']} "
        f"of {checked.total['n_in']} samples by {by}, manifest {checked.manifest_sha256}"
    )


def _verify_receipt(
    path: Path, value: object, list_path: Path | None, log_key: str | None, *, allow_unverified: bool, as_json: bool
) -> None:
    from heldout.leaves import OptOutLeaf, WithdrawLeaf, format_at
    from heldout.receipts import receipt_from_json, verify_receipt
    from heldout.stored import verify_current

    if (list_path is None) == (log_key is None):
        raise InputError(f"to check the receipt {path}, give either --log-key VKEY or --list LIST")
    if list_path is not None:
        stored = verify_current(list_path, now=None, allow_unverified=allow_unverified)
        _tell_doubts(stored.doubts)
        vkey = stored.manifest.log.vkey
    else:
        vkey = _read_key(log_key or "")
    receipt = receipt_from_json(value)
    leaves = verify_receipt(receipt, vkey)
    opt_outs = [leaf for leaf in leaves if isinstance(leaf, OptOutLeaf)]
    withdrawn = [leaf for leaf in leaves if isinstance(leaf, WithdrawLeaf)]
    first = opt_outs[0]
    facts = {
        "kind": "receipt",
        "claim": receipt.claim,
        "preference": first.preference,
        "assurance": first.assurance,
        "at": format_at(first.at),
        "n_subjects": sum(len(leaf.subjects) for leaf in opt_outs),
        "withdrawn_at": format_at(withdrawn[0].at) if withdrawn else None,
        "log_indices": [entry.index for entry in receipt.entries],
        "log": vkey.partition("+")[0],
    }
    if as_json:
        _print_json(facts)
        return
    ending = f", withdrawn at {facts['withdrawn_at']}" if withdrawn else ""
    print(
        f"{path}: verified: claim {receipt.claim} of {facts['at']} is in the log {facts['log']}: {first.preference} "
        f"for {facts['n_subjects']} subjects, assurance {first.assurance}{ending}"
    )


def _open_from_server(server: str, root: Path | None, min_assurance: "Assurance") -> "ExclusionList":
    """The server's list of this moment, in a folder that does not outlive the opening."""
    from heldout.exclusion import ExclusionList
    from heldout.pull import pull as pull_list

    with tempfile.TemporaryDirectory(prefix="heldout-") as folder:
        path = Path(folder) / "list"
        pull_list(server, path, root=root, allow_unverified=root is None)
        exclusions = ExclusionList.open(path, min_assurance=min_assurance, allow_unverified=root is None)
    if root is None:
        _complain("the answer is the server's own word; give --root FILE for a proved one")
    return exclusions


def _check_one(text: str, exclusions: "ExclusionList") -> dict[str, Any]:
    """Answer about one URL or picture file."""
    from heldout.records import ASSURANCES
    from heldout.urls import canonical_key

    answers: dict[str, Matches]
    path = Path(text)
    if "://" in text or not path.is_file():
        if "://" not in text:
            raise InputError(f"{_plain(text)} is neither a file nor a URL with http:// or https://")
        canonical_key(text)  # a URL that cannot be looked up is not "not listed"
        answers = {"url": exclusions.lookup_urls([text])}
    else:
        answers = _check_picture(path, exclusions)
    for kind, matches in answers.items():
        if matches.found[0]:
            rule = {
                "kind": kind,
                "assurance": ASSURANCES[matches.assurance[0]],
                "since": matches.since_date(0).isoformat(),
            }
            return {"what": text, "is_opted_out": True, "rule": rule}
    return {"what": text, "is_opted_out": False, "rule": None}


def _check_picture(path: Path, exclusions: "ExclusionList") -> "dict[str, Matches]":
    try:
        from heldout.pictures import fingerprint
    except ImportError as error:
        raise InputError(
            f"to check the picture {path}, install what reads it: pip install 'heldout[images]'"
        ) from error
    import numpy as np

    mark = fingerprint(_read_picture(path), name=os.fspath(path))
    return {
        "sha256": exclusions.lookup_sha256([mark.sha256]),
        "pdq": exclusions.lookup_pdq(mark.pdq[np.newaxis], np.array([mark.quality], np.uint8)),
    }


def _read_picture(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): give a picture's file") from error


def _read_key(text: str) -> str:
    path = Path(text)
    if "+" in text and not path.is_file():
        return text
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{text} is neither a verifier key nor a file that holds one") from error


def _assurance(value: MinAssurance) -> "Assurance":
    return value.value


class _progress:  # noqa: N801 - used like a function
    """Progress on stderr while the block lasts, if somebody is watching."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._shown = False

    def __enter__(self) -> Callable[[int, int], None] | None:
        return self._show if sys.stderr.isatty() else None

    def __exit__(self, *_: object) -> None:
        if self._shown:
            print(file=sys.stderr)

    def _show(self, n_done: int, n_total: int) -> None:
        self._shown = True
        print(f"\r{n_done:,} of {n_total:,} {self._unit}", end="", file=sys.stderr, flush=True)


def _tell_doubts(doubts: Sequence[str]) -> None:
    for doubt in doubts:
        _complain(f"NOT VERIFIED: {doubt}")


def _complain(message: str) -> None:
    print(f"heldout: {_plain(message)}", file=sys.stderr)


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False))


def _counts(counts: dict[str, int]) -> str:
    return f"{counts.get('url', 0)} URLs and {counts.get('image', 0)} pictures"


def _by_kind(dropped: dict[str, dict[str, int]]) -> str:
    parts = [f"{sum(by_assurance.values())} by {kind}" for kind, by_assurance in dropped.items()]
    return f" ({', '.join(parts)})" if parts else ""


def _plain(text: str) -> str:
    """What strangers wrote must not steer a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)
