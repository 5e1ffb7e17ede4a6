"""Charts of an audit as SVG to stand inside a page: no script, no request, no fixed colour.

Colours are custom properties of the page that shows them, `--chart-...` and `currentColor`, so that one drawing serves
light and dark. Each has the same numbers as the table beside it; to a screen reader it is one picture with a name.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

COLOURS: Final[Mapping[str, str]] = {
    "kept": "var(--chart-rest)",
    "opted out": "var(--chart-out)",
    "added": "var(--chart-2)",
    "removed": "var(--chart-4)",
    "declared": "var(--chart-1)",
    "account": "var(--chart-2)",
    "host": "var(--chart-3)",
    "credential": "var(--chart-4)",
    "reviewed": "var(--chart-5)",
}
"""Of each series."""

_WIDTH: Final = 200
_LABELS: Final = 130
"""Pixels of the bars, and of the names beside them: together they fit a phone."""
_ROW: Final = 22
_HEIGHT: Final = 170
_WIDEST: Final = 32
"""Of a bar that stands, in pixels."""
_SLANTED: Final = 16
"""What a name at an angle takes of the width, in pixels."""
_SHORT: Final = "format(datum.value, datum.value < 1e6 ? ',' : '~s')"
_ARIA: Final = re.compile(r'\s(?:aria-[a-z]+|role|pointer-events|class|xmlns:xlink|version)="[^"]*"')
_SIZE: Final = re.compile(r'^<svg [^>]*viewBox="([^"]*)"[^>]*>')
_EMPTY: Final = re.compile(r'<path d="[^"]*"(?: display="none")?/>(?=</g>)')


@dataclass(frozen=True)
class Bar:
    """A part of a bar."""

    label: str
    series: str
    n: int


def across(bars: Sequence[Bar], name: str, mark: str) -> str:
    """Bars from left to right, one under the other in the order of their labels, with their sums behind them.

    `mark` stands between the thousands.
    """
    import altair as alt

    labels = list(dict.fromkeys(bar.label for bar in bars))
    axis = alt.Axis(title=None, labelLimit=_LABELS, ticks=False, domain=False, labelPadding=6)
    y = alt.Y("label:N", sort=labels, axis=axis)
    base = alt.Chart(_data(bars))
    drawn = base.mark_bar(height=_ROW - 8).encode(
        x=alt.X("sum(n):Q", axis=None), y=y, color=_colour(bars), order="at:Q"
    )
    sums = base.mark_text(align="left", dx=4, fontSize=11, color="currentColor").encode(
        x=alt.X("sum(n):Q"), y=y, text=alt.Text("sum(n):Q", format=",d")
    )
    return _svg((drawn + sums).properties(width=_WIDTH, height=_ROW * len(labels)), name, mark)


def upward(bars: Sequence[Bar], name: str, mark: str) -> str:
    """Bars from the ground up, side by side in the order of their labels. `mark` stands between the thousands."""
    import altair as alt

    labels = list(dict.fromkeys(bar.label for bar in bars))
    width = _WIDTH + _LABELS - 50
    is_crowded = len(labels) * _SLANTED > width  # else every bar is named: Vega takes slanted names for wider ones
    names = alt.Axis(title=None, labelAngle=-45, labelOverlap=is_crowded, ticks=False)
    x = alt.X("label:N", sort=labels, axis=names)
    axis = alt.Axis(title=None, labelExpr=_SHORT, tickCount=4, tickMinStep=1, domain=False, ticks=False)
    y = alt.Y("sum(n):Q", axis=axis)
    bar = alt.MarkDef("bar", width=min(_WIDEST, max(1, 0.8 * width / len(labels))))
    drawn = alt.Chart(_data(bars), mark=bar).encode(x=x, y=y, color=_colour(bars), order="at:Q")
    return _svg(drawn.properties(width=width, height=_HEIGHT), name, mark)


def _data(bars: Sequence[Bar]) -> Any:  # noqa: ANN401 - altair is imported late
    import altair as alt

    order = list(COLOURS)
    rows = [{"label": bar.label, "series": bar.series, "n": bar.n, "at": order.index(bar.series)} for bar in bars]
    return alt.InlineData(rows)


def _colour(bars: Sequence[Bar]) -> Any:  # noqa: ANN401 - altair is imported late
    import altair as alt

    series = sorted({bar.series for bar in bars}, key=list(COLOURS).index)
    scale = alt.Scale(domain=series, range=[COLOURS[each] for each in series])
    return alt.Color("series:N", scale=scale, legend=None)


def _svg(chart: Any, name: str, mark: str) -> str:  # noqa: ANN401 - altair is imported late
    import vl_convert

    chart = (
        chart.configure(background="transparent", padding=2)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor="currentColor", labelFontSize=11, gridColor="var(--chart-grid)", domainColor="var(--chart-grid)"
        )
    )
    numbers = {"decimal": "," if mark == "." else ".", "thousands": mark, "grouping": [3], "currency": ["", ""]}
    drawn = _ARIA.sub("", vl_convert.vegalite_to_svg(chart.to_json(), format_locale=numbers))
    box = _SIZE.match(drawn)
    if box is None:
        raise RuntimeError("vl-convert drew no SVG")
    _, _, width, height = box[1].split()
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box[1]}" width="{width}" height="{height}"'
    drawn = f'{head} role="img" aria-label="{escape(name)}">{drawn[box.end() :]}'
    return _EMPTY.sub("", drawn)
