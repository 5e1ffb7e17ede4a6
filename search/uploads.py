"""The form of a multipart upload, read into memory and nowhere else.

Starlette's form parser spills parts over 1 MB to temporary files on disk; query pictures are not to touch it. So the
body is counted as it arrives, refused when it gets too large, and parsed with the spill-over switched off.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fastapi import Request
from starlette.formparsers import MultiPartException, MultiPartParser

from heldout.errors import InputError
from search.picture import MAX_PICTURE_BYTES

FIELD: Final = "picture"
URL_FIELD: Final = "picture_url"

_ENVELOPE_BYTES: Final = 256 * 1024  # boundaries, headers and small fields around the picture
_MAX_FIELDS: Final = 200


class _InMemory(MultiPartParser):
    spool_max_size = MAX_PICTURE_BYTES + _ENVELOPE_BYTES  # never reached: the stream ends before


@dataclass(frozen=True)
class SentFile:
    """A file of a form."""

    name: str
    """As the browser calls it."""
    data: bytes


@dataclass(frozen=True)
class Form:
    """A form as sent."""

    files: Mapping[str, Sequence[SentFile]]
    """By field; one without a name and without bytes where the browser sent the field without a file."""
    fields: Mapping[str, Sequence[str]]
    """All other fields, by name."""

    @property
    def picture(self) -> bytes | None:
        """Bytes of the file in the field `picture`; empty where it was sent without a file."""
        sent = self.files.get(FIELD)
        return sent[0].data if sent else None

    def one(self, name: str) -> str:
        """The first value of a field, without white space around it; empty where there is none."""
        return next(iter(self.fields.get(name, ())), "").strip()


async def read_upload(request: Request) -> Form:
    """A form with one file, held in memory.

    Raises:
        InputError: not multipart, or larger than a picture of `MAX_PICTURE_BYTES` and some fields.
    """
    return await _read(request, max_files=1, hint=f"send one file in the field {FIELD!r}")


async def read_form(request: Request, *, max_files: int) -> Form:
    """A form with several files, held in memory. Together they are at most as large as one picture may be.

    Raises:
        InputError: not multipart, too large, or too many files.
    """
    return await _read(request, max_files=max_files, hint=f"send at most {max_files:,} files at once")


async def _read(request: Request, *, max_files: int, hint: str) -> Form:
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise InputError(f"this is not a form: send the file as multipart/form-data, in the field {FIELD!r}")
    parser = _InMemory(
        request.headers,
        _bounded(request),
        max_files=max_files,
        max_fields=_MAX_FIELDS,
        max_part_size=MAX_PICTURE_BYTES,  # of a field; the body as a whole is bounded
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise InputError(f"the form cannot be read ({error.message}): {hint}") from error
    try:
        fields: dict[str, list[str]] = {}
        files: dict[str, list[SentFile]] = {}
        for name, value in form.multi_items():
            if isinstance(value, str):
                fields.setdefault(name, []).append(value)
                continue
            files.setdefault(name, []).append(SentFile(value.filename or "", await value.read()))
        return Form(files, fields)
    finally:
        await form.close()


def picture_in(upload: Form) -> bytes:
    """Bytes of the field `picture`.

    Raises:
        InputError: there is no such file.
    """
    if upload.picture is None:
        raise InputError(f"the form has no file in the field {FIELD!r}: choose a picture and send the file")
    return upload.picture


async def _bounded(request: Request) -> AsyncGenerator[bytes, None]:
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > MAX_PICTURE_BYTES + _ENVELOPE_BYTES:
            # Of this kind, for the parser to close what it has open.
            raise MultiPartException(f"larger than {MAX_PICTURE_BYTES // (1024 * 1024)} MB, give a smaller copy")
        yield chunk
