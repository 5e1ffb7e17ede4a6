"""`python -m registry`: the registry's chores. Prints, sets exit codes, nothing else."""

import asyncio
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from ipaddress import ip_network
from typing import Annotated

import typer

from heldout.addresses import AddressGuard
from heldout.errors import ExitCode, HeldoutError, InputError, NotFoundError
from registry import cli_review, keys
from registry.claims import WITHDRAW_REASONS
from registry.evidence_checks import Prober
from registry.options import DEFAULT_STATE_DIR, AsJson, DatabaseUrl, StateDir
from registry.proving import Rechecked
from registry.resolvers import DEFAULT_RESOLVERS, parse_servers
from registry.service import Registry, default_database_url, utc_now
from registry.service import migrate as migrate_database
from registry.witnessing import POLICY_FILE

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(cli_review.app, name="review")

ROOT_WARNING = timedelta(days=60)


@app.command()
def migrate(state_dir: StateDir = DEFAULT_STATE_DIR, database_url: DatabaseUrl = None) -> None:
    """Bring the database to the newest schema."""
    state_dir.mkdir(parents=True, exist_ok=True)
    migrate_database(database_url or default_database_url(state_dir))
    typer.echo("The database is at the newest schema.")


@app.command()
def keygen(
    origin: Annotated[
        str | None,
        typer.Option(envvar="HELDOUT_ORIGIN", help="Name of the log: its URL without scheme; it never changes."),
    ] = None,
    state_dir: StateDir = DEFAULT_STATE_DIR,
    *,
    renew_root: Annotated[
        bool, typer.Option("--renew-root", help="Keep the keys, sign the root anew for another year.")
    ] = False,
) -> None:
    """Make the log's key and the list's keys; never overwrites."""
    folder = state_dir / "keys"
    if renew_root:
        version = keys.renew_root(folder, now=utc_now())
        typer.echo(f"Signed {folder}/{version}.root.json. The next publish hands it out.")
        return
    if origin is None:
        raise typer.BadParameter("give the log's name, as registry.example/log", param_hint="--origin")
    verifier = keys.keygen(folder, origin, now=utc_now())
    typer.echo(f"Keys are in {folder}. Keep them secret, back them up, and move root.pem off this machine.")
    typer.echo(f"Give labs {folder}/1.root.json, and everybody the log's public key:")
    typer.echo(verifier.vkey)


@app.command()
def sequence(
    state_dir: StateDir = DEFAULT_STATE_DIR, database_url: DatabaseUrl = None, *, as_json: AsJson = False
) -> None:
    """Put pending events into the log and move its checkpoint."""
    with Registry(state_dir, database_url) as registry:
        checkpoint = registry.sequence()
    if as_json:
        typer.echo(json.dumps({"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex()}))
    else:
        typer.echo(f"The log {checkpoint.origin} has {checkpoint.size} entries.")


@app.command()
def publish(
    state_dir: StateDir = DEFAULT_STATE_DIR, database_url: DatabaseUrl = None, *, as_json: AsJson = False
) -> None:
    """Publish the exclusion list, or sign it anew if nothing changed. Run it daily: it goes stale in a week."""
    with Registry(state_dir, database_url) as registry:
        published = registry.publish()
    if as_json:
        digest = published.manifest_sha256.hex()
        facts = {"version": published.version, "manifest_sha256": digest, "is_new": published.is_new}
        typer.echo(json.dumps(facts | {"is_witnessed": published.witnesses and published.witnesses.is_enough}))
    else:
        what = "Published" if published.is_new else "Nothing new; signed anew"
        typer.echo(f"{what}: version {published.version}, manifest {published.manifest_sha256.hex()}.")
    for line in published.witnesses.lines() if published.witnesses else []:
        typer.echo(f"warning: {line}", err=True)
    if published.root_expires_at - utc_now() < ROOT_WARNING:
        typer.echo(
            f"warning: the root expires at {published.root_expires_at:%Y-%m-%d}; then every lab refuses the list. "
            "Run python -m registry keygen --renew-root where root.pem is.",
            err=True,
        )
    if published.witnesses and published.witnesses.is_alarm:  # all is published, and somebody must look
        sys.exit(int(ExitCode.VERIFICATION_FAILED))


@app.command()
def witness(
    state_dir: StateDir = DEFAULT_STATE_DIR, database_url: DatabaseUrl = None, *, as_json: AsJson = False
) -> None:
    """Have the log's checkpoint cosigned by the witnesses in <state-dir>/witnesses.policy; publish does it too."""
    with Registry(state_dir, database_url) as registry:
        report = registry.ask_witnesses()
    if report is None:
        raise NotFoundError(
            f"there is no {state_dir / POLICY_FILE}: write one, a C2SP tlog-policy file with a URL for each witness"
        )
    if as_json:
        typer.echo(json.dumps(asdict(report) | {"is_alarm": report.is_alarm}))
    else:
        for asked in report.asked:
            typer.echo(f"{asked.name}: {asked.problem or 'cosigned'}")
        enough = "enough" if report.is_enough else "NOT enough"
        typer.echo(f"The checkpoint of {report.size} entries has {enough} cosignatures.")
        if report.problem:
            typer.echo(f"error: {report.problem}", err=True)
    if report.is_alarm:
        sys.exit(int(ExitCode.VERIFICATION_FAILED))
    if not report.is_enough or report.problem:
        sys.exit(int(ExitCode.OUTSIDE_WORLD))


@app.command()
def rebuild(state_dir: StateDir = DEFAULT_STATE_DIR, database_url: DatabaseUrl = None) -> None:
    """Fill a new, migrated database from the log's folder, when the old one is lost. Personal data stays lost."""
    with Registry(state_dir, database_url) as registry:
        rebuilt = registry.rebuild()
    typer.echo(f"From {rebuilt.n_events} events: {rebuilt.n_claims} claims and {rebuilt.n_lists} lists.")


@app.command()
def recheck(
    state_dir: StateDir = DEFAULT_STATE_DIR,
    database_url: DatabaseUrl = None,
    *,
    resolvers: Annotated[
        str, typer.Option(envvar="HELDOUT_RESOLVERS", help="Name servers that must agree, separated by commas.")
    ] = ",".join(DEFAULT_RESOLVERS),
    fetch_networks: Annotated[
        str, typer.Option(envvar="HELDOUT_FETCH_NETWORKS", help="Networks to ask though they are not public.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Look again for the proofs whose time has come. Run it hourly, unless python -m web does (HELDOUT_RECHECK)."""
    try:
        guard = AddressGuard(allow=[ip_network(part.strip()) for part in fetch_networks.split(",") if part.strip()])
    except ValueError as error:
        raise InputError(f"{error}: give networks such as 127.0.0.0/8, separated by commas") from error

    async def run(registry: Registry) -> Rechecked:
        async with Prober(parse_servers(resolvers), guard=guard) as prober:
            return await registry.proving.recheck(prober)

    with Registry(state_dir, database_url) as registry:
        done = asyncio.run(run(registry))
    if as_json:
        typer.echo(json.dumps(asdict(done)))
    else:
        typer.echo(
            f"Looked for {done.n_checked} proofs: {done.n_proved} found, {done.n_missing} not, of which {done.n_lost} "
            "are lost now."
        )


@app.command()
def withdraw(
    claim_id: Annotated[str, typer.Argument(help="Id of the claim.")],
    state_dir: StateDir = DEFAULT_STATE_DIR,
    database_url: DatabaseUrl = None,
    *,
    reason: Annotated[str, typer.Option(help=f"One of {', '.join(WITHDRAW_REASONS)}.")] = WITHDRAW_REASONS[0],
    erase: Annotated[bool, typer.Option("--erase", help="Also forget name, contact and URL texts.")] = False,
) -> None:
    """Take a claim out of force. The next list no longer has it; the log keeps both entries."""
    with Registry(state_dir, database_url) as registry:
        claim = registry.withdraw(claim_id, reason=reason)
        if erase:
            registry.erase_personal_data(claim_id)
    typer.echo(f"Claim {claim.id} is {claim.state}.")


@app.command()
def erase(
    claim_id: Annotated[str, typer.Argument(help="Id of the claim.")],
    state_dir: StateDir = DEFAULT_STATE_DIR,
    database_url: DatabaseUrl = None,
) -> None:
    """Forget name, contact and URL texts of a claim, which stays as it is. Of an account: delete that."""
    with Registry(state_dir, database_url) as registry:
        registry.erase_personal_data(claim_id)
    typer.echo(f"The personal data of claim {claim_id} is erased here. Backups made before still hold it.")


def main() -> None:
    """Run the command line; errors we know are one line on stderr and an exit code."""
    logging.getLogger("registry").addHandler(logging.NullHandler())  # what a person should know is printed
    with _reported():
        app()


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except HeldoutError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(int(error.exit_code))


if __name__ == "__main__":
    main()
