"""The bundled collection, read without anything of ours, for tests and measurements."""

import tarfile
from pathlib import Path

COLLECTION = Path(__file__).parents[1] / "data" / "collection"


def read_pictures() -> dict[str, bytes]:
    """Key -> file bytes."""
    found = {}
    for path in sorted((COLLECTION / "webdataset").glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                file = tar.extractfile(member)
                if file is not None and suffix not in {"txt", "json"}:
                    found[key] = file.read()
    return found
