"""The engine of one machine: two shards at a time, so that neither processes nor model wait while one ends."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from indexer.encoder import Encoder
from indexer.outcome import Outcome
from indexer.planning import Shard
from indexer.progress import Progress
from indexer.stages import Options, ingest_shard, open_stages

LANES: Final = 2
"""Shards under way at once."""


@dataclass(frozen=True)
class LocalEngine:
    """See `indexer.ingest.Engine`."""

    encoder: Encoder
    options: Options

    @property
    def model_tag(self) -> str:
        """As `Engine.model_tag`."""
        return self.encoder.tag

    @property
    def precision(self) -> str:
        """As `Engine.precision`."""
        return self.encoder.precision

    def run(self, shards: Sequence[Shard], release: Path, progress: Progress) -> Iterator[Outcome]:
        """As `Engine.run`."""
        if not shards:
            return
        with open_stages(self.encoder, self.options) as stages, ThreadPoolExecutor(LANES, "lane") as lanes:
            under_way = [lanes.submit(ingest_shard, shard, release, stages, progress) for shard in shards]
            try:
                for done in as_completed(under_way):
                    yield done.result()
            finally:
                stages.stop.set()
                for one in under_way:
                    one.cancel()
