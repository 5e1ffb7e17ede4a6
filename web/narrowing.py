"""The filters of the site: a few fields beside the search box, what they stand for, and how they are said. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

from heldout.errors import InputError
from heldout.records import HitLabel, Safety, SearchFilters
from heldout.urls import surt_range
from web.words import gettext

SIDES = ("", "256", "512", "1024")
"""Least width and height offered, in pixels."""
_LABELS: dict[str, tuple[HitLabel, ...]] = {"": (), "sure": ("exact", "near"), "similar": ("similar",)}
_SAFETY: dict[str, Safety] = {"": "any", "safe": "safe", "unsafe": "unsafe"}
_MAX_HOST_CHARS = 300


@dataclass(frozen=True)
class Narrowing:
    """The fields as somebody left them; each empty when it is not used."""

    host: str = ""
    side: str = ""
    kind: str = ""
    """`sure` or `similar`."""
    safety: str = ""
    left: str = ""
    """`1`: only what is not opted out yet."""

    @property
    def is_used(self) -> bool:
        """Whether anything is narrowed down."""
        return self != Narrowing()

    @property
    def fields(self) -> dict[str, str]:
        """Names and values of the fields that are used, for addresses."""
        named = {"host": self.host, "side": self.side, "kind": self.kind, "safety": self.safety, "left": self.left}
        return {name: value for name, value in named.items() if value}

    @property
    def filters(self) -> SearchFilters:
        """What the engine is asked with."""
        side = int(self.side) if self.side else None
        return SearchFilters(
            hosts=(self.host,) if self.host else (),
            min_width=side,
            min_height=side,
            labels=_LABELS[self.kind],
            safety=_SAFETY[self.safety],
            not_opted_out=self.left == "1",
        )

    @property
    def words(self) -> str:
        """What is left out, in words; empty when nothing is."""
        said = {
            "host": gettext("from %(site)s", site=self.host),
            "side": gettext("at least %(n)s pixels wide and high", n=self.side),
            "kind": {"sure": gettext("sure copies"), "similar": gettext("what looks alike")}.get(self.kind, ""),
            "safety": {"safe": gettext("not marked as unsafe"), "unsafe": gettext("marked as unsafe")}.get(
                self.safety, ""
            ),
            "left": gettext("not opted out yet"),
        }
        used = [said[name] for name in self.fields]
        return gettext("Only %(what)s.", what=", ".join(used)) if used else ""


def read_narrowing(value_of: Callable[[str], str]) -> Narrowing:
    """The fields of a query or a form; `value_of` gives a field by name, empty where there is none.

    Raises:
        InputError: a field has a value that the page does not offer, or the site is none.
    """
    host = value_of("host").strip()
    if host:
        if len(host) > _MAX_HOST_CHARS:
            raise InputError(f"That site's name is {len(host):,} characters long: give one such as jane.example.")
        surt_range(host)
    side, kind, safety, left = (value_of(name).strip() for name in ("side", "kind", "safety", "left"))
    for name, value, known in (
        ("side", side, SIDES),
        ("kind", kind, _LABELS),
        ("safety", safety, _SAFETY),
        ("left", left, ("", "1")),
    ):
        if value not in known:
            raise InputError(f"{value[:40]!r} is nothing to narrow {name} down to: choose what the page offers.")
    return Narrowing(host, side, kind, safety, left)
