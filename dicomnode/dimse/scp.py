"""The storage and verification SCP: an asyncio server with caps on everything and a deadline on every wait."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from contextlib import suppress

import structlog

from dicomnode.dimse.association import AcceptedAssociation
from dicomnode.dimse.door import Door
from dicomnode.dimse.service import (
    CALLED_NOT_RECOGNIZED,
    CALLING_NOT_RECOGNIZED,
    FOREIGN_ADDRESS,
    Boundless,
    InstanceStream,
    Limits,
    Rejection,
    Room,
    Service,
)
from dicomnode.model import Origin
from dicomnode.upper_layer import APPLICATION_CONTEXT, AssociateRequest

__all__ = [
    "CALLED_NOT_RECOGNIZED",
    "CALLING_NOT_RECOGNIZED",
    "FOREIGN_ADDRESS",
    "InstanceStream",
    "Limits",
    "Rejection",
    "Room",
    "Server",
    "Service",
]

RECEIVE_BUFFER = 256 * 1024
BACKLOG = 256
GRACE = 2.0
QUIET = 3.0  # seconds between messages, after which an association is not waited for at the end
LOOK = 0.25  # seconds between looks for such ones

_log = structlog.get_logger()


class Server:
    """Accepts associations for `service`. All methods belong to the event loop that runs `listen`."""

    def __init__(
        self,
        ae_title: str,
        service: Service,
        limits: Limits,
        *,
        room: Room | None = None,
    ) -> None:
        self.ae_title = ae_title
        self.service = service
        self.limits = limits
        self.room = room or Boundless()
        self.refusing = False
        # One receive buffer for all: each receive is taken in before the next begins.
        self.buffer = memoryview(bytearray(RECEIVE_BUFFER))
        self._listeners: list[asyncio.Server | Door] = []
        self._connections: dict[AcceptedAssociation, None] = {}
        self._associations: dict[AcceptedAssociation, None] = {}
        self._addresses: Counter[str] = Counter()
        self._draining = False
        self._empty = asyncio.Event()
        self._tick: asyncio.TimerHandle | None = None

    @property
    def associations(self) -> int:
        """How many associations are open, those included whose last instance is still being kept."""
        return len(self._associations)

    @property
    def listening(self) -> bool:
        """Whether new associations are taken."""
        return bool(self._listeners) and all(each.is_serving() for each in self._listeners) and not self._draining

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Bind and accept, in clear or over TLS; returns the port, which the system chooses when `port` is 0.

        May be called again for another port. Raises OSError.
        """
        if tls is None:
            bound = await self._listen_in_clear(host, port)
        else:
            door = Door(lambda: AcceptedAssociation(self), tls, self.limits.handshake, self._most_connections)
            bound = door.open(host, port)
            self._listeners.append(door)
        if self._tick is None:
            self._empty.set()
            self._watch()
        return bound

    async def _listen_in_clear(self, host: str, port: int) -> int:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: AcceptedAssociation(self), host, port, backlog=BACKLOG)
        self._listeners.append(server)
        bound: int = server.sockets[0].getsockname()[1]
        return bound

    def renew_tls(self, context: ssl.SSLContext) -> None:
        """Show and trust what this one says to those who call over TLS from now on."""
        for listener in self._listeners:
            if isinstance(listener, Door):
                listener.renew(context)

    @property
    def _most_connections(self) -> int:
        """How many connections may be without an association."""
        return max(16, 2 * self.limits.associations)

    async def drain(self, seconds: float) -> None:
        """Accept no more; let associations at work finish, then answer 0xA700, then abort. Returns when all ended.

        One that says nothing for QUIET seconds between messages is aborted before.
        """
        self._draining = True
        for listener in self._listeners:
            listener.close()
        for connection in [each for each in self._connections if each not in self._associations]:
            connection.drop()
        await self._wait_at_work(seconds)
        self.refusing = True
        await self._wait_empty(GRACE if self._associations else 0)
        self.abort()
        await self._wait_empty(GRACE)

    def abort(self) -> None:
        """Accept no more and abort every association; instances being kept are still finished."""
        self._draining = self.refusing = True
        for listener in self._listeners:
            listener.close()
        if self._tick is not None:
            self._tick.cancel()
        for connection in list(self._connections):
            connection.drop()

    async def _wait_at_work(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        ends = loop.time() + seconds
        while self._associations and (left := ends - loop.time()) > 0:
            for association in [each for each in self._associations if each.quiet(loop.time()) > QUIET]:
                association.abort("aborted")
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, LOOK)):
                    await self._empty.wait()

    async def _wait_empty(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            _log.info("associations-left", count=self.associations)

    def _watch(self) -> None:
        """Look at all deadlines: one coarse timer for the server instead of one per wait."""
        loop = asyncio.get_running_loop()
        limits = self.limits
        shortest = min(limits.handshake, limits.idle, limits.stall, limits.answer)
        self._tick = loop.call_later(min(1.0, shortest / 4), self._watch)
        now = loop.time()
        for connection in list(self._connections):
            connection.check(now)

    # What associations tell.

    def entered(self, association: AcceptedAssociation) -> None:
        """Beyond twice the number of associations, the oldest connection without one has to go."""
        self._connections[association] = None
        if len(self._connections) - len(self._associations) > self._most_connections:
            oldest = next(each for each in self._connections if each not in self._associations)
            _log.info("connection-dropped", address=oldest.address, why="too many connections without association")
            oldest.drop()

    def admit(self, association: AcceptedAssociation, request: AssociateRequest) -> Origin | Rejection:
        """The service's word, then the caps; refusals are logged."""
        answer = self._decide(association, request)
        if isinstance(answer, Rejection):
            _log.warning(
                "association-rejected",
                calling=request.calling,
                called=request.called,
                address=association.address,
                why=answer.why,
            )
            return answer
        self._associations[association] = None
        self._addresses[association.address] += 1
        self._empty.clear()
        _log.info(
            "association-opened",
            association=answer.association,
            calling=answer.calling,
            called=answer.called,
            address=association.address,
        )
        return answer

    def _decide(self, association: AcceptedAssociation, request: AssociateRequest) -> Origin | Rejection:
        if request.application_context != APPLICATION_CONTEXT:
            return Rejection(1, 1, 2, "unknown application context")
        if self._draining:
            return Rejection(2, 3, 1, "shutting down")
        try:
            answer = self.service.admit(request.calling, request.called, association.address, association.certificate)
        except Exception as error:  # noqa: BLE001 - whatever the service raises, the peer gets an answer
            _log.error("admit-failed", why=type(error).__name__)
            return Rejection(2, 1, 1, "internal error")
        if isinstance(answer, Rejection):
            return answer
        if len(self._associations) >= self.limits.associations:
            return Rejection(2, 3, 2, "too many associations")
        if self._addresses[association.address] >= self.limits.per_address:
            return Rejection(2, 3, 2, "too many associations from this address")
        return answer

    def left(self, association: AcceptedAssociation) -> None:
        """The association ended, and nothing of it is under way."""
        if association in self._associations:
            del self._associations[association]
            self._addresses[association.address] -= 1
            if not self._addresses[association.address]:
                del self._addresses[association.address]
        if not self._associations:
            self._empty.set()

    def gone(self, association: AcceptedAssociation) -> None:
        """The transport connection is closed."""
        self._connections.pop(association, None)
