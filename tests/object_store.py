"""A real S3-compatible server on loopback, and the file system that the environment gives for it."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import fsspec
import httpx
import pytest
from moto.server import ThreadedMotoServer

AWS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def serving_s3() -> Iterator[str]:
    """The server's address."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def empty_bucket(server: str, name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The file system of this server, which has one empty bucket and nothing else."""
    for key, value in {**AWS, "AWS_ENDPOINT_URL": server, "AWS_EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(key, value)
    httpx.post(f"{server}/moto-api/reset")
    file_system = fsspec.filesystem("s3")
    file_system.invalidate_cache()
    file_system.mkdir(name)
    return file_system


@contextmanager
def forgetting() -> Iterator[Callable[[], None]]:
    """Makes fsspec read the environment anew, when it is called and at the end."""
    forget: Callable[[], None] = fsspec.get_filesystem_class("s3").clear_instance_cache
    yield forget
    forget()
