"""`python -m indexer ingest | build | export | evaluate`: parses, calls, prints; exit codes are heldout's."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heldout.errors import ExitCode, HeldoutError, InputError
from indexer.logs import configure_logging

if TYPE_CHECKING:
    from indexer.outcome import IngestReport

app = typer.Typer(
    help="Dataset shards to fingerprints and embeddings, and those to a served index.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

DatasetsDir = Annotated[
    Path, typer.Option("--datasets-dir", envvar="HELDOUT_DATASETS_DIR", help="Folder that holds the data sets.")
]
Dataset = Annotated[str, typer.Option("--dataset", help="Name of the data set.")]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        envvar="HELDOUT_ENCODER",
        help="Exported encoder folder, MODEL/WEIGHTS of open_clip, or local-dir:FOLDER.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def ingest(  # noqa: PLR0917 - typer's options are function parameters
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Tars, parquet files, pictures, clip-retrieval embeddings: files, folders, s3:// and the like."
        ),
    ],
    dataset: Dataset,
    datasets_dir: DatasetsDir,
    model: Model,
    columns: Annotated[
        str,
        typer.Option("--columns", help="Where detection fails: ROLE=COLUMN,... (url, caption, ...); ROLE= for none."),
    ] = "",
    workers: Annotated[
        int | None, typer.Option("--workers", min=0, help="Decoding processes.", show_default="cores")
    ] = None,
    precision: Annotated[
        str, typer.Option("--precision", help="float32, bfloat16 or float16; auto: as begun, else the fastest here.")
    ] = "auto",
    *,
    as_json: AsJson = False,
) -> None:
    """Read, fingerprint and embed shards; run it again to go on where it stopped."""
    from indexer.encoder import load_encoder
    from indexer.ingest import ingest as run
    from indexer.ingest import recorded_precision
    from indexer.planning import plan
    from indexer.precomputed import PrecomputedModel, bring_embeddings, tag_of
    from indexer.progress import make_progress

    release = _release(datasets_dir, dataset)
    if precision == "auto":
        precision = recorded_precision(release) or precision
    named_only = bring_embeddings(plan(sources).shards)  # then there is nothing to load a model for
    report = run(
        sources,
        release=release,
        encoder=PrecomputedModel(tag_of(model)) if named_only else load_encoder(model, precision=precision),
        columns=_parse_columns(columns),
        workers=workers,
        progress=make_progress(),
    )
    _report(report, as_json=as_json)


def _report(report: "IngestReport", *, as_json: bool) -> None:
    """Say what an ingest did; ends the program if shards were set aside."""
    if as_json:
        print(json.dumps(report.to_json(), indent=2))
    else:
        print("\n".join(report.lines()))
    for name, reason in report.set_aside.items():
        print(f"set aside {name}: {reason}", file=sys.stderr)
    if report.set_aside:
        raise typer.Exit(ExitCode.USER_ERROR)


@app.command("import")
def import_(
    folder: Annotated[str, typer.Argument(help="Folder of clip-retrieval's: image.index, metadata/, maybe img_emb/.")],
    dataset: Dataset,
    datasets_dir: DatasetsDir,
    model: Annotated[
        str, typer.Option("--model", help="The model that the embeddings came from: its tag, or an exported encoder.")
    ],
    columns: Annotated[str, typer.Option("--columns", help="Where detection fails: ROLE=COLUMN,...")] = "",
    *,
    as_json: AsJson = False,
) -> None:
    """Make a served release of a clip-retrieval index folder: nothing is encoded, no model is loaded."""
    from indexer.import_index import find_embeddings
    from indexer.ingest import ingest as run
    from indexer.precomputed import PrecomputedModel, tag_of
    from indexer.progress import make_progress

    report = run(
        [find_embeddings(folder)],
        release=_release(datasets_dir, dataset),
        encoder=PrecomputedModel(tag_of(model)),
        columns=_parse_columns(columns),
        workers=0,
        progress=make_progress(),
    )
    _report(report, as_json=as_json)  # with shards set aside, ids would not be those of the folder
    build(dataset, datasets_dir, as_json=as_json)


@app.command()
def build(dataset: Dataset, datasets_dir: DatasetsDir, *, as_json: AsJson = False) -> None:
    """Build a new index generation of all finished shards and make it current."""
    from indexer.build import build as run
    from indexer.generation import GENERATIONS_FOLDER
    from indexer.manifest import load_manifest

    release = _release(datasets_dir, dataset)
    number = run(release)
    manifest = load_manifest(release / GENERATIONS_FOLDER / str(number))
    if as_json:
        print(json.dumps({"dataset": dataset, "generation": number, "n_samples": manifest.n_samples}))
    else:
        print(
            f"generation {number} of {dataset}: {manifest.n_samples:,} samples, {manifest.n_embeddings:,} pictures "
            f"({manifest.image_index}), {manifest.n_urls:,} addresses, {manifest.n_captions:,} captions"
        )


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="MODEL/WEIGHTS of open_clip, or local-dir:FOLDER.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write.")],
) -> None:
    """Export an open_clip model to a folder that runs without torch."""
    from indexer.export import export_encoder
    from indexer.openclip import OpenClipEncoder

    encoder = OpenClipEncoder.load(model)
    export_encoder(encoder, out)
    size = sum(path.stat().st_size for path in out.iterdir())
    print(f"{out}: {encoder.tag}, {encoder.d} dimensions, {size / 1e6:.1f} MB")


@app.command()
def evaluate(  # noqa: PLR0917 - typer's options are function parameters
    dataset: Dataset,
    datasets_dir: DatasetsDir,
    model: Model,
    pictures: Annotated[
        list[Path] | None, typer.Option("--pictures", help="The shards ingested; else the thumbnails are used.")
    ] = None,
    queries: Annotated[Path | None, typer.Option("--queries", help="JSON: text -> keys of right answers.")] = None,
    truth: Annotated[Path | None, typer.Option("--truth", help="CSV of planted copies to leave out.")] = None,
    n_queries: Annotated[int, typer.Option("--n", min=1, help="Pictures to make copies of.")] = 400,
    seed: Annotated[int, typer.Option("--seed")] = 0,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write the figures as JSON here, too.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Measure recall of the index and of copies, precision of text queries, and latency."""
    from indexer.encoder import load_encoder
    from indexer.evaluate import evaluate as run
    from indexer.figures import format_table

    result = run(
        _release(datasets_dir, dataset),
        load_encoder(model),
        pictures=pictures or (),
        queries=queries,
        truth=truth,
        n_queries=n_queries,
        seed=seed,
    )
    if out is not None:
        out.write_text(result.to_json(), encoding="utf-8")
    print(result.to_json() if as_json else format_table(result), end="")


def _release(datasets_dir: Path, dataset: str) -> Path:
    if not dataset or dataset.startswith(".") or "/" in dataset:
        raise InputError(f"{dataset!r} is no name for a data set: use letters, digits, - and _")
    return datasets_dir / dataset


def _parse_columns(text: str) -> dict[str, str]:
    columns = {}
    for part in filter(None, text.split(",")):
        role, equals, column = part.partition("=")
        if not equals:
            raise InputError(f"--columns {text!r}: say ROLE=COLUMN, separated by commas")
        columns[role.strip()] = column.strip()
    return columns


def main() -> None:
    """Run the command line; errors become one line and an exit code."""
    configure_logging()
    try:
        app()
    except HeldoutError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except OSError as error:
        print(f"error: {error}: check the disk and the path, then run again", file=sys.stderr)
        raise SystemExit(ExitCode.OUTSIDE_WORLD) from None


if __name__ == "__main__":
    main()
