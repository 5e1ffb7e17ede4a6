"""An audit as one HTML file that needs nothing else: no script, no request, charts as SVG with their tables.

It can be opened from a disk, sent by mail, printed. Whatever a data set says is escaped.
"""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

from heldout.audit_charts import COLOURS
from heldout.audit_sections import Cell, Section, Voice, class_of
from heldout.audit_words import CHANGES, FACTS, LINES

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE: Final = """
:root { color-scheme: light dark; --wall: #f6f6f3; --sheet: #fff; --ink: #1b1d20; --soft: #595d63; --line: #dcdcd6;
  --accent: #0d6b50; --chart-rest: #b9bdc2; --chart-out: #0d6b50; --chart-grid: #dcdcd6; --chart-1: #b8a13b;
  --chart-2: #2c7fb8; --chart-3: #0d6b50; --chart-4: #a3446b; --chart-5: #33373d; }
@media (prefers-color-scheme: dark) { :root { --wall: #141516; --sheet: #1d1f21; --ink: #ecebe7; --soft: #a9acb0;
  --line: #34373a; --accent: #74cfae; --chart-rest: #565b61; --chart-out: #74cfae; --chart-grid: #34373a;
  --chart-1: #d9c564; --chart-2: #6fb7e6; --chart-3: #74cfae; --chart-4: #e08cb0; --chart-5: #e2e2de; } }
* { box-sizing: border-box; margin: 0; }
body { background: var(--wall); color: var(--ink); padding: clamp(1rem, 4vw, 3rem); max-width: 78rem; margin: auto;
  font: 400 1rem/1.55 -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif; }
h1, h2 { line-height: 1.15; letter-spacing: -0.015em; } h2 { font-size: 1.25rem; }
p { max-width: 44rem; } .soft { color: var(--soft); } .warn { border-left: 4px solid #93370d; padding-left: 0.8rem; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(17rem, 100%), 1fr)); gap: 0 2rem;
  margin: 1.5rem 0; }
dl div { border-top: 1px solid var(--line); padding: 0.5rem 0; } dt { color: var(--soft); font-size: 0.875rem; }
dd { margin: 0; font-weight: 600; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(22rem, 100%), 1fr)); gap: 1.25rem;
  margin-top: 2rem; align-items: start; }
section { background: var(--sheet); border: 1px solid var(--line); border-radius: 8px; padding: 1.1rem; min-width: 0; }
section > * + * { margin-top: 0.6rem; } section svg { max-width: 100%; height: auto; display: block; }
.legend { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: 0.2rem 1rem; font-size: 0.875rem; }
.legend i { display: inline-block; width: 0.8rem; height: 0.8rem; margin-right: 0.4rem; vertical-align: -1px; }
summary { cursor: pointer; color: var(--accent); padding: 0.3rem 0; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: 0.8125rem; }
th, td { text-align: left; padding: 0.25rem 0.8rem 0.25rem 0; border-top: 1px solid var(--line); vertical-align: top; }
td:first-child { overflow-wrap: break-word; min-width: 9rem; max-width: 16rem; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
footer { margin-top: 2rem; } a { color: var(--accent); } code { font-size: 0.875em; overflow-wrap: anywhere; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
"""


def make_page(summary: Mapping[str, Any], sections: Sequence[Section], voice: Voice) -> str:
    """The file; `summary` is what `audit.json` holds."""
    return "".join(_page(summary, sections, voice))


def _page(summary: Mapping[str, Any], sections: Sequence[Section], voice: Voice) -> Iterator[str]:
    applied = summary["list"]
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>Audit of a data set</title>\n'
    yield f"<style>{_STYLE}{_swatches()}</style>\n</head>\n<body>\n<main>\n<h1>Audit of a data set</h1>\n"
    as_of = applied["as_of"] or "before the first opt-out"
    yield f"<p>{_shards(summary)} against version {applied['version']} of the exclusion list of "
    yield f"<code>{escape(applied['log']['origin'])}</code> ({escape(as_of)}; manifest SHA-256 "
    yield f"<code>{applied['manifest_sha256']}</code>), entries of assurance "
    yield f"{escape(summary['options']['min_assurance'])} or better. "
    yield "Nothing was sampled: every number counts every sample.</p>\n"
    if not applied["is_verified"]:
        yield '<p class="warn">The list was NOT verified: whoever made this audit allowed that.</p>\n'
    if summary["failed"]:
        names = ", ".join(summary["failed"])
        yield f'<p class="warn">{len(summary["failed"]):,} shards could not be read and are in no number: '
        yield f"{escape(names)}</p>\n"
    yield "<dl>\n"
    for fact in FACTS:
        said = say_fact(summary["totals"], fact.key, fact.of, voice)
        yield f"<div><dt>{escape(fact.words)}</dt><dd>{escape(said)}</dd></div>\n"
    if summary["changes"] is not None:
        for name, n in summary["changes"].items():
            words = CHANGES[name]
            yield f"<div><dt>{escape(words)}</dt><dd>{n:,}</dd></div>\n"
    yield '</dl>\n<div class="cards">\n'
    for section in sections:
        yield from _section(section)
    yield "</div>\n</main>\n"
    yield f'<footer><p class="soft">Made by heldout {escape(summary["tool"]["heldout"])}. The files beside this one '
    yield "hold every row of every table, as Parquet and CSV; <code>audit.sql</code> opens them in DuckDB."
    yield "</p></footer>\n"
    yield "</body>\n</html>\n"


def say_fact(totals: Mapping[str, int], key: str, of: str, voice: Voice) -> str:
    """A number of the summary, with what it is a part of."""
    n = voice.count(totals[key])
    if not of or not totals[of]:
        return n
    rate = voice.percent(totals[key] / totals[of])
    return voice.say(LINES["of"]) % {"n": n, "of": voice.count(totals[of]), "rate": rate}


def _section(section: Section) -> Iterator[str]:
    yield f'<section aria-labelledby="{section.id}">\n<h2 id="{section.id}">{escape(section.title)}</h2>\n'
    yield f'<p class="soft">{escape(section.words)}</p>\n'
    if section.legend:
        yield '<ul class="legend">'
        for each in section.legend:
            yield f'<li><i class="c-{each.name}"></i>{escape(each.words)}</li>'
        yield "</ul>\n"
    yield f"{section.chart}\n<details><summary>{LINES['table']}</summary>\n"
    yield f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(section.title)}"><table>\n<tr>'
    for head in section.heads:
        yield _cell("th", head, ' scope="col"')
    yield "</tr>\n"
    for row in section.rows:
        yield "<tr>"
        for cell in row:
            yield _cell("td", cell)
        yield "</tr>\n"
    yield "</table></div>\n"
    if section.more:
        yield f'<p class="soft">{escape(section.more)}</p>\n'
    yield f'<p><a href="tables/{section.file}.parquet">Parquet</a>, <a href="tables/{section.file}.csv">CSV</a></p>\n'
    yield "</details>\n</section>\n"


def _cell(tag: str, cell: Cell, attributes: str = "") -> str:
    kind = ' class="n"' if cell.is_number else ""
    return f"<{tag}{attributes}{kind}>{escape(cell.text)}</{tag}>"


def _shards(summary: Mapping[str, Any]) -> str:
    n = len(summary["shards"])
    return f"{n:,} {'shard' if n == 1 else 'shards'}"


def _swatches() -> str:
    return "".join(f".c-{class_of(series)} {{ background: {colour}; }} " for series, colour in COLOURS.items())
