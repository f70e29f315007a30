"""Cuts a stream of bytes into PDUs and PDVs (PS3.8 9.3), however the bytes were chunked."""

from __future__ import annotations

import struct
from typing import NamedTuple

from dicomnode.upper_layer.pdus import AbortReason, Malformed, PduType

MAX_ASSOCIATE = 256 * 1024

_HEADER = struct.Struct(">BxI")
_PDV_HEADER = struct.Struct(">IBB")
_EMPTY = memoryview(b"")
_SHORT = frozenset({PduType.ASSOCIATE_RJ, PduType.RELEASE_RQ, PduType.RELEASE_RP, PduType.ABORT})
_TLS = (0x15, 0x16)  # how an alert and a handshake begin
_TYPES = {int(kind): kind for kind in PduType}


class Pdu(NamedTuple):
    """A PDU; the body of a P-DATA-TF is empty here and follows as `Pdv`s."""

    type: PduType
    body: memoryview


class Pdv(NamedTuple):
    """What has arrived of a presentation data value; `last` only with the last byte of the last fragment."""

    context_id: int
    command: bool
    last: bool
    data: memoryview


class Reader:
    """Zero-copy: what `next` returns points into what was fed, and is valid until the next `feed` or `keep`.

    Lengths are checked when they arrive, before a byte of what they announce is stored; P-DATA is never stored.
    """

    def __init__(self, max_pdu: int) -> None:
        self.max_pdu = max_pdu
        self._view = _EMPTY
        self._at = 0
        self._partial = bytearray()
        self._body: tuple[PduType, int] | None = None
        self._pdu_left = 0
        self._pdv: tuple[int, bool, bool] | None = None
        self._pdv_left = 0

    @property
    def pending(self) -> bool:
        """Whether bytes were fed that `next` has not looked at."""
        return self._at < len(self._view)

    @property
    def between_pdus(self) -> bool:
        """Whether everything looked at so far ended with a whole PDU."""
        return not (self._partial or self._body or self._pdu_left or self._pdv)

    def feed(self, data: memoryview) -> None:
        """Hand over received bytes; they must stay as they are until `next` returned None or `keep` was called."""
        if self.pending:
            data = memoryview(b"".join((self._view[self._at :], data)))
        self._view = data
        self._at = 0

    def keep(self) -> None:
        """Copy what `next` has not looked at yet, so that the buffer fed can be used again."""
        self._view = memoryview(bytes(self._view[self._at :])) if self.pending else _EMPTY
        self._at = 0

    def discard(self) -> None:
        """Drop everything fed so far."""
        self._view = _EMPTY
        self._at = 0

    def next(self) -> Pdu | Pdv | None:
        """The next piece, or None when more bytes are needed. Raises Malformed; the stream is then lost."""
        if self._pdv is None:
            if self._pdu_left == 0:
                return self._next_pdu()
            if not self._open_pdv():
                return None
        return self._fragment()

    def _take(self, length: int) -> memoryview | None:
        """Exactly `length` bytes: a slice of what was fed, or put together from several feeds."""
        available = len(self._view) - self._at
        if not self._partial and available >= length:
            taken = self._view[self._at : self._at + length]
            self._at += length
            return taken
        missing = length - len(self._partial)
        self._partial += self._view[self._at : self._at + missing]
        self._at += min(missing, available)
        if available < missing:
            return None
        taken = memoryview(bytes(self._partial))
        self._partial = bytearray()
        return taken

    def _next_pdu(self) -> Pdu | None:
        if self._body is None:
            header = self._take(6)
            if header is None:
                return None
            kind, length = self._check(*_HEADER.unpack(header))
            if kind is PduType.P_DATA:
                self._pdu_left = length
                return Pdu(kind, _EMPTY)
            self._body = kind, length
        kind, length = self._body
        body = self._take(length)
        if body is None:
            return None
        self._body = None
        return Pdu(kind, body)

    def _check(self, number: int, length: int) -> tuple[PduType, int]:
        kind = _TYPES.get(number)
        if kind is None:
            what = "it speaks TLS, and this way is in clear" if number in _TLS else "unrecognized PDU type"
            raise Malformed(AbortReason.UNRECOGNIZED_PDU, what)
        if kind is PduType.P_DATA:
            possible = 6 <= length <= self.max_pdu
        elif kind in _SHORT:
            possible = length == 4
        else:
            possible = length <= MAX_ASSOCIATE
        if not possible:
            raise Malformed(AbortReason.INVALID_PARAMETER, "impossible PDU length")
        return kind, length

    def _open_pdv(self) -> bool:
        if self._pdu_left < 6:
            raise Malformed(AbortReason.INVALID_PARAMETER, "a P-DATA-TF PDU has bytes left over")
        header = self._take(6)
        if header is None:
            return False
        length, context_id, control = _PDV_HEADER.unpack(header)
        if length < 2 or length + 4 > self._pdu_left:
            raise Malformed(AbortReason.INVALID_PARAMETER, "a PDV is longer than its PDU or shorter than its header")
        self._pdu_left -= length + 4
        self._pdv = context_id, bool(control & 1), bool(control & 2)
        self._pdv_left = length - 2
        return True

    def _fragment(self) -> Pdv | None:
        """As much of the open PDV as is there; an empty PDV counts too."""
        assert self._pdv is not None
        taken = min(len(self._view) - self._at, self._pdv_left)
        if taken == 0 and self._pdv_left:
            return None
        data = self._view[self._at : self._at + taken]
        self._at += taken
        self._pdv_left -= taken
        context_id, command, last = self._pdv
        if self._pdv_left:
            return Pdv(context_id, command, False, data)
        self._pdv = None
        return Pdv(context_id, command, last, data)
