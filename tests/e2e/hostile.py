"""A caller that says exactly what it is told to a running node, and what the node's process uses meanwhile."""

from __future__ import annotations

import socket
from pathlib import Path
from types import TracebackType
from typing import Self

import images
from peers.process import HOST
from peers.scripted import read_pdu
from pydicom.dataset import Dataset

from dicomnode.upper_layer import AssociateRequest, ProposedContext, store_request
from dicomnode.upper_layer.commands import decode_command
from dicomnode.upper_layer.messages import p_data
from dicomnode.upper_layer.pdus import encode_request

EXPLICIT = "1.2.840.10008.1.2.1"
VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
CONTEXTS = (
    ProposedContext(1, CT, (EXPLICIT,)),
    ProposedContext(3, VERIFICATION, (EXPLICIT,)),
    ProposedContext(5, ENHANCED_CT, (EXPLICIT,)),
)


def hello(contexts: tuple[ProposedContext, ...] = CONTEXTS, calling: str = "STAGING") -> bytes:
    """An A-ASSOCIATE-RQ."""
    return encode_request(AssociateRequest("DICOMNODE", calling, contexts, 1 << 16))


def message(
    number: int, data: bytes, sop_uid: str, *, sop_class: str = CT, context: int = 1, max_pdu: int = 1 << 16
) -> bytes:
    """A C-STORE-RQ with its data set."""
    command = store_request(number, sop_class, sop_uid)
    return b"".join(bytes(part) for batch in p_data(context, command, [data], max_pdu) for part in batch)


def stored(number: int, data_set: Dataset, **arguments: object) -> bytes:
    """A C-STORE-RQ of an instance in Explicit VR Little Endian."""
    return message(number, images.encode(data_set, EXPLICIT), str(data_set.SOPInstanceUID), **arguments)  # type: ignore[arg-type]


class Caller:
    """One connection; every read has a deadline."""

    def __init__(self, port: int, *said: bytes, seconds: float = 20) -> None:
        self.socket = socket.create_connection((HOST, port), seconds)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.say(*said)

    def say(self, *said: bytes) -> None:
        """Send; a node that has had enough closes, which is not for here."""
        try:
            for data in said:
                self.socket.sendall(data)
        except OSError:
            return

    def associate(self, *contexts: ProposedContext) -> Self:
        """Open an association."""
        self.say(hello(contexts or CONTEXTS))
        assert self.pdu()[0] == 2
        return self

    def pdu(self) -> bytes:
        """The next PDU."""
        return read_pdu(self.socket)

    def status(self) -> int:
        """The status of the next response."""
        return decode_command(1, self.pdu()[12:]).status

    def ended(self) -> bytes:
        """What comes until the node aborts or closes; an abort that resets the connection counts."""
        found = b""
        try:
            while not found[-10:].startswith(b"\7\0\0\0\0\4") and (part := self.socket.recv(65536)):
                found += part
        except ConnectionError:
            pass
        return found

    def close(self) -> None:
        """Close."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None):
        self.close()


def usage(pid: int) -> dict[str, int]:
    """What a process uses: memory in KiB, threads, descriptors."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return {"memory": int(lines["VmRSS"].split()[0]), "threads": int(lines["Threads"]), "descriptors": descriptors}
