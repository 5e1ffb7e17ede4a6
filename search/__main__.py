"""`python -m search evaluate`: how right the answers to text queries are."""

from pathlib import Path
from typing import Annotated

import typer

from heldout.errors import HeldoutError, InputError
from indexer.encoder import load_encoder
from search.engine import SearchEngine
from search.evaluate import cross_fit, evaluate_text, load_queries

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def main() -> None:
    """Search's chores. The service itself runs as `python -m web`."""


@app.command()
def evaluate(
    datasets_dir: Annotated[Path, typer.Option(help="Folder of built data sets.", envvar="HELDOUT_DATASETS_DIR")],
    queries: Annotated[Path, typer.Option(help="JSON object: query -> keys of the samples that are right.")],
    encoder: Annotated[str, typer.Option(help="Encoder folder or model tag.", envvar="HELDOUT_ENCODER")],
    dataset: Annotated[str | None, typer.Option(help="Data set to ask; may be left out when there is one.")] = None,
    *,
    halves: Annotated[
        bool,
        typer.Option("--halves", help="Also choose the fusion's weights on half the queries, measure on the rest."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Precision at 10 of text queries: by look, by caption, fused, and as cards on the page."""
    try:
        engine = SearchEngine.open(datasets_dir, load_encoder(encoder))
        asked, name = load_queries(queries), dataset or _only(engine)
        figures = evaluate_text(engine, name, asked)
        held_out = cross_fit(engine, name, asked) if halves else None
        engine.close()
    except HeldoutError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code) from error
    typer.echo(figures.to_json() if as_json else figures.to_text())
    if held_out is not None:
        typer.echo(held_out.to_text(), err=as_json)


def _only(engine: SearchEngine) -> str:
    names = [each.name for each in engine.datasets()]
    if len(names) != 1:
        raise InputError(f"there are {len(names)} data sets here ({', '.join(names)}): name one with --dataset")
    return names[0]


if __name__ == "__main__":
    app()
