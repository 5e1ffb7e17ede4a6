"""Cosignatures: what verifies, what is ignored, what is refused."""

import sys
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.checkpoint import Checkpoint, Signer, open_checkpoint, parse_signature, sign_checkpoint, to_base64
from heldout.cosignatures import Cosigner, verify_cosignatures
from heldout.errors import InputError, UnavailableError, VerificationError
from tests.heldout.cosigning import Witness

LOG = Signer("log.example/log", b"\x01" * 32)
NOTE = sign_checkpoint(Checkpoint(LOG.name, 7, b"\x05" * 32), LOG)
EXTENDED = sign_checkpoint(Checkpoint(LOG.name, 7, b"\x05" * 32, ("an extension",)), LOG)
ED = Witness("w1.example", b"\x02" * 32)
ML = Witness("w2.example", b"\x03" * 32, kind=6)
AT = 1_790_000_000
# A witness of the public network, as the tests of transparency-dev/formats have it.
PUBLIC_VKEY = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"


def keys(*witnesses: Witness) -> list[Cosigner]:
    return [Cosigner.parse(witness.vkey) for witness in witnesses]


def test_a_public_witness_key_is_read() -> None:
    cosigner = Cosigner.parse(PUBLIC_VKEY)
    assert (cosigner.name, cosigner.vkey) == ("remora.n621.de", PUBLIC_VKEY)


@pytest.mark.parametrize("witness", [ED, ML], ids=["Ed25519", "ML-DSA-44"])
@pytest.mark.parametrize("note", [NOTE, EXTENDED], ids=["plain", "extended"])
def test_a_cosignature_verifies_and_tells_its_time(witness: Witness, note: str) -> None:
    line = witness.cosign(note, AT)
    (found,) = verify_cosignatures(note + line, keys(witness))
    assert (found.cosigner.name, found.at) == (witness.name, datetime.fromtimestamp(AT, UTC))
    assert f"{found.line}\n" == line


def test_a_cosigned_checkpoint_is_still_the_logs() -> None:
    cosigned = NOTE + ED.cosign(NOTE, AT) + ML.cosign(NOTE, AT)
    assert open_checkpoint(cosigned, LOG.verifier) == open_checkpoint(NOTE, LOG.verifier)


def test_cosignatures_by_others_are_ignored() -> None:
    cosigned = NOTE + ED.cosign(NOTE, AT) + ML.cosign(NOTE, AT)
    assert [found.cosigner.name for found in verify_cosignatures(cosigned, keys(ML))] == ["w2.example"]
    assert verify_cosignatures(cosigned, []) == []
    same_name = Witness(ED.name, b"\x09" * 32)
    assert verify_cosignatures(cosigned, keys(same_name)) == []


def test_the_logs_own_key_is_no_witness() -> None:
    with pytest.raises(InputError, match="witness's"):
        Cosigner.parse(LOG.verifier.vkey)
    disguised = Witness(LOG.name, b"\x01" * 32)  # its signature over the text alone says nothing of a time
    own = parse_signature(NOTE.splitlines()[-1]).signature
    line = f"\u2014 {LOG.name} {to_base64(disguised.key_id + AT.to_bytes(8) + own)}\n"
    with pytest.raises(VerificationError, match="wrong"):
        verify_cosignatures(NOTE + line, keys(disguised))


@pytest.mark.parametrize("witness", [ED, ML], ids=["Ed25519", "ML-DSA-44"])
def test_a_cosignature_of_another_checkpoint_or_time_is_refused(witness: Witness) -> None:
    other = sign_checkpoint(Checkpoint(LOG.name, 8, b"\x05" * 32), LOG)
    with pytest.raises(VerificationError, match="wrong"):
        verify_cosignatures(NOTE + witness.cosign(other, AT), keys(witness))
    signed = parse_signature(witness.cosign(NOTE, AT).rstrip("\n"))
    later = (AT + 1).to_bytes(8) + signed.signature[8:]
    line = f"\u2014 {witness.name} {to_base64(signed.key_id + later)}\n"
    with pytest.raises(VerificationError, match="wrong"):
        verify_cosignatures(NOTE + line, keys(witness))


def test_ed25519_covers_extension_lines() -> None:
    line = ED.cosign(EXTENDED, AT)
    with pytest.raises(VerificationError, match="wrong"):
        verify_cosignatures(NOTE + line, keys(ED))


@pytest.mark.parametrize("timestamp", [0, 2**63, 2**64 - 1])
def test_a_time_that_never_is_is_refused(timestamp: int) -> None:
    with pytest.raises(VerificationError, match="wrong"):
        verify_cosignatures(NOTE + ED.cosign(NOTE, timestamp), keys(ED))


COSIGNED = (NOTE + ED.cosign(NOTE, AT)).encode()


@settings(max_examples=300)
@given(st.integers(0, len(COSIGNED) - 1), st.integers(1, 255))
def test_any_changed_byte_leaves_no_valid_cosignature_of_another_text(position: int, change: int) -> None:
    """A change to the text or to the cosignature is refused, or nothing is left that the witness signed."""
    changed = bytearray(COSIGNED)
    changed[position] ^= change
    try:
        found = verify_cosignatures(bytes(changed), keys(ED))
    except VerificationError:
        return
    log_line = NOTE[NOTE.rindex("\n\n") + 2 :].encode()
    is_in_logs_signature = position in range(COSIGNED.index(log_line), COSIGNED.index(log_line) + len(log_line))
    assert not found or is_in_logs_signature


def test_without_ml_dsa_the_installation_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    note, cosigners = NOTE + ML.cosign(NOTE, AT), keys(ML)
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.mldsa", None)
    with pytest.raises(UnavailableError, match="newer release"):
        verify_cosignatures(note, cosigners)


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "w.example",
        "w.example+00000000+AAAA",
        ED.vkey.replace("w1", "w3"),
        ED.vkey[:-4],
        ED.vkey + "AAAA",
    ],
)
def test_what_is_no_witness_key_is_refused(vkey: str) -> None:
    with pytest.raises(InputError):
        Cosigner.parse(vkey)
