"""Whether one subject of a claim was in a list that was applied, and why not: seen in the list, or told from the log.

What a claim amounted to when the list was made follows from its entries before that (`heldout.replay`). The list itself
says more: that nobody with a better proof allowed training on the same, and what other claims about it brought.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final, cast

from heldout.applied_evidence import Standing
from heldout.applied_records import AppliedAnswer, AppliedReason, AppliedSubject
from heldout.leaves import (
    HostRule,
    ImageDigest,
    Leaf,
    LoggedSubject,
    OptOutLeaf,
    PrefixRule,
    StateLeaf,
    UrlDigest,
    WithdrawLeaf,
    kind_of,
)
from heldout.records import ASSURANCES, Assurance, ClaimState
from heldout.replay import LoggedClaim, replay
from heldout.report_reading import Report
from heldout.states import EFFECTIVE

_STATE_WORDS: Final[Mapping[ClaimState, str]] = {
    "pending": "it still waited for proof of whose place it is",
    "quarantined": "it was set aside for review",
    "rejected": "it had been rejected",
    "withdrawn": "it had been withdrawn",
}
_LEADS: Final[Mapping[AppliedAnswer, str]] = {"yes": "Yes", "no": "No", "unknown": "Cannot tell"}


@dataclass(frozen=True)
class Verdict:
    """An answer, before it is about anything in particular."""

    answer: AppliedAnswer
    reason: AppliedReason
    words: str
    needs: str | None = None

    def about(self, position: int, subject: LoggedSubject, names: Mapping[bytes, str]) -> AppliedSubject:
        """The answer about this subject."""
        return AppliedSubject(
            position=position,
            kind=kind_of(subject),
            name=_name(subject, names),
            answer=self.answer,
            reason=self.reason,
            words=f"{_LEADS[self.answer]}: {self.words}." + (f" It would take {self.needs}." if self.needs else ""),
            needs=self.needs,
        )


@dataclass(frozen=True)
class ClaimThen:
    """A claim, and what it amounted to when a list was made."""

    report: Report
    entries: Sequence[tuple[int, Leaf]]
    """Its entries in the log, with their indices."""
    receipt_size: int
    """Entries of the log that the receipt knows of."""
    whole: LoggedClaim = field(init=False)
    then: LoggedClaim | None = field(init=False)
    """After the entries that the list took in; None if there were none."""

    def __post_init__(self) -> None:
        size = self.report.log_size
        (whole,) = replay(leaf for _, leaf in self.entries).claims.values()
        before = replay(leaf for index, leaf in self.entries if index < size).claims.values()
        object.__setattr__(self, "whole", whole)
        object.__setattr__(self, "then", next(iter(before), None))

    @property
    def is_old(self) -> bool:
        """Whether things may have happened to the claim, before the list was made, that the receipt does not know."""
        return self.receipt_size < self.report.log_size

    @property
    def list_words(self) -> str:
        """The list, in words."""
        as_of = self.report.listed["as_of"]
        return f"version {self.report.listed['version']} of the list" + (f", as of {as_of}" if as_of else "")

    def by_list(self, position: int, found: Standing | None) -> Verdict:
        """Seen in the list itself, which says this of the subject."""
        why_not = self._why_not(position)
        if found is None or found.preference == "train-ai=y":
            return why_not or self._should_be_there(found)
        left_out = self._left_out(found.assurance, found.since)
        if left_out is not None:
            return left_out
        held = f"{self.list_words} held it ({found.assurance}, since {found.since.isoformat()})"
        if why_not is not None:
            return Verdict(
                "yes",
                "listed-by-another",
                f"{held} because of another claim about the same; of this one, {why_not.words}",
            )
        return Verdict("yes", "listed", f"{held}, and the lab's run looked for it")

    def by_log(self, position: int) -> Verdict:
        """Reckoned from the claim's entries before the list was made."""
        why_not = self._why_not(position)
        if self.is_old and (why_not is None or why_not.reason in {"pending", "quarantined", "rejected"}):
            state = "it was in force" if why_not is None else why_not.words
            return Verdict(
                "unknown",
                "old-receipt",
                f"when the receipt was made, {state}; the log grew from {self.receipt_size} to {self.report.log_size} "
                "entries before the list was made, and what they decided the receipt does not say",
                "a receipt fetched after the list was made, or the list itself (--list or --from)",
            )
        if why_not is not None or self.then is None:
            return why_not or self._later()
        assurance = self.then.assurances[position]
        left_out = self._left_out(assurance, self.then.received_at.date())
        return left_out or Verdict(
            "yes", "logged", f"it was in force ({assurance}) in the log that {self.list_words} was made from"
        )

    def _why_not(self, position: int) -> Verdict | None:
        """Why this claim did not put the subject into the list; None if it did, or should have."""
        if self.whole.preference == "train-ai=y":
            return Verdict("no", "grant", "the claim allows training, it is no opt-out")
        if self.then is None or position >= len(self.then.subjects):
            return self._later()
        state = self.then.states[position]
        if state in EFFECTIVE:
            return None
        at = self._changed_at(position)
        since = f" (since {_day(at)})" if at is not None else ""
        reason = cast("AppliedReason", state)  # states that do not count are reasons
        return Verdict("no", reason, f"when the list was made, {_STATE_WORDS[state]}{since}")

    def _later(self) -> Verdict:
        size = self.report.log_size
        index = next(index for index, leaf in self.entries if isinstance(leaf, OptOutLeaf) and index >= size)
        return Verdict(
            "no",
            "later",
            f"it was logged on {_day(self.whole.received_at)} as entry {index}, after the list was made, which takes "
            f"in what was logged before entry {size}",
        )

    def _should_be_there(self, found: Standing | None) -> Verdict:
        """The claim counted, and the list does not hold it."""
        if found is not None:
            return Verdict(
                "no",
                "overruled",
                f"{self.list_words} does not exclude it, because somebody who proved more ({found.assurance}) allowed "
                "training on it",
            )
        if self.is_old:
            return Verdict(
                "no",
                "absent",
                f"{self.list_words} does not hold it; what happened to the opt-out between the receipt and the list, a "
                "newer receipt tells",
            )
        return Verdict(
            "no",
            "lacking",
            f"{self.list_words} does not hold it, though by the receipt it should: either the receipt leaves an entry "
            "out, or the registry made a mistake; keep these files and ask its operator",
        )

    def _left_out(self, assurance: Assurance, since: date) -> Verdict | None:
        """Why the run did not look for an entry that was in the list."""
        options = self.report.options
        if ASSURANCES.index(assurance) < ASSURANCES.index(options["min_assurance"]):
            return Verdict(
                "no",
                "weaker",
                f"it was proved as {assurance!r}, and the lab chose to leave aside what is proved less well than "
                f"{options['min_assurance']!r}",
            )
        last = options.get("as_of")
        if last is not None and since > date.fromisoformat(last):
            return Verdict(
                "no",
                "younger",
                f"it was declared on {since.isoformat()}, and the lab chose to leave aside what came after {last}",
            )
        return None

    def _changed_at(self, position: int) -> datetime | None:
        """When the subject came into the state it had when the list was made."""
        at = None
        for index, leaf in self.entries:
            if index < self.report.log_size and (
                isinstance(leaf, WithdrawLeaf)
                or (isinstance(leaf, StateLeaf) and (leaf.positions is None or position in leaf.positions))
            ):
                at = leaf.at
        return at


def _name(subject: LoggedSubject, names: Mapping[bytes, str]) -> str:
    match subject:
        case UrlDigest():
            return names.get(subject.key, f"address with digest {subject.key.hex()[:16]}...")
        case ImageDigest():
            return f"picture with fingerprint {subject.pdq.hex()[:16]}..."
        case PrefixRule():
            return subject.prefix
        case HostRule():
            return subject.host


def _day(at: datetime) -> str:
    return at.date().isoformat()
