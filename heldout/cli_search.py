"""`heldout search`: asks a server's search from a shell, page by page, and prints what it answers."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heldout.cli_check import read_picture
from heldout.errors import InputError
from heldout.terminal import complain, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heldout.client import Client
    from heldout.records import Check, Hit, SearchFilters, SearchResult


class Label(StrEnum):
    """`heldout.records.HitLabel`; a test compares them."""

    EXACT = "exact"
    NEAR = "near"
    SIMILAR = "similar"
    CAPTION = "caption"
    SITE = "site"


class Safety(StrEnum):
    """`heldout.records.Safety`; a test compares them."""

    ANY = "any"
    SAFE = "safe"
    UNSAFE = "unsafe"


def search(
    *,
    server: Annotated[
        str | None, typer.Option("--server", metavar="URL", envvar="HELDOUT_SERVER", help="Base address of a site.")
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(metavar="FILE-OR-URL", help="A picture: a file, or its address for the server to fetch."),
    ] = None,
    text: Annotated[str | None, typer.Option(help="What the picture shows, or a name.")] = None,
    url: Annotated[str | None, typer.Option(help="A picture's address, however written.")] = None,
    site: Annotated[str | None, typer.Option(help="A host with its subdomains, or a profile's path.")] = None,
    caption: Annotated[str | None, typer.Option(help="Words of the caption; a quoted phrase as it stands.")] = None,
    dataset: Annotated[list[str] | None, typer.Option(help="Only in this data set; repeat for several.")] = None,
    host: Annotated[list[str] | None, typer.Option(help="Only from this host; repeat for several.")] = None,
    label: Annotated[list[Label] | None, typer.Option(help="Only hits with this label; repeat for several.")] = None,
    min_width: Annotated[int | None, typer.Option(min=1, help="In pixels.")] = None,
    min_height: Annotated[int | None, typer.Option(min=1, help="In pixels.")] = None,
    safety: Annotated[Safety, typer.Option(help="By the data set's own columns.")] = Safety.ANY,
    not_opted_out: Annotated[bool, typer.Option("--not-opted-out", help="Only what no opt-out covers yet.")] = False,
    k: Annotated[int | None, typer.Option("-k", min=1, help="Pictures per page; sure copies come on top.")] = None,
    pages: Annotated[int, typer.Option(min=1, help="Pages to ask for, one after the other.")] = 1,
    cursor: Annotated[str | None, typer.Option(metavar="CURSOR", help="Go on where an answer ended.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Have the server fetch similar, unverified hits and compare them.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a script: one page a line.")] = False,
) -> None:
    """Search a site's data sets by picture, words, address, site or caption.

    One line per hit: its label, data set and key, address, caption. Nothing found is no error.
    """
    from heldout.client import Client
    from heldout.records import SearchFilters

    doors = {"image": image, "text": text, "url": url, "site": site, "caption": caption}
    asked = {door: question for door, question in doors.items() if question is not None}
    if server is None or len(asked) != 1:
        raise InputError("give --server URL and exactly one of --image, --text, --url, --site and --caption")
    if check and image is None:
        raise InputError("--check compares hits with a picture: give it with --image")
    ((door, question),) = asked.items()
    filters = SearchFilters(
        hosts=tuple(host or ()),
        min_width=min_width,
        min_height=min_height,
        labels=tuple(each.value for each in label or ()),
        safety=safety.value,
        not_opted_out=not_opted_out,
    )
    picture = read_picture(Path(question)) if door == "image" and "://" not in question else None
    with Client(server) as client:
        for page in _pages(client, door, question if picture is None else picture, k, dataset, filters, cursor, pages):
            if as_json:
                print(page.model_dump_json())
            else:
                _print_page(page)
            if check:
                _check(client, question if picture is None else picture, page, as_json=as_json)


def _pages(  # noqa: PLR0917 - all of a question
    client: "Client",
    door: str,
    question: "str | bytes",
    k: int | None,
    datasets: list[str] | None,
    filters: "SearchFilters",
    cursor: str | None,
    n_pages: int,
) -> "Iterator[SearchResult]":
    for _ in range(n_pages):
        page = client.search(door, question, k=k, datasets=datasets or [], filters=filters, cursor=cursor)
        yield page
        cursor = page.next_cursor
        if cursor is None:
            return


def _print_page(page: "SearchResult") -> None:
    for hit in page.hits:
        print("\t".join(map(plain, _columns(hit))))
    for note in page.notes:
        complain(note)
    if not page.hits:
        complain("nothing found")
    if page.next_cursor is not None:
        complain(f"there is more: --cursor {page.next_cursor}")


def _columns(hit: "Hit") -> list[str]:
    label = "similar, unverified" if hit.unverified else hit.label
    return [label, f"{hit.sample.dataset}/{hit.sample.key}", hit.sample.url or "", hit.sample.caption or ""]


def _check(client: "Client", picture: "str | bytes", page: "SearchResult", *, as_json: bool) -> None:
    left = [hit.sample for hit in page.hits if hit.unverified]
    while left:
        result = client.check(picture, left, generations=page.generations)
        if as_json:
            print(result.model_dump_json())
        else:
            for each in result.checks:
                print("\t".join(map(plain, _outcome(each))))
        left = left[len(result.checks) :] if result.checks else []


def _outcome(check: "Check") -> list[str]:
    where = f"{check.sample.dataset}/{check.sample.key}"
    return [check.outcome.replace("_", " "), where, check.sample.url or "", check.reason or ""]
