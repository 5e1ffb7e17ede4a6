"""`heldout audit`: what it prints. What it does is in `heldout.audit`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from heldout.terminal import complain, print_json, progress, tell_doubts

if TYPE_CHECKING:
    from heldout.filtering_options import FilterOptions


def run_audit(
    inputs: Sequence[Path], out: Path, options: "FilterOptions", *, against: Sequence[Path], memory: str, as_json: bool
) -> None:
    """Audit, and say what came of it. Exits as `heldout filter` where a shard could not be read."""
    from heldout.audit import PAGE_NAME, audit

    with progress("shards") as show:
        result = audit(inputs, out, options, against=against, memory=memory, progress=show)
    tell_doubts(result.doubts)
    for message in dict.fromkeys(str(error) for error in result.failures.values()):  # one for both forms of a shard
        complain(message)
    summary, totals = result.summary, result.summary["totals"]
    if as_json:
        print_json(summary)
    else:
        share = f" ({totals['n_opted_out'] / totals['n_samples']:.2%})" if totals["n_samples"] else ""
        print(
            f"{out / PAGE_NAME}: {len(summary['shards'])} shards, {totals['n_samples']} samples of "
            f"{totals['n_domains']} sites, {totals['n_opted_out']} opted out{share}"
        )
        if totals["n_unreadable_urls"]:
            print(f"samples have no usable URL, and were not checked by it: {totals['n_unreadable_urls']}")
        if changes := summary["changes"]:
            print(
                f"since the other version: {changes['n_added']} addresses added, {changes['n_removed']} removed, "
                f"{changes['n_kept']} kept; {changes['n_added_opted_out']} of the added are opted out"
            )
    if result.failures:
        if not as_json:
            complain(f"{len(result.failures)} inputs could not be read and are in no number")
        raise typer.Exit(max(int(error.exit_code) for error in result.failures.values()))
