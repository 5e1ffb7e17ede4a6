"""Open files do not grow with the number of shards."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from indexer.ingest import ingest
from indexer.onnx_encoder import OnnxEncoder

ROOT = Path(__file__).parents[2]
LIMIT, N_SHARDS = 96, 130

BUILD_AND_READ = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[2]),) * 2)
from indexer.build import build
from indexer.generation import Generation
release = Path(sys.argv[1])
build(release)
generation = Generation.open(release)
for _ in range(2):
    for sample_id in range(generation.n):
        assert generation.thumbnail(sample_id)[8:12] == b"WEBP"
print(generation.n)
"""


def test_more_shards_than_descriptors_are_built_and_served(tmp_path: Path, make: Any, encoder: OnnxEncoder) -> None:
    for number in range(N_SHARDS):
        make.tar(tmp_path / "source" / f"{number:03d}.tar", make.rows(3, first=number)[:1], sibling=False)
    ingest([tmp_path / "source"], release=tmp_path / "release", encoder=encoder, workers=0)
    command = [sys.executable, "-c", BUILD_AND_READ, str(tmp_path / "release"), str(LIMIT)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(N_SHARDS)]
