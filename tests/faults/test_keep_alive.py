"""A sender that keeps its association open: what it has sent goes on all the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import images
import synthetic
from machine import Machine
from peers.dcmtk import Storescp

from dicomnode.dimse.sender import Sender
from dicomnode.dimse.syntaxes import IMPLICIT_LITTLE, VERIFICATION
from dicomnode.model import Peer


async def test_an_association_that_only_echoes_holds_no_study(
    machine: Callable[..., Awaitable[Machine]], storescp: Callable[..., Storescp]
) -> None:
    node = await machine(research=storescp().port)
    part10 = next(synthetic.series(1))
    header, (syntax, data) = images.parse(part10), images.split(part10)
    sop_class = str(header.SOPClassUID)
    contexts = [(VERIFICATION, IMPLICIT_LITTLE), (sop_class, syntax)]
    sender = await Sender.connect(Peer("node", "DICOMNODE", "127.0.0.1", node.node.port, ()), "STAGING", contexts)
    assert await sender.store(sop_class, str(header.SOPInstanceUID), syntax, [data]) == 0
    assert await sender.echo() == 0
    await node.settled(1, 5)
    assert not sender.ended
    await sender.release()
