"""`python -m indexer`: the commands as an operator runs them, their output and exit codes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from indexer.__main__ import app

ROOT = Path(__file__).parents[2]


def _run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "indexer", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603


@pytest.mark.parametrize("command", ["ingest", "build", "export", "evaluate"])
def test_every_command_has_help(command: str) -> None:
    done = _run(command, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_shards_become_an_evaluated_index(tmp_path: Path, make: Any, onnx_folder: Path) -> None:
    make.tar(tmp_path / "source" / "0.tar", make.rows(20))
    where = ("--dataset", "small", "--datasets-dir", tmp_path / "datasets")
    model = ("--model", onnx_folder)

    done = _run("ingest", tmp_path / "source", *where, *model, "--workers", 0)
    assert done.returncode == 0, done.stderr
    assert "url <- url" in done.stdout
    assert "20 samples of 1 shards" in done.stdout
    line = json.loads(done.stderr.splitlines()[0])
    assert (line["event"], line["shard"], line["samples"]) == ("shard_ingested", "0", 20)
    assert line["statuses"] == {"ok": 18, "corrupt": 1, "failed_to_download": 1}

    done = _run("build", *where, "--json")
    assert json.loads(done.stdout) == {"dataset": "small", "generation": 1, "n_samples": 20}

    done = _run("evaluate", *where, *model, "--n", 4, "-o", tmp_path / "figures.json")
    assert done.returncode == 0, done.stderr
    assert "CLIP R@1" in done.stdout
    assert json.loads((tmp_path / "figures.json").read_text())["n_queries"] == 4


def test_a_bad_shard_is_told_and_makes_exit_code_2(tmp_path: Path, make: Any, onnx_folder: Path) -> None:
    make.tar(tmp_path / "source" / "good.tar", make.rows(4))
    pq.write_table(pa.table({"TEXT": ["a"]}), tmp_path / "source" / "bad.parquet")
    where = ("--dataset", "small", "--datasets-dir", tmp_path / "datasets", "--model", onnx_folder, "--workers", 0)
    done = _run("ingest", tmp_path / "source", *where)
    assert done.returncode == 2
    assert "set aside bad" in done.stderr
    assert "bad.parquet has no URL column" in done.stderr
    assert (tmp_path / "datasets" / "small" / "shards" / "good" / "done.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("build", "--dataset", "none", "--datasets-dir", "{tmp}"), 2, "no finished shard"),
        (("build", "--dataset", "../x", "--datasets-dir", "{tmp}"), 2, "no name for a data set"),
        (("ingest", "{tmp}", "--dataset", "x", "--datasets-dir", "{tmp}", "--model", "{tmp}"), 2, "encoder.json"),
        (("ingest", "{tmp}/no", "--dataset", "x", "--datasets-dir", "{tmp}", "--model", "{onnx}"), 2, "does not exist"),
        (
            ("ingest", "{tmp}", "--dataset", "x", "--datasets-dir", "{tmp}", "--model", "{onnx}", "--columns", "url"),
            2,
            "ROLE=COLUMN",
        ),
    ],
)
def test_mistakes_are_one_line_and_an_exit_code(
    arguments: tuple[str, ...], code: int, words: str, *, tmp_path: Path, onnx_folder: Path, make: Any
) -> None:
    make.tar(tmp_path / "0.tar", make.rows(3))
    done = _run(*(one.format(tmp=tmp_path, onnx=onnx_folder) for one in arguments))
    assert done.returncode == code
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert words in done.stderr


def test_a_model_is_exported_from_the_command_line(resnet_folder: Path, onnx_folder: Path, tmp_path: Path) -> None:
    # In this process: the fixture has made torchvision importable here.
    done = CliRunner().invoke(app, ["export", f"local-dir:{resnet_folder}", "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "24 dimensions" in done.output
    assert (tmp_path / "out" / "encoder.json").read_bytes() == (onnx_folder / "encoder.json").read_bytes()
