"""An association of pynetdicom as requestor, with its traps closed: silent, and cut when nothing happens."""

from __future__ import annotations

import contextlib
import logging
import math
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self

from pydicom.dataset import Dataset
from pynetdicom import AE, _config, build_context, evt
from pynetdicom.association import Association

from dicomnode.dimse.acceptance import Acceptance
from dicomnode.dimse.link import unreached
from dicomnode.dimse.refusals import rejected
from dicomnode.dimse.syntaxes import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from dicomnode.dimse.tls import client_context
from dicomnode.errors import PeerLost, PeerUnreachable, PermanentError
from dicomnode.model import Peer

CONNECT = 10.0

_MAX_PDU = 64 * 1024
_LOOK = 0.25
_ENDED = ("Sta1", "Sta13")

Response = tuple[Dataset, Dataset | None]  # command set, identifier


def _silence_libraries() -> None:
    """Identifiers, and pydicom's quotations of values in warnings, must not reach any log or terminal."""
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    _config.LOG_HANDLER_LEVEL = "none"
    for name in ("pynetdicom", "pydicom"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.CRITICAL + 1)
        logger.propagate = False
        logger.handlers[:] = [logging.NullHandler()]
    for name in [each for each in logging.root.manager.loggerDict if each.startswith("pynetdicom.")]:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module=r"(pydicom|pynetdicom)\b")


_silence_libraries()


def _never() -> float:
    return 0.0


class Session:
    """A context manager around one association; used by the one thread that made it.

    When neither `heard` was called nor `alive()` grew for `silence` seconds, the socket is shut down: whatever waits
    on it, in whatever thread of pynetdicom, ends.
    """

    def __init__(
        self,
        peer: Peer,
        calling: str,
        abstract_syntaxes: Sequence[str],
        silence: float,
        alive: Callable[[], float] | None = None,
    ) -> None:
        self.peer = peer
        self.timed_out = False
        self.answered = False  # since it was opened or resumed
        self._calling = calling
        self._abstract_syntaxes = abstract_syntaxes
        self.silence = silence
        self.alive = alive or _never
        self._last = self.began = time.monotonic()
        self._socket: socket.socket | None = None
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._watchdog, name="dicom-watchdog", daemon=True)
        self._message_id = 0
        self._astray = False  # whether a response to another message came
        self._association: Association | None = None

    @property
    def association(self) -> Association:
        """pynetdicom's association, established."""
        assert self._association is not None
        return self._association

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave(in_order=kind is None)

    def open(self) -> Self:
        """Associate. Raises PeerUnreachable, PeerRejected, PermanentError."""
        self._last = time.monotonic()
        self._watch.start()
        try:
            self._association = self._associate()
        except BaseException:
            self._over.set()
            raise
        self._last = time.monotonic()
        return self

    def leave(self, *, in_order: bool = True) -> None:
        """Release the association, or abort it; its threads have ended when this returns."""
        try:
            if self.association.is_established:
                self._last, self.silence = time.monotonic(), min(self.silence, CONNECT)
                self.association.acse_timeout = self.silence
                if in_order and self._state == "Sta6":  # else its thread dies of the request, and nobody answers it
                    self.association.release()
                else:
                    self.association.abort()
        finally:
            self._over.set()
            self._shut()
            self.association.join(CONNECT)

    @property
    def _where(self) -> str:
        return f"{self.peer.name} ({self.peer.host}:{self.peer.port})"

    def _associate(self) -> Association:
        ae = AE(ae_title=self._calling)
        ae.connection_timeout = CONNECT
        ae.acse_timeout = ae.network_timeout = self.silence
        ae.dimse_timeout = None
        contexts = [build_context(uid, [EXPLICIT_LITTLE, IMPLICIT_LITTLE]) for uid in self._abstract_syntaxes]
        where = self._where
        handlers: list[evt.EventHandlerType] = [
            (evt.EVT_CONN_OPEN, self._opened),
            (evt.EVT_ESTABLISHED, self._opened),
            (evt.EVT_DIMSE_RECV, self._received),
        ]
        context = client_context(self.peer.tls) if self.peer.tls else None
        try:
            association = ae.associate(
                self.peer.host,
                self.peer.port,
                contexts,
                self.peer.ae_title,
                _MAX_PDU,
                tls_args=(context, self.peer.tls.name) if context and self.peer.tls else None,
                evt_handlers=handlers,
            )
        except OSError as error:
            raise unreached(where, error) from None
        answer = association.acceptor.primitive
        if association.is_rejected and answer is not None:
            reason = answer.result or 1, answer.result_source or 1, answer.diagnostic or 1
            raise rejected(self.peer, self._calling, *reason)
        if not association.is_established:
            self._shut()
            if answer is not None and not self.timed_out:
                raise PermanentError(f"{where} accepts none of the services asked for", "have it allow them")
            if context is not None and context.failure is not None:
                raise unreached(where, context.failure)
            hint = "check host and port, and that it runs" + (" and takes our certificate" if context else "")
            raise PeerUnreachable(f"{where} does not answer as a DICOM node", hint)
        return association

    def _opened(self, event: evt.Event) -> None:
        """pynetdicom sends without a deadline: give the socket one."""
        wrapper = event.assoc.dul.socket
        if wrapper is not None and wrapper.socket is not None:
            if self._socket is None:
                wrapper.recv = Acceptance(wrapper.recv).receive  # type: ignore[assignment, method-assign]
            self._socket = wrapper.socket
            self._socket.settimeout(self.silence)

    def _received(self, event: evt.Event) -> None:
        """Before whoever waits for a response gets it; pynetdicom takes any for the one that is awaited."""
        self._astray |= event.message.command_set.get("MessageIDBeingRespondedTo") != self._message_id

    @property
    def is_open(self) -> bool:
        """Whether neither side has ended the association, as far as is known."""
        return bool(self.association.is_established) and not self._over.is_set()

    def require(self, abstract_syntax: str) -> None:
        """Raise PermanentError where the peer does not accept that service."""
        if all(context.abstract_syntax != abstract_syntax for context in self.association.accepted_contexts):
            raise PermanentError(f"{self._where} accepts none of the services asked for", "have it allow them")

    def rest(self) -> None:
        """Nothing is asked for now, so nothing is awaited."""
        self.alive, self.silence = _never, math.inf

    def resume(self, silence: float, alive: Callable[[], float] | None = None) -> None:
        """Something is asked for again."""
        self._last = self.began = time.monotonic()
        self.answered = False
        self.alive, self.silence = alive or _never, silence
        self.association.network_timeout = self.association.acse_timeout = silence
        if self._socket is not None:
            self._socket.settimeout(silence)

    def next_id(self) -> int:
        """A Message ID that is unique on this association."""
        self._message_id += 1
        return self._message_id

    def heard(self) -> None:
        """The peer did something."""
        self._last, self.answered = time.monotonic(), True

    def lost(self) -> PeerLost:
        """The error to raise when a response never came."""
        how = f"said nothing for {self.silence:g} s" if self.timed_out else "ended the association"
        return PeerLost(f"{self.peer.name} {how}", "look into its log")

    def responses(self, ask: Callable[[], Iterable[Response]]) -> Iterator[Response]:
        """The responses to what `ask` sends; what pynetdicom stumbles over in them is the peer's fault."""
        try:
            for response in ask():
                if self._astray:
                    break
                yield response
        except Exception as error:  # noqa: BLE001 - it raises whatever happens to come of what the peer sends
            what = f"{self.peer.name} broke the protocol ({type(error).__name__})"
            raise PeerLost(what, "look into its log") from None
        if self._astray:
            raise PeerLost(f"{self.peer.name} answered something else than was asked", "look into its log")

    def _watchdog(self) -> None:
        while not self._over.wait(_LOOK):
            self.timed_out = time.monotonic() - max(self._last, self.alive()) > self.silence
            if self.timed_out or self._has_ended():
                self._shut()
                if self._association is not None:  # it does not tell who waits for a response, except for an A-ABORT
                    self._association.dimse.msg_queue.put((None, None))
                return

    def _has_ended(self) -> bool:
        """Whether the association is over for pynetdicom's state machine (PS3.8 Table 9-10)."""
        return self._association is not None and self._state in _ENDED

    @property
    def _state(self) -> str:
        return str(self.association.dul.state_machine.current_state)

    def _shut(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
