"""A form that came in, as names and values."""

from typing import Annotated

from fastapi import Depends, Request

MAX_FIELDS = 10_000

Fields = list[tuple[str, str]]


async def form_fields(request: Request) -> Fields:
    """Name and value of every field of a form, in order; files are passed over."""
    async with request.form(max_fields=MAX_FIELDS) as form:
        return [(name, value) for name, value in form.multi_items() if isinstance(value, str)]


FieldsDep = Annotated[Fields, Depends(form_fields)]


def first_of(fields: Fields, name: str) -> str:
    """The first field of this name; empty where there is none."""
    return next((value for key, value in fields if key == name), "")


def all_of(fields: Fields, name: str) -> list[str]:
    """Every field of this name."""
    return [value for key, value in fields if key == name]


def is_contact(text: str) -> bool:
    """Whether it is empty, or looks like an e-mail address."""
    name, _, host = text.partition("@")
    return not text or bool(name and "." in host.strip("."))
