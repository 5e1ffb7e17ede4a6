"""Authorities of our own, and pictures signed under them with c2pa-python."""

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LABEL = "org.heldout.challenge"


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "CZ"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


class Authority:
    """A certificate authority that exists for one test."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._made(name, self._key, is_authority=True)
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    def certify(self, name: str) -> dict[str, Any]:
        """A person's signer, as c2pa's settings have it."""
        key = ec.generate_private_key(ec.SECP256R1())
        chain = self._made(name, key, is_authority=False).public_bytes(serialization.Encoding.PEM).decode() + self.pem
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {"alg": "es256", "sign_cert": chain, "private_key": private.decode(), "tsa_url": None}

    def _made(self, name: str, key: ec.EllipticCurvePrivateKey, *, is_authority: bool) -> x509.Certificate:
        now = datetime.now(UTC)
        usage = [False] * 9
        for position in (5, 6) if is_authority else (0,):  # key_cert_sign and crl_sign, or digital_signature
            usage[position] = True
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name(name) if is_authority else self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(*usage), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        if not is_authority:
            mail = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
            builder = builder.add_extension(mail, critical=False).add_extension(issuer, critical=False)
        return builder.sign(self._key, hashes.SHA256())


def sign(
    picture: bytes,
    token: str | None,
    signer: dict[str, Any],
    *,
    identity: dict[str, Any] | None = None,
    is_referenced: bool = True,
) -> bytes:
    """The JPEG with a manifest, the code in an assertion, and maybe a CAWG identity that references it."""
    settings: dict[str, Any] = {"version": 1, "builder": {"thumbnail": {"enabled": False}}, "signer": {"local": signer}}
    if identity is not None:
        references = [LABEL] if is_referenced else []
        settings["cawg_x509_signer"] = {"local": identity | {"referenced_assertions": references}}
    created = {
        "action": "c2pa.created",
        "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture",
    }
    assertions: list[dict[str, Any]] = [{"label": "c2pa.actions", "data": {"actions": [created]}}]
    if token is not None:
        assertions.append({"label": LABEL, "data": {"token": token}})
    manifest = {"claim_generator_info": [{"name": "test", "version": "1"}], "assertions": assertions}
    context = c2pa.Context.from_dict(settings)
    context._has_signer = True  # it has, from the settings; the Python layer knows only of those handed to it
    out = io.BytesIO()
    with c2pa.Builder(json.dumps(manifest), context) as builder:
        builder.sign("image/jpeg", io.BytesIO(picture), out)
    context.close()
    return out.getvalue()
