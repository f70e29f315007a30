"""A sender that sends data sets byte for byte as they lie in the file, however broken they are."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import images

from dicomnode.dimse.sender import Sender
from dicomnode.model import Peer
from peers.process import HOST


def store(port: int, files: Sequence[bytes], *, called: str = "DICOMNODE", calling: str = "STAGING") -> list[int]:
    """C-STORE Part 10 files over one association; returns the statuses."""
    peer = Peer("node", called, HOST, port, ())
    return asyncio.run(_store(peer, calling, files))


async def _store(peer: Peer, calling: str, files: Sequence[bytes]) -> list[int]:
    messages = []
    for part10 in files:
        syntax, data_set = images.split(part10)
        header = images.header(part10)
        messages.append((str(header.SOPClassUID), str(header.SOPInstanceUID), syntax, data_set))
    contexts = list(dict.fromkeys((sop_class, syntax) for sop_class, _, syntax, _ in messages))
    sender = await Sender.connect(peer, calling, contexts)
    statuses = [await sender.store(*message[:3], [message[3]]) for message in messages]
    await sender.release()
    return statuses
