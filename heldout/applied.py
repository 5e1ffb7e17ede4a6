"""Was this opt-out in the list that was applied? From a lab's report, an artist's receipt, and what else is at hand.

    yes       the list held it when the lab applied it
    no        it did not, and why: the opt-out came later, was withdrawn, was not proved well enough, ...
    unknown   what is at hand does not tell, and what would

What follows from signatures and digests is told apart from what somebody has to be believed; the reasoning is in
docs/formats/filter-report.md. Gives records, in words for people, for a command and a page alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from heldout.applied_evidence import ListAtHand, LogAtHand
from heldout.applied_records import Applied, AppliedSubject
from heldout.applied_subjects import ClaimThen, Verdict
from heldout.checkpoint import Verifier, open_checkpoint
from heldout.errors import VerificationError
from heldout.leaves import ImageDigest, ListLeaf, WithdrawLeaf
from heldout.receipts import Receipt, receipt_from_json, verify_receipt
from heldout.report_check import check_described
from heldout.report_reading import Report

_COUNT_WORDS: Final = {"yes": "were in the list that was applied", "no": "were not", "unknown": "cannot be told"}


def was_applied(
    report: Report,
    receipt: object,
    vkey: str,
    *,
    version: ListAtHand | None = None,
    log: LogAtHand | None = None,
    names: Mapping[bytes, str] | None = None,
) -> Applied:
    """Say of each subject of a receipt's claim whether it was in the list that a report says was applied.

    Args:
        report: a lab's, read.
        receipt: an artist's; parsed JSON or a `Receipt`.
        vkey: the log's key, from elsewhere than the two.
        version: the list that was applied, if it is at hand.
        log: the log, if it is.
        names: addresses by the SHA-256 of their canonical keys, where the reader knows them.

    Raises:
        InputError: the key is no verifier key.
        VerificationError: the receipt does not prove itself, `version` is another list than the report's, or the log
            has shown two histories.
    """
    parsed = receipt if isinstance(receipt, Receipt) else receipt_from_json(receipt)
    leaves = verify_receipt(parsed, vkey)
    checkpoint = open_checkpoint(parsed.checkpoint, Verifier.parse(vkey))
    indices = [entry.index for entry in parsed.entries]
    claim = ClaimThen(report, list(zip(indices, leaves, strict=True)), checkpoint.size)
    grounds = Grounds()
    grounds.proved.append(
        f"Claim {parsed.claim} is in the log {checkpoint.origin} ({_entries(indices)}): the log's key signed for it."
    )
    _say_who_signed(report, grounds)
    if report.listed["log"]["vkey"] == vkey:
        is_published = _check_version(report, version) or _check_list_entry(report, log)
        if not is_published:
            version = None  # anybody could have made it
        _say_what_the_list_shows(report, version, grounds, is_published=is_published)
        _check_order(report, checkpoint.size, checkpoint.root, log, grounds)
    subjects = [
        _verdict(claim, position, version, is_same_log=report.listed["log"]["vkey"] == vkey).about(
            position, subject, names or {}
        )
        for position, subject in enumerate(claim.whole.subjects)
    ]
    grounds.believed.append(
        "That the lab's run did what the report says, and that the lab trained on what came out of it and on nothing "
        "else. Who holds the shards can filter some again and compare: heldout verify REPORT --shards IN --again N."
    )
    return _summed_up(parsed.claim, claim, subjects, grounds)


@dataclass
class Grounds:
    """What an answer rests on, as sentences."""

    proved: list[str] = field(default_factory=list)
    believed: list[str] = field(default_factory=list)


def _verdict(claim: ClaimThen, position: int, version: ListAtHand | None, *, is_same_log: bool) -> Verdict:
    report = claim.report
    if not is_same_log:
        return Verdict(
            "no", "other-log", f"the list that was applied is of another log, {report.listed['log']['origin']}"
        )
    if not report.is_list_verified:
        return Verdict(
            "unknown",
            "unverified-list",
            "the lab went on with a copy of the list that did not prove itself, so nobody knows what it held",
            "a report of a run with a verified list",
        )
    if version is None:
        return claim.by_log(position)
    return claim.by_list(position, version.standing(claim.whole.subjects[position]))


def _say_who_signed(report: Report, grounds: Grounds) -> None:
    if report.signed_by:
        grounds.proved.append(f"The report is signed by the key {', '.join(report.signed_by)}, which you gave.")
    elif report.claimed_signers:
        grounds.believed.append(
            f"That the report is the lab's: it says to be signed by the key {', '.join(report.claimed_signers)}, which "
            "was not checked (give the lab's public key with --key)."
        )
    else:
        grounds.believed.append("That the report is the lab's: it is not signed.")


def _check_version(report: Report, version: ListAtHand | None) -> bool:
    """What the report says of its list, against the list; whether the list's own proof says that it was published."""
    if version is None:
        return False
    if version.sha256.hex() != report.manifest_sha256:
        raise VerificationError(
            f"{report.path} is about the list with manifest {report.manifest_sha256}, not the one at hand with "
            f"{version.sha256.hex()}: get version {report.listed['version']}"
        )
    check_described(report, version.manifest, version.sha256, version.list_index)
    return version.list_index is not None


def _check_list_entry(report: Report, log: LogAtHand | None) -> bool:
    """Whether the log shows that the list was published: as the entry that the report names."""
    index = report.listed["log"].get("list_index")
    if log is None or type(index) is not int or not 0 <= index < log.checkpoint.size:
        return False
    leaf = log.leaf(index)
    known = (leaf.manifest_sha256.hex(), leaf.version) if isinstance(leaf, ListLeaf) else None
    if known != (report.manifest_sha256, report.listed["version"]):
        raise VerificationError(
            f"{report.path} says that entry {index} of the log is its list, which it is not: the report was changed "
            "or its maker lies"
        )
    return True


def _say_what_the_list_shows(
    report: Report, version: ListAtHand | None, grounds: Grounds, *, is_published: bool
) -> None:
    first = _first(report.log_size)
    if is_published:
        at_hand = None if version is None else version.list_index
        index = report.listed["log"]["list_index"] if at_hand is None else at_hand
        grounds.proved.append(
            f"The registry published the list that the report names: its digest is entry {index} of the log."
        )
    else:
        grounds.believed.append(
            f"That the registry ever published a list with the digest {report.manifest_sha256}: a verified copy of the "
            "list, or the log as far as its entry, would prove it (--list or --from)."
        )
    if version is not None:
        grounds.proved.append(
            f"It is version {version.manifest.version} and was made from {first} of the log. Which works and places "
            "it holds was read in the list itself."
        )
        return
    grounds.believed += [
        (
            f"That this list is version {report.listed['version']} and was made from {first} of the log: so the report "
            "says; the list itself would prove it (--list or --from)."
        ),
        (
            "That the list held what these entries amount to, that nobody who proved more had allowed training on the "
            "same, and that nobody else's claim about the same was in it: the list itself would show it."
        ),
        (
            "That the receipt holds all that happened to the claim before the list was made: one that leaves out a "
            "withdrawal would not show it."
        ),
    ]


def _check_order(report: Report, size: int, root: bytes, log: LogAtHand | None, grounds: Grounds) -> None:
    """That the receipt's log, of this size and root, and that of the list are one: one begins as the other does."""
    if report.log_size == size and report.log_root != root:
        raise VerificationError(
            f"the log in {report.path} and that of the receipt both have {size} entries, but not the same: keep the "
            "two files; either the log has shown two histories, or the report was made up"
        )
    if log is not None and log.covers(max(report.log_size, size)):
        log.check_grew_from(size, root, "the receipt's log")
        log.check_grew_from(report.log_size, report.log_root, f"the log in {report.path}")
        grounds.proved.append(
            "The log that the list was made from and the log of the receipt are beginnings of one log: the claim's "
            "entries are in it at their places, and nothing was taken out."
        )
    elif report.log_size == size:
        grounds.proved.append("The list was made from the very log that the receipt is from.")
    else:
        grounds.believed.append(
            f"That {report.listed['log']['origin']} shows everybody one log: witnesses and monitors watch for that; "
            "a copy of the log would prove it here (--from)."
        )


def _summed_up(claim_id: str, claim: ClaimThen, subjects: list[AppliedSubject], grounds: Grounds) -> Applied:
    report = claim.report
    counts = {answer: sum(each.answer == answer for each in subjects) for answer in _COUNT_WORDS}
    return Applied(
        claim=claim_id,
        claimed_at=claim.whole.received_at,
        preference=claim.whole.preference,
        answer=_overall(counts, len(subjects)),
        words=_overall_words(counts, len(subjects), claim.list_words),
        list_version=report.listed["version"],
        list_as_of=report.listed["as_of"],
        manifest_sha256=report.manifest_sha256,
        log=report.listed["log"]["origin"],
        log_size=report.log_size,
        min_assurance=report.options["min_assurance"],
        signed_by=list(report.signed_by),
        n_yes=counts["yes"],
        n_no=counts["no"],
        n_unknown=counts["unknown"],
        subjects=subjects,
        proved=grounds.proved,
        believed=grounds.believed,
        notes=_notes(claim),
    )


def _overall(counts: Mapping[str, int], n: int) -> Literal["yes", "no", "partly", "unknown"]:
    if counts["yes"] == n:
        return "yes"
    if counts["no"] == n:
        return "no"
    return "partly" if counts["yes"] else "unknown"


def _overall_words(counts: Mapping[str, int], n: int, list_words: str) -> str:
    if counts["yes"] == n:
        return f"Yes: the list that was applied ({list_words}) held {_all_of(n)} of this claim."
    if counts["no"] == n:
        none = "not the one work or place" if n == 1 else f"none of the {n} works and places"
        return f"No: the list that was applied ({list_words}) held {none} of this claim."
    if counts["unknown"] == n:
        return f"Cannot tell whether the list that was applied ({list_words}) held {_all_of(n)} of this claim."
    parts = [f"{counts[answer]} {words}" for answer, words in _COUNT_WORDS.items() if counts[answer]]
    return f"Of the {n} works and places of this claim, {', '.join(parts)} ({list_words})."


def _notes(claim: ClaimThen) -> list[str]:
    notes = []
    withdrawn = next((leaf for _, leaf in claim.entries if isinstance(leaf, WithdrawLeaf)), None)
    if withdrawn is not None:
        notes.append(f"The claim was withdrawn on {withdrawn.at.date().isoformat()}.")
    total, options = claim.report.total, claim.report.options
    if not total["n_in"]:
        notes.append("The run was given no samples at all.")
    if options["dry_run"]:
        notes.append("The run wrote no shards: the report tells what it would have dropped.")
    elif options["writes"] == "masks":
        notes.append(
            "The run wrote masks, which say what is to be left out, and no shards: who reads these must use them."
        )
    if options["url_column"] is not None:
        notes.append(f"Addresses were looked for in the column {options['url_column']!r}, which the lab chose.")
    if total["n_unreadable_urls"]:
        notes.append(
            f"{total['n_unreadable_urls']} of {total['n_in']} samples had no address that can be looked up, and were "
            "not looked for by address."
        )
    if options["preference"] == "train-ai=y":
        notes.append("The lab kept only what was allowed expressly: what nobody had allowed was left out in any case.")
    if claim.report.failed:
        notes.append(f"{len(claim.report.failed)} inputs gave no output, and the report does not speak for them.")
    if any(isinstance(subject, ImageDigest) for subject in claim.whole.subjects):
        notes.append(
            "A picture that is listed is found where the lab's shards hold pictures or digests of them; where they "
            "hold addresses alone, only addresses are found."
        )
    return notes


def _all_of(n: int) -> str:
    return "the one work or place" if n == 1 else f"all {n} works and places"


def _first(n: int) -> str:
    return "the first entry" if n == 1 else f"the first {n} entries"


def _entries(indices: list[int]) -> str:
    shown = ", ".join(map(str, indices[:5])) + (", ..." if len(indices) > 5 else "")
    return f"{'entry' if len(indices) == 1 else 'entries'} {shown}"
