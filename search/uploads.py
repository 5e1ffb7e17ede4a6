"""The picture of a multipart upload, read into memory and nowhere else.

Starlette's form parser spills parts over 1 MB to temporary files on disk; query pictures are not to touch it. So the
body is counted as it arrives, refused when it gets too large, and parsed with the spill-over switched off.
"""

from collections.abc import AsyncGenerator
from typing import Final

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from heldout.errors import InputError
from search.picture import MAX_PICTURE_BYTES

FIELD: Final = "picture"

_ENVELOPE_BYTES: Final = 64 * 1024  # boundaries, headers and small fields around the picture


class _InMemory(MultiPartParser):
    spool_max_size = MAX_PICTURE_BYTES + _ENVELOPE_BYTES  # never reached: the stream ends before


async def read_picture(request: Request) -> bytes:
    """Bytes of the field `picture`.

    Raises:
        InputError: not multipart, no such field, or larger than `MAX_PICTURE_BYTES`.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise InputError(f"this is not a form: send the file as multipart/form-data, in the field {FIELD!r}")
    parser = _InMemory(request.headers, _bounded(request), max_files=1, max_fields=20)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise InputError(f"the form cannot be read ({error.message}): send one file in the field {FIELD!r}") from error
    try:
        upload = form.get(FIELD)
        if not isinstance(upload, UploadFile):
            raise InputError(f"the form has no file in the field {FIELD!r}: choose a picture")
        return await upload.read()
    finally:
        await form.close()


async def _bounded(request: Request) -> AsyncGenerator[bytes, None]:
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > MAX_PICTURE_BYTES + _ENVELOPE_BYTES:
            # Of this kind, for the parser to close what it has open.
            raise MultiPartException(f"larger than {MAX_PICTURE_BYTES // (1024 * 1024)} MB, give a smaller copy")
        yield chunk
