"""DSSE envelopes: the specification's own vector, another implementation, and that no change goes through."""

import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib import dsse as other_dsse
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]

from heldout.dsse import (
    IN_TOTO,
    Envelope,
    EnvelopeSignature,
    format_envelope,
    is_envelope,
    key_id,
    pae,
    parse_envelope,
    sign_envelope,
    verify_envelope,
)
from heldout.errors import ConflictError, InputError, UnavailableError, VerificationError
from heldout.signing_keys import load_private_key, load_public_key, make_keys

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key()
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()
STATEMENT = b'{"_type":"https://in-toto.io/Statement/v1"}'

# protocol.md of DSSE, "Test Vectors": ECDSA over P-256 with SHA-256, signature r and s one after the other.
VECTOR_X = 46950820868899156662930047687818585632848591499744589407958293238635476079160
VECTOR_Y = 5640078356564379163099075877009565129882514886557779369047442380624545832820
VECTOR = {
    "payload": "aGVsbG8gd29ybGQ=",
    "payloadType": "http://example.com/HelloWorld",
    "signatures": [{"sig": "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=="}],
}


def parsed(envelope: Envelope) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(format_envelope(envelope))
    return value


def test_the_specifications_vector_is_signed_over_our_encoding() -> None:
    envelope = parse_envelope(VECTOR)
    assert envelope.payload == b"hello world"
    message = pae(envelope.payload_type, envelope.payload)
    assert message == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    (signed,) = envelope.signatures
    r, s = (int.from_bytes(signed.signature[i : i + 32]) for i in (0, 32))
    public = ec.EllipticCurvePublicNumbers(VECTOR_X, VECTOR_Y, ec.SECP256R1()).public_key()
    public.verify(encode_dss_signature(r, s), message, ec.ECDSA(SHA256()))


def test_lengths_are_of_bytes_not_of_characters() -> None:
    assert pae("tybé", b"") == "DSSEv1 5 tybé 0 ".encode()


@given(kind=st.text(max_size=20).filter(str.isprintable), payload=st.binary(max_size=100))
def test_what_was_signed_is_what_is_read(kind: str, payload: bytes) -> None:
    envelope = parse_envelope(parsed(sign_envelope(payload, kind, KEY)))
    assert envelope == sign_envelope(payload, kind, KEY)
    assert verify_envelope(envelope, [STRANGER, PUBLIC], kind) == [key_id(PUBLIC)]


def test_another_implementation_reads_ours_and_we_read_its() -> None:
    ours = other_dsse.Envelope.from_dict(parsed(sign_envelope(STATEMENT, IN_TOTO, KEY)))
    other_key = SSlibKey.from_crypto(PUBLIC, keyid=key_id(PUBLIC))
    assert list(ours.verify([other_key], 1)) == [key_id(PUBLIC)]
    theirs = parse_envelope(ours.to_dict())
    assert verify_envelope(theirs, [PUBLIC], IN_TOTO) == [key_id(PUBLIC)]


def test_every_flipped_byte_is_refused_or_changes_nothing_that_was_signed() -> None:
    data = format_envelope(sign_envelope(STATEMENT, IN_TOTO, KEY))
    n_refused = 0
    for position in range(len(data)):
        for bit in (1, 4, 32):
            changed = data[:position] + bytes([data[position] ^ bit]) + data[position + 1 :]
            try:
                envelope = parse_envelope(json.loads(changed))
                verify_envelope(envelope, [PUBLIC], IN_TOTO)
            except (VerificationError, ValueError):
                n_refused += 1
            else:  # the hint's name is not signed, and neither alphabet of base64 is
                assert (envelope.payload, envelope.payload_type) == (STATEMENT, IN_TOTO)
    assert n_refused > 3 * len(data) - 40


def test_url_safe_base64_is_read_too() -> None:
    envelope = sign_envelope(b"\xfb\xff\xfe", "t", KEY)
    value = parsed(envelope)
    value["payload"] = base64.urlsafe_b64encode(envelope.payload).decode()
    assert "-" in value["payload"]
    assert verify_envelope(parse_envelope(value), [PUBLIC], "t")


def test_keys_are_tried_where_the_hint_is_missing() -> None:
    envelope = sign_envelope(STATEMENT, IN_TOTO, KEY)
    bare = Envelope(STATEMENT, IN_TOTO, (EnvelopeSignature(None, envelope.signatures[0].signature),))
    assert verify_envelope(parse_envelope(parsed(bare)), [STRANGER, PUBLIC], IN_TOTO) == [key_id(PUBLIC)]


@pytest.mark.parametrize(
    "envelope",
    [
        sign_envelope(STATEMENT, "application/json", KEY),
        Envelope(STATEMENT + b" ", IN_TOTO, sign_envelope(STATEMENT, IN_TOTO, KEY).signatures),
        Envelope(STATEMENT, IN_TOTO, (EnvelopeSignature(key_id(PUBLIC), bytes(64)),)),
        Envelope(STATEMENT, IN_TOTO, (EnvelopeSignature(None, b"short"),)),
    ],
    ids=["another type", "another payload", "no signature", "short signature"],
)
def test_what_the_key_did_not_sign_is_refused(envelope: Envelope) -> None:
    with pytest.raises(VerificationError):
        verify_envelope(envelope, [PUBLIC], IN_TOTO)


def test_a_strangers_signature_is_told_by_its_key() -> None:
    with pytest.raises(VerificationError, match=key_id(PUBLIC)):
        verify_envelope(sign_envelope(STATEMENT, IN_TOTO, KEY), [STRANGER], IN_TOTO)


@pytest.mark.parametrize(
    "value",
    [
        {},
        VECTOR | {"signatures": []},
        VECTOR | {"payload": "aGVsbG8gd29ybGR="},
        VECTOR | {"payload": "?"},
        VECTOR | {"payloadType": "\ud800"},
        VECTOR | {"signatures": [{}]},
        VECTOR | {"signatures": [{"sig": "AA==", "keyid": 1}]},
        VECTOR | {"signatures": [{"sig": "AA=="}] * 101},
    ],
)
def test_what_is_no_envelope_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(VerificationError):
        parse_envelope(value)
    assert is_envelope(value) == ("payload" in value)


# --- keys ---------------------------------------------------------------------------------------------------------


def test_made_keys_sign_and_check_and_only_their_owner_reads_the_private_one(tmp_path: Path) -> None:
    private, public = make_keys(tmp_path / "lab.key")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    envelope = sign_envelope(STATEMENT, IN_TOTO, load_private_key(private))
    for file in (public, private):
        assert verify_envelope(envelope, [load_public_key(file)], IN_TOTO)


def test_no_key_is_ever_overwritten(tmp_path: Path) -> None:
    private, public = make_keys(tmp_path / "lab.key")
    before = private.read_bytes()
    with pytest.raises(ConflictError, match=r"lab\.key"):
        make_keys(private)
    private.unlink()
    with pytest.raises(ConflictError, match=r"lab\.key\.pub"):
        make_keys(private)
    assert not private.exists()
    public.unlink()
    make_keys(private)
    assert private.read_bytes() != before


def test_a_folder_that_is_not_there_is_the_outside_worlds_fault(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="cannot be written"):
        make_keys(tmp_path / "nowhere" / "lab.key")


def test_unusable_keys_are_input_errors_that_do_not_tell_them(tmp_path: Path) -> None:
    path = tmp_path / "key"
    other = rsa.generate_private_key(65537, 2048)
    locked = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word"))
    rsa_private = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    rsa_public = other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for data, why in ((locked, "passphrase"), (rsa_private, "Ed25519"), (b"words", "PEM"), (b"", "PEM")):
        path.write_bytes(data)
        with pytest.raises(InputError, match=why) as caught:
            load_private_key(path)
        assert "words" not in str(caught.value)
    for data, why in ((rsa_public, "Ed25519"), (b"words", "PEM")):
        path.write_bytes(data)
        with pytest.raises(InputError, match=why):
            load_public_key(path)
    with pytest.raises(InputError, match="cannot be read"):
        load_public_key(tmp_path / "nothing")
