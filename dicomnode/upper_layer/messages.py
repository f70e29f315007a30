"""DIMSE messages as PDVs (PS3.7 section 6.3, PS3.8 Annex E): put together on arrival, split for sending."""

from __future__ import annotations

import struct
from collections.abc import Container, Iterable, Iterator
from typing import NamedTuple

from dicomnode.model import Buffer
from dicomnode.upper_layer.commands import MAX_COMMAND_SET, Command, decode_command
from dicomnode.upper_layer.pdus import AbortReason, Malformed, PduType
from dicomnode.upper_layer.reader import Pdv

LARGEST_SENT = 1 << 20
MOST_BUFFERS = 512  # of a batch, or one more

_BATCH_BYTES = 1 << 20
_HEADERS = struct.Struct(">BxIIBB")


class DataSet(NamedTuple):
    """A piece of the data set that belongs to the last `Command`; `data` is valid until the next event."""

    context_id: int
    data: memoryview
    last: bool


class Assembler:
    """Turns PDVs into commands and pieces of data sets. One message at a time, each on one context."""

    def __init__(self) -> None:
        self._command = bytearray()
        self._context: int | None = None
        self._in_data_set = False

    @property
    def between_messages(self) -> bool:
        """Whether every message begun has ended."""
        return self._context is None

    def feed(self, pdv: Pdv, contexts: Container[int]) -> Command | DataSet | None:
        """The command when `pdv` completes one, a piece of data set, or None. Raises Malformed."""
        if self._in_data_set and not pdv.command and pdv.context_id == self._context:
            return self._data_set(pdv)
        if self._in_data_set or not pdv.command or self._context not in (None, pdv.context_id):
            raise Malformed(AbortReason.UNEXPECTED_PARAMETER, "a fragment does not belong to the message begun")
        if pdv.context_id not in contexts:
            raise Malformed(AbortReason.INVALID_PARAMETER, "a presentation context that was not accepted is used")
        return self._command_set(pdv)

    def _data_set(self, pdv: Pdv) -> DataSet:
        if pdv.last:
            self._context, self._in_data_set = None, False
        return DataSet(pdv.context_id, pdv.data, pdv.last)

    def _command_set(self, pdv: Pdv) -> Command | None:
        self._context = pdv.context_id
        if len(self._command) + len(pdv.data) > MAX_COMMAND_SET:
            raise Malformed(AbortReason.INVALID_PARAMETER, "the command set is longer than any can be")
        self._command += pdv.data
        if not pdv.last:
            return None
        raw, self._command = self._command, bytearray()
        command = decode_command(pdv.context_id, raw)
        if command.has_data_set:
            self._in_data_set = True
        else:
            self._context = None
        return command


def _fragment_size(max_pdu: int) -> int:
    """The largest even fragment for a peer that takes PDUs of `max_pdu` bytes, 0 being unlimited."""
    return (min(max_pdu or LARGEST_SENT, LARGEST_SENT) - 6) & ~1


def _fragments(context_id: int, command: int, parts: Iterable[Buffer], left: int, size: int) -> Iterator[Buffer]:
    """P-DATA-TF PDUs of one PDV each: headers, and slices of `parts` (`left` bytes in all) between them."""
    views = (memoryview(part) for part in parts)
    view = memoryview(b"")
    first = True
    while left or first:
        first = False
        room = min(size, left)
        left -= room
        control = command if left else command | 2
        yield _HEADERS.pack(PduType.P_DATA, room + 6, room + 2, context_id, control)
        while room:
            while not view:
                view = next(views)
            piece = view[:room]
            view = view[room:]
            room -= len(piece)
            yield piece


def p_data(
    context_id: int, command: bytes, data_set: Iterable[Buffer] | None, max_pdu: int, length: int | None = None
) -> Iterator[list[Buffer]]:
    """A message as P-DATA-TF PDUs, in batches for gathered writes of at most about 1 MiB and 513 buffers.

    Nothing of the data set is copied: the buffers must not change until they are written. With its `length` in bytes
    it may be an iterator, which is asked for each buffer when its batch is.
    """
    size = _fragment_size(max_pdu)
    batch: list[Buffer] = list(_fragments(context_id, 1, [command], len(command), size))
    if length is None:
        data_set = None if data_set is None else list(data_set)
        length = sum(map(len, data_set or ()))
    written = 0
    for buffer in _fragments(context_id, 0, data_set, length, size) if data_set is not None else ():
        batch.append(buffer)
        written += len(buffer)
        if written >= _BATCH_BYTES or len(batch) > MOST_BUFFERS:
            yield batch
            batch, written = [], 0
    if batch:
        yield batch
