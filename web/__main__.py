"""`python -m web`: the site and the API, on the settings of the environment."""

import sys

import uvicorn
from pydantic import ValidationError

from heldout.errors import ExitCode, HeldoutError
from web.app import create_app
from web.logs import set_up_logs
from web.settings import Settings

KEEP_ALIVE_S = 5


def main() -> int:
    """Serve until told to stop."""
    try:
        settings = Settings()
    except ValidationError as error:
        for each in error.errors():
            where = "".join(f"HELDOUT_{str(part).upper()}: " for part in each["loc"])
            print(f"{where}{each['msg']}", file=sys.stderr)
        return ExitCode.USER_ERROR
    set_up_logs(settings.log_level)
    try:
        app = create_app(settings)
    except HeldoutError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
