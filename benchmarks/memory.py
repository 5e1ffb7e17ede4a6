"""Memory of an ingest, shard by shard: it must not grow with their number.

    python -m benchmarks.memory --shards 100 --pictures 100

Shards are webdataset tars of the bundled collection's pictures, over and over; the model is the starter's. After each
shard: resident memory of the run and of its decoding processes, from `/proc`.
"""

import argparse
import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from indexer.encoder import load_encoder
from indexer.ingest import ingest
from indexer.progress import NoProgress
from tests.collection import read_pictures
from tests.indexer.tars import pack

STARTER = Path(__file__).parents[1] / "data" / "models" / "starter-onnx"


class Watch(NoProgress):
    """Reads memory when a shard ends."""

    def __init__(self) -> None:
        self.megabytes: list[tuple[float, float]] = []
        """Of the run, and of its decoding processes together."""

    def close(self, shard: str) -> None:  # noqa: ARG002 - as `Progress.close`
        """As `Progress.close`."""
        children = [
            int(pid)
            for task in Path("/proc/self/task").iterdir()
            for pid in (task / "children").read_text(encoding="ascii").split()
        ]
        self.megabytes.append((resident(os.getpid()), sum(map(resident, children))))


def resident(pid: int) -> float:
    """Resident megabytes of a process; 0 if it has ended. What it shares is counted in each."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS:")), 0.0)


def write_shards(folder: Path, n_shards: int, n_pictures: int) -> None:
    """Webdataset tars of the collection's pictures."""
    folder.mkdir()
    pictures = itertools.cycle(read_pictures().values())

    def files(number: int) -> Iterator[tuple[str, bytes]]:
        for key in range(n_pictures):
            said = f'{{"url": "https://pictures.example/{number}/{key}", "caption": "picture {key}"}}'.encode()
            yield f"{number:05d}{key:04d}.jpg", next(pictures)
            yield f"{number:05d}{key:04d}.json", said

    for number in range(n_shards):
        pack(folder / f"{number:05d}.tar", files(number))


def main() -> None:
    """Make the shards, ingest them, print memory at tenths of the way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=100)
    parser.add_argument("--pictures", type=int, default=100, help="of each shard")
    parser.add_argument("--model", default=str(STARTER))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        write_shards(source, arguments.shards, arguments.pictures)
        watch = Watch()
        ingest([source], release=Path(folder) / "release", encoder=load_encoder(arguments.model), progress=watch)
    print(f"{arguments.shards} shards of {arguments.pictures} pictures; MB after a shard: run, decoding processes")
    n = len(watch.megabytes)
    for at in sorted({*range(0, n, max(1, n // 10)), n - 1}):
        print(f"{at + 1:5d}  {watch.megabytes[at][0]:7.0f}  {watch.megabytes[at][1]:7.0f}")
    for part, name in enumerate(("run", "decoding processes")):
        early = max(one[part] for one in watch.megabytes[n // 10 : n // 2])
        late = max(one[part] for one in watch.megabytes[n // 2 :])
        print(f"peak of the second half over that of the first, without the first tenth ({name}): {late / early:.3f}")


if __name__ == "__main__":
    main()
