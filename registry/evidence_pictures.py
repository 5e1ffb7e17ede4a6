"""A picture signed together with the claimant's code: C2PA manifests and CAWG identity assertions, read offline.

A signed picture alone proves nothing about who hands it in: anybody can copy it. So the code must be in the signed
manifest, as assertion `org.heldout.challenge` with `{"token": ...}`, and the signature that covers it must be an
identity's that the operator trusts:

- CAWG: a `cawg.identity` assertion (X.509) that references ours, its certificate under
  `<state>/identity-anchors.pem`; or
- C2PA: the manifest's own signature, its certificate under `<state>/signer-anchors.pem`. Put there only authorities
  whose certificates name a person: those of cameras and editors sign for whoever uses them.

Identity claims aggregation (`cawg.identity_claims_aggregation`) is not accepted: checking it asks the net.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import c2pa
import numpy as np
from cryptography.x509 import load_pem_x509_certificates

from heldout.errors import InputError, UnavailableError
from heldout.fingerprints import MATCH_DISTANCE, distances
from heldout.pictures import fingerprint
from registry.evidence_checks import Finding

LABEL: Final = "org.heldout.challenge"
IDENTITY_FILE: Final = "identity-anchors.pem"
SIGNER_FILE: Final = "signer-anchors.pem"

_FORMATS: Final = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"RIFF", "image/webp"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
)
_UNTRUSTED: Final = frozenset({"signingCredential.untrusted", "cawg.x509.credential.untrusted"})
"""Failures that say nothing against the picture: another identity of it is not known here."""


@dataclass(frozen=True)
class Anchors:
    """Certificates of the authorities that are trusted, as PEM; empty for none."""

    identity: str = ""
    signer: str = ""

    @property
    def are_none(self) -> bool:
        """Whether nobody is trusted."""
        return not self.identity and not self.signer

    @classmethod
    def of(cls, state_dir: Path) -> "Anchors":
        """Those in the state folder. Raises UnavailableError: a file there holds something else."""
        identity, signer = (_read_certificates(state_dir / name) for name in (IDENTITY_FILE, SIGNER_FILE))
        return cls(identity, signer)


def _read_certificates(path: Path) -> str:
    try:
        pem = path.read_bytes()
        load_pem_x509_certificates(pem)
        return pem.decode("ascii")
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise UnavailableError(
            f"{path} cannot be read as certificates in PEM ({error}): correct it, or remove it"
        ) from error


def check_picture(data: bytes, pdq: str, token: str, anchors: Anchors) -> Finding:
    """Whether a picture is the claimed one, signed together with the code by somebody known.

    Raises:
        InputError: no picture, or one that cannot be read.
    """
    if anchors.are_none:
        return Finding("no_anchors", "this registry trusts no certificate authority yet: use another proof")
    if not _is_copy(data, pdq):
        return Finding("other_picture", "this is not the picture of the claim: hand in that one, signed")
    found = Finding("no_anchors", "")
    for kind, pem in (("cawg", anchors.identity), ("manifest", anchors.signer)):
        # One list at a time: the library lets those for identities vouch for the manifest's signature as well.
        if pem:
            report = _read_manifest(data, kind, pem)
            found = report if isinstance(report, Finding) else _judge(report, token, is_identity=kind == "cawg")
            if found.is_found:
                break
    return found


def _is_copy(data: bytes, pdq: str) -> bool:
    found = fingerprint(data)
    wanted = np.frombuffer(bytes.fromhex(pdq), np.uint8).reshape(1, -1)
    return bool(distances(found.pdq[:1], wanted)[0, 0] <= MATCH_DISTANCE)


def _read_manifest(data: bytes, trust_kind: str, pem: str) -> "dict[str, Any] | Finding":
    kind = next((name for start, name in _FORMATS if data.startswith(start)), None)
    if kind is None:
        raise InputError("the picture must be JPEG, PNG, WebP or TIFF to be read with its signature")
    try:
        with (
            c2pa.Context.from_dict(_settings(trust_kind, pem)) as context,
            c2pa.Reader(kind, io.BytesIO(data), context=context) as reader,
        ):
            report: dict[str, Any] = json.loads(reader.json())
    except c2pa.C2paError as error:
        if "ManifestNotFound" in f"{type(error).__name__} {error}":
            return Finding("no_manifest", "the picture has no Content Credentials: sign it first")
        return Finding("bad_manifest", f"the picture's Content Credentials cannot be read ({str(error)[:100]})")
    return report


def _settings(kind: str, pem: str) -> dict[str, Any]:
    return {
        "version": 1,
        "trust": {"anchors": [{"trust_anchors": pem, "trust_uri": f"heldout:{kind}", "trust_kind": kind}]},
        "verify": {"verify_trust": True, "ocsp_fetch": False, "remote_manifest_fetch": False},
        "core": {"allowed_network_hosts": []},
    }


def _judge(report: Mapping[str, Any], token: str, *, is_identity: bool) -> Finding:
    """From the validator's report. Only what it says of the active manifest counts, not of ingredients."""
    active = report["manifests"][report["active_manifest"]]
    results = report["validation_results"]["activeManifest"]
    bad = [each for each in results["failure"] if each["code"] not in _UNTRUSTED]
    if bad or report.get("validation_state") not in {"Valid", "Trusted"}:
        what = bad[0]["code"] if bad else str(report.get("validation_state"))
        return Finding("bad_signature", f"the picture's signature does not hold ({what}): sign the final file again")
    if not any(_token_of(each) == token for each in active["assertions"]):
        return Finding("no_token", f"the signed manifest has no assertion {LABEL} with the code: sign it together")
    good = {(each["code"], each.get("url", "")) for each in results["success"]}
    if is_identity:
        for each in active["assertions"]:
            is_one = each["label"].startswith("cawg.identity") and _covers_code(each)
            if is_one and _is_trusted(each["label"], good, results):
                return Finding("found", f"signed with the code by {_name(each['data'])}", is_found=True)
    elif any(code == "signingCredential.trusted" for code, _ in good):
        return Finding("found", f"signed with the code by {_name(active)}", is_found=True)
    return Finding("untrusted", "the signature holds, but nobody trusted here vouches for who made it")


def _token_of(assertion: Mapping[str, Any]) -> str | None:
    data = assertion.get("data")
    if assertion["label"] != LABEL or not isinstance(data, dict):
        return None
    found = data.get("token")
    return found.lower() if isinstance(found, str) else None


def _covers_code(identity: Mapping[str, Any]) -> bool:
    payload = identity["data"].get("signer_payload", {}) if isinstance(identity.get("data"), dict) else {}
    return any(str(each.get("url", "")).endswith(f"/{LABEL}") for each in payload.get("referenced_assertions", []))


def _is_trusted(label: str, good: set[tuple[str, str]], results: Mapping[str, Any]) -> bool:
    def is_its(url: str) -> bool:
        return url.endswith(f"/{label}")

    says = {code for code, url in good if is_its(url)}
    is_refused = any(is_its(each.get("url", "")) for each in results["failure"])
    return not is_refused and {"cawg.x509.credential.trusted", "cawg.x509.signature.validated"} <= says


def _name(signed: Mapping[str, Any]) -> str:
    info = signed.get("signature_info", {})
    name = str(info.get("common_name") or info.get("issuer") or "somebody")[:100]
    return "".join(char if char.isprintable() else "?" for char in name)
