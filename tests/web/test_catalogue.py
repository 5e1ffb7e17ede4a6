"""Every sentence of the site is marked, has its translation, and the translation has the same places and tags."""

import ast
import io
import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from jinja2 import nodes

from web import words
from web.extracting import extract
from web.pages import TEMPLATES_DIR, Pages

ROOT = Path(__file__).parents[2]
MARKS = ("gettext_noop", "for_script")
"""Besides Babel's own; `make messages` names them too."""
TRANSLATIONS = [code for code in words.NAMES if code != words.SOURCE]
PLACE = re.compile(r"%\(\w+\)s|\{\w+\}|%%|&\w+;")
TAG = re.compile(r"</?[a-z][^>]*>")
EXAMPLE = re.compile(r"\S+\.example(/\S*)?")
"""An address in a field that is empty."""
SAID_BY_READERS = {"alt", "title", "placeholder", "aria-label", "aria-description"}
NO_SENTENCE = {
    "heldout",  # a name
    "· heldout",
    "UTC",
    "SHA-256",
    "PDQ",
    "px",
    "JSON",
    "CSV",
    "PDF",
    "Parquet",
    "DNS",
    "API",
    "OpenAPI",
    "Atom",
    "RDF",
    "SVG",
    "(PDF)",
}
"""The same in every language."""
NOT_READ = {"code", "pre", "script", "style", "samp", "kbd"}


def sentences() -> dict[tuple[str | None, str], tuple[str, ...]]:
    """(context, sentence) -> its forms, of all that is marked."""
    with (ROOT / "babel.cfg").open() as file:
        methods, options = parse_mapping_cfg(file)  # type: ignore[no-untyped-call]
    keywords = {**DEFAULT_KEYWORDS, **dict.fromkeys(MARKS)}
    found: dict[tuple[str | None, str], tuple[str, ...]] = {}
    for top in ("web", "registry", "search", "heldout"):
        for _, _, message, _, context in extract_from_dir(
            ROOT / top, [(pattern.removeprefix(f"{top}/"), method) for pattern, method in methods], options, keywords
        ):
            forms = (message,) if isinstance(message, str) else tuple(message)
            known = found.setdefault((context, forms[0]), forms)
            assert known[:1] == forms or forms[:1] == known or known == forms, "one singular, two plurals"
            found[context, forms[0]] = max(known, forms, key=len)
    return found


@pytest.fixture(scope="module")
def marked() -> dict[tuple[str | None, str], tuple[str, ...]]:
    return sentences()


def places(text: str) -> Counter[str]:
    return Counter(PLACE.findall(text))


def tags(text: str) -> Counter[str]:
    return Counter(TAG.findall(text))


def forms_of(message: Message) -> tuple[str, ...]:
    return tuple(message.string) if isinstance(message.string, list | tuple) else (str(message.string),)


@pytest.mark.parametrize("code", TRANSLATIONS)
def test_every_sentence_has_its_translation_and_nothing_else_has(
    marked: dict[tuple[str | None, str], tuple[str, ...]], code: str
) -> None:
    catalogue: Catalog = words.read_catalogue(code)
    missing = []
    for (context, sentence), forms in marked.items():
        message = catalogue.get(sentence, context)
        if message is None or message.fuzzy or not all(forms_of(message)):
            missing.append(sentence)
        elif (len(forms) > 1) != message.pluralizable:
            missing.append(f"{sentence} (plural)")
    assert missing == [], "run `make messages`, and translate these"
    known = {
        (message.context, str(message.id if isinstance(message.id, str) else message.id[0])) for message in catalogue
    }
    assert known - marked.keys() - {(None, "")} == set(), "run `make messages`: these are said no more"


@pytest.mark.parametrize("code", TRANSLATIONS)
def test_translations_have_the_places_and_the_tags_of_their_sentences(code: str) -> None:
    wrong = []
    for message in words.read_catalogue(code):
        if not message.id:
            continue
        sources = (message.id,) if isinstance(message.id, str) else tuple(message.id)
        for source, said in zip(sources, forms_of(message), strict=True):
            is_same = places(source) == places(said) and tags(source) == tags(said)
            is_same &= source[:1].isspace() == said[:1].isspace() and source[-1:].isspace() == said[-1:].isspace()
            if not is_same:
                wrong.append((source, said))
    assert wrong == []


class _Texts(HTMLParser):
    """What a reader sees or hears of a template's own text."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in SAID_BY_READERS]
        if tag in NOT_READ or dict(attrs).get("translate") == "no":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1] == tag:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if not self._open:
            self.found.append(data)


def unmarked(source: str) -> Iterator[str]:
    """Words of a template that no catalogue is asked for."""
    tree = Pages().environment.parse(source)
    parts = []
    for node in tree.find_all((nodes.TemplateData, nodes.Output)):
        if isinstance(node, nodes.TemplateData):
            parts.append(node.data)
        else:
            parts += [f" {text} " for each in node.iter_child_nodes() for text in _constants(each)]
    reader = _Texts()
    reader.feed("".join(parts))
    reader.close()
    for text in reader.found:
        said = " ".join(text.split()).strip("\u00b7:;,.()/\u2013\u2014\u2026 ")
        if re.search(r"[A-Za-z]{2,}", said) and said not in NO_SENTENCE and not EXAMPLE.fullmatch(said):
            yield said


def _constants(node: nodes.Node) -> Iterator[str]:
    """Texts that an expression may print: not what it asks a catalogue for, nor what it compares or calls with."""
    match node:
        case nodes.Const(value=str(text)):
            yield text
        case nodes.CondExpr():
            yield from _constants(node.expr1)
            if node.expr2 is not None:
                yield from _constants(node.expr2)
        case nodes.Or() | nodes.And() | nodes.Add():
            yield from _constants(node.left)
            yield from _constants(node.right)
        case nodes.Concat():
            for each in node.nodes:
                yield from _constants(each)


@pytest.mark.parametrize("template", sorted(path.name for path in TEMPLATES_DIR.glob("*.html")))
def test_a_template_has_no_words_that_nobody_marked(template: str) -> None:
    assert list(unmarked((TEMPLATES_DIR / template).read_text())) == []


def test_words_that_nobody_marked_are_found() -> None:
    source = """<p title="A picture">Hello {% if x %}there{% endif %} {{ "you" if y else z }}</p>
    <p>{{ _("Marked") }} {% trans %}also <b>marked</b>{% endtrans %} <code>never</code></p>{{ 1 if b == "sentence" }}"""
    assert set(" ".join(unmarked(source)).split()) == {"A", "picture", "Hello", "there", "you"}


MODULES = sorted((ROOT / "web").glob("*.py"))
SENTENCE = re.compile(r"[A-Za-z]{2,}['\u2019]?[a-z]? [a-z]{2,}")
NOT_FOR_PEOPLE = {
    "demo.py",  # a command
    "__main__.py",
    "settings.py",  # what the operator is told
    "logs.py",
    "extracting.py",
    "middleware.py",
    "static_files.py",
    "suggestions.py",
    "online_api.py",  # the API speaks English
    "version_feed.py",
    "published.py",  # damaged files of our own
    "quarantine.py",  # a command
    "survey.py",
    "surveying.py",
}
QUIET = {
    "gettext",
    "ngettext",
    "pgettext",
    "gettext_noop",
    "_",
    "Query",
    "Form",
    "APIRouter",
    "Field",
    "compile",
    "getLogger",
}
"""Calls whose texts are marked, or for programs."""
FOR_PROGRAMS = {"summary", "description", "tags", "title", "extra", "headers", "media_type", "alias", "responses"}
"""Arguments that are part of the API's description."""


def bare_sentences(source: str) -> Iterator[str]:
    """Sentences in Python that a page could show and no catalogue is asked for."""
    tree = ast.parse(source)
    raised = {name.id for node in ast.walk(tree) if isinstance(node, ast.Raise) for name in _names(node)}
    for node in tree.body:
        is_part_of_errors = isinstance(node, ast.Assign) and {name.id for name in _names(node)} <= raised
        if not is_part_of_errors:
            yield from _bare(node)


def _names(node: ast.AST) -> list[ast.Name]:
    return [each for each in ast.walk(node) if isinstance(each, ast.Name)]


def _bare(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Raise):
        return  # errors are translated as they are shown
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # a docstring
    if isinstance(node, ast.Call) and _name(node.func) in QUIET | {"info", "warning", "error", "exception", "debug"}:
        return
    if isinstance(node, ast.keyword) and node.arg in FOR_PROGRAMS:
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and SENTENCE.search(node.value):
        yield node.value
    for child in ast.iter_child_nodes(node):
        yield from _bare(child)


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


ALLOWED = {
    "app.py": {"not ready"},  # for programs
    "evidence_pdf.py": {"pip install heldout\nheldout verify "},
}


@pytest.mark.parametrize("module", [path.name for path in MODULES if path.name not in NOT_FOR_PEOPLE])
def test_a_module_of_the_site_has_no_sentence_that_nobody_marked(module: str) -> None:
    found = set(bare_sentences((ROOT / "web" / module).read_text())) - ALLOWED.get(module, set())
    assert found == set()


def test_errors_are_found_where_they_are_raised() -> None:
    source = '''
LIMIT = "ten words"
class InputError(Exception): ...
def f(host, n, error):
    """Doc."""
    if n: raise InputError(f"{host[:80]!r} has 5 % of {n:,}: give {LIMIT} at most") from error
    raise InputError("nothing was given: choose something")
    raise ValueError("an internal matter of ours")
'''
    found = {text for _, _, text, _ in extract(io.BytesIO(source.encode()), {}, (), {})}
    assert found == {
        "%(host)s has 5 %% of %(n)s: give ten words at most",
        "nothing was given: choose something",
    }


def test_sentences_inside_f_strings_are_found() -> None:
    source = "x = f\"{y} {gettext('One sentence.', n=1)} {ngettext('a', 'b', n)}\""
    found = list(extract(io.BytesIO(source.encode()), {"gettext": None, "ngettext": (1, 2)}, (), {}))
    assert [(function, text) for _, function, text, _ in found] == [
        ("gettext", "One sentence."),
        ("ngettext", ("a", "b", None)),
    ]
