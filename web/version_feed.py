"""The list's versions for programs: JSON, and an Atom feed (RFC 4287) for whoever wants to be told."""

from collections.abc import Sequence
from datetime import UTC
from typing import Any, Final
from xml.etree import ElementTree as ET

from heldout.leaves import format_at
from web.lab_contexts import VersionLine

ATOM: Final = "application/atom+xml; charset=utf-8"
FEED_FORMAT: Final = "heldout-list-versions/1"
_ATOM_NAMESPACE: Final = "http://www.w3.org/2005/Atom"
_EPOCH: Final = "1970-01-01T00:00:00Z"


def to_json(lines: Sequence[VersionLine], older: int | None, *, base_url: str) -> dict[str, Any]:
    """A page of versions; null stands for what is not known any more."""
    return {
        "format": FEED_FORMAT,
        "versions": [
            {
                "version": line.version,
                "at": format_at(line.at),
                "manifest_sha256": line.manifest_sha256,
                "manifest": None if line.manifest_href is None else base_url + line.manifest_href,
                "log_index": line.log_index,
                "log_size": line.log_size,
                "n_addresses": line.n_addresses,
                "n_pictures": line.n_pictures,
                "n_places": line.n_places,
                "size_bytes": line.size_bytes,
                "delta_bytes": line.delta_bytes,
                "n_added": line.n_added,
                "n_removed": line.n_removed,
            }
            for line in lines
        ],
        "next": None if older is None else f"{base_url}/labs/versions.json?newest={older}",
    }


def to_atom(lines: Sequence[VersionLine], *, base_url: str) -> bytes:
    """A feed of versions, newest first."""
    ET.register_namespace("", _ATOM_NAMESPACE)
    feed = ET.Element(f"{{{_ATOM_NAMESPACE}}}feed")
    page = f"{base_url}/labs/versions"
    _add(feed, "id", f"{page}.atom")
    _add(feed, "title", "Versions of the exclusion list")
    _add(feed, "updated", format_at(lines[0].at) if lines else _EPOCH)
    _add(_add(feed, "author"), "name", "heldout")
    _add(feed, "link", rel="self", href=f"{page}.atom", type="application/atom+xml")
    _add(feed, "link", rel="alternate", href=page, type="text/html")
    for line in lines:
        entry = _add(feed, "entry")
        # An id is for ever, and two logs never share one; the address of the manifest may be gone one day.
        _add(entry, "id", f"{base_url}/labs/versions?newest={line.version}#{line.manifest_sha256}")
        _add(entry, "title", f"Version {line.version}")
        _add(entry, "updated", format_at(line.at))
        _add(entry, "link", rel="alternate", href=f"{page}?newest={line.version}", type="text/html")
        _add(entry, "summary", _summary(line))
    written: bytes = ET.tostring(feed, encoding="utf-8", xml_declaration=True)
    return written


def _summary(line: VersionLine) -> str:
    parts = [f"Logged {line.at.astimezone(UTC):%Y-%m-%d %H:%M} UTC, manifest {line.manifest_sha256}."]
    if line.size_bytes is not None:
        parts.append(
            f"{line.n_addresses:,} addresses, {line.n_pictures:,} pictures, {line.n_places:,} sites and folders; "
            f"{line.size_bytes:,} bytes."
        )
    if line.n_added is not None:
        parts.append(f"{line.n_added:,} entries came, {line.n_removed:,} went.")
    return " ".join(parts)


def _add(parent: ET.Element, name: str, text: str | None = None, **attributes: str) -> ET.Element:
    child = ET.SubElement(parent, f"{{{_ATOM_NAMESPACE}}}{name}", attributes)
    child.text = text
    return child
