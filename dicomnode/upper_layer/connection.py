"""One association's upper layer (PS3.8 section 9.2) as a state machine: bytes in, events out, no I/O, no clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from dicomnode.errors import ProtocolError
from dicomnode.model import Buffer
from dicomnode.upper_layer import pdus
from dicomnode.upper_layer.commands import Command
from dicomnode.upper_layer.messages import Assembler, DataSet, p_data
from dicomnode.upper_layer.pdus import (
    Abort,
    AbortReason,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    Malformed,
    PduType,
)
from dicomnode.upper_layer.reader import Pdu, Pdv, Reader
from dicomnode.upper_layer.table import NEXT, TABLE, Action, State, Trigger


class Role(Enum):
    """Which side of the association we are."""

    REQUESTOR = auto()
    ACCEPTOR = auto()


class Release(Enum):
    """Release events: the peer asks for one, or has agreed to ours."""

    REQUESTED = auto()
    CONFIRMED = auto()


class Lost(Enum):
    """The transport connection closed before the association ended."""

    TRANSPORT = auto()


@dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context."""

    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class Failure:
    """The peer broke the protocol (`what`, without values); our A-ABORT is in the output."""

    reason: AbortReason
    what: str


Event = AssociateRequest | AssociateAccept | AssociateReject | Command | DataSet | Release | Abort | Failure | Lost

_PDU_TRIGGERS = {
    PduType.ASSOCIATE_RQ: Trigger.REQUEST_PDU,
    PduType.ASSOCIATE_AC: Trigger.ACCEPT_PDU,
    PduType.ASSOCIATE_RJ: Trigger.REJECT_PDU,
    PduType.P_DATA: Trigger.P_DATA_PDU,
    PduType.RELEASE_RQ: Trigger.RELEASE_RQ_PDU,
    PduType.RELEASE_RP: Trigger.RELEASE_RP_PDU,
    PduType.ABORT: Trigger.ABORT_PDU,
}
_DECODERS: dict[PduType, Callable[[memoryview], Event]] = {
    PduType.ASSOCIATE_RQ: pdus.decode_request,
    PduType.ASSOCIATE_AC: pdus.decode_accept,
    PduType.ASSOCIATE_RJ: pdus.decode_reject,
    PduType.ABORT: pdus.decode_abort,
}
_DATA_ACTIONS = frozenset({Action.DT_2, Action.AR_6})
_DEAF_ACTIONS = frozenset({Action.AA_1, Action.AA_7, Action.AA_8})


class Connection:
    """Feed received bytes, take events until None, then write `output()`; `state` says when to close.

    AWAITING_CLOSE: the peer should close now, close when it does not in time. IDLE: close. Nothing that the peer
    sends raises: it ends in a `Failure` event and an A-ABORT in the output.
    """

    def __init__(self, role: Role, max_pdu: int) -> None:
        self.role = role
        self.max_pdu = max_pdu
        self.state = State.TRANSPORT_OPEN if role is Role.ACCEPTOR else State.AWAITING_ACCEPT
        self.contexts: dict[int, Context] = {}
        self.peer_max_pdu = pdus.ASSUMED_MAX_PDU
        self._reader = Reader(max_pdu)
        self._assembler = Assembler()
        self._proposed: Mapping[int, pdus.ProposedContext] = {}
        self._output: list[Buffer] = []
        self._deaf = False

    @property
    def pending(self) -> bool:
        """Whether received bytes wait for `next_event`."""
        return self._reader.pending

    @property
    def between_messages(self) -> bool:
        """Whether everything taken so far ended with a whole PDU and a whole message."""
        return self._assembler.between_messages and self._reader.between_pdus

    def receive(self, data: memoryview) -> None:
        """Hand over received bytes, which must not change until `next_event` returned None or `keep` was called."""
        if not self._deaf:
            self._reader.feed(data)

    def keep(self) -> None:
        """Copy the bytes that `next_event` has not looked at; call it before the receive buffer is used again."""
        self._reader.keep()

    def output(self) -> list[Buffer]:
        """What is to be sent now, in order; each byte is handed out once."""
        output, self._output = self._output, []
        return output

    def next_event(self) -> Event | None:
        """The next event in the bytes received, or None when more are needed."""
        try:
            while not self._deaf and (piece := self._reader.next()) is not None:
                event = self._on_pdv(piece) if type(piece) is Pdv else self._on_pdu(piece)  # type: ignore[arg-type]
                if event is not None:
                    return event
        except Malformed as error:
            return self._fail(error.reason, error.what)
        return None

    def _on_pdv(self, pdv: Pdv) -> Event | None:
        if self.state in (State.ESTABLISHED, State.AWAITING_RELEASE_RP):
            return self._assembler.feed(pdv, self.contexts)
        return None

    def _on_pdu(self, pdu: Pdu) -> Event | None:
        action = TABLE[self.state, _PDU_TRIGGERS[pdu.type]]
        if action in _DATA_ACTIONS:
            return None
        if action in (Action.AA_1, Action.AA_8):
            return self._fail(AbortReason.UNEXPECTED_PDU, f"unexpected {pdus.NAMES[pdu.type]} PDU")
        decode = _DECODERS.get(pdu.type)
        received = decode(pdu.body) if decode else None
        return self._perform(action, received)

    def _perform(self, action: Action, received: Event | None) -> Event | None:
        """Do what Tables 9-6 to 9-9 say for a received PDU, and go to the next state."""
        event: Event | None = received
        following = NEXT[action]
        if action is Action.AE_3:
            assert isinstance(received, AssociateAccept)
            self.peer_max_pdu = received.max_pdu
            self._established(received)
        elif action is Action.AE_6:
            assert isinstance(received, AssociateRequest)
            following, event = self._requested(received)
        elif action in (Action.AR_2, Action.AR_8):
            event = Release.REQUESTED
        elif action in (Action.AR_3, Action.AR_10):
            event = Release.CONFIRMED
        elif action is Action.AA_6:
            event = None
        elif action is Action.AA_7:
            event = None
            self._output.append(pdus.encode_abort(Abort(2, AbortReason.UNEXPECTED_PDU)))
        if action is Action.AR_8:
            requestor = self.role is Role.REQUESTOR
            following = State.COLLISION_REQUESTOR_LOCAL if requestor else State.COLLISION_ACCEPTOR_RP
        assert following is not None
        self._go(action, following)
        return event

    def _requested(self, request: AssociateRequest) -> tuple[State, Event | None]:
        """AE-6: a request that the provider itself refuses (PS3.8 9.3.4) is not shown to the user."""
        if not request.protocol_version & 1:
            self._output.append(pdus.encode_reject(AssociateReject(1, 2, 2)))
            return State.AWAITING_CLOSE, None
        self._proposed = {context.id: context for context in reversed(request.contexts)}
        self.peer_max_pdu = request.max_pdu
        return State.AWAITING_LOCAL_ACCEPT, request

    def _established(self, accept: AssociateAccept) -> None:
        for context in accept.contexts:
            proposed = self._proposed.get(context.id)
            if context.result == 0 and proposed and context.transfer_syntax in proposed.transfer_syntaxes:
                self.contexts[context.id] = Context(proposed.abstract_syntax, context.transfer_syntax)

    def _fail(self, reason: AbortReason, what: str) -> Failure | None:
        """The peer broke the protocol: AA-1 (source: service user) or AA-8 (provider)."""
        action = TABLE.get((self.state, Trigger.INVALID_PDU))
        if action is None:
            self._deaf = True
            return None
        by_user = action is Action.AA_1
        abort = Abort(0, 0) if by_user else Abort(2, reason)
        self._output.append(pdus.encode_abort(abort))
        self._go(action, State.AWAITING_CLOSE)
        return None if action is Action.AA_7 else Failure(reason, what)

    def _go(self, action: Action, state: State) -> None:
        self.state = state
        if state is State.IDLE or action in _DEAF_ACTIONS:
            self._deaf = True
            self._reader.discard()

    def _local(self, trigger: Trigger) -> State:
        """The state after a local request. Raises ProtocolError when the table does not allow it now."""
        action = TABLE.get((self.state, trigger))
        if action is None:
            raise ProtocolError(f"{trigger.name} is not possible in state {self.state.name}")
        following = NEXT[action]
        assert following is not None
        self._go(action, following)
        return following

    def request(self, request: AssociateRequest) -> None:
        """Ask for the association (AE-2). The transport connection has just been opened."""
        self._proposed = {context.id: context for context in request.contexts}
        self._output.append(pdus.encode_request(request))

    def accept(self, accept: AssociateAccept) -> None:
        """Answer the request that was received (AE-7)."""
        self._local(Trigger.ACCEPT)
        self._established(accept)
        self._output.append(pdus.encode_accept(accept))

    def reject(self, reject: AssociateReject) -> None:
        """Refuse the request that was received (AE-8)."""
        self._local(Trigger.REJECT)
        self._output.append(pdus.encode_reject(reject))

    def send(
        self, context_id: int, command: bytes, data_set: Iterable[Buffer] | None = None, length: int | None = None
    ) -> Iterator[list[Buffer]]:
        """A DIMSE message (DT-1, AR-7) as batches of buffers for gathered writes; write `output()` before it.

        A data set whose `length` in bytes is told is asked for its buffers one batch after the other.
        """
        self._local(Trigger.P_DATA_REQUEST)
        return p_data(context_id, command, data_set, self.peer_max_pdu, length)

    def release(self) -> None:
        """Ask for the release of the association (AR-1)."""
        self._local(Trigger.RELEASE_REQUEST)
        self._output.append(pdus.RELEASE_RQ)

    def confirm_release(self) -> None:
        """Agree to the release that the peer asked for (AR-4, AR-9)."""
        self._local(Trigger.RELEASE_RESPONSE)
        self._output.append(pdus.RELEASE_RP)

    def abort(self) -> None:
        """A-ABORT as the service user (AA-1); without an association nothing is sent."""
        if (self.state, Trigger.ABORT_REQUEST) in TABLE:
            self._local(Trigger.ABORT_REQUEST)
            self._output.append(pdus.encode_abort(Abort(0, 0)))

    def expire(self) -> None:
        """The ARTIM timer ran out: close without a word (AA-2)."""
        if (self.state, Trigger.TIMER_EXPIRED) in TABLE:
            self._local(Trigger.TIMER_EXPIRED)

    def transport_closed(self) -> Lost | None:
        """The transport connection is gone (AA-4, AA-5, AR-5); `Lost` when an association went with it."""
        action = TABLE.get((self.state, Trigger.TRANSPORT_CLOSED))
        if action is None:
            return None
        self._go(action, State.IDLE)
        return Lost.TRANSPORT if action is Action.AA_4 else None
