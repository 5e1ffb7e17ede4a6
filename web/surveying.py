"""Counting what researchers are shown, when there is something new (`HELDOUT_RESEARCH=auto`), beside the service.

`python -m web.surveying` does one round and ends; the background job runs it as a process of its own: counting takes a
core and a gigabyte, of which requests must not notice. Any number of processes may try at once: one counts.
"""

import asyncio
import math
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from heldout.errors import ConflictError, ExitCode, HeldoutError, UnavailableError
from web.background import Condition
from web.settings import Settings
from web.survey import CURRENT_NAME, made, survey, wanted

LOOK_S: Final = 5.0
"""Seconds between looks at what is served: a few small files."""
_PATIENCE: Final = 10


class Surveyor:
    """Counts a new generation at once, and a new list when the last count is old enough."""

    def __init__(
        self, datasets_dir: Path, list_dir: Path, out: Path, *, every_s: float, look_s: float = LOOK_S
    ) -> None:
        self.condition = Condition("research")
        self._folders = (datasets_dir, list_dir, out)
        self._every_s = every_s
        self._look_s = look_s
        self._tried = -math.inf

    async def run(self) -> None:
        """Count until cancelled. A failure is noted and tried again after a while."""
        while True:
            with self.condition.noted():
                if await asyncio.to_thread(self._is_due):
                    self._tried = time.monotonic()
                    await self._count()
            await asyncio.sleep(self._look_s)

    def _is_due(self) -> bool:
        datasets_dir, list_dir, out = self._folders
        now, before = wanted(datasets_dir, list_dir), made(out).get("seen")
        if now is None or now.to_json() == before:
            return False
        if time.monotonic() - self._tried < min(self._every_s, _PATIENCE * self._look_s):
            return False  # it was in vain
        if before is None or before["generations"] != dict(now.generations):
            return True
        return time.time() - (out / CURRENT_NAME).stat().st_mtime > self._every_s

    async def _count(self) -> None:
        arguments = [sys.executable, "-m", "web.surveying", *map(str, self._folders)]
        process = await asyncio.create_subprocess_exec(
            *arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        try:
            _, said = await process.communicate()
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.terminate()
                await process.wait()
        if process.returncode:
            lines = said.decode(errors="replace").strip().splitlines() or ["nothing was said"]
            raise UnavailableError(f"what researchers see could not be counted: {lines[-1][:500]}")


def main() -> int:
    """Count once, what the arguments name or else the settings."""
    if len(sys.argv) == 4:  # as `Surveyor` gives them
        datasets_dir, list_dir, out = map(Path, sys.argv[1:])
    else:
        settings = Settings()
        datasets_dir, out = settings.datasets_dir, settings.research_dir
        list_dir = settings.state_dir / "public" / "list"
    if hasattr(os, "nice"):
        os.nice(10)
    try:
        is_new = survey(datasets_dir, list_dir, out, lambda line: print(line, flush=True))  # noqa: T201 - a command
    except ConflictError:
        return 0  # another process counts
    except HeldoutError as error:
        print(f"heldout: {error}", file=sys.stderr)  # noqa: T201 - a command
        return int(error.exit_code)
    if not is_new:
        print("nothing is new")  # noqa: T201 - a command
        return 0
    failed = made(out)["failed"]
    for dataset, reason in failed.items():
        print(f"heldout: {dataset} could not be counted: {reason}", file=sys.stderr)  # noqa: T201 - a command
    return int(ExitCode.OUTSIDE_WORLD) if failed else 0


if __name__ == "__main__":
    sys.exit(main())
