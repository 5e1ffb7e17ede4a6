"""Reading pages as a browser without JavaScript does: forms, their fields, links, headings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any, Protocol


class Answer(Protocol):
    """What a test client answers; its class differs between versions of Starlette."""

    status_code: int

    @property
    def text(self) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def json(self) -> Any: ...


VOID = frozenset({"area", "br", "hr", "img", "input", "link", "meta", "path"})


@dataclass
class Element:
    """An element and what is in it."""

    tag: str
    attributes: dict[str, str]
    parent: "Element | None" = field(default=None, repr=False)
    children: list["Element | str"] = field(default_factory=list)

    def all(self, tag: str, **attributes: str) -> list["Element"]:
        """Descendants of this tag with these attributes; `type_` stands for `type`, `data_x` for `data-x`."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        found = []
        for child in self.children:
            if isinstance(child, Element):
                if child.tag == tag and wanted.items() <= child.attributes.items():
                    found.append(child)
                found += child.all(tag, **attributes)
        return found

    def one(self, tag: str, **attributes: str) -> "Element":
        """The only such descendant."""
        (found,) = self.all(tag, **attributes)
        return found

    @property
    def text(self) -> str:
        """All text in it, white space collapsed."""
        return " ".join(" ".join(child if isinstance(child, str) else child.text for child in self.children).split())

    def fields(self) -> list[tuple[str, str]]:
        """What a form would send as it stands: hidden fields, ticked boxes, filled texts."""
        sent = []
        for each in self.all("input"):
            name, kind = each.attributes.get("name"), each.attributes.get("type", "text")
            is_off = kind in {"checkbox", "radio"} and "checked" not in each.attributes
            if name and not is_off and kind not in {"file", "submit"}:
                sent.append((name, each.attributes.get("value", "")))
        return sent


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = self.open = Element("root", {})

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs}, self.open)
        self.open.children.append(element)
        if tag not in VOID:
            self.open = element

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.children.append(Element(tag, {name: value or "" for name, value in attrs}, self.open))

    def handle_endtag(self, tag: str) -> None:
        element: Element | None = self.open
        while element is not None and element.tag != tag:
            element = element.parent
        if element is None or element.parent is None:
            raise AssertionError(f"</{tag}> closes nothing")
        if element is not self.open:
            raise AssertionError(f"</{tag}> leaves <{self.open.tag}> open")
        self.open = element.parent

    def handle_data(self, data: str) -> None:
        self.open.children.append(data)


def read_page(text: str) -> Element:
    """The page; an AssertionError where tags do not pair."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    if reader.open is not reader.root:
        raise AssertionError(f"<{reader.open.tag}> is never closed")
    return reader.root
