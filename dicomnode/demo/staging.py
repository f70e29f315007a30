"""The embedded staging PACS: answers C-ECHO, C-FIND and C-MOVE, and pushes a study; built on pynetdicom alone."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, evt
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)
from pynetdicom.transport import ThreadedAssociationServer

from dicomnode.errors import PeerUnreachable

HOST = "127.0.0.1"
PENDING, SUCCESS = 0xFF00, 0x0000
UNIQUE = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
LEVELS = tuple(UNIQUE)
PAUSE = 0.004  # seconds


def listen(ae: AE, handlers: list[Any]) -> tuple[ThreadedAssociationServer, int]:
    """Start a server on a free loopback port; returns it with the port."""
    server = ae.start_server((HOST, 0), block=False, evt_handlers=handlers)
    if server is None or server.socket is None:
        raise PeerUnreachable("an embedded PACS could not listen on the loopback interface")
    return server, int(server.socket.getsockname()[1])


def _let_reactor_rest(event: Any) -> None:
    """pynetdicom's own reactor can take a C-STORE response that comes before it has paused: give it that time."""
    if isinstance(event.message, C_STORE_RQ):
        time.sleep(PAUSE)


class StagingPACS:
    """Holds data sets in memory; `destinations` are AE title -> port on the loopback interface."""

    def __init__(self, ae_title: str, data_sets: Iterable[Dataset], destinations: dict[str, int]) -> None:
        self.data_sets = list(data_sets)
        self._destinations = destinations
        self._ae = AE(ae_title)
        self._ae.acse_timeout = self._ae.dimse_timeout = self._ae.network_timeout = 60
        for sop_class in (
            Verification,
            StudyRootQueryRetrieveInformationModelFind,
            StudyRootQueryRetrieveInformationModelMove,
        ):
            self._ae.add_supported_context(sop_class)
        handlers = [(evt.EVT_C_FIND, self._find), (evt.EVT_C_MOVE, self._move)]
        self._server, self.port = listen(self._ae, handlers)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()

    def _matching(self, query: Dataset) -> list[Dataset]:
        found = self.data_sets
        for keyword in UNIQUE.values():
            wanted = query.get(keyword)
            if wanted:
                uids = {str(wanted)} if isinstance(wanted, str) else {str(uid) for uid in wanted}
                found = [data_set for data_set in found if str(data_set.get(keyword)) in uids]
        return found

    def _find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        query = event.identifier
        level = str(query.QueryRetrieveLevel)
        unique = UNIQUE[level]
        found = self._matching(query)
        for uid in dict.fromkeys(str(data_set[unique].value) for data_set in found):
            group = [data_set for data_set in found if str(data_set[unique].value) == uid]
            yield PENDING, _answer(query, level, group)

    def _move(self, event: Any) -> Iterator[Any]:
        port = self._destinations.get(str(event.move_destination).strip())
        if port is None:
            yield None, None
            return
        found = self._matching(event.identifier)
        yield HOST, port, {"contexts": contexts(found), "evt_handlers": [(evt.EVT_DIMSE_SENT, _let_reactor_rest)]}
        yield len(found)
        for data_set in found:
            yield PENDING, data_set

    def push(self, called: str, data_sets: list[Dataset]) -> list[int]:
        """C-STORE the data sets to a destination; returns the statuses (-1: no answer). Raises PeerUnreachable."""
        handlers = [(evt.EVT_DIMSE_SENT, _let_reactor_rest)]
        association = self._ae.associate(
            HOST,
            self._destinations[called],
            contexts(data_sets),
            ae_title=called,
            evt_handlers=handlers,  # type: ignore[arg-type]
        )
        if not association.is_established:
            raise PeerUnreachable(f"{called} did not accept the association of the demo's staging PACS")
        try:
            return [int(association.send_c_store(each).get("Status", -1)) for each in data_sets]
        finally:
            association.release()


def contexts(data_sets: list[Dataset]) -> list[PresentationContext]:
    """One presentation context per (SOP class, transfer syntax)."""
    pairs = {(str(each.SOPClassUID), str(each.file_meta.TransferSyntaxUID)) for each in data_sets}
    return [build_context(sop_class, syntax) for sop_class, syntax in sorted(pairs)]


def _answer(query: Dataset, level: str, group: list[Dataset]) -> Dataset:
    answer = Dataset()
    for element in query:
        known = element.keyword in group[0] and element.keyword != "QueryRetrieveLevel"
        setattr(answer, element.keyword, group[0][element.keyword].value if known else None)
    answer.QueryRetrieveLevel = level
    counts = {"STUDY": "NumberOfStudyRelatedInstances", "SERIES": "NumberOfSeriesRelatedInstances"}
    if level in counts:
        setattr(answer, counts[level], len(group))
    if level == "STUDY":
        answer.ModalitiesInStudy = sorted({str(each.get("Modality", "OT") or "OT") for each in group})
    return answer
