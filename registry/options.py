"""Options that every command of `python -m registry` takes."""

from pathlib import Path
from typing import Annotated

import typer

StateDir = Annotated[Path, typer.Option(envvar="HELDOUT_STATE_DIR", help="Folder of keys and public files.")]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        envvar="HELDOUT_DATABASE_URL", help="sqlite:////path or postgresql+psycopg://...; else in the folder."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DEFAULT_STATE_DIR = Path("var/state")
