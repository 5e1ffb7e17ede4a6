"""`python -m web` as an operator starts it."""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from web.__main__ import _options, main
from web.app import create_app
from web.settings import Settings

ROOT = Path(__file__).parents[2]


def start(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HELDOUT_")} | settings
    return subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", "web", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_help_names_every_setting() -> None:
    done = start("--help")
    assert done.returncode == 0
    for name in Settings.model_fields:
        assert f"HELDOUT_{name.upper()}\n" in done.stdout
    assert "development-only-secret" not in done.stdout


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("HELDOUT_PORT", "many", "HELDOUT_PORT"),
        ("HELDOUT_PROXIES", "*", "HELDOUT_PROXIES is '*'"),
        ("HELDOUT_ENVIRONMENT", "production", "HELDOUT_SECRET is the development default"),
    ],
)
def test_a_wrong_setting_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["web"])
    assert main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert says in line


@pytest.mark.parametrize(
    ("proxies", "peer", "forwarded", "client"),
    [
        ("127.0.0.1,::1", "127.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("127.0.0.1,::1", "10.0.0.5", "192.0.2.7", "10.0.0.5"),
        ("10.0.0.0/8", "10.0.0.5", "192.0.2.7", "192.0.2.7"),
        ("10.0.0.0/8", "10.0.0.5", "198.51.100.1, 192.0.2.7, 10.9.9.9", "192.0.2.7"),
        ("10.0.0.0/8", "192.0.2.7", "198.51.100.1", "192.0.2.7"),
    ],
)
def test_who_asks_is_what_a_proxy_of_ours_says_and_nobody_else(
    proxies: str, peer: str, forwarded: str, client: str
) -> None:
    seen: list[str] = []

    async def application(scope: dict[str, Any], *_: object) -> None:
        seen.append(scope["client"][0])

    config = uvicorn.Config(application, **_options(Settings(proxies=proxies)))
    config.load()
    headers = [(b"x-forwarded-for", forwarded.encode())]
    asyncio.run(
        config.loaded_app({"type": "http", "scheme": "http", "client": (peer, 1), "headers": headers}, None, None)
    )
    assert seen == [client]


def test_what_cannot_be_opened_is_named_in_one_line(tmp_path: Path) -> None:
    done = start(HELDOUT_STATE_DIR=str(tmp_path / "state"), HELDOUT_DATASETS_DIR=str(tmp_path), HELDOUT_ENCODER="web")
    assert done.returncode == 2, done.stderr
    assert says(done).startswith("error: web holds no encoder.json")


def test_a_folder_that_cannot_be_used_is_named_in_one_line(tmp_path: Path) -> None:
    tmp_path.joinpath("state").write_text("in the way")
    done = start(HELDOUT_STATE_DIR=str(tmp_path / "state"), HELDOUT_DATASETS_DIR=str(tmp_path), HELDOUT_ENCODER="web")
    assert done.returncode in {2, 3}, done.stderr
    assert str(tmp_path / "state") in says(done)


def test_production_makes_no_keys_by_itself(tmp_path: Path) -> None:
    done = start(
        HELDOUT_ENVIRONMENT="production",
        HELDOUT_SECRET="x" * 40,
        HELDOUT_BASE_URL="https://heldout.example",
        HELDOUT_STATE_DIR=str(tmp_path / "state"),
        HELDOUT_DATASETS_DIR=str(tmp_path),
    )
    assert done.returncode == 2
    assert "keys" in says(done)
    assert not (tmp_path / "state").exists()


def says(done: subprocess.CompletedProcess[str]) -> str:
    """The only line that is not one of progress."""
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("{") or '"level": "info"' not in line]
    assert line.startswith("error: ")
    return line


def test_connections_send_short_answers_at_once() -> None:
    async def no_delay() -> int:
        config = uvicorn.Config(create_app(Settings()), **_options(Settings()))
        config.load()
        protocol: Any = config.http_protocol_class
        made: list[Any] = []

        class Speaking(protocol):  # type: ignore[misc]
            def __init__(self, **given: Any) -> None:
                super().__init__(**given)
                self.closed = asyncio.Event()

            def connection_lost(self, exc: Exception | None) -> None:
                super().connection_lost(exc)
                self.closed.set()

        def speak() -> Any:
            made.append(Speaking(config=config, server_state=ServerState(), app_state={}))
            return made[-1]

        shared = socket.socket()  # as uvicorn makes it for several processes: of no named protocol
        shared.bind(("127.0.0.1", 0))
        server = await asyncio.get_running_loop().create_server(speak, sock=shared)
        async with server:
            reader, writer = await asyncio.open_connection(*shared.getsockname())
            writer.write(b"GET /robots.txt HTTP/1.1\r\nhost: a.example\r\n\r\n")
            await reader.readuntil(b"\r\n")
            connected = made[0].transport.get_extra_info("socket")
            found: int = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            writer.close()
            await writer.wait_closed()
            await made[0].closed.wait()
        return found

    assert asyncio.run(no_delay()) != 0
