"""An outgoing association's socket: events from `upper_layer` to one waiter, gathered writes, one lazy timer."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections import deque
from collections.abc import Sequence
from typing import cast

from dicomnode.dimse.apart import apart
from dicomnode.dimse.tls import trouble
from dicomnode.errors import PeerUnreachable
from dicomnode.model import Buffer, Peer
from dicomnode.prompt import Prompt
from dicomnode.upper_layer import Abort, Connection, DataSet, Event, Failure, Lost, Release, Role, State

RECEIVE_BUFFER = 64 * 1024
MAX_PDU = 64 * 1024

_MOST_EVENTS = 16
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)


def why(error: OSError) -> str:
    """Why a connection could not be made, in the system's words."""
    if isinstance(error, ssl.SSLError):
        return trouble(error).why
    if isinstance(error, socket.gaierror) or error.errno is None:
        return error.strerror or "no address"
    return os.strerror(error.errno)


def unreached(where: str, error: OSError) -> PeerUnreachable:
    """The error to raise when a connection could not be made."""
    hint = trouble(error).call if isinstance(error, ssl.SSLError) else "check host and port, and that it runs"
    return PeerUnreachable(f"{where} cannot be reached: {why(error)}", hint)


async def _connected(host: str, port: int) -> socket.socket:
    """A non-blocking TCP socket to the first address of `host` that answers. Raises OSError."""
    loop = asyncio.get_running_loop()
    failure: OSError = OSError("no address")
    # Not in the pool that everything shares: where no name server answers, each takes half a minute.
    for family, kind, protocol, _, address in await apart(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure


class Link(asyncio.BufferedProtocol):
    """One waiter at a time; every wait has a deadline, after which the link is cut and PeerUnreachable raised."""

    def __init__(self, peer: Peer, sock: socket.socket | None) -> None:
        self.connection = Connection(Role.REQUESTOR, MAX_PDU)
        self._peer = peer
        self._raw = sock
        self._rest: list[Buffer] = []  # what the socket has not taken yet
        self._out: socket.socket | None = None  # the same socket, to be told when it takes more: asyncio has its own
        self._loop = asyncio.get_running_loop()
        self._buffer = memoryview(bytearray(RECEIVE_BUFFER))
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._events: deque[Event] = deque()
        self._waiter: Prompt[None] | None = None
        self._blocked = False
        self._failure: str | None = None
        self._deadline = 0.0
        self._allowed = 0.0
        self._unsent = 0
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    async def open(cls, peer: Peer, seconds: float, tls: ssl.SSLContext | None) -> Link:
        """Connect over TCP, and TLS if given. Raises PeerUnreachable."""
        where = f"{peer.name} ({peer.host}:{peer.port})"
        try:
            async with asyncio.timeout(seconds):
                sock = await _connected(peer.host, peer.port)
                try:
                    _, link = await asyncio.get_running_loop().create_connection(
                        lambda: cls(peer, None if tls else sock),
                        sock=sock,
                        ssl=tls,
                        server_hostname=(peer.tls.name if peer.tls else peer.host) if tls else None,
                    )
                except BaseException:
                    sock.close()
                    raise
        except TimeoutError:
            raise PeerUnreachable(
                f"{where} does not answer", "check that it runs and that no firewall drops it"
            ) from None
        except OSError as error:
            raise unreached(where, error) from None
        return link

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # Blocked is whenever anything waits; asyncio's TLS transport never resumes at a high-water mark of 0.
        self._transport.set_write_buffer_limits(high=0 if self._raw is not None else 1)
        if self._raw is not None:
            self._out = self._raw.dup()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.connection.receive(self._buffer[:nbytes])
        while (event := self.connection.next_event()) is not None:
            if type(event) is not DataSet:
                self._arrived(event)
        self.flush()
        if _QUICKACK is not None and self._raw is not None and not self.connection.between_messages:
            # More has to come: a peer with Nagle's algorithm waits for this acknowledgement before it sends that.
            self._raw.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        if self._events or self._failure is not None:
            self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        how = "closed the connection"
        if isinstance(error, ssl.SSLError):
            how = f"ended TLS: {why(error)}"
        elif self._raw is None and self.connection.state is State.AWAITING_ACCEPT:
            how += " after the TLS handshake; perhaps it does not take our certificate"
        self.connection.transport_closed()
        self._fail(how)
        self._drop_rest()
        if self._out is not None:
            self._out.close()
            self._out = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wake()

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False
        self._loop.call_soon(self._wake)  # asyncio does not expect to be aborted while it tells this

    # Events.

    def _arrived(self, event: Event) -> None:
        if isinstance(event, Abort):
            self._fail("aborted the association")
        elif isinstance(event, Failure):
            self._fail(f"broke the protocol ({event.what})")
        elif event is Release.REQUESTED:
            self.connection.confirm_release()
            if self.connection.state is State.AWAITING_CLOSE:
                self._fail("released the association")
        elif not isinstance(event, Lost):
            self._events.append(event)
            if len(self._events) > _MOST_EVENTS:
                self._fail("sends what nobody asked for")

    def _wake(self) -> None:
        """Whoever waits goes on before this returns, so it is the last thing that is done."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.come(None)

    def _fail(self, why: str) -> None:
        if self._failure is None:
            self._failure = why

    @property
    def was_cut(self) -> bool:
        """Whether the association has failed or was left."""
        return self._failure is not None

    def unreachable(self) -> PeerUnreachable:
        """The error that says why the association ended."""
        return PeerUnreachable(f"{self._peer.name} {self._failure or 'does not answer'}", "look into its log")

    async def event(self, seconds: float) -> Event:
        """The next event within `seconds`. Raises PeerUnreachable; the link is then cut."""
        self._arm(seconds)
        while not self._events:
            await self._wait()
        self._deadline = 0.0
        return self._events.popleft()

    async def _wait(self) -> None:
        if self._failure is not None:
            self.cut()
            raise self.unreachable()
        waiter = self._waiter = Prompt[None](self._loop)
        try:
            await waiter
        finally:
            if self._waiter is waiter:
                self._waiter = None

    # Time.

    def _arm(self, seconds: float) -> None:
        """Set the deadline. The timer is not moved for it: when it rings too early, it is set again."""
        self._allowed = seconds
        self._deadline = self._loop.time() + seconds
        self._unsent = self._left()
        if self._timer is None or self._timer.when() > self._deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(self._deadline, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if not self._deadline:
            return
        unsent = self._left()
        if unsent < self._unsent:
            self._arm(self._allowed)
        elif self._loop.time() >= self._deadline:
            self._fail("stopped reading" if unsent else "does not answer")
            self._wake()
        else:
            self._timer = self._loop.call_at(self._deadline, self._ring)

    # Writing.

    def _left(self) -> int:
        """How many bytes wait for the socket."""
        return self._transport.get_write_buffer_size() + sum(map(len, self._rest))

    def flush(self) -> None:
        """Write what the upper layer wants sent, behind what is being written."""
        output = self.connection.output()
        if self._rest:
            self._rest += output
        elif output:
            self._transport.write(b"".join(output))

    async def write(self, buffers: Sequence[Buffer], seconds: float) -> None:
        """Write all, over TCP without copying it; returns when the socket took everything.

        Raises PeerUnreachable when the peer takes nothing for `seconds`.
        """
        if self._failure is not None:
            raise self.unreachable()
        if self._out is None or self._blocked:
            self._transport.write(b"".join(buffers))
        else:
            self._rest = self._gathered(self._out, buffers)
            if self._rest:
                self._loop.add_writer(self._out, self._write_rest)
        if self._blocked or self._rest:
            self._arm(seconds)
            while self._blocked or self._rest:
                await self._wait()
            self._deadline = 0.0

    def _write_rest(self) -> None:
        """The socket takes more."""
        assert self._out is not None
        self._rest = self._gathered(self._out, self._rest)
        if not self._rest:
            self._drop_rest()
            self._wake()

    def _drop_rest(self) -> None:
        self._rest = []
        if self._out is not None:
            self._loop.remove_writer(self._out)

    def _gathered(self, out: socket.socket, buffers: Sequence[Buffer]) -> list[Buffer]:
        """One sendmsg; what is left of `buffers`. A connection that is broken takes nothing: its reader says so."""
        try:
            sent = out.sendmsg(buffers)
        except OSError:
            return list(buffers)
        for index, buffer in enumerate(buffers):
            if sent < len(buffer):
                return [memoryview(buffer)[sent:], *buffers[index + 1 :]]
            sent -= len(buffer)
        return []

    # The end.

    def cut(self) -> None:
        """Close the transport connection at once; what was not sent is dropped."""
        self._fail("was left")
        self._drop_rest()
        self._transport.abort()
