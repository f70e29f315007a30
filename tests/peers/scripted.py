"""A peer that sends exact bytes and waits exact times, as requestor or acceptor."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from peers.process import HOST

Step = bytes | float | str
"""bytes: send them; a float: wait that many seconds; "pdu": read one PDU; "end": read until the other side closes;
"close": close the connection; "reset": close it with RST."""


def _exactly(connection: socket.socket, count: int) -> bytes:
    found = bytearray()
    while len(found) < count:
        part = connection.recv(count - len(found))
        if not part:
            raise ConnectionError(f"the other side closed after {len(found)} of {count} bytes")
        found += part
    return bytes(found)


def read_pdu(connection: socket.socket) -> bytes:
    """One whole PDU with its 6 byte header; raises ConnectionError when the connection ends before."""
    header = _exactly(connection, 6)
    return header + _exactly(connection, int.from_bytes(header[2:], "big"))


def _drain(connection: socket.socket) -> bytes:
    found = bytearray()
    while part := connection.recv(65536):
        found += part
    return bytes(found)


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()


def play(connection: socket.socket, steps: Sequence[Step], read: list[bytes]) -> list[bytes]:
    """Do the steps one after the other; appends to `read` what "pdu" and "end" read, and returns it."""
    for step in steps:
        if isinstance(step, bytes):
            connection.sendall(step)
        elif isinstance(step, float | int):
            time.sleep(step)
        elif step == "pdu":
            read.append(read_pdu(connection))
        elif step == "end":
            read.append(_drain(connection))
        elif step == "reset":
            _reset(connection)
        elif step == "close":
            connection.close()
        else:
            raise ValueError(step)
    return read


def request(port: int, steps: Sequence[Step], *, seconds: float = 20) -> list[bytes]:
    """Connect to a loopback port and play the steps; every read has that deadline."""
    with socket.create_connection((HOST, port), seconds) as connection:
        connection.settimeout(seconds)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return play(connection, steps, [])


class Acceptor:
    """Listens on a free loopback port and plays one script per connection, the last one for all further ones."""

    def __init__(self, *scripts: Sequence[Step], seconds: float = 20):
        self.scripts = scripts
        self.seconds = seconds
        self.read: list[list[bytes]] = []
        self.errors: list[str] = []
        self._open: list[socket.socket] = []
        self._listener = socket.create_server((HOST, 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        number = 0
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            script = self.scripts[min(number, len(self.scripts) - 1)]
            number += 1
            connection.settimeout(self.seconds)
            self._open.append(connection)
            threading.Thread(target=self._play, args=(connection, script), daemon=True).start()

    def _play(self, connection: socket.socket, script: Sequence[Step]) -> None:
        read: list[bytes] = []
        self.read.append(read)
        try:
            play(connection, script, read)
        except (OSError, ConnectionError) as error:
            self.errors.append(str(error))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None):
        self.close()

    def close(self) -> None:
        """Stop listening and close every connection."""
        self._listener.shutdown(socket.SHUT_RDWR)  # the thread that accepts would keep the port
        self._listener.close()
        for connection in self._open:
            connection.close()
