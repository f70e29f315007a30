"""The obvious gateway on pynetdicom and dicom-anonymizer: receive, anonymise, send on. `programs.py` starts it.

Arguments: its port, the port of the destination. It takes every storage class in every transfer syntax, decodes with
`event.dataset`, calls dicom-anonymizer with its defaults, and sends each instance on before it answers, over one
association to the destination for each association that it takes.
"""

from __future__ import annotations

import logging
import sys
import warnings
from typing import Any

from dicomanonymizer.simpledicomanonymizer import anonymize_dataset
from pydicom.uid import AllTransferSyntaxes
from pynetdicom import AE, StoragePresentationContexts, evt


class Gateway:
    """What it does with its two sides."""

    def __init__(self, destination: int) -> None:
        self.destination = destination
        self.senders: dict[Any, Any] = {}

    def sender(self, association: Any) -> Any:
        """The association to the destination that belongs to one that was taken."""
        there = self.senders.get(association)
        if there is None or not there.is_established:
            entity = AE("OBVIOUS")
            for context in association.accepted_contexts:
                if context.abstract_syntax != "1.2.840.10008.1.1":
                    entity.add_requested_context(context.abstract_syntax, context.transfer_syntax[0])
            there = self.senders[association] = entity.associate("127.0.0.1", self.destination, ae_title="RESEARCH")
        return there

    def store(self, event: Any) -> int:
        """Anonymise and send on; the status to answer."""
        data_set = event.dataset
        data_set.file_meta = event.file_meta
        anonymize_dataset(data_set, delete_private_tags=True)
        answer = self.sender(event.assoc).send_c_store(data_set)
        return answer.Status if "Status" in answer else 0xA700

    def ended(self, event: Any) -> None:
        """Its association to the destination ends with it."""
        there = self.senders.pop(event.assoc, None)
        if there is not None and there.is_established:
            there.release()


def main(port: int, destination: int) -> None:
    """Serve until it is ended."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    gateway, entity = Gateway(destination), AE("OBVIOUS")
    entity.maximum_associations = 100
    for context in StoragePresentationContexts:
        entity.add_supported_context(context.abstract_syntax, AllTransferSyntaxes)
    entity.add_supported_context("1.2.840.10008.1.1")
    ended = [(kind, gateway.ended) for kind in (evt.EVT_RELEASED, evt.EVT_ABORTED, evt.EVT_CONN_CLOSE)]
    entity.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, gateway.store), *ended])


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
