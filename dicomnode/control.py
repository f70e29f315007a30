"""How other commands hand work to a running node: JSON lines over `control.sock` (0600) in the storage directory.

One request line; the answer is any number of report lines and a last one with `exit`.
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from dicomnode.errors import ConfigError, DicomnodeError

log = structlog.get_logger()

SOCKET = "control.sock"
MOST_REQUEST = 16 << 20  # bytes of one request line
CREDENTIALS = struct.Struct("3i")  # process, user and group at the other end of the socket
WRONG_USE = 2
NOBODY_LOGGED_IN = (1 << 32) - 1

Report = Callable[[dict[str, object]], None]


class Reports:
    """Answers to one command; `user` is who gave it, as the operating system knows."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.user = _peer(writer)

    def __call__(self, document: dict[str, object]) -> None:
        """Send one report line."""
        if not self._writer.is_closing():
            self._writer.write(json.dumps(document).encode() + b"\n")

    async def drain(self) -> None:
        """Wait until the other side keeps up; raises ConnectionError when it has gone."""
        await self._writer.drain()


class Own:
    """Answers to a command that this process carries out itself."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.user = user_of(os.getpid(), os.getuid())

    def __call__(self, document: dict[str, object]) -> None:
        """Tell it."""
        self._report(document)

    async def drain(self) -> None:
        """There is always room."""


Handler = Callable[[dict[str, object], Reports], Awaitable[int]]


async def listen(directory: Path, handler: Handler) -> asyncio.Server:
    """Open the control socket; only the owner of the storage directory may use it."""
    (directory / SOCKET).unlink(missing_ok=True)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        report = Reports(writer)
        try:
            request = json.loads(await asyncio.wait_for(reader.readline(), 10))
            report({"exit": await handler(request, report)})
            await writer.drain()
        except DicomnodeError as error:
            report({"error": str(error), "exit": WRONG_USE if isinstance(error, ConfigError) else 1})
        except (ValueError, TimeoutError, ConnectionError) as error:
            if not writer.is_closing():  # else whoever asked has gone, and waits for no answer
                log.warning("control-refused", error=type(error).__name__)
        except asyncio.CancelledError:  # the node ends; nobody waits for this task
            report({"error": "the node was told to stop before it was done; ask again when it runs", "exit": 1})
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


def _peer(writer: asyncio.StreamWriter) -> str:
    told = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    pid, uid, _ = CREDENTIALS.unpack(told)
    return user_of(pid, uid)


def user_of(pid: int, uid: int) -> str:
    """Whose process it is: the user who logged in, where the system keeps that (over sudo too), and who it runs as."""
    runs_as = _user_name(uid)
    try:
        login = _user_name(int(Path(f"/proc/{pid}/loginuid").read_text()))
    except (OSError, ValueError):
        return runs_as
    return runs_as if login in (runs_as, str(NOBODY_LOGGED_IN)) else f"{login} as {runs_as}"


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return str(uid)


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
