"""The `heldout` command: prints, exit codes, nothing else. What the commands do is in the modules they import.

Imports are inside the commands, so that `heldout --help` does not load pyarrow and TUF.
"""

import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heldout import __version__
from heldout.cli_applied import verify_applied
from heldout.cli_audit import run_audit
from heldout.cli_check import ask_list, ask_server, print_answers
from heldout.cli_opt_out import opt_out
from heldout.cli_search import search
from heldout.cli_sign import Signing, SignKeyOption, keygen, sign
from heldout.cli_verify import check_no_report, cosigned, verify_claim_receipt, verify_filter_report, verify_list
from heldout.errors import ExitCode, HeldoutError, InputError
from heldout.terminal import complain, format_counts, format_kinds, print_json, progress, tell_doubts

if TYPE_CHECKING:
    from heldout.records import Assurance

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


class PreferenceKind(StrEnum):
    """`heldout.filtering.PREFERENCES`; a test compares them."""

    OPT_OUT = "train-ai=n"
    OPT_IN = "train-ai=y"


AllowUnverified = Annotated[
    bool, typer.Option("--allow-unverified", help="Go on where verification fails, and say so. Never the default.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
ListOption = Annotated[Path, typer.Option("--list", metavar="LIST", help="Folder that heldout pull wrote.")]
MinAssuranceOption = Annotated[
    MinAssurance, typer.Option("--min-assurance", help="Leave out entries that are proved less well than this.")
]
ShardsArgument = Annotated[
    list[Path],
    typer.Argument(metavar="IN...", help="Shards, or folders: parquet, webdataset tar, JSONL, CSV, TSV; .gz of text."),
]
UrlColumnOption = Annotated[
    str | None, typer.Option("--url-column", metavar="NAME", help="URL column, if it is not called url or URL.")
]
AsOfOption = Annotated[
    datetime | None,
    typer.Option(formats=["%Y-%m-%d"], metavar="DATE", help="Only entries first declared on this day or before."),
]
ServerOption = Annotated[
    str | None, typer.Option("--server", metavar="URL", envvar="HELDOUT_SERVER", help="Base address of a site.")
]
WitnessesOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="C2SP tlog-policy file: whose cosignatures count, and how many of them must be there."
    ),
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
        complain(str(error))
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
    *,
    url: Annotated[str, typer.Argument(metavar="URL", help="Base address of the site, or of a mirror.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="LIST", help="Folder of the list.")],
    root: RootOption = None,
    mirror: Annotated[
        list[str] | None,
        typer.Option(
            "--mirror", metavar="URL", help="Take data files from here, not trusted; repeatable, tried in order."
        ),
    ] = None,
    witnesses: WitnessesOption = None,
    allow_unverified: Annotated[
        bool,
        typer.Option("--allow-unverified", help="At the first pull, take the root from the server itself."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch or update an exclusion list, verify it, and only then switch to it.

    URLs are http, https, an object store's (s3://bucket/prefix) or a folder. A pull that was stopped goes on.
    """
    from heldout.leaves import format_at
    from heldout.pull import pull as pull_list
    from heldout.witnesses import WitnessPolicy

    policy = None if witnesses is None else WitnessPolicy.load(witnesses)
    with progress("bytes") as show:
        result = pull_list(
            url,
            out,
            root=root,
            allow_unverified=allow_unverified,
            mirrors=mirror or (),
            witnesses=policy,
            progress=show,
        )
    for refusal in result.refused:
        complain(f"{refusal}: skipped, its files were taken from elsewhere")
    if result.delta_doubt is not None:
        complain(f"{result.delta_doubt}: whole files were fetched instead")
    if not result.is_vouched:
        complain(f"the root of {out} is the server's own word; pull again with --root FILE once you have it")
    manifest = result.manifest
    if as_json:
        as_of = None if manifest.as_of is None else format_at(manifest.as_of)
        print_json(
            {
                "version": manifest.version,
                "manifest_sha256": result.manifest_sha256.hex(),
                "as_of": as_of,
                "expires_at": format_at(result.expires_at),
                "counts": manifest.counts,
                "log": {"origin": manifest.log.origin, "vkey": manifest.log.vkey, "size": manifest.log.size},
                "is_new": result.is_new,
                "is_vouched": result.is_vouched,
                "n_bytes": result.n_bytes,
                "n_deltas": result.n_deltas,
                "refused": list(result.refused),
                "witnesses": list(result.witnesses),
            }
        )
        return
    state = "new" if result.is_new else "unchanged"
    print(
        f"{out}: version {manifest.version} ({state}), {format_counts(manifest.counts)}, made from {manifest.log.size} "
        f"log entries of {manifest.log.origin}; {result.n_bytes:,} bytes fetched; fresh until "
        f"{format_at(result.expires_at)}{cosigned(result.witnesses)}"
    )


@app.command("filter")
def filter_(
    *,
    inputs: ShardsArgument,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="Folder of the outputs and report.json.")],
    list_path: ListOption,
    preference: Annotated[
        PreferenceKind,
        typer.Option(
            help="train-ai=n: drop what is opted out. train-ai=y: opt-in only, keep only what is granted expressly and "
            "not opted out."
        ),
    ] = PreferenceKind.OPT_OUT,
    min_assurance: MinAssuranceOption = MinAssurance.DECLARED,
    min_grant_assurance: Annotated[
        MinAssurance, typer.Option(help="Opt-in only: leave out grants that are proved less well than this.")
    ] = MinAssurance.ACCOUNT,
    masks: Annotated[
        bool, typer.Option("--masks", help="Write no shards, but for each a mask of the samples to keep.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes; they share one list in memory.")] = 1,
    url_column: UrlColumnOption = None,
    as_of: AsOfOption = None,
    emit: Annotated[
        list[EmitKind] | None,
        typer.Option(
            help="Write besides: what was dropped, url and caption of what was kept, or its uids; repeatable."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write no shards: counts, a report, what is emitted.")
    ] = False,
    sign_key: SignKeyOption = None,
    allow_unverified: AllowUnverified = False,
    as_json: AsJson = False,
) -> None:
    """Drop the samples that a list excludes from shards, and write a report of what was applied.

    Run again after it was stopped, it goes on where it was.
    """
    from heldout.filtering import FilterOptions, filter_shards
    from heldout.report import tell_blind

    options = FilterOptions(
        list_path,
        _assurance(min_assurance),
        allow_unverified,
        url_column,
        as_of=None if as_of is None else as_of.date(),
        emit=frozenset(kind.value for kind in emit or ()),
        dry_run=dry_run,
        writes="masks" if masks else "shards",
        preference=preference.value,
        min_grant_assurance=_assurance(min_grant_assurance),
    )
    signed = Signing.prepare(sign_key)
    with progress("shards") as show:
        result = filter_shards(inputs, out, options, workers=workers, progress=show)
    envelope = signed.sign(result.report)
    tell_doubts(result.doubts)
    for message in dict.fromkeys(str(error) for error in result.failures.values()):  # one for both forms of a shard
        complain(message)
    total = result.total.to_json()
    if as_json:
        print_json(
            {
                "report": None if result.report is None else os.fspath(result.report),
                "envelope": None if envelope is None else os.fspath(envelope),
                "emitted": result.emitted,
                "n_shards": len(result.shards),
                "failed": {name: str(error) for name, error in result.failures.items()},
                "total": total,
            }
        )
    else:
        print(
            f"{out}: {len(result.shards)} shards, {total['n_in']} samples in, {total['n_kept']} kept, "
            f"{total['n_dropped']} dropped{format_kinds(total['dropped'], total['n_not_granted'])}"
            f"{'; no shards were written' if dry_run else ''}{'; masks were written' if masks else ''}"
        )
        for key, what in (
            ("n_unreadable_urls", "samples have no usable URL, and were not checked by it"),
            ("n_unreadable_pictures", "pictures could not be read, and were not checked for copies"),
        ):
            if total[key]:
                print(f"{what}: {total[key]}")
    codes = [int(error.exit_code) for error in result.failures.values()]
    if result.failures and not as_json:
        complain(f"{len(result.failures)} of {len(result.failures) + len(result.shards)} inputs gave no output")
    if blind := [shard.name for shard in result.shards if shard.tally.is_blind(shard.name)]:
        complain(tell_blind(blind))
        codes.append(int(ExitCode.USER_ERROR))
    if codes:
        raise typer.Exit(max(codes))


@app.command()
def audit(
    *,
    inputs: ShardsArgument,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="Folder of the audit.")],
    list_path: ListOption,
    against: Annotated[
        list[Path] | None,
        typer.Option(metavar="OTHER", help="Shards of an earlier version: what was added and removed; repeatable."),
    ] = None,
    min_assurance: MinAssuranceOption = MinAssurance.DECLARED,
    url_column: UrlColumnOption = None,
    as_of: AsOfOption = None,
    memory: Annotated[
        str, typer.Option(metavar="SIZE", help="For DuckDB, besides list and shards; what it cannot hold is spilled.")
    ] = "1GB",
    allow_unverified: AllowUnverified = False,
    as_json: AsJson = False,
) -> None:
    """Count what is in shards and how much of it a list excludes: JSON, tables, a page with charts, views for SQL."""
    from heldout.filtering_options import FilterOptions

    options = FilterOptions(
        list_path,
        _assurance(min_assurance),
        allow_unverified,
        url_column,
        as_of=None if as_of is None else as_of.date(),
    )
    run_audit(inputs, out, options, against=against or (), memory=memory, as_json=as_json)


@app.command()
def verify(
    *,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A list's folder, a receipt or a filter report.")],
    list_path: Annotated[
        Path | None, typer.Option("--list", metavar="LIST", help="Pulled list that a receipt or report belongs to.")
    ] = None,
    log_key: Annotated[
        str | None, typer.Option("--log-key", metavar="VKEY", help="The log's verifier key, or a file that holds it.")
    ] = None,
    witnesses: WitnessesOption = None,
    key: Annotated[
        list[Path] | None, typer.Option(metavar="PUB", help="Public key that must have signed the report; repeatable.")
    ] = None,
    shards: Annotated[
        list[Path] | None, typer.Option(metavar="IN", help="Inputs of the run, to hold its report against; repeatable.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="OUT", help="Outputs of the run, if not beside its report.")
    ] = None,
    again: Annotated[
        int, typer.Option(min=0, metavar="N", help="Filter N of the shards again, picked at random, and compare.")
    ] = 0,
    receipt: Annotated[
        Path | None, typer.Option(metavar="RECEIPT", help="Was this opt-out in the list that the report names?")
    ] = None,
    site: Annotated[
        str | None,
        typer.Option("--from", metavar="URL", help="Site, mirror or folder to take list and log from; not trusted."),
    ] = None,
    url: Annotated[
        list[str] | None, typer.Option("--url", metavar="U", help="An address of the claim, to name it by; repeatable.")
    ] = None,
    allow_unverified: AllowUnverified = False,
    as_json: AsJson = False,
) -> None:
    """Check a pulled list, an artist's receipt or a filter report again, offline.

    With --receipt: was this opt-out in the list that was applied? Yes, no and why, or what it would take to tell.
    """
    from heldout.report_reading import is_report

    for_reports = [option for option in (key, shards, out, again, receipt, site, url) if option]
    if path.is_dir():
        check_no_report(path, for_reports)
        verify_list(path, witnesses, allow_unverified=allow_unverified, as_json=as_json)
        return
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}): give a list's folder, a receipt or a filter report") from error
    if is_report(value):
        if witnesses is not None:
            raise InputError(f"{path} is a filter report, which nobody cosigns: verify its list with --witnesses")
        if receipt is None and (site is not None or url):
            raise InputError("--from and --url are for the question about an opt-out: give its --receipt RECEIPT too")
        if receipt is not None:
            verify_applied(
                path,
                receipt,
                list_path=list_path,
                log_key=log_key,
                site=site,
                keys=key or (),
                urls=url or (),
                allow_unverified=allow_unverified,
                as_json=as_json,
            )
            return
        verify_filter_report(
            path,
            list_path,
            keys=key or (),
            shards=shards or (),
            out=out,
            n_again=again,
            allow_unverified=allow_unverified,
            as_json=as_json,
        )
    else:
        check_no_report(path, for_reports)
        verify_claim_receipt(
            path, value, list_path, log_key, witnesses, allow_unverified=allow_unverified, as_json=as_json
        )


@app.command()
def check(
    *,
    what: Annotated[list[str], typer.Argument(metavar="URL-OR-IMAGE...", help="Addresses, or files of pictures.")],
    list_path: Annotated[
        Path | None, typer.Option("--list", metavar="LIST", help="Folder that heldout pull wrote.")
    ] = None,
    server: ServerOption = None,
    private: Annotated[
        bool,
        typer.Option("--private", help="With --server: ask by ranges of digests, so that it does not learn what."),
    ] = False,
    key: Annotated[
        str | None,
        typer.Option(
            "--key", metavar="KEY", envvar="HELDOUT_KEY", help="With --server: an API key, asked without limit."
        ),
    ] = None,
    min_assurance: MinAssuranceOption = MinAssurance.DECLARED,
    allow_unverified: AllowUnverified = False,
    as_json: AsJson = False,
) -> None:
    """Is this opted out, by which rule, since when? Pictures are measured here and sent nowhere.

    With --list nobody learns what was asked. With --server the server does, unless --private.
    """
    if (list_path is None) == (server is None):
        raise InputError("give either --list LIST or --server URL")
    if list_path is not None:
        if private:
            raise InputError("--private goes with --server: a list at hand tells nobody anything")
        answers = ask_list(list_path, what, _assurance(min_assurance), allow_unverified=allow_unverified)
    else:
        answers = ask_server(server or "", key, what, _assurance(min_assurance), private=private)
    print_answers(answers, as_json=as_json)


app.command()(keygen)
app.command()(sign)
app.command()(search)
app.command("opt-out")(opt_out)


@app.command()
def monitor(
    *,
    url: Annotated[str, typer.Argument(metavar="URL", help="Base address of the site; its log is below it.")],
    log_key: Annotated[
        str | None, typer.Option("--log-key", metavar="VKEY", help="The log's verifier key, or a file that holds it.")
    ] = None,
    host: Annotated[list[str] | None, typer.Option(metavar="H", help="Tell of rules about this host; repeat.")] = None,
    address: Annotated[list[str] | None, typer.Option("--url", metavar="U", help="Tell of this address.")] = None,
    image: Annotated[list[Path] | None, typer.Option(metavar="F", help="Tell of this picture, or copies.")] = None,
    state: Annotated[
        Path, typer.Option(metavar="FILE", help="What is remembered between runs; evidence goes beside it.")
    ] = Path("heldout-monitor.json"),
    witnesses: WitnessesOption = None,
    max_age: Annotated[
        float | None,
        typer.Option(
            "--max-age",
            metavar="DAYS",
            min=0,
            help="Alarm when the last word of enough witnesses, or without witnesses the newest entry, is older. "
            "With --witnesses 7 if left out.",
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="One round, then stop; so it is without --interval.")] = False,
    interval: Annotated[
        float | None, typer.Option(metavar="S", min=1, help="A round every S seconds until an alarm.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line, for a script.")] = False,
) -> None:
    """Follow a registry's log: check that it only grows, read every entry, tell what happened to hosts or works.

    Exit code 4 when the log forks, shrinks, goes stale or serves what is not what it signed; the proof is kept.
    """
    if once and interval is not None:
        raise InputError("give either --once or --interval S")
    from heldout.cli_monitor import WITNESSED_AGE, follow, log_verifier, make_watches
    from heldout.download import Downloads
    from heldout.monitor import Monitor
    from heldout.witnesses import WitnessPolicy

    policy = None if witnesses is None else WitnessPolicy.load(witnesses)
    age = WITNESSED_AGE if max_age is None and policy is not None else None
    with Downloads() as downloads:
        follow(
            Monitor(
                url,
                log_verifier(log_key, policy, state, url),
                downloads,
                state,
                watches=make_watches(host or [], address or [], image or []),
                policy=policy,
                max_age=age if max_age is None else timedelta(days=max_age),
            ),
            interval_s=interval,
            as_json=as_json,
        )


def _assurance(value: MinAssurance) -> "Assurance":
    return value.value
