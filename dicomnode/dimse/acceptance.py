"""The acceptance of an association as pynetdicom can read it."""

from __future__ import annotations

from collections.abc import Callable

from dicomnode.upper_layer import AssociateAccept
from dicomnode.upper_layer.pdus import Malformed, PduType, decode_accept, encode_accept
from dicomnode.upper_layer.reader import MAX_ASSOCIATE

_HEADER = 6


class Acceptance:
    """Reads for pynetdicom, whose decoder gives up on unknown items and long names; PS3.8 9.3.1 has the former skipped.

    An A-ASSOCIATE-AC that comes first is written anew with what a query needs of it; all else passes as it is.
    """

    def __init__(self, receive: Callable[[int], bytearray]) -> None:
        self._receive = receive
        self._first = True
        self._written = bytearray()

    def receive(self, count: int) -> bytearray:
        """At most `count` bytes, fewer when the connection ends. Raises OSError."""
        if self._first:
            self._first = False
            self._written = self._begin(self._receive(count))
        if not self._written:
            return self._receive(count)
        taken, self._written = self._written[:count], self._written[count:]
        return taken

    def _begin(self, header: bytearray) -> bytearray:
        length = int.from_bytes(header[2:_HEADER], "big")
        if len(header) < _HEADER or header[0] != PduType.ASSOCIATE_AC or length > MAX_ASSOCIATE:
            return header
        return _plain(header + self._receive(length))


def _plain(pdu: bytearray) -> bytearray:
    try:
        accept = decode_accept(memoryview(pdu)[_HEADER:])
    except Malformed:
        return pdu
    contexts = tuple(each for each in accept.contexts if each.id % 2 and (each.result or each.transfer_syntax))
    return bytearray(encode_accept(AssociateAccept("ANY", "ANY", contexts, accept.max_pdu)))
