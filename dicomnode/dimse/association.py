"""One incoming association as an asyncio protocol: bytes to `upper_layer`, messages to the service, answers back."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Coroutine
from enum import Enum, auto
from typing import Protocol, cast

import structlog

from dicomnode.dimse import status, syntaxes
from dicomnode.dimse.incoming import Incoming
from dicomnode.dimse.service import Limits, Rejection, Room, Service
from dicomnode.model import Origin, Received
from dicomnode.prompt import begin
from dicomnode.upper_layer import (
    Abort,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    Command,
    Connection,
    DataSet,
    Event,
    Failure,
    Field,
    Release,
    Role,
    State,
    response_to,
)

CLOSING = 5.0

_PROGRESS = 4096
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
_log = structlog.get_logger()


class Hall(Protocol):
    """The server as its associations see it."""

    service: Service
    limits: Limits
    room: Room
    buffer: memoryview
    refusing: bool

    def admit(self, association: AcceptedAssociation, request: AssociateRequest) -> Origin | Rejection:
        """Decide on a request, the caps included; an origin counts as an association until `left`."""

    def entered(self, association: AcceptedAssociation) -> None:
        """A transport connection was made."""

    def left(self, association: AcceptedAssociation) -> None:
        """The association ended, and nothing of it is under way."""

    def gone(self, association: AcceptedAssociation) -> None:
        """The transport connection is closed."""


class _Wait(Enum):
    """What an association waits for, which says how long it may."""

    HANDSHAKE = auto()
    MESSAGE = auto()
    REST_OF_MESSAGE = auto()
    SERVICE = auto()
    READER = auto()
    CLOSE = auto()


class AcceptedAssociation(asyncio.BufferedProtocol):
    """From the accepted TCP connection to its end.

    While the service works on a message, further bytes stay in the socket: at most one receive buffer is kept.
    """

    def __init__(self, hall: Hall) -> None:
        self.address = ""
        self.certificate: bytes | None = None
        self.origin: Origin | None = None
        self._hall = hall
        self._loop = asyncio.get_running_loop()
        self._connection = Connection(Role.ACCEPTOR, hall.limits.pdu)
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._socket: socket.socket | None = None
        self._wait = _Wait.HANDSHAKE
        self._since = self._loop.time()
        self._progress = 0
        self._paused = False
        self._blocked = False
        self._how: str | None = None
        self._command: Command | None = None
        self._incoming: Incoming | None = None
        self._working = False
        self._work: asyncio.Task[None] | None = None
        self._at_once = False  # whether the service may begin in this round: once in each, so that others get theirs
        self._answered = 0

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=16384)
        self._socket = self._transport.get_extra_info("socket")
        if self._socket is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        name = self._transport.get_extra_info("peername")
        self.address = name[0].removeprefix("::ffff:") if name else ""
        tls = self._transport.get_extra_info("ssl_object")
        self.certificate = tls.getpeercert(True) if tls is not None else None
        self._hall.entered(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._hall.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._progress += nbytes
        if self._progress >= _PROGRESS and self._wait is _Wait.REST_OF_MESSAGE:
            self._stamp()
        self._connection.receive(self._hall.buffer[:nbytes])
        self._at_once = True
        self._pump()
        self._at_once = False
        if _QUICKACK is not None and self._socket is not None and not self._connection.between_messages:
            # More has to come: a sender with Nagle's algorithm waits for this acknowledgement before it sends that.
            self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        if self._connection.transport_closed():
            self._end("lost")
        self._hall.gone(self)

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False
        self._pump()

    # The way of the bytes.

    def _pump(self) -> None:
        """Take events until the service is needed or bytes are; then send what there is to send."""
        connection = self._connection
        while not self._working and not self._blocked and (event := connection.next_event()) is not None:
            self._handle(event)
        connection.keep()
        self._flush()
        self._set_wait()
        if connection.pending is not self._paused and not self._transport.is_closing():
            self._paused = connection.pending
            if self._paused:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _flush(self) -> None:
        for buffer in self._connection.output():
            self._transport.write(buffer)
        if self._connection.state is State.IDLE:
            self._transport.close()

    def _handle(self, event: Event) -> None:
        if type(event) is DataSet:
            self._on_data(event)
        elif type(event) is Command:
            self._on_command(event)
        elif event is Release.REQUESTED:
            self._connection.confirm_release()
            self._end("released")
        elif isinstance(event, AssociateRequest):
            self._on_request(event)
        elif isinstance(event, Abort):
            self._end("aborted")
        elif isinstance(event, Failure):
            _log.warning("protocol-error", address=self.address, why=event.what)
            self._end("protocol-error")

    def _on_request(self, request: AssociateRequest) -> None:
        answer = self._hall.admit(self, request)
        if isinstance(answer, Rejection):
            self._connection.reject(AssociateReject(answer.result, answer.source, answer.reason))
            return
        self.origin = answer
        contexts = syntaxes.answer(request.contexts)
        self._connection.accept(AssociateAccept(request.called, request.calling, contexts, self._hall.limits.pdu))
        self._hall.service.opened(answer)

    # Messages.

    def _on_command(self, command: Command) -> None:
        if command.field == Field.C_CANCEL_RQ and not command.has_data_set:
            return
        if command.is_response or command.field == Field.C_CANCEL_RQ:
            why = "a response to nothing" if command.is_response else "a C-CANCEL-RQ with a data set"
            _log.warning("protocol-error", address=self.address, why=why)
            self.abort("protocol-error")
            return
        self._command = command
        context = self._connection.contexts[command.context_id]
        if command.field == Field.C_STORE_RQ and not syntaxes.is_verification(context):
            assert self.origin is not None
            syntax = context.transfer_syntax
            received = Received(self.origin, command.sop_class, command.sop_instance, syntax, time.perf_counter())
            self._incoming = Incoming(self._hall.service, received, self._hall.limits.whole, self._hall.room)
        if not command.has_data_set:
            self._complete()

    def _on_data(self, piece: DataSet) -> None:
        full = self._incoming is not None and self._incoming.add(piece.data)
        if piece.last:
            self._complete()
        elif full:
            assert self._incoming is not None
            self._start(self._pass_on(self._incoming))

    def _complete(self) -> None:
        """The message is whole: answer it, or have the service answer it."""
        assert self._command is not None
        if self._incoming is not None:
            self._start(self._answer(self._incoming), self._at_once and self._incoming.is_whole)
        elif self._command.field == Field.C_ECHO_RQ:
            assert self.origin is not None
            self._hall.service.echoed(self.origin)
            self._respond(status.SUCCESS)
        elif self._command.field == Field.C_STORE_RQ:
            self._respond(status.SOP_CLASS_NOT_SUPPORTED)
        else:
            self._respond(status.UNRECOGNIZED_OPERATION)

    def _respond(self, code: int) -> None:
        assert self._command is not None
        self._flush()
        for batch in self._connection.send(self._command.context_id, response_to(self._command, code)):
            self._transport.write(b"".join(batch))
        self._command = None
        self._answered += 1
        self._stamp()

    # The service's work, one task at a time.

    def _start(self, work: Coroutine[None, None, None], at_once: bool = False) -> None:
        self._working, self._at_once = True, False
        self._stamp()
        task = begin(self._loop, work) if at_once else self._loop.create_task(work)
        if task is not None:
            self._work = task

    def _ended(self) -> None:
        self._working, self._work = False, None

    async def _pass_on(self, incoming: Incoming) -> None:
        try:
            await incoming.pass_on()
            self._ended()
            if not self._left():
                self._pump()
        except Exception as error:  # noqa: BLE001 - no transport sees it, and nobody else would end the association
            self._failed(error)

    async def _answer(self, incoming: Incoming) -> None:
        if self._hall.refusing:
            await incoming.abandon()
        try:
            code = await incoming.finish()
            self._ended()
            self._incoming = None
            if not self._left():
                self._respond(code)
                self._pump()
        except Exception as error:  # noqa: BLE001 - as in _pass_on
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        assert self.origin is not None
        _log.error("association-failed", association=self.origin.association, why=type(error).__name__)
        self._ended()
        self.drop()

    async def _abandon(self, incoming: Incoming) -> None:
        await incoming.abandon()
        self._ended()
        self._incoming = None
        self._left()

    # The end.

    def _end(self, how: str) -> None:
        """The association is over; what the service is working on is finished first."""
        if self.origin is not None and self._how is None:
            self._how = how
            if not self._working:
                self._left()

    def _left(self) -> bool:
        """Take leave when the association is over: an unfinished instance is abandoned, then the service told."""
        if self._how is None or self.origin is None:
            return False
        if self._incoming is not None:
            self._start(self._abandon(self._incoming))
            return True
        origin = self.origin
        _log.info(
            "association-closed",
            association=origin.association,
            calling=origin.calling,
            called=origin.called,
            address=self.address,
            how=self._how,
            received=self._answered,
        )
        self._hall.left(self)
        self._hall.service.closed(origin, self._how)
        return True

    def abort(self, how: str) -> None:
        """Send A-ABORT and wait for the peer to close; without an association, close at once."""
        self._connection.abort()
        self._flush()
        self._end(how)
        if self._connection.state is not State.AWAITING_CLOSE:
            self._transport.abort()
        self._set_wait()

    def drop(self) -> None:
        """Abort and close the transport connection without waiting for the peer."""
        self.abort("aborted")
        self._transport.abort()

    # Time.

    def _stamp(self) -> None:
        self._since, self._progress = self._loop.time(), 0

    def _set_wait(self) -> None:
        state = self._connection.state
        if state in (State.AWAITING_CLOSE, State.IDLE):
            wait = _Wait.CLOSE
        elif self._working:
            wait = _Wait.SERVICE
        elif self._blocked:
            wait = _Wait.READER
        elif state is State.TRANSPORT_OPEN:
            wait = _Wait.HANDSHAKE
        else:
            wait = _Wait.MESSAGE if self._connection.between_messages else _Wait.REST_OF_MESSAGE
        if wait is not self._wait:
            self._wait = wait
            self._stamp()

    def quiet(self, now: float) -> float:
        """For how many seconds it has been between messages; 0 within one, and while the service works."""
        return now - self._since if self._wait is _Wait.MESSAGE else 0.0

    def check(self, now: float) -> None:
        """End what has waited too long; called every now and then."""
        limits = self._hall.limits
        allowed = {
            _Wait.HANDSHAKE: limits.handshake,
            _Wait.MESSAGE: limits.idle,
            _Wait.REST_OF_MESSAGE: limits.stall,
            _Wait.SERVICE: limits.answer,
            _Wait.READER: limits.stall,
            _Wait.CLOSE: CLOSING,
        }[self._wait]
        if now - self._since <= allowed:
            return
        if self._wait is _Wait.SERVICE:
            self._overdue()
        elif self._wait is _Wait.CLOSE:
            self._transport.abort()
        elif self._wait is _Wait.HANDSHAKE:
            _log.info("handshake-timeout", address=self.address)
            self._connection.expire()
            self._transport.abort()
        else:
            self.abort("timeout")

    def _overdue(self) -> None:
        if self._incoming is not None and self._work is not None:
            self._incoming.expired = True
            self._stamp()
            self._work.cancel()
