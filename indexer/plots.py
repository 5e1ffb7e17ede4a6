"""The figures of an evaluation as a picture, drawn here without a browser or a network."""

from pathlib import Path
from typing import Any, Final

from heldout.errors import InputError
from indexer.figures import Evaluation

_COPIES: Final = {"CLIP, first": "clip_r1", "PDQ, any turn": "pdq_match_any", "either": "either"}
_ORANGE, _BLUE, _BLACK = "#d55e00", "#0072b2", "#222222"  # told apart without seeing colours, too
_SUFFIXES: Final = (".svg", ".png")
_PNG_SCALE: Final = 2.0
_ROW: Final = 15
"""Height of a bar in pixels."""


def check_suffix(path: Path) -> None:
    """Refuse a file that no plot can be written to, before anything is measured.

    Raises:
        InputError: it is neither `.svg` nor `.png`.
    """
    if path.suffix not in _SUFFIXES:
        raise InputError(f"{path} is neither .svg nor .png: name the plot's file so")


def save_plot(result: Evaluation, path: Path) -> None:
    """Write copy recall per transform and the index's recall. Raises as `check_suffix`."""
    check_suffix(path)
    import altair as alt
    import vl_convert

    charts = [_copies(alt, result)] if result.copies else []
    said = alt.vconcat(*charts, _index(alt, result)).to_json()
    if path.suffix == ".svg":
        path.write_text(vl_convert.vegalite_to_svg(said), encoding="utf-8")
    else:
        path.write_bytes(vl_convert.vegalite_to_png(said, scale=_PNG_SCALE))


def _copies(alt: Any, result: Evaluation) -> Any:  # noqa: ANN401 - altair is imported late
    rows = [
        {"copy": row.transform, "found by": name, "share": getattr(row, field)}
        for row in result.copies
        for name, field in _COPIES.items()
    ]
    title = alt.Title(
        f"Copies found: {result.dataset}, generation {result.generation}",
        subtitle=f"{result.n_queries} copies each among {result.n_pictures:,} pictures; model {result.model_tag}",
    )
    return _bars(alt, rows, "copy", "found by", title).encode(
        color=alt.Color("found by:N", sort=list(_COPIES), scale=alt.Scale(range=[_ORANGE, _BLUE, _BLACK])),
        yOffset=alt.YOffset("found by:N", sort=list(_COPIES)),
    )


def _index(alt: Any, result: Evaluation) -> Any:  # noqa: ANN401 - altair is imported late
    rows = [
        {"query": kind, "measure": measure, "share": share}
        for kind, recall in result.index_recall.items()
        for measure, share in recall.items()
    ]
    title = alt.Title(f"Index against exact search: {result.image_index}")
    return _bars(alt, rows, "query", "measure", title).encode(
        color=alt.Color("measure:N", scale=alt.Scale(range=[_ORANGE, _BLUE])), yOffset="measure:N"
    )


def _bars(alt: Any, rows: list[dict[str, Any]], name: str, series: str, title: Any) -> Any:  # noqa: ANN401
    return (
        alt.Chart(alt.Data(values=rows), title=title)
        .mark_bar()
        .encode(
            x=alt.X("share:Q", scale=alt.Scale(domain=[0, 1]), title="share found"),
            y=alt.Y(f"{name}:N", sort=None, title=None),
            tooltip=[f"{name}:N", f"{series}:N", "share:Q"],
        )
        .properties(width=480, height=alt.Step(_ROW))
        .resolve_scale(color="independent")
    )
