"""What the storage SCP needs from the node, and the limits it keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from dicomnode.model import Buffer, Origin, Received


@dataclass(frozen=True)
class Rejection:
    """An A-ASSOCIATE-RJ (PS3.8 9.3.4) and, for the log, why; `why` holds no identified value."""

    result: int
    source: int
    reason: int
    why: str


CALLING_NOT_RECOGNIZED = (1, 1, 3)
CALLED_NOT_RECOGNIZED = (1, 1, 7)
FOREIGN_ADDRESS = (1, 1, 1)


@dataclass(frozen=True)
class Limits:
    """Caps and deadlines of the SCP; times in seconds, sizes in bytes.

    `idle` is between messages, `stall` without progress inside one, `answer` for the service to store an instance;
    `whole` is the largest instance held whole, `pdu` the largest PDU announced and accepted.
    """

    associations: int = 64
    per_address: int = 32
    pdu: int = 1 << 20
    handshake: float = 10
    idle: float = 60
    stall: float = 30
    whole: int = 8 << 20
    answer: float = 300


class Room(Protocol):
    """The memory that instances may take while they are received and kept, in bytes."""

    def take(self, count: int) -> bool:
        """Take so many bytes if they are free now."""

    def grow(self, count: int) -> bool:
        """Take more for an instance that has some, if enough stays free for those that begin."""

    async def wait(self, count: int) -> None:
        """Take them as soon as they are free; the wait is the back-pressure."""

    def give(self, count: int) -> None:
        """Give them back."""


class Boundless:
    """As much memory as anybody wants."""

    def take(self, count: int) -> bool:
        """Always."""
        return True

    def grow(self, count: int) -> bool:
        """Always."""
        return True

    async def wait(self, count: int) -> None:
        """Never."""

    def give(self, count: int) -> None:
        """Nothing to be done."""


class InstanceStream(Protocol):
    """Takes an instance larger than `Limits.whole`."""

    async def write(self, chunk: Buffer) -> None:
        """The next bytes of the data set, valid until this returns; the wait is the back-pressure."""

    async def finish(self) -> int:
        """The data set is whole; returns the C-STORE status."""

    async def abandon(self) -> None:
        """The rest will never come."""


class Service(Protocol):
    """What the node does with associations and instances; everything is called on the event loop."""

    def admit(self, calling: str, called: str, address: str, certificate: bytes | None) -> Origin | Rejection:
        """Who that is, or how the association is to be refused; `certificate` (DER) is what was shown over TLS."""

    def opened(self, origin: Origin) -> None:
        """The association was accepted."""

    async def store(self, received: Received, data: bytearray) -> int:
        """Keep a whole data set, which is the service's own from now on; returns the C-STORE status.

        It is begun outside of a task (`prompt.begin`).
        """

    async def stream(self, received: Received) -> InstanceStream:
        """Begin to keep an instance that is larger than `Limits.whole`."""

    def echoed(self, origin: Origin) -> None:
        """C-ECHO was asked on the association: it brings nothing now."""

    def closed(self, origin: Origin, how: str) -> None:
        """The association ended: released, aborted, lost, timeout or protocol-error. Nothing of it is under way."""
