"""Entries of the log in words. Pure, but for the visitor's language."""

from collections import Counter
from collections.abc import Callable
from typing import Final

from heldout.leaves import (
    AssuranceLeaf,
    HostRule,
    ImageDigest,
    Leaf,
    ListLeaf,
    LoggedSubject,
    OptOutLeaf,
    PrefixRule,
    StateLeaf,
    UrlDigest,
    WithdrawLeaf,
    kind_of,
)
from heldout.records import SubjectKind
from heldout.states import is_enough
from heldout.watching import describe
from web.claim_pages import ASSURANCES, STATES
from web.words import gettext, gettext_noop, listed, ngettext

KIND_WORDS: Final = {
    "opt-out": gettext_noop("Opt-outs"),
    "assurance": gettext_noop("Proofs"),
    "state": gettext_noop("Changes"),
    "withdraw": gettext_noop("Taken back"),
    "list": gettext_noop("Lists"),
}
TITLES: Final = {
    "opt-out": gettext_noop("Opt-out"),
    "assurance": gettext_noop("Proof"),
    "state": gettext_noop("Change"),
    "withdraw": gettext_noop("Taken back"),
    "list": gettext_noop("List published"),
}
_REASONS: Final = {
    "by-claimant": gettext_noop("by whoever made it"),
    "by-operator": gettext_noop("by the operator"),
    "evidence": gettext_noop("a proof was found"),
    "evidence-lost": gettext_noop("the proof is gone"),
    "counter-claim": gettext_noop("somebody disputes it"),
    "dispute-refused": gettext_noop("the dispute was refused"),
    "dispute-upheld": gettext_noop("the dispute was upheld"),
    "dispute-withdrawn": gettext_noop("the dispute was taken back"),
    "dispute-expired": gettext_noop("nobody answered the dispute in time"),
    "too-many-hosts": gettext_noop("the picture is on very many sites"),
    "too-plain": gettext_noop("the picture is too plain to be told from others"),
    "over-limit": gettext_noop("more than a day\u2019s limit"),
    "expired": gettext_noop("it was never shown"),
    "review": gettext_noop("a person decided"),
    "dns-txt": gettext_noop("a record in the DNS of the site"),
    "well-known": gettext_noop("a file on the site"),
    "meta-tag": gettext_noop("a tag on the page"),
    "profile": gettext_noop("a code in the profile"),
    "c2pa": gettext_noop("a signature in the picture"),
}
_COUNTS: Final[dict[SubjectKind, Callable[[int], str]]] = {
    "image": lambda n: ngettext("%(n)s picture", "%(n)s pictures", n),
    "url": lambda n: ngettext("%(n)s address", "%(n)s addresses", n),
    "prefix": lambda n: ngettext("%(n)s profile", "%(n)s profiles", n),
    "host": lambda n: ngettext("%(n)s site", "%(n)s sites", n),
}


def title(leaf: Leaf) -> str:
    """What happened, in a word or two."""
    if isinstance(leaf, OptOutLeaf) and leaf.preference == "train-ai=y":
        return gettext("Permission")
    return gettext(TITLES[describe(leaf)[0]])


def words(leaf: Leaf) -> str:
    """What happened, in a sentence or two."""
    match leaf:
        case OptOutLeaf():
            what = listed([say(n) for kind, say in _COUNTS.items() if (n := _kinds(leaf)[kind])])
            how = gettext(ASSURANCES[leaf.assurance])
            said = (
                gettext("%(what)s may be used for training; %(how)s.", what=what, how=how)
                if leaf.preference == "train-ai=y"
                else gettext("%(what)s must not be used for training; %(how)s.", what=what, how=how)
            )
            if not all(is_enough(kind, leaf.assurance) for kind in _kinds(leaf)):
                said += f" {gettext('A site or a profile counts once it is shown whose it is.')}"
            if leaf.n_parts > 1:
                said += f" {gettext('Part %(part)s of %(n)s.', part=leaf.part, n=leaf.n_parts)}"
            return said
        case AssuranceLeaf():
            return _of_subjects(leaf, gettext(ASSURANCES[leaf.assurance]))
        case StateLeaf():
            return _of_subjects(leaf, gettext(STATES[leaf.state]))
        case WithdrawLeaf():
            return gettext("All of it is out of force: %(reason)s.", reason=reason(leaf.reason))
        case ListLeaf():
            return gettext("Version %(version)s of the exclusion list was published.", version=leaf.version)


def subject(each: LoggedSubject) -> str:
    """What one subject is, as far as the log tells."""
    match each:
        case UrlDigest(key=key):
            return gettext("Address, by its digest %(digest)s", digest=key.hex())
        case ImageDigest(pdq=pdq, quality=quality, sha256=None):
            return gettext("Picture, by its fingerprint %(pdq)s (quality %(quality)s)", pdq=pdq.hex(), quality=quality)
        case ImageDigest(pdq=pdq, quality=quality, sha256=sha256):
            return gettext(
                "Picture, by its fingerprint %(pdq)s (quality %(quality)s) and the SHA-256 of its file, %(sha256)s",
                pdq=pdq.hex(),
                quality=quality,
                sha256=(sha256 or b"").hex(),
            )
        case PrefixRule(prefix=prefix):
            return gettext("Everything below %(place)s", place=prefix)
        case HostRule(host=host):
            return gettext("The site %(place)s and everything below it", place=host)


def reason(code: str) -> str:
    """A reason in words; a code that is not known here as it is."""
    return gettext(_REASONS[code]) if code in _REASONS else code


def _kinds(leaf: OptOutLeaf) -> Counter[SubjectKind]:
    return Counter(kind_of(each) for each in leaf.subjects)


def _of_subjects(leaf: AssuranceLeaf | StateLeaf, what: str) -> str:
    if leaf.positions is None:
        return gettext("All of it is now: %(what)s. Why: %(reason)s.", what=what, reason=reason(leaf.reason))
    n = len(leaf.positions)
    return ngettext(
        "%(n)s thing in it is now: %(what)s. Why: %(reason)s.",
        "%(n)s things in it are now: %(what)s. Why: %(reason)s.",
        n,
        what=what,
        reason=reason(leaf.reason),
    )
