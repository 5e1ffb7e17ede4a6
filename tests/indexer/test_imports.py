"""What serves and ingests runs where torch is not installed."""

import subprocess
import sys
from pathlib import Path

CODE = """
import sys
import indexer.__main__, indexer.build, indexer.evaluate, indexer.generation, indexer.ingest, indexer.onnx_encoder
loaded = {"torch", "torchvision", "open_clip", "onnx", "regex"} & set(sys.modules)
assert not loaded, loaded
import indexer.fingerprint
"""


def test_nothing_but_export_and_openclip_imports_torch() -> None:
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-c", CODE], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_decoding_process_stays_light() -> None:
    heavy = {"pyarrow", "faiss", "onnxruntime", "tantivy"}
    code = f"import sys, indexer.fingerprint; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
