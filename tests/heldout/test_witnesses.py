"""Policies of witnesses (C2SP tlog-policy): what is read, what is refused, what is a quorum."""

import json
import re
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout.checkpoint import Checkpoint, Signer, sign_checkpoint
from heldout.cli import run
from heldout.errors import InputError, VerificationError
from heldout.leaves import OptOutLeaf, UrlDigest, format_leaf
from heldout.merkle import leaf_hash
from heldout.pull import pull
from heldout.receipts import Receipt, ReceiptEntry, receipt_to_json
from heldout.stored import verify_current
from heldout.witnesses import WitnessPolicy
from tests.heldout.cosigning import Witness
from tests.heldout.lying_log import AT as LEAF_AT
from tests.heldout.published import BASE_URL, Site

LOG = Signer("log.example/log", b"\x01" * 32)
NOTE = sign_checkpoint(Checkpoint(LOG.name, 7, b"\x05" * 32), LOG)
W1, W2, W3 = (Witness(f"w{i}.example", bytes([i]) * 32) for i in (1, 2, 3))
V1, V2, V3 = W1.vkey, W2.vkey, W3.vkey
AT = 1_790_000_000

NESTED = f"""
# a comment
log {LOG.verifier.vkey} https://log.example/
\twitness  a {V1}   https://w1.example/
witness b {V2}
witness c {V3}
group inner any b c
group outer all a inner

quorum outer
"""


def cosigned(*witnesses: Witness) -> str:
    return NOTE + "".join(witness.cosign(NOTE, AT) for witness in witnesses)


def test_a_policy_is_read() -> None:
    policy = WitnessPolicy.parse(NESTED.encode())
    assert policy.logs == (LOG.verifier,)
    assert [(w.name, w.key.vkey, w.url) for w in policy.witnesses.values()] == [
        ("a", V1, "https://w1.example/"),
        ("b", V2, None),
        ("c", V3, None),
    ]
    assert {name: (group.threshold, group.members) for name, group in policy.groups.items()} == {
        "inner": (1, ("b", "c")),
        "outer": (2, ("a", "inner")),
    }
    assert policy.quorum == "outer"


@pytest.mark.parametrize(
    ("signed", "is_enough"),
    [((W1, W2, W3), True), ((W1, W3), True), ((W1,), False), ((W2, W3), False), ((), False)],
)
def test_quorum_over_groups(signed: tuple[Witness, ...], is_enough: bool) -> None:
    policy = WitnessPolicy.parse(NESTED.encode())
    witnessed = policy.witnessed(cosigned(*signed))
    assert witnessed.is_enough is is_enough
    assert len(witnessed.cosignatures) == len(signed)
    if is_enough:
        assert policy.verify(cosigned(*signed)).at == witnessed.at
    else:
        with pytest.raises(VerificationError, match="quorum 'outer'"):
            policy.verify(cosigned(*signed))


def test_one_witness_signing_twice_counts_once() -> None:
    policy = WitnessPolicy.parse(f"witness a {V1}\nwitness b {V2}\ngroup g 2 a b\nquorum g\n".encode())
    twice = cosigned(W1) + W1.cosign(NOTE, AT + 5)
    assert not policy.witnessed(twice).is_enough


def test_one_witness_cannot_make_what_the_others_said_long_ago_fresh() -> None:
    policy = WitnessPolicy.parse(
        f"witness a {V1}\nwitness b {V2}\nwitness c {V3}\ngroup g 2 a b c\nquorum g\n".encode()
    )
    note = NOTE + W1.cosign(NOTE, AT) + W2.cosign(NOTE, AT + 5) + W3.cosign(NOTE, AT + 9_000_000)
    assert policy.witnessed(note).at == datetime.fromtimestamp(AT + 5, UTC)
    assert policy.witnessed(cosigned(W1)).at is None


def test_no_witness_needed_is_said_so() -> None:
    policy = WitnessPolicy.parse(b"quorum none\n")
    assert policy.verify(NOTE).cosignatures == {}


def test_a_wrong_cosignature_refuses_the_note_though_there_are_enough() -> None:
    policy = WitnessPolicy.parse(f"witness a {V1}\nwitness b {V2}\ngroup g any a b\nquorum g\n".encode())
    other = sign_checkpoint(Checkpoint(LOG.name, 8, b"\x05" * 32), LOG)
    with pytest.raises(VerificationError, match="wrong"):
        policy.verify(cosigned(W1) + W2.cosign(other, AT))


def test_words_of_the_format_are_names_too_and_names_are_opaque_bytes() -> None:
    policy = f"witness all {V1}\nwitness any {V2}\ngroup group 2 all any\nquorum group".encode()
    assert WitnessPolicy.parse(policy).groups["group"].members == ("all", "any")
    assert WitnessPolicy.parse(b"witness W\x80 " + V1.encode() + b"\nquorum W\x80\n").witnessed(cosigned(W1)).is_enough


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("quorum none\n\x01", "0x01"),
        ("quorum none\r\n", "0x0d"),
        ("quibble a\nquorum none\n", "line 1"),
        (f"witness a {V1} https://w.example/ # comment\nquorum a\n", "none of"),
        ("log\nquorum none\n", "none of"),
        ("log garbage\nquorum none\n", "verifier key"),
        (f"log {LOG.verifier.vkey}\nlog {LOG.verifier.vkey} https://log.example/\nquorum none\n", "twice"),
        ("witness a\nquorum none\n", "none of"),
        (f"witness a {LOG.verifier.vkey}\nquorum a\n", "0x01"),
        (f"log {V1}\nquorum none\n", "Ed25519"),
        (f"witness none {V1}\nquorum none\n", "taken"),
        (f"witness a {V1}\nwitness a {V2}\nquorum a\n", "taken"),
        (f"witness a {V1}\nwitness b {V1}\nquorum a\n", "twice"),
        (f"witness a {V1}\nwitness b {Witness('other.example', W1.seed).vkey}\nquorum a\n", "twice"),
        (f"witness a {V1}\ngroup a any a\nquorum a\n", "taken"),
        (f"witness a {V1}\ngroup g 1\nquorum a\n", "none of"),
        (f"witness a {V1}\ngroup g 0 a\nquorum g\n", "asks for 0 of 1"),
        (f"witness a {V1}\ngroup g -1 a\nquorum g\n", "asks for"),
        (f"witness a {V1}\ngroup g 2 a\nquorum g\n", "asks for 2 of 1"),
        (f"witness a {V1}\ngroup g some a\nquorum g\n", "asks for some of 1"),
        (f"group g any a\nwitness a {V1}\nquorum g\n", "not defined"),
        (f"witness a {V1}\ngroup g any none a\nquorum g\n", "not defined"),
        (f"witness a {V1}\ngroup g all a a\nquorum g\n", "more than once"),
        (f"witness a {V1}\nwitness b {V2}\ngroup g any a b\ngroup h any a\nquorum g\n", "more than once"),
        (f"witness a {V1}\n", "exactly one quorum line, this one 0"),
        (f"witness a {V1}\nquorum a\nquorum a\n", "this one 2"),
        ("quorum unknown\n", "not defined"),
        (f"quorum a\nwitness a {V1}\n", "not defined"),
        ("quorum\n", "none of"),
    ],
)
def test_what_is_no_policy_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        WitnessPolicy.parse(text.encode())


@given(st.binary() | st.text(st.sampled_from(f"# \tadglnoqrsuw12\n{V1}")).map(str.encode))
def test_any_file_is_read_or_refused_in_order(data: bytes) -> None:
    with suppress(InputError):
        WitnessPolicy.parse(data)


@pytest.fixture
def policy_path(tmp_path: Path) -> Path:
    path = tmp_path / "witnesses.policy"
    path.write_text(NESTED)
    return path


def name_log_of_list(policy: Path, pulled: Path) -> None:
    """Put the list's log into a policy, in place of the one that it names."""
    vkey = verify_current(pulled, now=datetime.now(UTC), allow_unverified=False).manifest.log.vkey
    policy.write_text(policy.read_text().replace(LOG.verifier.vkey, vkey))


@pytest.mark.parametrize(("signed", "code"), [((W1, W2), 0), ((W1,), 4), ((), 4)])
def test_a_list_is_verified_with_its_witnesses(
    tmp_path: Path, policy_path: Path, capsys: pytest.CaptureFixture[str], signed: tuple[Witness, ...], code: int
) -> None:
    site = Site(cosigners=list(signed)).publish()
    pull(BASE_URL, tmp_path / "list", root=site.write_root(tmp_path), transport=site.transport())
    name_log_of_list(policy_path, tmp_path / "list")
    assert run(["verify", str(tmp_path / "list")]) == 0
    assert run(["verify", str(tmp_path / "list"), "--witnesses", str(policy_path)]) == code
    assert ("cosigned by a, b" in capsys.readouterr().out) is (code == 0)


@pytest.mark.parametrize(("is_named", "code"), [(True, 0), (False, 4)])
def test_a_list_of_a_log_that_the_policy_does_not_name_is_refused(
    tmp_path: Path, policy_path: Path, capsys: pytest.CaptureFixture[str], *, is_named: bool, code: int
) -> None:
    site = Site(cosigners=[W1, W2]).publish()
    pull(BASE_URL, tmp_path / "list", root=site.write_root(tmp_path), transport=site.transport())
    if is_named:
        name_log_of_list(policy_path, tmp_path / "list")
    assert run(["verify", str(tmp_path / "list"), "--witnesses", str(policy_path)]) == code
    assert ("is none of those that the policy" in capsys.readouterr().err) is (code != 0)


@pytest.mark.parametrize(("signed", "code"), [((W1, W3), 0), ((W2, W3), 4)])
def test_a_receipt_is_verified_with_its_witnesses(
    tmp_path: Path, policy_path: Path, capsys: pytest.CaptureFixture[str], signed: tuple[Witness, ...], code: int
) -> None:
    leaf = format_leaf(OptOutLeaf(LEAF_AT, "claim0001", "declared", "train-ai=n", (UrlDigest(bytes(32)),)))
    note = sign_checkpoint(Checkpoint(LOG.name, 1, leaf_hash(leaf)), LOG)
    note += "".join(witness.cosign(note, AT) for witness in signed)
    path = tmp_path / "receipt.json"
    path.write_text(json.dumps(receipt_to_json(Receipt("claim0001", note, (ReceiptEntry(0, leaf, ()),)))))
    options = ["verify", str(path), "--log-key", LOG.verifier.vkey, "--json"]
    assert run(options) == 0
    assert json.loads(capsys.readouterr().out)["witnesses"] == []
    assert run([*options, "--witnesses", str(policy_path)]) == code
    if code == 0:
        assert json.loads(capsys.readouterr().out)["witnesses"] == ["a", "c"]
