"""`python -m indexer ingest | build | export | evaluate`: parses, calls, prints; exit codes are heldout's."""

import json
import sys
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heldout.errors import ExitCode, HeldoutError, InputError
from indexer.logs import configure_logging

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from indexer.encoder import Encoder
    from indexer.ingest import Engine
    from indexer.outcome import IngestReport
    from indexer.stages import Options

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
_FETCH = "Fetching"


class EngineName(StrEnum):
    """Where shards are done."""

    LOCAL = "local"
    RAY = "ray"


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
    engine: Annotated[
        EngineName, typer.Option("--engine", help="Where: here, or on the Ray cluster that RAY_ADDRESS names.")
    ] = EngineName.LOCAL,
    actors: Annotated[
        int | None, typer.Option("--actors", min=1, help="Of Ray, each with the model.", show_default="one a node, GPU")
    ] = None,
    *,
    fetch: Annotated[
        bool,
        typer.Option("--fetch", help="Fetch pictures that a source has only addresses of.", rich_help_panel=_FETCH),
    ] = False,
    user_agent: Annotated[
        str,
        typer.Option(
            envvar="HELDOUT_USER_AGENT",
            help="Who asks, and where to reach you: 'name/1.0 (+URL)'.",
            show_default="heldout/VERSION",
            rich_help_panel=_FETCH,
        ),
    ] = "",
    concurrency: Annotated[int, typer.Option(help="Requests in the air.", rich_help_panel=_FETCH)] = 128,
    per_host: Annotated[int, typer.Option(help="Of them to one host.", rich_help_panel=_FETCH)] = 4,
    host_interval: Annotated[
        float, typer.Option(help="Seconds between the starts of two requests to one host.", rich_help_panel=_FETCH)
    ] = 0.05,
    timeout: Annotated[
        float, typer.Option(help="Seconds for a picture, redirects included.", rich_help_panel=_FETCH)
    ] = 60,
    max_mb: Annotated[float, typer.Option(help="Megabytes of a picture's file.", rich_help_panel=_FETCH)] = 32,
    name_server: Annotated[
        str | None,
        typer.Option(help="ADDRESS[:PORT] to resolve names.", show_default="the system's", rich_help_panel=_FETCH),
    ] = None,
    allow_address: Annotated[
        list[str] | None,
        typer.Option(help="Network to fetch from though it is not public, as 127.0.0.0/8.", rich_help_panel=_FETCH),
    ] = None,
    refuse_address: Annotated[
        list[str] | None, typer.Option(help="Network never to fetch from.", rich_help_panel=_FETCH)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read, fetch, fingerprint and embed shards; run it again to go on where it stopped."""
    from heldout.fetching import USER_AGENT, FetchLimits
    from indexer.encoder import load_encoder
    from indexer.fetch import FetchOptions
    from indexer.ingest import ingest_with, recorded_precision
    from indexer.planning import plan
    from indexer.precomputed import PrecomputedModel, bring_embeddings, tag_of
    from indexer.progress import make_progress
    from indexer.stages import Options

    limits = FetchLimits(
        max_bytes=round(max_mb * 1024 * 1024),
        total_s=timeout,
        concurrency=concurrency,
        per_host=per_host,
        min_host_interval_s=host_interval,
    )
    fetch_options = FetchOptions(
        limits, user_agent or USER_AGENT, tuple(allow_address or ()), tuple(refuse_address or ()), name_server
    )
    release, roles = _release(datasets_dir, dataset), _parse_columns(columns)
    if precision == "auto":
        precision = recorded_precision(release) or precision
    planned = plan(sources)
    # A source that brings its embeddings needs no model; one whose pictures are fetched may lack some.
    named_only = not fetch and bring_embeddings(planned.shards)
    told = Options(roles, workers=0 if named_only else workers, fetch=fetch_options if fetch else None)

    def load(precision: str) -> "Encoder":
        return PrecomputedModel(tag_of(model)) if named_only else load_encoder(model, precision=precision)

    with _open_engine(engine, load, told, precision=precision, actors=actors) as chosen:
        report = ingest_with(chosen, planned, release=release, progress=make_progress())
    _report(report, as_json=as_json)


@contextmanager
def _open_engine(
    name: EngineName, load: "Callable[[str], Encoder]", options: "Options", *, precision: str, actors: int | None
) -> "Iterator[Engine]":
    if name is EngineName.RAY:
        from indexer.ray_engine import open_ray_engine

        with open_ray_engine(load, options, precision=precision, actors=actors) as engine:
            yield engine
        return
    from indexer.local_engine import LocalEngine

    if actors is not None:
        raise InputError("--actors is of the Ray engine: say --engine ray, or --workers for this machine's processes")
    yield LocalEngine(load(precision), options)


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
def build(  # noqa: PLR0917 - typer's options are function parameters
    dataset: Dataset,
    datasets_dir: DatasetsDir,
    centroids: Annotated[
        Path | None, typer.Option("--centroids", help="centroids.npy of another release, to share instead of training.")
    ] = None,
    memory_gb: Annotated[
        float, typer.Option("--memory-gb", min=0.1, help="Codes of the index to hold at once; more is merged on disk.")
    ] = 8.0,
    keep: Annotated[
        int, typer.Option("--keep", min=1, help="Generations to keep; older ones go when nobody reads them.")
    ] = 2,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Threads that look for copies.")] = 1,
    *,
    as_json: AsJson = False,
) -> None:
    """Build a new index generation of all finished shards and make it current."""
    from indexer.build import build as run
    from indexer.generation import GENERATIONS_FOLDER
    from indexer.manifest import load_manifest

    release = _release(datasets_dir, dataset)
    number = run(release, centroids=centroids, memory_bytes=int(memory_gb * 1024**3), keep=keep, workers=workers)
    manifest = load_manifest(release / GENERATIONS_FOLDER / str(number))
    if as_json:
        print(json.dumps({"dataset": dataset, "generation": number, "n_samples": manifest.n_samples}))
    else:
        print(
            f"generation {number} of {dataset}: {manifest.n_samples:,} samples, {manifest.n_embeddings:,} pictures "
            f"({manifest.image_index}), {manifest.n_urls:,} addresses, {manifest.n_captions:,} captions, "
            f"{manifest.n_groups:,} pictures with copies"
        )
        if manifest.image_recall:
            said = ", ".join(f"{kind} {recall:.3f}" for kind, recall in manifest.image_recall.items())
            print(f"the index finds, against exact search: {said}")


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
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw the figures here: .svg or .png.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Measure recall of the index and of copies, precision of text queries, and latency."""
    from indexer.encoder import load_encoder
    from indexer.evaluate import evaluate as run
    from indexer.evaluate import needs_model
    from indexer.figures import format_table
    from indexer.plots import check_suffix, save_plot
    from indexer.precomputed import PrecomputedModel, tag_of

    if plot is not None:
        check_suffix(plot)
    for path in filter(None, (out, plot)):
        if not path.resolve().parent.is_dir():
            raise InputError(f"{path} would lie in a folder that does not exist: make it first")
    release = _release(datasets_dir, dataset)
    result = run(
        release,
        load_encoder(model) if needs_model(release, queries=queries) else PrecomputedModel(tag_of(model)),
        pictures=pictures or (),
        queries=queries,
        truth=truth,
        n_queries=n_queries,
        seed=seed,
    )
    if out is not None:
        out.write_text(result.to_json(), encoding="utf-8")
    if plot is not None:
        save_plot(result, plot)
    print(result.to_json() if as_json else format_table(result), end="")


def _release(datasets_dir: Path, dataset: str) -> Path:
    if not dataset or dataset.startswith(".") or "/" in dataset:
        raise InputError(f"{dataset!r} is no name for a data set: use letters, digits, - and _")
    return datasets_dir / dataset


def _parse_columns(text: str) -> dict[str, str]:
    from indexer.samples import check_roles

    columns = {}
    for part in filter(None, text.split(",")):
        role, equals, column = part.partition("=")
        if not equals:
            raise InputError(f"--columns {text!r}: say ROLE=COLUMN, separated by commas")
        columns[role.strip()] = column.strip()
    check_roles(columns)
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
