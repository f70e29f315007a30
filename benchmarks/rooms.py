"""The rooms of a node, to be called one by one in this process."""

from __future__ import annotations

from pathlib import Path

from dicomnode import keep
from dicomnode.deidentify import Deidentifier, load
from dicomnode.keys import ProjectKeys
from dicomnode.model import Origin
from dicomnode.outbox import Outbox
from dicomnode.store.identity import IdentityBook
from dicomnode.store.journal import Journal
from dicomnode.studies import Verify
from dicomnode.upper_layer import (
    AnsweredContext,
    AssociateAccept,
    AssociateRequest,
    Connection,
    ProposedContext,
    Role,
    store_request,
)
from dicomnode.ways import Way

ROOT = Path(__file__).resolve().parents[1]
ORIGIN = Origin("default", "staging", "STAGING", "DICOMNODE", "127.0.0.1", 1)
PDU = 128 << 10  # what DCMTK sends at most


class Rooms:
    """The rooms of a node on a directory of their own."""

    def __init__(self, folder: Path) -> None:
        self.keys = ProjectKeys.derive(bytes(32))
        self.plan = load(ROOT / "rules" / "basic.yaml")
        self.outbox = Outbox(folder / "outbox", {"default": self.keys})
        self.book = IdentityBook.open(folder / "identity.db")
        self.journal = Journal.open(folder / "journal.db", self.book)
        self.leases = keep.Leases(self.outbox, {1})

    def way(self) -> Way:
        """The project, with an engine that has seen no series yet."""
        engine = Deidentifier(self.plan, self.keys)
        return Way(
            project="default",
            ae_title="DICOMNODE",
            keys=self.keys,
            deidentifier=engine,
            rules_digest="0" * 32,
            source=None,
            destinations=("research",),
            quiet=1.0,
            verify=Verify.QUIET,
            patience=1.0,
            incomplete_go=False,
            asked=frozenset(),
        )

    def close(self) -> None:
        """Commit and close."""
        self.leases.give_back(1)
        self.journal.close()
        self.book.close()
        self.outbox.close()


def associated(sop_class: str, syntax: str) -> tuple[Connection, Connection]:
    """A requestor and an acceptor that have agreed on one presentation context."""
    calling, called = Connection(Role.REQUESTOR, PDU), Connection(Role.ACCEPTOR, PDU)
    calling.request(AssociateRequest("DICOMNODE", "STAGING", (ProposedContext(1, sop_class, (syntax,)),), PDU))
    assert isinstance(_passed(calling, called), AssociateRequest)
    called.accept(AssociateAccept("DICOMNODE", "STAGING", (AnsweredContext(1, 0, syntax),), PDU))
    assert isinstance(_passed(called, calling), AssociateAccept)
    return calling, called


def _passed(giver: Connection, taker: Connection) -> object:
    taker.receive(memoryview(b"".join(bytes(part) for part in giver.output())))
    event = taker.next_event()
    assert taker.next_event() is None
    return event


def message_of(calling: Connection, sop_class: str, sop_uid: str, data_set: bytes) -> bytes:
    """A C-STORE request as it comes over the network."""
    batches = calling.send(1, store_request(1, sop_class, sop_uid), [data_set])
    return b"".join(bytes(buffer) for batch in batches for buffer in batch)
