"""What a filter run remembers of the shards it has finished, so that it need not do them again.

`OUT/.heldout/<shard>.done.json` is written when everything else that comes of a shard is in its place. It holds the
digests of the inputs, of the list with the options and of every output. A shard is done if all of them still hold:
times and sizes are not asked.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from heldout.durable import write_durably
from heldout.exclusion import ExclusionList
from heldout.filtering_emit import STATE, flat_name
from heldout.filtering_options import FilterOptions
from heldout.filtering_plan import Job
from heldout.report import FilteredShard, Tally, sha256_file

_TOOLS: Final = ("heldout", "numpy", "pyarrow", "pillow", "pdqhash")


def settings_digest(exclusions: ExclusionList, options: FilterOptions) -> str | None:
    """Digest of all but the inputs that the outputs depend on; None if the list does not prove what it holds."""
    if exclusions.doubts:
        return None
    settings = {
        "manifest_sha256": exclusions.version.manifest_sha256.hex(),
        "min_assurance": options.min_assurance,
        "as_of": None if options.as_of is None else options.as_of.isoformat(),
        "url_column": options.url_column,
        "emit": sorted(options.emit),
        "writes": options.writes,
        "opt_in": options.opt_in,
        "tools": {name: _version(name) for name in _TOOLS},
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def done_path(out: Path, job: Job) -> Path:
    """Where a job's record is."""
    return out / STATE / f"{flat_name(job.name)}.done.json"


def save_done(out: Path, job: Job, settings: str, shards: Sequence[FilteredShard]) -> None:
    """Remember a job whose outputs are in their places."""
    record = {"settings": settings, "shards": [_to_json(shard) for shard in shards]}
    path = done_path(out, job)
    path.parent.mkdir(exist_ok=True)
    write_durably(path, json.dumps(record, sort_keys=True).encode())


def load_done(out: Path, job: Job, settings: str, input_sha256: Mapping[str, str]) -> list[FilteredShard] | None:
    """What came of a job earlier, if it need not be done again. Reads all of its outputs.

    Args:
        out: the output folder.
        job: what to do.
        settings: digest of the list and options.
        input_sha256: of the job's sources, by name.
    """
    try:
        record = json.loads(done_path(out, job).read_bytes())
        shards = [_from_json(value) for value in record["shards"]]
        is_same = record["settings"] == settings
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not is_same or {shard.name: shard.input_sha256 for shard in shards} != dict(input_sha256):
        return None
    written = {shard.name: shard.output_sha256 for shard in shards if shard.output_sha256 is not None}
    for shard in shards:
        written |= shard.emitted
    return shards if all(_is_intact(out / name, digest) for name, digest in written.items()) else None


def _is_intact(path: Path, digest: str) -> bool:
    try:
        return sha256_file(path) == digest
    except OSError:
        return False


def _to_json(shard: FilteredShard) -> dict[str, Any]:
    return {
        "name": shard.name,
        "input_sha256": shard.input_sha256,
        "output_sha256": shard.output_sha256,
        "tally": shard.tally.to_json(),
        "emitted": shard.emitted,
        "sibling": shard.sibling,
    }


def _from_json(value: dict[str, Any]) -> FilteredShard:
    return FilteredShard(**(value | {"tally": Tally.from_json(value["tally"])}))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
