"""The embedded research PACS: a Storage SCP that keeps what it gets byte for byte; built on pynetdicom alone."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import AllTransferSyntaxes
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from dicomnode.demo.staging import listen


class ResearchPACS:
    """`received` is SOP Instance UID -> (transfer syntax, data set bytes); Part 10 files lie in `folder`."""

    def __init__(self, ae_title: str, folder: Path) -> None:
        self.received: dict[str, tuple[str, bytes]] = {}
        self.copies = 0
        self._folder = folder
        self._lock = Lock()
        folder.mkdir()
        self._ae = AE(ae_title)
        self._ae.maximum_pdu_size = 1 << 18
        self._ae.add_supported_context(Verification)
        for context in AllStoragePresentationContexts:
            self._ae.add_supported_context(str(context.abstract_syntax), list(AllTransferSyntaxes))
        handlers = [(evt.EVT_C_STORE, self._store)]
        self._server, self.port = listen(self._ae, handlers)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()

    def _store(self, event: Any) -> int:
        request = event.request
        data = request.DataSet.getvalue()
        syntax = str(event.context.transfer_syntax)
        with self._lock:
            self.received[str(request.AffectedSOPInstanceUID)] = (syntax, data)
            self.copies += 1
        meta = DicomBytesIO()
        write_file_meta_info(meta, event.file_meta)
        name = f"{request.AffectedSOPInstanceUID}.dcm"
        (self._folder / name).write_bytes(b"\0" * 128 + b"DICM" + meta.getvalue() + data)
        return 0x0000
