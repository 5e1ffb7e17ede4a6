"""`heldout keygen` and `heldout sign`: a lab's own key, and reports signed with it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer

from heldout.terminal import print_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SignKeyOption = Annotated[
    Path | None, typer.Option("--sign", metavar="KEY", help="Sign the report with this key, which heldout keygen made.")
]


def keygen(
    *,
    path: Annotated[
        Path, typer.Option("--out", "-o", metavar="KEY", help="File of the private key; KEY.pub is public.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Make a key pair to sign reports with: Ed25519, PEM. Give the public half to whoever is to check them."""
    from heldout.dsse import key_id
    from heldout.signing_keys import load_public_key, make_keys

    private, public = make_keys(path)
    name = key_id(load_public_key(public))
    if as_json:
        print_json({"private": os.fspath(private), "public": os.fspath(public), "keyid": name})
        return
    print(f"{private}: private key, keep it secret\n{public}: public key, give it away\nkey id {name}")


def sign(
    *,
    report: Annotated[Path, typer.Argument(metavar="REPORT", help="report.json of heldout filter.")],
    key: Annotated[Path, typer.Option("--key", metavar="KEY", help="Private key that heldout keygen made.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Sign a filter report: writes the envelope report.dsse.json beside it."""
    from heldout.report_signing import sign_report, signer_of
    from heldout.signing_keys import load_private_key

    loaded = load_private_key(key)
    envelope = sign_report(report, loaded)
    if as_json:
        print_json({"envelope": os.fspath(envelope), "keyid": signer_of(loaded)})
        return
    print(f"{envelope}: signed by {signer_of(loaded)}")


@dataclass(frozen=True)
class Signing:
    """The key of `heldout filter --sign`, read before hours of work, used after."""

    key: "Ed25519PrivateKey | None"

    @classmethod
    def prepare(cls, path: Path | None) -> Self:
        """Read the key, if there is to be one. Raises InputError: it cannot be used."""
        if path is None:
            return cls(None)
        from heldout.signing_keys import load_private_key

        return cls(load_private_key(path))

    def sign(self, report: Path | None) -> Path | None:
        """Sign a report, if there are both; the envelope."""
        if self.key is None or report is None:
            return None
        from heldout.report_signing import sign_report

        return sign_report(report, self.key)
