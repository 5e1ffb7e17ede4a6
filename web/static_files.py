"""Static files with the right content types and lifetimes: the site's own, the list's and the log's.

A file whose name holds a digest or a version number, and a full tile, never change: they may be cached for ever. What
points at the newest of them must be asked for again each time.
"""

import os
import re
from collections.abc import Mapping

from fastapi import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOR_EVER = "public, max-age=31536000, immutable"
ASK_AGAIN = "no-cache"
A_DAY = "public, max-age=86400"

_IMMUTABLE_LIST = re.compile(r"(?:files|targets)/[0-9a-f]{64}\..+|metadata/\d+\.\w+\.json", re.ASCII)
_PARTIAL_TILE = re.compile(r"\.p/\d+$", re.ASCII)
_TYPES = {
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
    ".tlog-proof": "text/plain; charset=utf-8",
}


class PublicFiles(StaticFiles):
    """Part of the registry's public folder, which may not exist yet. Any origin may read it: it is public data."""

    def __init__(self, directory: os.PathLike[str]) -> None:
        super().__init__(directory=directory, check_dir=False)

    async def check_config(self) -> None:
        """Nothing to check: the folder appears with the first entry, or the first list."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, its type and how long it stays true."""
        response = await super().get_response(path, scope)
        if response.status_code < 400:
            path = path.replace(os.sep, "/")
            response.headers["cache-control"] = self.lifetime(path)
            response.headers["access-control-allow-origin"] = "*"
            if "content-type" in response.headers:
                response.headers["content-type"] = self.media_type(path)
        return response

    def lifetime(self, path: str) -> str:
        """Cache-Control of a file."""
        raise NotImplementedError

    def media_type(self, path: str) -> str:
        """Content type of a file."""
        return _TYPES.get(os.path.splitext(path)[1], "application/octet-stream")  # noqa: PTH122 - part of an address


class ListFiles(PublicFiles):
    """`/list/`: the exclusion list's versions."""

    def lifetime(self, path: str) -> str:
        """For ever, but for the timestamp and the newest root."""
        return FOR_EVER if _IMMUTABLE_LIST.fullmatch(path) else ASK_AGAIN


class LogFiles(PublicFiles):
    """`/log/`: the log's tiles and its checkpoint (C2SP tlog-tiles)."""

    def lifetime(self, path: str) -> str:
        """For ever for full tiles; a partial tile is soon replaced by a fuller one, though it stays true."""
        if not path.startswith("tile/"):
            return ASK_AGAIN
        return A_DAY if _PARTIAL_TILE.search(path) else FOR_EVER

    def media_type(self, path: str) -> str:
        """Checkpoints are text, tiles are bytes."""
        return "application/octet-stream" if path.startswith("tile/") else "text/plain; charset=utf-8"


class SiteFiles(StaticFiles):
    """`/static/`: the site's own files. Their addresses carry a version; without it they must be asked for again."""

    def __init__(self, directory: os.PathLike[str], versions: Mapping[str, str]) -> None:
        super().__init__(directory=directory)
        self._versions = versions

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file and how long it stays true."""
        response = await super().get_response(path, scope)
        is_versioned = scope["query_string"].decode("latin-1") == f"v={self._versions.get(path)}"
        response.headers["cache-control"] = FOR_EVER if is_versioned else ASK_AGAIN
        return response
