"""Signed notes and checkpoints: the published examples, round trips, and what is refused."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout.checkpoint import (
    Checkpoint,
    Signer,
    Verifier,
    format_checkpoint,
    open_checkpoint,
    open_note,
    parse_checkpoint,
    sign_checkpoint,
    sign_note,
)
from heldout.errors import InputError, VerificationError
from heldout.merkle import leaf_hash

# Example of Go's golang.org/x/mod/sumdb/note.
GO_SKEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_NOTE = (
    GO_TEXT
    + "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
# Example of the C2SP signed-note specification.
C2SP_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
C2SP_NOTE = (
    "This is an example message.\n\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
# Text of Go's golang.org/x/mod/sumdb/tlog: a tree head is written the same way.
GO_TREE = "go.sum database tree\n123456789012\nTszzRgjTG6xce+z2AG31kAXYKBgQVtCSCE40HmuwBb0=\n"

NAMES = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="+"), min_size=1, max_size=30)
SEEDS = st.binary(min_size=32, max_size=32)
LINES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=30)
CHECKPOINTS = st.builds(
    Checkpoint,
    LINES,
    st.integers(0, 2**64 - 1),
    st.binary(min_size=32, max_size=32),
    st.lists(LINES, max_size=2).map(tuple),
)


def test_go_example_note() -> None:
    assert Signer.parse(GO_SKEY).verifier.vkey == GO_VKEY
    assert sign_note(GO_TEXT, [Signer.parse(GO_SKEY)]) == GO_NOTE
    assert open_note(GO_NOTE, [Verifier.parse(GO_VKEY)]) == GO_TEXT


def test_c2sp_example_note() -> None:
    assert open_note(C2SP_NOTE.encode(), [Verifier.parse(C2SP_VKEY)]) == "This is an example message.\n"


def test_go_example_tree_head() -> None:
    tree = Checkpoint("go.sum database tree", 123456789012, leaf_hash(b"hello world"))
    assert format_checkpoint(tree) == GO_TREE
    assert parse_checkpoint(GO_TREE) == tree


@given(NAMES, SEEDS)
def test_keys_survive_being_written(name: str, seed: bytes) -> None:
    signer = Signer(name, seed)
    assert Signer.parse(signer.skey) == signer
    assert Verifier.parse(signer.verifier.vkey) == signer.verifier
    assert signer.skey not in repr(signer)
    assert repr(seed) not in repr(signer)


@given(CHECKPOINTS)
def test_parsing_a_formatted_checkpoint_gives_it_back(checkpoint: Checkpoint) -> None:
    assert parse_checkpoint(format_checkpoint(checkpoint)) == checkpoint


@given(CHECKPOINTS, SEEDS, st.data())
def test_a_signed_checkpoint_opens_and_no_changed_byte_does(
    checkpoint: Checkpoint, seed: bytes, data: st.DataObject
) -> None:
    signer = Signer("log.example/claims", seed)
    checkpoint = Checkpoint(signer.name, checkpoint.size, checkpoint.root, checkpoint.extensions)
    note = sign_checkpoint(checkpoint, signer).encode()
    assert open_checkpoint(note, signer.verifier) == checkpoint

    changed = bytearray(note)
    changed[data.draw(st.integers(0, len(note) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(VerificationError):
        open_checkpoint(bytes(changed), signer.verifier)


def test_notes_with_several_signatures_ignore_unknown_keys() -> None:
    log, witness = Signer.generate("log.example"), Signer.generate("witness.example")
    note = sign_note("text\n", [witness, log])
    assert open_note(note, [log.verifier]) == "text\n"
    assert open_note(note, [witness.verifier]) == "text\n"
    same_name = Signer.generate("log.example")
    with pytest.raises(VerificationError, match=r"not signed by log\.example"):
        open_note(note, [same_name.verifier])
    with pytest.raises(VerificationError, match="not signed by no key"):
        open_note(note, [])


def test_a_wrong_signature_by_a_known_key_refuses_the_note_even_with_a_good_one() -> None:
    log, witness = Signer.generate("log.example"), Signer.generate("witness.example")
    good = sign_note("text\n", [log])
    forged = sign_note("other\n", [witness]).partition("\n\n")[2]
    with pytest.raises(VerificationError, match=r"signature of witness\.example"):
        open_note(good + forged, [log.verifier, witness.verifier])


def test_text_with_empty_lines_is_split_at_the_last_one() -> None:
    signer = Signer.generate("log.example")
    assert open_note(sign_note("a\n\nb\n", [signer]), [signer.verifier]) == "a\n\nb\n"


@pytest.mark.parametrize(
    "note",
    [
        "",
        "text\n",
        "text\n\n",
        "text\n\n- log.example AAAAAAAA\n",
        "text\n\n— log.example\n",
        "text\n\n— log.example AAAA\n",
        "text\n\n— log.example AAAAAAA\n",
        "text\n\n— log+example AAAAAAAA\n",
        "text\n\n— log\u2003example AAAAAAAA\n",
        "te\txt\n\n— log.example AAAAAAAA\n",
        "text\n\n— log.example AAAAAAAA",
        "text\r\n\r\n— log.example AAAAAAAA\r\n",
        "text\n\n" + "— log.example AAAAAAAA\n" * 101,
        "x" * 1_000_001,
        "te\ud800xt\n\n— log.example AAAAAAAA\n",
        "text\n\n— log\udfff.example AAAAAAAA\n",
    ],
)
def test_malformed_notes_are_refused(note: str) -> None:
    with pytest.raises(VerificationError):
        open_note(note, [Verifier.parse(GO_VKEY)])


def test_a_note_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(VerificationError, match="UTF-8"):
        open_note(b"\xff\n\n", [Verifier.parse(GO_VKEY)])


@given(st.binary(max_size=200))
def test_any_bytes_as_a_note_are_refused_in_order(data: bytes) -> None:
    with pytest.raises(VerificationError):
        open_note(data, [Verifier.parse(GO_VKEY)])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "origin\n1\n",
        "origin\n01\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "origin\n-1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "origin\n٣\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "origin\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=\n",
        "origin\n1\nAAAA\n",
        "\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "origin\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n",
        "origin\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    ],
)
def test_malformed_checkpoints_are_refused(text: str) -> None:
    with pytest.raises(VerificationError):
        parse_checkpoint(text)


def test_a_key_signs_only_for_its_own_log() -> None:
    signer = Signer.generate("log.example")
    other = Checkpoint("other.example", 0, b"\0" * 32)
    with pytest.raises(InputError, match="may not sign"):
        sign_checkpoint(other, signer)
    with pytest.raises(VerificationError, match=r"of the log 'other\.example'"):
        open_checkpoint(sign_note(format_checkpoint(other), [signer]), signer.verifier)


@pytest.mark.parametrize(
    "checkpoint",
    [
        Checkpoint("", 0, b"\0" * 32),
        Checkpoint("a\nb", 0, b"\0" * 32),
        Checkpoint("a\tb", 0, b"\0" * 32),
        Checkpoint("a\ud800b", 0, b"\0" * 32),
        Checkpoint("a", -1, b"\0" * 32),
        Checkpoint("a", 0, b"\0" * 31),
        Checkpoint("a", 0, b"\0" * 32, ("",)),
    ],
)
def test_checkpoints_the_format_cannot_hold_are_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(InputError):
        format_checkpoint(checkpoint)


def test_notes_need_a_signer_and_a_final_newline() -> None:
    with pytest.raises(InputError, match="at least one signer"):
        sign_note("text\n", [])
    with pytest.raises(InputError, match="newline"):
        sign_note("text", [Signer.generate("log.example")])


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "PeterNeumann",
        "PeterNeumann+c74f20a3",
        "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+not base64",
        "Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+" + base64.b64encode(b"\x01" + b"k" * 31).decode(),
        GO_SKEY,
    ],
)
def test_malformed_verifier_keys_are_refused(vkey: str) -> None:
    with pytest.raises(InputError):
        Verifier.parse(vkey)


@pytest.mark.parametrize(
    "skey",
    ["", GO_VKEY, "PRIVATE+KEY+PeterNeumann", GO_SKEY.replace("c74f20a3", "c74f20a4"), GO_SKEY + "A"],
)
def test_malformed_private_keys_are_refused_without_telling_them(skey: str) -> None:
    with pytest.raises(InputError) as caught:
        Signer.parse(skey)
    assert "YEKFALVFGyNh" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\udcff"])
def test_names_the_format_cannot_hold_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="key name"):
        Signer.generate(name)
