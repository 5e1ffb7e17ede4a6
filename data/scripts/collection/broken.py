"""The broken samples every crawl has: dead links, and files that are not the picture they claim to be.

Dead ones have a row but no file, as img2dataset leaves them. The others were "downloaded": their bytes are in the
shard, and a reader has to find out for itself.
"""

from dataclasses import dataclass

from drawing import Encoded

DEAD = (
    "HTTP Error 404: Not Found",
    "HTTP Error 403: Forbidden",
    "HTTP Error 410: Gone",
    "<urlopen error [Errno -2] Name or service not known>",
    "The read operation timed out",
)
"""img2dataset's messages."""

HTML = b"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Page not found</title></head>
<body><h1>Sorry, this picture has moved</h1><p>Please visit our <a href="/">gallery</a>.</p></body></html>
"""


@dataclass(frozen=True)
class Broken:
    """A sample without a readable picture. `data` is None when nothing was downloaded."""

    problem: str
    data: bytes | None
    extension: str
    error_message: str | None


def break_picture(problem: str, picture: Encoded, turn: int) -> Broken:
    """The broken sample `problem` makes of a picture; `turn` varies the message of dead ones."""
    data = picture.data
    if problem == "dead":
        return Broken(problem, None, picture.extension, DEAD[turn % len(DEAD)])
    if problem == "empty":
        return Broken(problem, b"", picture.extension, None)
    if problem == "html":
        return Broken(problem, HTML, "jpg", None)
    if problem == "truncated":
        return Broken(problem, data[: len(data) * 2 // 5], picture.extension, None)
    if problem == "corrupt":  # the file's start overwritten, as by a bad disk block
        return Broken(problem, b"\x00" * 64 + data[64:], picture.extension, None)
    raise ValueError(f"{problem!r} is not a kind of broken sample: use dead, empty, html, truncated or corrupt")
