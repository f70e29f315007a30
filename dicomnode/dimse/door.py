"""Accepts callers over TLS: handshakes run beside each other, each with a deadline, and only so many at once."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections import Counter
from collections.abc import Callable

import structlog

from dicomnode.dimse.tls import trouble

BACKLOG = 256
SHUTDOWN = 5.0
REST = 1.0

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_log = structlog.get_logger()


class Door:
    """A listening socket for TLS. Beyond `most` handshakes, the oldest one of the busiest address has to go."""

    def __init__(
        self, guest: Callable[[], asyncio.BufferedProtocol], context: ssl.SSLContext, handshake: float, most: int
    ) -> None:
        self._guest = guest
        self._context = context
        self._handshake = handshake
        self._most = most
        self._handshakes: dict[asyncio.Task[None], str] = {}
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None

    @property
    def handshakes(self) -> int:
        """How many are under way."""
        return len(self._handshakes)

    def open(self, host: str, port: int) -> int:
        """Bind and accept; returns the port. Raises OSError."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
        self._listener.setblocking(False)
        self._accepting = asyncio.get_running_loop().create_task(self._accept(self._listener))
        return int(self._listener.getsockname()[1])

    def renew(self, context: ssl.SSLContext) -> None:
        """Show and trust what this one says, from the next handshake on."""
        self._context = context

    def is_serving(self) -> bool:
        """Whether callers are accepted."""
        return self._accepting is not None and not self._accepting.done()

    def close(self) -> None:
        """Accept no more, and end the handshakes."""
        for task in (self._accepting, *self._handshakes):
            if task is not None:
                task.cancel()
        if self._listener is not None:
            self._listener.close()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                caller, address = await loop.sock_accept(listener)
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    _log.error("accept-failed", why=errno.errorcode[error.errno])
                    await asyncio.sleep(REST)
                continue
            self._enter(caller, address[0].removeprefix("::ffff:"))

    def _enter(self, caller: socket.socket, address: str) -> None:
        if len(self._handshakes) >= self._most:
            busiest = Counter(self._handshakes.values()).most_common(1)[0][0]
            oldest = next(task for task, known in self._handshakes.items() if known == busiest)
            del self._handshakes[oldest]
            oldest.cancel()
            _log.info("connection-dropped", address=busiest, why="too many TLS handshakes")
        task = asyncio.get_running_loop().create_task(self._shake(caller, address))
        self._handshakes[task] = address
        task.add_done_callback(lambda done: self._handshakes.pop(done, None))

    async def _shake(self, caller: socket.socket, address: str) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._guest,
                caller,
                ssl=self._context,
                ssl_handshake_timeout=self._handshake,
                ssl_shutdown_timeout=SHUTDOWN,
            )
        except OSError as error:
            caller.close()
            found = trouble(error)
            _log.info("tls-failed", address=address, why=found.why, hint=found.called)
        except BaseException:
            caller.close()
            raise
