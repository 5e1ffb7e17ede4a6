"""Who may watch a shard being filtered: what is emitted besides it, and an audit."""

from typing import Protocol

import pyarrow as pa

from heldout.filtering_decision import Decision


class Observer(Protocol):
    """Is told of every sample of a shard, in order, and what becomes of it."""

    @property
    def asks(self) -> frozenset[str]:
        """What it wants to be told besides keys and address, where a shard has it: `caption`, and of `ABOUT_NAMES`."""

    def take(self, samples: pa.Table, decision: Decision) -> None:
        """Take the next batch.

        Args:
            samples: columns out of `heldout.filtering_emit.SAID` as strings, and of `ABOUT_NAMES` as the shard has
                them: in a shard of lines or a tar, as strings, with a line for each member of a list.
            decision: about these samples.
        """
