"""Signing a filter report: a DSSE envelope beside it, `report.dsse.json`, by the lab's own key."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from heldout.dsse import IN_TOTO, format_envelope, is_envelope, key_id, sign_envelope
from heldout.durable import write_durably
from heldout.errors import InputError, UnavailableError
from heldout.report_reading import envelope_path, read_json, report_of


def sign_report(path: Path, key: Ed25519PrivateKey) -> Path:
    """Write the envelope of a report, in place of one that is there; where it is.

    The same report and key give the same bytes.

    Raises:
        InputError: it is not a report, or an envelope already.
        VerificationError: its sums contradict each other.
        UnavailableError: the envelope cannot be written.
    """
    data, value = read_json(path)
    if is_envelope(value):
        raise InputError(f"{path} is signed already: give the report itself, and it is signed anew")
    report_of(path, value)
    target = envelope_path(path)
    try:
        write_durably(target, format_envelope(sign_envelope(data, IN_TOTO, key)))
    except OSError as error:
        raise UnavailableError(f"{target} cannot be written ({error.strerror}): check the disk") from error
    return target


def signer_of(key: Ed25519PrivateKey) -> str:
    """How envelopes name a key."""
    return key_id(key.public_key())
