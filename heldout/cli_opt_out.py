"""`heldout opt-out`: many works at once, from tables, lists and folders of pictures that stay where they are."""

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heldout.errors import InputError
from heldout.terminal import complain, plain, print_json, progress

if TYPE_CHECKING:
    from heldout.opting_out import OptedOut, Part
    from heldout.subject_files import Line

DEFAULT_OUT = Path("heldout-opt-outs")
MAX_NAMED = 20
"""Lines of one sort named on the terminal; `--json` names all."""


class ActingAsOption(StrEnum):
    """`heldout.records.ActingAs`; a test compares them."""

    ARTIST = "artist"
    REPRESENTATIVE = "representative"
    ESTATE = "estate"
    ORGANISATION = "organisation"


def opt_out(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE...",
            help="Folders of pictures, pictures, tables (.csv, with a column url, prefix, host or pdq), lists of "
            "addresses (one a line), or addresses.",
        ),
    ] = None,
    *,
    server: Annotated[
        str | None, typer.Option("--server", metavar="URL", envvar="HELDOUT_SERVER", help="Base address of a site.")
    ] = None,
    host: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="A site of yours, with what is below it; repeatable.")
    ] = None,
    prefix: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="A profile of yours, with what is below it; repeatable.")
    ] = None,
    acting_as: Annotated[ActingAsOption, typer.Option(help="Who you are to the works.")] = ActingAsOption.ARTIST,
    contact: Annotated[
        str | None, typer.Option(metavar="E-MAIL", help="In case of a dispute. Never published, erasable.")
    ] = None,
    grant: Annotated[
        bool, typer.Option("--grant", help="The opposite: say that these may be trained on (train-ai=y).")
    ] = False,
    key: Annotated[
        str | None,
        typer.Option(metavar="KEY", envvar="HELDOUT_KEY", help="An API key: the opt-outs go into its account."),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where receipts and secrets are kept.")
    ] = DEFAULT_OUT,
    preview: Annotated[bool, typer.Option("--preview", help="Only show what would be opted out.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a script; needs --yes or --preview.")] = False,
) -> None:
    """Opt out many works at once. Pictures are fingerprinted on this machine and never leave it.

    Shows first what it would do, and asks. Run again after it was stopped or got no answer, it makes nothing twice.
    """
    from heldout.client import Client
    from heldout.opting_out import opt_out as send
    from heldout.opting_out import preview_parts

    if server is None:
        raise InputError("give the site's address with --server URL")
    server = server.rstrip("/")
    lines = _read(sources or [], host or [], prefix or [])
    options: dict[str, Any] = {"acting_as": acting_as.value, "preference": "train-ai=y" if grant else "train-ai=n"}
    if contact is not None:
        options["contact"] = contact
    with Client(server, key=key) as client:
        parts = preview_parts(client, lines, **options)
        unusable = [line for line in lines if line.subject is None] + [line for part in parts for line in part.unusable]
        usable = [part for part in parts if part.lines]
        if not as_json:
            _show(server, parts, unusable, grant=grant)
        if not usable:
            raise InputError("nothing that was given can be used")
        done: list[OptedOut] = []
        if not preview:
            if not yes:
                _ask(as_json=as_json)
            done = [send(client, server, out, part.subjects, **options) for part in usable]
    if as_json:
        print_json(_as_json(parts, unusable, done))
    for each in [] if as_json else done:
        _tell(each)


def _read(sources: Sequence[str], hosts: Sequence[str], prefixes: Sequence[str]) -> "list[Line]":
    from heldout.subject_files import host_line, prefix_line, read_source

    if not (sources or hosts or prefixes):
        raise InputError("say what to opt out: a folder of pictures, a table, a list of addresses, --host or --prefix")
    lines = [*map(host_line, hosts), *map(prefix_line, prefixes)]
    for source in sources:
        with progress("pictures") as show:
            lines += read_source(source, progress=show)
    return lines


def _ask(*, as_json: bool) -> None:
    if as_json or not sys.stdin.isatty():
        raise InputError("nobody is there to be asked: add --yes to opt these out, or --preview to only look")
    if not typer.confirm("Go on?", err=True):
        raise typer.Exit(2)


def _show(server: str, parts: "Sequence[Part]", unusable: "Sequence[Line]", *, grant: bool) -> None:
    def total(name: str) -> int:
        return sum(getattr(part.preview, name) for part in parts)

    print(f"{'May be trained on' if grant else 'To be opted out'}, at {plain(server)}:")
    n_plain = total("n_plain")
    rest = f" ({n_plain:,} too plain to be recognised: only the very same file)" if n_plain else ""
    for n, one, many in (
        (total("n_image_subjects"), f"picture, wherever it is{rest}", f"pictures, wherever they are{rest}"),
        (total("n_url_subjects"), "address", "addresses"),
        (total("n_host_subjects"), "site, with everything below it", "sites, with everything below them"),
        (total("n_prefix_subjects"), "profile, with everything below it", "profiles, with everything below them"),
    ):
        if n:
            print(f"  {n:,} {one if n == 1 else many}")
    for note in dict.fromkeys(note for part in parts for note in part.preview.notes):
        print(f"  {note}")
    _name("said twice, counted once", [line for part in parts for line in part.duplicates])
    _name("cannot be used, left out", unusable)
    if len(parts) > 1:
        print(f"  in {len(parts)} claims, since one holds so many")
    if any(part.preview.n_host_subjects or part.preview.n_prefix_subjects for part in parts):
        print("  The names of sites and profiles will be in the public log, for ever.")


def _name(what: str, lines: "Sequence[Line]") -> None:
    if not lines:
        return
    print(f"  {len(lines):,} {what}:")
    for line in lines[:MAX_NAMED]:
        print(f"    {plain(line.where)}: {plain(line.problem)}")
    if len(lines) > MAX_NAMED:
        print(f"    and {len(lines) - MAX_NAMED:,} more; --json names all")


def _tell(done: "OptedOut") -> None:
    from heldout.states import words

    claim = done.claim
    begin = "Opted out" if claim.preference == "train-ai=n" else "Granted"
    before = "" if done.is_new else ", by an earlier run"
    states = ", ".join(f"{n:,} {words(state)}" for state, n in claim.subject_states.items())
    print(f"{begin}: claim {claim.id}: {states}{before}")
    for note in claim.notes if claim.subject_states.get("quarantined") else []:
        print(f"  {plain(note)}")
    if done.receipt is None:
        complain("the log has not taken it in yet: run this again later to get the receipt")
    else:
        print(f"  receipt: {done.receipt}")
    print(f"  to take it back, keep: {done.state}")


def _as_json(parts: "Sequence[Part]", unusable: "Sequence[Line]", done: "Sequence[OptedOut]") -> dict[str, Any]:
    def named(lines: "Sequence[Line]") -> list[dict[str, str]]:
        return [{"where": line.where, "problem": line.problem} for line in lines]

    counts = ("n_subjects", "n_image_subjects", "n_url_subjects", "n_host_subjects", "n_prefix_subjects", "n_pending")
    return {
        **{name: sum(getattr(part.preview, name) for part in parts) for name in (*counts, "n_plain")},
        "duplicates": named([line for part in parts for line in part.duplicates]),
        "unusable": named(unusable),
        "notes": list(dict.fromkeys(note for part in parts for note in part.preview.notes)),
        "claims": [
            {
                "claim": each.claim.model_dump(mode="json", exclude={"secret"}),
                "receipt": None if each.receipt is None else str(each.receipt),
                "state": str(each.state),
                "is_new": each.is_new,
            }
            for each in done
        ],
    }
