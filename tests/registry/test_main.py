"""`python -m registry`, as an operator runs it."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from heldout.checkpoint import Verifier
from heldout.errors import ConflictError, InputError, NotFoundError
from heldout.receipts import verify_receipt
from registry.__main__ import app
from registry.keys import keygen
from registry.service import Registry, utc_now
from tests.registry.builders import ORIGIN, request, url

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, empty_database_url: str) -> Run:
    """Run a command in this process; its output. Errors are raised."""

    def run_command(*arguments: str, **options: Any) -> str:
        environment = {"HELDOUT_STATE_DIR": str(tmp_path / "state"), "HELDOUT_DATABASE_URL": empty_database_url}
        result = CliRunner().invoke(app, arguments, env=environment, catch_exceptions=False, **options)
        assert result.exit_code == 0, result.output
        return result.output

    return run_command


def test_from_nothing_to_a_published_list(run: Run, tmp_path: Path, empty_database_url: str) -> None:
    run("migrate")
    assert Verifier.parse(run("keygen", "--origin", ORIGIN).splitlines()[-1]).name == ORIGIN
    assert json.loads(run("sequence", "--json"))["size"] == 0
    with Registry(tmp_path / "state", empty_database_url) as registry:
        claim = registry.submit(request(url("a"), contact="jane@jane.example"))
        vkey = registry.vkey
    assert "has 1 entries" in run("sequence")
    assert json.loads(run("publish", "--json")) | {"manifest_sha256": ""} == {
        "version": 1,
        "manifest_sha256": "",
        "is_new": True,
        "is_witnessed": None,
    }
    assert "Nothing new" in run("publish")
    assert f"Claim {claim.id} is withdrawn" in run("withdraw", claim.id, "--erase")
    assert "Published: version 2" in run("publish")
    with Registry(tmp_path / "state", empty_database_url) as registry:
        assert len(verify_receipt(registry.receipt(claim.id), vkey)) == 2


def test_personal_data_is_erased_and_the_claim_stays(run: Run, tmp_path: Path, empty_database_url: str) -> None:
    run("migrate")
    run("keygen", "--origin", ORIGIN)
    with Registry(tmp_path / "state", empty_database_url) as registry:
        claim = registry.submit(request(url("a"), contact="jane@jane.example"))
        assert "is erased" in run("erase", claim.id)
        assert registry.claim(claim.id).state == "in_force"
        account = registry.accounts.use_link(
            registry.accounts.link_token("jane@jane.example", client=bytes(32), next_path="/") or ""
        ).account_id
        registry.adopt(claim.id, account, secret=claim.secret or "")
        (held,) = registry.accounts.export(account)["claims"]
    assert held["contact"] is None
    assert "url" not in held["subjects"][0]


def test_mistakes_are_errors_of_ours(run: Run) -> None:
    with pytest.raises(NotFoundError):
        run("sequence")
    run("migrate")
    run("keygen", "--origin", ORIGIN)
    with pytest.raises(ConflictError):
        run("keygen", "--origin", ORIGIN)
    with pytest.raises(NotFoundError):
        run("withdraw", "nosuchclaim")
    with pytest.raises(InputError):
        run("withdraw", "nosuchclaim", "--reason", "because")
    assert "2.root.json" in run("keygen", "--renew-root")
    with pytest.raises(typer.BadParameter):
        run("keygen", standalone_mode=False)


def test_a_root_about_to_expire_is_warned_of(run: Run, tmp_path: Path) -> None:
    run("migrate")
    keygen(tmp_path / "state" / "keys", ORIGIN, now=utc_now() - timedelta(days=320))
    assert "warning: the root expires" in run("publish")
    run("keygen", "--renew-root")
    assert "warning" not in run("publish")


def test_every_command_has_help() -> None:
    names = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
    assert names == ["migrate", "keygen", "sequence", "publish", "witness", "rebuild", "recheck", "withdraw", "erase"]
    for name in names:
        result = CliRunner().invoke(app, [name, "--help"])
        assert result.exit_code == 0
        assert len(result.output) > 100


def test_an_error_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    result = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", "registry", "sequence", "--state-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert "python -m registry keygen" in result.stderr
    assert result.stdout == ""
