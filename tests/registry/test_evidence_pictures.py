"""Pictures signed together with a code, under authorities of our own."""

import io
from pathlib import Path

import pytest
from PIL import Image

from heldout.errors import InputError, UnavailableError
from heldout.pictures import fingerprint
from heldout.records import ImageSubject, Proof
from registry.evidence_pictures import IDENTITY_FILE, SIGNER_FILE, Anchors, check_picture
from registry.service import Registry
from tests.registry.builders import Clock, request, url
from tests.registry.signing import Authority, sign

TOKEN = "mzxw6ytboi2dcmrtgq2tmnzyha4tamjs"


def drawn(seed: int) -> bytes:
    """A busy JPEG."""
    small = Image.frombytes("RGB", (16, 12), bytes((x * x * seed + x * 37) % 256 for x in range(16 * 12 * 3)))
    out = io.BytesIO()
    small.resize((320, 240), Image.Resampling.BICUBIC).save(out, "JPEG", quality=92)
    return out.getvalue()


PICTURE = drawn(3)
PDQ = fingerprint(PICTURE).pdq[0].tobytes().hex()


@pytest.fixture(scope="module")
def people() -> Authority:
    """Vouches for persons."""
    return Authority("People")


@pytest.fixture(scope="module")
def tools() -> Authority:
    """Vouches for programs, which sign for whoever uses them."""
    return Authority("Tools")


def look(data: bytes, anchors: Anchors, token: str = TOKEN) -> str:
    found = check_picture(data, PDQ, token, anchors)
    assert found.words.isprintable()
    assert found.is_found == (found.code == "found")
    return found.code


def test_an_identity_that_signs_the_code_with_the_picture_is_found(people: Authority, tools: Authority) -> None:
    signed = sign(PICTURE, TOKEN, tools.certify("An editor"), identity=people.certify("Jane Doe"))
    found = check_picture(signed, PDQ, TOKEN, Anchors(identity=people.pem))
    assert (found.code, found.words) == ("found", "signed with the code by Jane Doe")
    assert look(signed, Anchors(identity=people.pem, signer=tools.pem)) == "found"
    assert look(signed, Anchors(identity=tools.pem)) == "untrusted"
    assert look(signed, Anchors(signer=people.pem)) == "untrusted"
    assert look(signed, Anchors()) == "no_anchors"


def test_a_manifest_signed_by_a_person_is_found_without_an_identity(people: Authority, tools: Authority) -> None:
    signed = sign(PICTURE, TOKEN, people.certify("Jane Doe"))
    found = check_picture(signed, PDQ, TOKEN, Anchors(signer=people.pem))
    assert (found.code, found.words) == ("found", "signed with the code by Jane Doe")
    assert look(signed, Anchors(signer=tools.pem)) == "untrusted"
    assert look(signed, Anchors(identity=people.pem)) == "untrusted"


def test_a_signed_picture_that_anybody_can_copy_proves_nothing(people: Authority, tools: Authority) -> None:
    anchors = Anchors(identity=people.pem)
    jane = people.certify("Jane Doe")
    assert (
        look(sign(PICTURE, None, tools.certify("An editor"), identity=jane, is_referenced=False), anchors) == "no_token"
    )
    of_another = sign(PICTURE, "a" * 32, tools.certify("An editor"), identity=jane)
    assert look(of_another, anchors) == "no_token"


def test_a_code_that_the_identity_did_not_sign_proves_nothing(people: Authority, tools: Authority) -> None:
    signed = sign(PICTURE, TOKEN, tools.certify("x"), identity=people.certify("Jane Doe"), is_referenced=False)
    assert look(signed, Anchors(identity=people.pem)) == "untrusted"


def test_a_picture_changed_after_signing_proves_nothing(people: Authority, tools: Authority) -> None:
    signed = bytearray(sign(PICTURE, TOKEN, tools.certify("An editor"), identity=people.certify("Jane Doe")))
    signed[-40] ^= 1
    assert look(bytes(signed), Anchors(identity=people.pem)) == "bad_signature"


def test_another_picture_proves_nothing(people: Authority, tools: Authority) -> None:
    signed = sign(drawn(11), TOKEN, tools.certify("An editor"), identity=people.certify("Jane Doe"))
    assert look(signed, Anchors(identity=people.pem)) == "other_picture"


def test_a_picture_without_a_signature_is_told_so(people: Authority) -> None:
    assert look(PICTURE, Anchors(identity=people.pem)) == "no_manifest"


@pytest.mark.parametrize("data", [b"", b"no picture", b"\xff\xd8\xff" + bytes(100)])
def test_what_is_no_picture_is_refused(people: Authority, data: bytes) -> None:
    with pytest.raises(InputError):
        check_picture(data, PDQ, TOKEN, Anchors(identity=people.pem))


def picture_proof(registry: Registry) -> Proof:
    claim = registry.submit(request(url("a"), ImageSubject(pdq=PDQ, quality=90)))
    return registry.proving.create(claim.id, "credential", PDQ)


def test_a_signed_picture_raises_that_picture_alone(
    registry: Registry, tmp_path: Path, people: Authority, tools: Authority, clock: Clock
) -> None:
    proof = picture_proof(registry)
    assert [each.text for each in proof.put] == ["org.heldout.challenge", f'{{"token": "{proof.token}"}}']
    signed = sign(PICTURE, proof.token, tools.certify("An editor"), identity=people.certify("Jane Doe"))
    assert registry.proving.check_picture(proof.id, signed).code == "no_anchors"
    (tmp_path / "state" / IDENTITY_FILE).write_text(people.pem)
    clock.advance(minutes=1)
    done = registry.proving.check_picture(proof.id, signed)
    assert (done.state, done.n_subjects, done.next_check_at) == ("proved", 1, None)
    assert registry.claim(proof.claim).assurance == "declared"  # the address beside it
    clock.advance(minutes=1)
    assert registry.proving.check_picture(proof.id, PICTURE).state == "proved"  # a wrong file takes nothing back
    assert "Jane" not in str(registry.receipt(proof.claim))
    registry.erase_personal_data(proof.claim)
    assert registry.proving.get(proof.id).result is None


def test_certificates_that_are_none_are_told_to_the_operator(registry: Registry, tmp_path: Path) -> None:
    proof = picture_proof(registry)
    (tmp_path / "state" / SIGNER_FILE).write_text("nonsense")
    with pytest.raises(UnavailableError, match=SIGNER_FILE):
        registry.proving.check_picture(proof.id, PICTURE)
