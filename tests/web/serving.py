"""The site on a real socket, and Debian's Chromium to look at it with."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser, BrowserContext, Page, Playwright

CHROMIUM = Path("/usr/bin/chromium")
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",  # tests run as root in containers
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
IN_CHROMIUM = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's package chromium"),
]
"""Marks of the modules whose tests need it."""
EVERYTHING = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
"""What axe looks for; the dark colours change only what contrasts."""


def free_socket() -> socket.socket:
    """A socket bound to a free port of 127.0.0.1."""
    bound = socket.socket(proto=socket.IPPROTO_TCP)  # or asyncio lets short answers wait
    bound.bind(("127.0.0.1", 0))
    return bound


def address_of(bound: socket.socket) -> str:
    """Base URL of what will listen there."""
    return f"http://127.0.0.1:{bound.getsockname()[1]}"


@contextmanager
def serving(app: FastAPI, bound: socket.socket) -> Iterator[str]:
    """The application, served in a thread until the end of the block; its base URL."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        while not server.started:
            thread.join(0.02)
            if not thread.is_alive():
                raise RuntimeError("the server did not start: its log says why")
        yield address_of(bound)
    finally:
        server.should_exit = True
        thread.join()
        bound.close()


def launch(playwright: Playwright) -> Browser:
    """Headless Chromium."""
    return playwright.chromium.launch(executable_path=str(CHROMIUM), args=CHROMIUM_ARGUMENTS)


def open_context(browser: Browser, address: str, **options: Any) -> tuple[BrowserContext, Page, list[str]]:
    """A page, and a list that fills with everything a browser complains about or asks of others."""
    context = browser.new_context(base_url=address, **options)
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((address, "data:", "blob:"))
            else complaints.append(f"third party: {request.url}")
        ),
    )
    return context, page, complaints
