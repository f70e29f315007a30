"""One association as a C-STORE SCU on asyncio: nothing is copied on its way to the socket, no wait is for ever."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from dicomnode.dimse.link import MAX_PDU, Link
from dicomnode.dimse.refusals import rejected
from dicomnode.dimse.status import SUCCESS, describe
from dicomnode.dimse.syntaxes import EXPLICIT_LITTLE, IMPLICIT_LITTLE, VERIFICATION
from dicomnode.dimse.tls import client_context
from dicomnode.errors import ConfigError, PeerUnreachable, PermanentError
from dicomnode.model import Buffer, Peer
from dicomnode.upper_layer import (
    MAX_CONTEXTS,
    MOST_BUFFERS,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    Command,
    Field,
    ProposedContext,
    Release,
    State,
    echo_request,
    store_request,
)


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds: for TCP, for the answer to a request for association, while nothing of a message
    can be written, for the response to a message written, and for the answer to a request for release."""

    connect: float = 10
    associate: float = 30
    stall: float = 30
    answer: float = 120
    release: float = 5


class Sender:
    """One message at a time. After an exception the association is gone."""

    def __init__(self, link: Link, peer: Peer, patience: Patience) -> None:
        """Use `connect`."""
        self._link = link
        self._peer = peer
        self._patience = patience
        self._contexts: dict[tuple[str, str], int] = {}
        self._message_id = 0
        self._sending = False

    @classmethod
    async def connect(
        cls,
        peer: Peer,
        calling: str,
        contexts: Sequence[tuple[str, str]],
        *,
        patience: Patience = Patience(),
        tls: ssl.SSLContext | None = None,
    ) -> Sender:
        """Open an association with one presentation context per (SOP class, transfer syntax), at most 128.

        Over TLS where the peer has it, or with a context of the caller's. Raises PeerUnreachable or PeerRejected.
        """
        if not 0 < len(contexts) <= MAX_CONTEXTS:
            raise ValueError("an association has 1 to 128 presentation contexts")
        link = await Link.open(peer, patience.connect, tls or _tls(peer))
        sender = cls(link, peer, patience)
        try:
            await sender._associate(calling, contexts)
        except BaseException:
            sender.abort()
            raise
        return sender

    async def _associate(self, calling: str, contexts: Sequence[tuple[str, str]]) -> None:
        proposed = tuple(
            ProposedContext(2 * index + 1, sop_class, (syntax,)) for index, (sop_class, syntax) in enumerate(contexts)
        )
        connection = self._link.connection
        connection.request(AssociateRequest(self._peer.ae_title, calling, proposed, MAX_PDU))
        self._link.flush()
        event = await self._link.event(self._patience.associate)
        if isinstance(event, AssociateReject):
            raise rejected(self._peer, calling, event.result, event.source, event.reason)
        assert isinstance(event, AssociateAccept)
        for context_id, context in connection.contexts.items():
            self._contexts.setdefault((context.abstract_syntax, context.transfer_syntax), context_id)

    @property
    def ended(self) -> bool:
        """Whether the association is gone."""
        return self._link.connection.state is not State.ESTABLISHED or self._link.was_cut

    def accepts(self, sop_class: str, transfer_syntax: str) -> bool:
        """Whether the peer takes such instances on this association."""
        return (sop_class, transfer_syntax) in self._contexts

    async def store(
        self,
        sop_class: str,
        sop_uid: str,
        transfer_syntax: str,
        data_set: Iterable[Buffer],
        length: int | None = None,
    ) -> int:
        """Send one instance; the status of the response. The buffers must not change meanwhile.

        With its `length` in bytes the data set may be an iterator that blocks; it is asked in a thread, piece by
        piece, and what it raises ends the association. Raises PeerUnreachable when no response came: the instance may
        be there or not. PermanentError when the peer did not accept the presentation context.
        """
        context_id = self._contexts.get((sop_class, transfer_syntax))
        if context_id is None:
            raise PermanentError(
                f"{self._peer.name} does not accept SOP class {sop_class} in transfer syntax {transfer_syntax}",
                "have it allow both",
            )
        command = store_request(self._next_id(), sop_class, sop_uid)
        return await self._ask(context_id, command, data_set, Field.C_STORE_RSP, length, about=sop_uid)

    async def echo(self) -> int:
        """C-ECHO; the status of the response. Raises as `store` does."""
        context_id = next(iter(self._contexts.values()))
        return await self._ask(context_id, echo_request(self._next_id()), None, Field.C_ECHO_RSP)

    def _next_id(self) -> int:
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id

    async def _ask(
        self,
        context_id: int,
        command: bytes,
        data_set: Iterable[Buffer] | None,
        expected: Field,
        length: int | None = None,
        about: str = "",
    ) -> int:
        if self._link.connection.state is not State.ESTABLISHED:
            raise self._link.unreachable()
        try:
            self._sending = True
            batches = self._link.connection.send(context_id, command, data_set, length)
            while batch := next(batches, None) if length is None else await asyncio.to_thread(next, batches, None):
                await self._link.write(batch, self._patience.stall)
                if len(batch) > MOST_BUFFERS:  # many small PDUs, and more to come: nobody else waits for all of them
                    await asyncio.sleep(0)
            self._sending = False
            response = await self._link.event(self._patience.answer)
        except BaseException:
            self.abort()
            raise
        if (
            isinstance(response, Command)
            and response.field == expected
            and response.responds_to == self._message_id
            and (not about or response.sop_instance in (about, ""))  # it may be left out (PS3.7 9.3.1.2)
        ):
            return response.status
        self.abort()
        raise PeerUnreachable(f"{self._peer.name} answered something else than was asked", "look into its log")

    async def release(self) -> None:
        """End the association in an orderly way if the peer lets us; never raises for what the peer does."""
        connection = self._link.connection
        if connection.state is State.ESTABLISHED:
            connection.release()
            self._link.flush()
            with suppress(PeerUnreachable, TimeoutError):
                async with asyncio.timeout(self._patience.release):
                    while await self._link.event(self._patience.release) is not Release.CONFIRMED:
                        pass
        self._link.cut()

    def abort(self) -> None:
        """End the association at once: A-ABORT where it cannot be taken for data, then close."""
        if not self._sending:
            self._link.connection.abort()
            self._link.flush()
        self._link.cut()


def _tls(peer: Peer) -> ssl.SSLContext | None:
    """Read anew for each call: certificates are renewed while the node runs."""
    try:
        return client_context(peer.tls) if peer.tls else None
    except ConfigError as error:
        raise PeerUnreachable(f"{peer.name} cannot be called: {error.what}", error.hint) from None


async def echo(
    peer: Peer,
    calling: str,
    *,
    patience: Patience = Patience(),
    tls: ssl.SSLContext | None = None,
) -> int:
    """C-ECHO on an association of its own; the status. Raises PeerUnreachable or PeerRejected."""
    contexts = [(VERIFICATION, IMPLICIT_LITTLE), (VERIFICATION, EXPLICIT_LITTLE)]
    sender = await Sender.connect(peer, calling, contexts, patience=patience, tls=tls)
    if not sender.accepts(*contexts[0]) and not sender.accepts(*contexts[1]):
        sender.abort()
        raise PermanentError(f"{peer.name} does not accept C-ECHO", "check that it is a DICOM node")
    status = await sender.echo()
    await sender.release()
    if status != SUCCESS:
        raise PermanentError(f"{peer.name} answered C-ECHO with {describe(status)}", "look into its log")
    return status
