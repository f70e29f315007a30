"""How other commands hand work to a running node: JSON lines over `control.sock` (0600) in the storage directory.

One request line; the answer is any number of report lines and a last one with `exit`.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from dicomnode.errors import DicomnodeError

log = structlog.get_logger()

SOCKET = "control.sock"
MOST_REQUEST = 16 << 20  # bytes of one request line

Report = Callable[[dict[str, object]], None]
Handler = Callable[[dict[str, object], Report], Awaitable[int]]


async def listen(directory: Path, handler: Handler) -> asyncio.Server:
    """Open the control socket; only the owner of the storage directory may use it."""
    (directory / SOCKET).unlink(missing_ok=True)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def report(document: dict[str, object]) -> None:
            if not writer.is_closing():
                writer.write(json.dumps(document).encode() + b"\n")

        try:
            request = json.loads(await asyncio.wait_for(reader.readline(), 10))
            report({"exit": await handler(request, report)})
            await writer.drain()
        except DicomnodeError as error:
            report({"error": str(error), "exit": 1})
        except (ValueError, TimeoutError, ConnectionError) as error:
            log.warning("control-refused", error=type(error).__name__)
        finally:
            writer.close()

    mask = os.umask(0o177)
    try:
        with _short(directory) as path:
            return await asyncio.start_unix_server(serve, path, limit=MOST_REQUEST)
    finally:
        os.umask(mask)


@contextmanager
def _short(directory: Path) -> Iterator[str]:
    """The socket's path through a descriptor: the address of a Unix socket has at most 107 bytes."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{SOCKET}"
    finally:
        os.close(fd)


def ask(directory: Path, request: dict[str, object]) -> Iterator[dict[str, object]] | None:
    """Send a request to the running node and yield its reports; None when no node runs (blocking)."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        with _short(directory) as path:
            connection.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    return _reports(connection, request)


def _reports(connection: socket.socket, request: dict[str, object]) -> Iterator[dict[str, object]]:
    with connection, connection.makefile("rb") as lines:
        connection.sendall(json.dumps(request).encode() + b"\n")
        for line in lines:
            yield json.loads(line)
