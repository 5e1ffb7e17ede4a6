"""Embeddings and indexes that others made, found by the names of their files, as programs and data sets write them.

img_emb/img_emb_0.npy, metadata/metadata_0.parquet      clip-retrieval
images/img_emb_0.npy, metadata/metadata_0.parquet       LAION-400M
img_emb/img_emb_0000.npy, laion2B-en-metadata/...       LAION-5B
img_emb_0.npy, metadata_0.parquet                       downloaded into one folder
image.index, metadata/                                  clip-retrieval's index; `image.index/populated.index` on disk
"""

import re
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Final

from heldout.errors import InputError
from indexer.listing import Listing, folder_of, last_of, stem_of, suffix_of

_INDEX_NAMES: Final = ("image.index", "image.index/populated.index")
_BELONGING: Final = ("image.index", "text.index", "metadata/")
"""What lies around embeddings or an index and is part of them."""
_EMBEDDING_FOLDERS: Final = frozenset({"img_emb", "images"})


def pair_embeddings(listing: Listing) -> tuple[dict[str, list[str]], set[str]]:
    """Files of embeddings and of metadata by number.

    Returns:
        Name of each pair -> its two files, or the one that is there; and the folders, ending in a slash or empty,
        around which they lie.
    """
    embeddings = [name for name in listing.files if _is_embeddings(name)]
    pairs: dict[str, list[str]] = {}
    around: set[str] = set()
    for folder in sorted({folder_of(name) for name in embeddings}):
        below = f"{folder_of(folder) if last_of(folder) in _EMBEDDING_FOLDERS else folder}/".removeprefix("/")
        around.add(below)
        found: dict[str, list[str]] = {}
        for name in embeddings:
            if folder_of(name) == folder:
                number = _number(name)
                found[number if number not in found else last_of(stem_of(name))] = [name]
        for name in listing.files:
            if suffix_of(name) == "parquet" and _is_metadata(name, below):
                found.setdefault(_number(name), []).append(name)
        pairs.update({f"{below}{number or 'embeddings'}": names for number, names in found.items()})
    return pairs, around


def find_indexes(listing: Listing, around: Collection[str]) -> tuple[list[str], set[str]]:
    """Indexes without and with their embeddings; the latter hold nothing more than these.

    Args:
        listing: A source.
        around: Where embeddings are, as `pair_embeddings` says.

    Returns:
        Folders, ending in a slash or empty, of indexes without; and those of indexes with embeddings.

    Raises:
        InputError: one without is remote.
    """
    alone: list[str] = []
    accompanied: set[str] = set()
    for name in listing.files:
        index = next((index for index in _INDEX_NAMES if f"/{name}".endswith(f"/{index}")), None)
        if index is None:
            continue
        folder = name.removesuffix(index)
        if not set(around).isdisjoint(_beside(folder)):
            accompanied.add(folder)
            continue
        if not isinstance(listing.files[name], Path):
            raise InputError(
                f"{listing.files[name]} is an index without its embeddings, which is read at random places: "
                f"copy its folder here first, and import that"
            )
        alone.append(folder)
    return sorted(alone), accompanied


def is_of(name: str, folders: Collection[str]) -> bool:
    """Whether a file belongs to the embeddings or the index around one of `folders`."""
    return any(name.startswith(tuple(folder + one for one in _BELONGING)) for folder in folders)


def _beside(folder: str) -> tuple[str, ...]:
    """Where the embeddings of an index in `folder` may lie: with it, around it, or as `clip-retrieval end2end` does."""
    around = f"{PurePosixPath(folder).parent}/".removeprefix("./") if folder else ""
    return folder, around, f"{around}embeddings/"


def _is_embeddings(name: str) -> bool:
    return suffix_of(name) == "npy" and (last_of(folder_of(name)) == "img_emb" or last_of(name).startswith("img_emb"))


def _is_metadata(name: str, below: str) -> bool:
    folder = folder_of(name)
    if f"{folder}/".removeprefix("/") == below:
        return last_of(name).startswith("metadata")
    return folder.startswith(below) and re.fullmatch(r"([^/]+-)?metadata", folder[len(below) :]) is not None


def _number(name: str) -> str:
    """The last digits of a file's name, `0012` of `img_emb_0012.npy`; empty if there are none."""
    digits: list[str] = re.findall(r"\d+", last_of(stem_of(name)))
    return digits[-1] if digits else ""
