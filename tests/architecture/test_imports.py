"""Who may import whom, and what importing the library must not cost."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("heldout", "registry", "indexer", "search", "web")
HEAVY = ("torch", "open_clip", "faiss", "fastapi", "sqlalchemy", "onnxruntime", "tantivy", "duckdb", "PIL")


@pytest.mark.parametrize("package", PACKAGES)
def test_short_names_are_ours(package: str) -> None:
    # A dependency that ships a top-level `web` or `search` would shadow ours, silently.
    module = importlib.import_module(package)
    (path,) = module.__path__
    assert Path(path).resolve() == ROOT / package


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print('\\n'.join(m.split('.')[0] for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603
    return set(done.stdout.split())


@pytest.mark.parametrize("statement", ["import heldout", "import heldout.cli", "import heldout.records"])
def test_the_library_imports_nothing_of_the_service(statement: str) -> None:
    assert loaded_by(statement).isdisjoint({*HEAVY, "registry", "indexer", "search", "web"})


def test_serving_needs_no_torch() -> None:
    assert loaded_by("import web.app").isdisjoint({"torch", "torchvision", "open_clip", "onnx"})


def test_import_contracts_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([str(lint), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout
