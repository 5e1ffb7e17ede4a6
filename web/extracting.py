"""What `make messages` finds in Python: marked sentences, as everywhere, and the messages of errors that pages show.

An error is found where it is raised: `raise InputError(f"{host} is too long: ...")` is the sentence
`%(host)s is too long: ...`. Errors that are the caller's to mend are, and those of what does not verify, as a receipt
that somebody brings; of the others, pages show none.
"""

import ast
from collections.abc import Collection, Container, Iterator, Mapping
from typing import IO, Any, Final, cast

from babel.messages.extract import extract_python

from heldout import errors
from web.said import MIN_LETTERS

_RAISED: Final = {
    "HTTPException",
    "VerificationError",
    *(
        name
        for name, of in vars(errors).items()
        if isinstance(of, type) and issubclass(of, errors.HeldoutError) and of.http_status < 500
    ),
}

Found = tuple[int, str, Any, list[str]]


def extract(
    source: IO[bytes], keywords: Mapping[str, Any], comment_tags: Collection[str], options: Mapping[str, str]
) -> Iterator[Found]:
    """Sentences of a module, for Babel: line, function, sentence, comments."""
    # Babel declares the members in another order than it, and its documentation, have them.
    yield from cast(
        "Iterator[Found]",
        extract_python(source, keywords, comment_tags, {"encoding": options.get("encoding", "utf-8")}),
    )
    source.seek(0)
    tree = ast.parse(source.read())
    constants = _constants(tree)
    seen = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield from _inside(node, keywords)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and _name(node.exc.func) in _RAISED:
            for argument in node.exc.args:
                text = _sentence(argument, constants)
                if text and text not in seen:
                    seen.add(text)
                    yield node.lineno, "gettext_noop", text, ["error"]


def _inside(text: ast.JoinedStr, keywords: Container[str]) -> Iterator[Found]:
    """Marked sentences inside an f-string, which Babel takes for one piece of text."""
    for call in ast.walk(text):
        if isinstance(call, ast.Call) and _name(call.func) in keywords:
            texts = tuple(each.value if isinstance(each, ast.Constant) else None for each in call.args)
            yield call.lineno, _name(call.func), texts if len(texts) > 1 else texts[0], []


def _constants(tree: ast.Module) -> dict[str, str]:
    """Texts of the module that its messages may hold."""
    found = {}
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(text))):
                found[name] = text
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=str(text))):
                found[name] = text
    return found


def _sentence(node: ast.expr, constants: Mapping[str, str]) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value if _has_words(node.value) else None
    if not isinstance(node, ast.JoinedStr):
        return None
    fixed, text, names = "", "", list[str]()
    for part in node.values:
        if isinstance(part, ast.Constant):
            said = str(part.value)
        elif isinstance(part, ast.FormattedValue) and isinstance(part.value, ast.Name) and part.value.id in constants:
            said = constants[part.value.id]
        elif isinstance(part, ast.FormattedValue):
            names.append(_place(part.value, names))
            text += f"%({names[-1]})s"
            continue
        fixed += said
        text += said.replace("%", "%%")
    if not _has_words(fixed):
        return None
    return text if names else fixed


def _place(value: ast.expr, taken: Collection[str]) -> str:
    """A name for a value: the last one in its expression."""
    names = [_name(node) for node in ast.walk(value) if isinstance(node, ast.Name | ast.Attribute)]
    words = [name.strip("_").lower() for name in names if name.strip("_") and name not in {"len", "join", "map", "str"}]
    name = words[0] if words else "value"
    n = sum(each.rstrip("0123456789") == name.rstrip("0123456789") for each in taken)
    return name if not n else f"{name.rstrip('0123456789')}{n + 1}"


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _has_words(text: str) -> bool:
    return " " in text and sum(map(str.isalpha, text)) >= MIN_LETTERS
