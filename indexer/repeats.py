"""Counts keys that a shard holds more than once; the samples stay. Eight bytes a row are held."""

from collections import Counter

import numpy as np
import numpy.typing as npt

from indexer.batches import Batch

NOTE = "key given before in the shard"


class Repeats:
    """Watches a shard's batches go by."""

    def __init__(self, notes: Counter[str]) -> None:
        self._notes = notes
        self._parts: list[npt.NDArray[np.int64]] = []

    def watch(self, batch: Batch) -> Batch:
        """Take down the batch's keys, and hand it on."""
        keys = batch.table["key"].to_pylist()
        self._parts.append(np.fromiter(map(hash, keys), dtype=np.int64, count=len(keys)))
        return batch

    def close(self) -> None:
        """Note how many rows have a key that a row before has."""
        n = sum(map(len, self._parts))
        n_repeated = n - len(np.unique(np.concatenate(self._parts))) if n else 0
        if n_repeated:
            self._notes[NOTE] += n_repeated
