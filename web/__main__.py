"""`python -m web`: the site and the API, on the settings of the environment."""

import argparse
import os
import sys
from contextlib import suppress
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr, ValidationError
from pydantic_core import PydanticUndefined

from heldout.errors import ExitCode, HeldoutError
from web.app import create_app
from web.logs import set_up_logs
from web.parts import Parts
from web.prompt_protocol import PromptProtocol
from web.settings import Settings

KEEP_ALIVE_S = 5


def main() -> int:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(
        prog="python -m web",
        description="Serve the site and the API.",
        epilog=describe_settings(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workers", type=int, help="processes that serve; HELDOUT_WORKERS")
    given = parser.parse_args()
    if given.workers is not None:
        os.environ["HELDOUT_WORKERS"] = str(given.workers)  # where the processes that are started look for it too
    try:
        settings = Settings()
    except ValidationError as error:
        for each in error.errors():
            where = "".join(f"HELDOUT_{str(part).upper()}: " for part in each["loc"])
            print(f"error: {where}{each['msg'].removeprefix('Value error, ')}", file=sys.stderr)
        return ExitCode.USER_ERROR
    set_up_logs(settings.log_level)
    try:
        parts = Parts.open(settings)  # before the server, which would log a traceback first
    except (HeldoutError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, HeldoutError) else ExitCode.OUTSIDE_WORLD
    if settings.workers > 1:
        parts.close()  # keys, database and indexes are there; each process opens its own
        return _serve_from_many(settings)
    server = uvicorn.Server(uvicorn.Config(create_app(settings, parts=parts), **_options(settings)))
    with suppress(SystemExit):  # uvicorn's way out when it cannot listen; it has logged why, and closed the parts
        server.run()
    return ExitCode.OK if server.started else ExitCode.OUTSIDE_WORLD


def worker() -> FastAPI:
    """The application of one process of several, on the settings of the environment."""
    settings = Settings()
    set_up_logs(settings.log_level)
    return create_app(settings)


def _serve_from_many(settings: Settings) -> int:
    """Listen, and have as many processes answer as the settings say; one that dies is replaced."""
    try:
        uvicorn.run("web.__main__:worker", factory=True, workers=settings.workers, **_options(settings))
    except SystemExit:  # it cannot listen, or its processes cannot start: logged
        return ExitCode.OUTSIDE_WORLD
    return ExitCode.OK


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "host": settings.host,
        "port": settings.port,
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "timeout_keep_alive": KEEP_ALIVE_S,
        "http": PromptProtocol,
        "forwarded_allow_ips": settings.proxies,
    }


def describe_settings() -> str:
    """Every setting with its default, as read from the environment."""
    lines = ["Settings, from the environment:"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default in {None, PydanticUndefined} else f" Default: {_shown(field.default)}."
        lines += ["", f"  HELDOUT_{name.upper()}", f"      {field.description}{default}"]
    return "\n".join(lines).replace("%", "%%")


def _shown(default: object) -> object:
    return "one for development" if isinstance(default, SecretStr) else default


if __name__ == "__main__":
    sys.exit(main())
