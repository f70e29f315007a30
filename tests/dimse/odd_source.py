"""pynetdicom as a source whose handlers the test writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from keeper import peer
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from dicomnode.dimse.syntaxes import FIND, MOVE
from dicomnode.model import Peer


@contextmanager
def archive(port: int, **handlers: Callable[..., object]) -> Iterator[Peer]:
    """pynetdicom as a source whose handlers the test writes: find=, move=, echo=."""
    ae = AE("STAGING")
    for uid in (FIND, MOVE, "1.2.840.10008.1.1"):
        ae.add_supported_context(uid)
    names = {"find": evt.EVT_C_FIND, "move": evt.EVT_C_MOVE, "echo": evt.EVT_C_ECHO}
    server = ae.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=[(names[name], handler) for name, handler in handlers.items()]
    )
    try:
        yield peer(port, "STAGING")
    finally:
        server.shutdown()


def match(**values: object) -> Dataset:
    data_set = Dataset()
    for keyword, value in values.items():
        setattr(data_set, keyword, value)
    return data_set
