"""What an audit's page says, in English. The site says the same in its other languages.

A sentence is looked up by its name; `N_` marks it for catalogues.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from heldout.audit_captions import NO_LETTERS, OTHER


def N_(text: str) -> str:  # noqa: N802 - gettext's own name for it
    """The text as it is."""
    return text


TITLES: Final[Mapping[str, str]] = {
    "domains": N_("Sites"),
    "opted_out_domains": N_("Sites with the most opt-outs"),
    "opt_outs": N_("Opt-outs by rule and proof"),
    "since": N_("Opt-outs over time"),
    "scripts": N_("Scripts of captions"),
    "languages": N_("Languages"),
    "sizes": N_("Sizes"),
    "statuses": N_("What became of downloads"),
    "signals": N_("Opt-out signals seen"),
    "copies": N_("Addresses that occur more than once"),
    "changes": N_("Changes since the other version"),
}
WORDS: Final[Mapping[str, str]] = {
    "domains": N_("A site is a registered domain with all its hosts. Bars count samples."),
    "opted_out_domains": N_("Samples that the list excludes, by site."),
    "opt_outs": N_("How the list knows each sample that it excludes, and how well the opt-out is proved."),
    "since": N_(
        "Samples that the list excludes, added up by the month in which their opt-out was first declared. An opt-out "
        "that was withdrawn is not in it."
    ),
    "scripts": N_(
        "The writing system of most letters of a caption. It is counted, not guessed; a language cannot be told from a "
        "line of alt text with certainty."
    ),
    "languages": N_("As the data set itself states them. Nobody has checked them."),
    "sizes": N_("The shorter side of a picture in pixels, as the data set states it."),
    "statuses": N_("As the data set states it."),
    "signals": N_(
        "What servers said in HTTP headers when pictures were fetched. A signal is not an opt-out of this list: most "
        "samples that carry one are on no list."
    ),
    "copies": N_("How often one address, in whatever spelling, occurs in the data set."),
    "changes": N_("Addresses in both versions, compared by their canonical form."),
}
HEADS: Final[Mapping[str, str]] = {
    "domain": N_("Site"),
    "kind": N_("Rule"),
    "assurance": N_("Proof"),
    "month": N_("Month"),
    "script": N_("Script"),
    "language": N_("Language"),
    "shorter_from": N_("Shorter side"),
    "status": N_("Status"),
    "signal": N_("Signal"),
    "n_copies": N_("Times"),
    "n_samples": N_("Samples"),
    "n_opted_out": N_("Opted out"),
    "rate": N_("Share opted out"),
    "n_urls": N_("Addresses"),
    "n_hosts": N_("Hosts"),
    "total": N_("So far"),
    "share": N_("Share of all samples"),
    "n_added": N_("Added"),
    "n_removed": N_("Removed"),
    "n_kept": N_("Kept"),
    "n_added_opted_out": N_("Added though opted out"),
}
KINDS: Final[Mapping[str, str]] = {
    "url": N_("Address"),
    "prefix": N_("Folder of a site"),
    "host": N_("Site"),
    "sha256": N_("Same file"),
    "pdq": N_("Copy of a picture"),
}
PROOFS: Final[Mapping[str, str]] = {
    "declared": N_("declared"),
    "account": N_("account"),
    "host": N_("host"),
    "credential": N_("credential"),
    "reviewed": N_("reviewed"),
}
SCRIPT_WORDS: Final[Mapping[str, str]] = {
    "": N_("no caption"),
    NO_LETTERS: N_("no letters"),
    OTHER: N_("another script"),
    "Latn": N_("Latin"),
    "Cyrl": N_("Cyrillic"),
    "Grek": N_("Greek"),
    "Arab": N_("Arabic"),
    "Hebr": N_("Hebrew"),
    "Deva": N_("Devanagari"),
    "Beng": N_("Bengali"),
    "Guru": N_("Gurmukhi"),
    "Gujr": N_("Gujarati"),
    "Taml": N_("Tamil"),
    "Telu": N_("Telugu"),
    "Knda": N_("Kannada"),
    "Mlym": N_("Malayalam"),
    "Sinh": N_("Sinhala"),
    "Thai": N_("Thai"),
    "Laoo": N_("Lao"),
    "Mymr": N_("Myanmar"),
    "Khmr": N_("Khmer"),
    "Geor": N_("Georgian"),
    "Armn": N_("Armenian"),
    "Ethi": N_("Ethiopic"),
    "Hang": N_("Hangul"),
    "Jpan": N_("Japanese"),
    "Hani": N_("Chinese characters"),
}
SERIES: Final[Mapping[str, str]] = {
    "kept": N_("Not opted out"),
    "opted out": N_("Opted out"),
    "added": N_("Added"),
    "removed": N_("Removed"),
}
LINES: Final[Mapping[str, str]] = {
    "not stated": N_("not stated"),
    "from": N_("%(n)s px and more"),
    "below": N_("below %(n)s px"),
    "span": N_("%(low)s to %(high)s px"),
    "chart": N_("Bar chart: %(title)s. The table below has its numbers."),
    "table": N_("The numbers"),
    "first": N_("The first %(n)s of %(of)s rows; the rest is in the files."),
    "of": N_("%(n)s of %(of)s (%(rate)s)"),
}


@dataclass(frozen=True)
class Fact:
    """A number of the summary: its key in the totals, and what it is called."""

    key: str
    words: str
    of: str = ""
    """Key of what it is a part of."""


FACTS: Final = (
    Fact("n_samples", N_("Samples")),
    Fact("n_opted_out", N_("Samples opted out"), "n_samples"),
    Fact("n_urls", N_("Different addresses")),
    Fact("n_urls_opted_out", N_("Addresses opted out"), "n_urls"),
    Fact("n_domains", N_("Sites")),
    Fact("n_hosts", N_("Hosts")),
    Fact("n_unreadable_urls", N_("Samples without a readable address"), "n_samples"),
    Fact("n_unreadable_pictures", N_("Pictures that could not be compared"), "n_samples"),
    Fact("n_with_signals", N_("Samples whose server was asked for signals"), "n_samples"),
    Fact("n_signalling_not_opted_out", N_("Samples with a signal but not opted out"), "n_with_signals"),
)
CHANGES: Final[Mapping[str, str]] = {
    "n_added": "Addresses added",
    "n_removed": "Addresses removed",
    "n_kept": "Addresses kept",
    "n_added_opted_out": "Addresses added though opted out",
    "n_removed_opted_out": "Opted-out addresses removed",
    "n_kept_opted_out": "Opted-out addresses kept",
    "other_n_samples": "Samples of the other version",
    "other_n_with_url": "Of these with a readable address",
}
"""Counts of a comparison, of addresses."""
