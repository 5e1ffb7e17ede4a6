"""Opt-out signals in HTTP headers, as short lines that say what a server said. They are recorded, not judged.

- `X-Robots-Tag`: `noai`, `noimageai`, `noml`, `noindex`, `noimageindex`, `none`; a crawler's name may stand before it.
  The field's two parsers read `a: noai, b: noai` differently (a name rules the rest of the value, or one directive);
  what either reads is recorded.
- `tdm-reservation`, `tdm-policy`: TDM Reservation Protocol (W3C community group).
- `Content-Usage`: IETF AIPREF, a structured-field dictionary (RFC 9651) of `train-ai` and `search`, each `y` or `n`.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

MAX_SIGNALS: Final = 16
MAX_CHARS: Final = 500
"""Of one line. Longer ones are cut: the header was written by a stranger."""

_DIRECTIVES: Final = frozenset({"noai", "noimageai", "noml", "noindex", "noimageindex", "none"})
_LABELS: Final = frozenset({"train-ai", "search"})

_KEY = r"[a-z*][a-z0-9_\-.*]*+"
_ITEM = (
    r"(?:[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*+"  # token
    r'|"(?:[ !#-\[\]-~]|\\["\\])*+"|%"[ !#-~]*+"'  # string, display string
    r"|-?[0-9]{1,15}(?:\.[0-9]{1,3})?|@-?[0-9]{1,15}|\?[01]|:[A-Za-z0-9+/=]*+:)"  # number, date, boolean, bytes
)
_PARAMETERS = rf"(?:; *+{_KEY}(?:={_ITEM})?)*+"
_LIST = rf"\( *+(?:{_ITEM}{_PARAMETERS}(?: ++{_ITEM}{_PARAMETERS})*+ *+)?\)"
_MEMBER: Final = re.compile(
    rf"(?P<key>{_KEY})(?:=(?:(?P<value>{_ITEM})|{_LIST}))?{_PARAMETERS}(?P<comma>[ \t]*+,[ \t]*+)?"
)
"""A member of a dictionary (RFC 9651 §3.2) and the comma behind it."""


def read_signals(headers: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Signals of a response, in order, each once: `("x-robots-tag: noai", "content-usage: train-ai=n")`."""
    fields = [(name.lower(), value.strip()) for name, value in headers]
    found: dict[str, None] = {}
    for name, value in fields:
        if name == "x-robots-tag":
            found.update((f"x-robots-tag: {said}", None) for said in _robots(value))
        elif (name == "tdm-reservation" and value in {"0", "1"}) or (name == "tdm-policy" and value):
            found[f"{name}: {value}"] = None
    usage = ", ".join(value for name, value in fields if name == "content-usage")
    found.update((f"content-usage: {label}={said}", None) for label, said in _usage(usage).items())
    return tuple(_plain(line) for line in list(found)[:MAX_SIGNALS])


def _plain(line: str) -> str:
    """In printable ASCII: a server may have sent any bytes."""
    return "".join(char if " " <= char <= "~" else "?" for char in line[:MAX_CHARS])


def _robots(value: str) -> Iterator[str]:
    """Directives of one header by both readings; `name: directive` where a crawler is named."""
    pieces = [piece.strip().lower() for piece in value.split(",")]
    agent = pieces[0].rpartition(":")[0].strip()
    for number, piece in enumerate(pieces):
        name, own, directive = piece.rpartition(":")
        directive = directive.strip()
        if directive not in _DIRECTIVES:
            continue
        if own:
            yield f"{name.strip()}: {directive}"
        else:
            yield directive
        if agent and number and not own:
            yield f"{agent}: {directive}"


def _usage(value: str) -> dict[str, str]:
    """Known labels of a Content-Usage dictionary; nothing when it does not parse, as RFC 9651 has it."""
    usage: dict[str, str] = {}
    at, text = 0, value.strip(" ")
    while at < len(text):
        member = _MEMBER.match(text, at)
        if member is None or (not member["comma"] and member.end() < len(text)):
            return {}
        usage[member["key"]] = member["value"] or ""
        at = member.end()
        if member["comma"] and at == len(text):
            return {}
    return {label: said for label, said in usage.items() if label in _LABELS and said in {"y", "n"}}
