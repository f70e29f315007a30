"""A source or research PACS whose C-FIND and C-MOVE do what the test says, over real associations (pynetdicom)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Self

import images
from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from peers.process import HOST, free_port

KEYS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
LEVELS = {"STUDY": 1, "SERIES": 2, "IMAGE": 3}
COUNTS = {"STUDY": "NumberOfStudyRelatedInstances", "SERIES": "NumberOfSeriesRelatedInstances"}


class Archive:
    """Holds Part 10 files; `destinations` are AE title -> port.

    `hides` are numbers of instances that it lists and never sends, `unlisted` of those that it has and does not list
    though its count of the study has them; `levels` are those that C-FIND answers, others with
    0xA900; `find` is the status of every C-FIND, `move` what a C-MOVE does: "send" (with pending responses), "silent"
    (none, `pause` seconds before each instance), "abort" (after the first instance), or a final status.
    """

    def __init__(
        self,
        files: Iterable[bytes] = (),
        destinations: dict[str, int] | None = None,
        *,
        ae_title: str = "STAGING",
        port: int | None = None,
    ) -> None:
        self.ae_title, self.port = ae_title, port or free_port()
        self.held = [images.parse(part10) for part10 in files]
        self.destinations = destinations or {}
        self.hides: set[int] = set()
        self.unlisted: set[int] = set()
        self.levels = {"STUDY", "SERIES", "IMAGE"}
        self.find, self.move, self.pause = 0x0000, "send", 0.0
        self.counts = True
        self.calls_itself = ae_title
        self.extra: list[Dataset] = []  # what a "silent" C-MOVE pushes too
        self.forgets: list[int] = []  # how many of the first instances each store association loses, in order
        self.asked: list[str] = []
        self.moved: list[tuple[str, int]] = []
        self.received: list[Dataset] = []
        self._server: Any = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None):
        self.stop()

    def start(self) -> None:
        """Listen."""
        entity = AE(self.ae_title)
        for uid in (StudyRootQueryRetrieveInformationModelFind, StudyRootQueryRetrieveInformationModelMove):
            entity.add_supported_context(uid)
        entity.add_supported_context(Verification)
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(str(context.abstract_syntax), images.PLAIN_SYNTAXES)
        handlers = [(evt.EVT_C_FIND, self._find), (evt.EVT_C_MOVE, self._move), (evt.EVT_C_STORE, self._store)]
        self._server = entity.start_server((HOST, self.port), block=False, evt_handlers=handlers)

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def _store(self, event: Any) -> int:
        data_set = event.dataset
        if self.forgets and self.forgets[0] > 0:
            self.forgets[0] -= 1
            return 0x0000
        data_set.file_meta = event.file_meta
        known = {held.SOPInstanceUID for held in self.held}
        self.received.append(data_set)
        if data_set.SOPInstanceUID not in known:
            self.held.append(data_set)
        return 0x0000

    def _matching(self, keys: Dataset) -> list[Dataset]:
        def fits(data_set: Dataset) -> bool:
            for keyword in KEYS:
                value = keys.get(keyword)
                wanted = [value] if isinstance(value, str) else list(value or [])
                if any(wanted) and data_set.get(keyword) not in wanted:
                    return False
            return True

        return [data_set for data_set in self.held if fits(data_set)]

    def _find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        keys = event.identifier
        level = keys.QueryRetrieveLevel
        self.asked.append(level)
        if self.find or level not in self.levels:
            yield self.find or 0xA900, None
            return
        depth = LEVELS[level]
        groups: dict[tuple[str, ...], list[Dataset]] = {}
        unlisted = {str(self.held[number].SOPInstanceUID) for number in self.unlisted if depth > 1}
        for data_set in self._matching(keys):
            if str(data_set.SOPInstanceUID) in unlisted:
                continue
            groups.setdefault(tuple(str(data_set.get(k)) for k in KEYS[:depth]), []).append(data_set)
        for uids, members in groups.items():
            found = Dataset()
            found.QueryRetrieveLevel = level
            for keyword, uid in zip(KEYS, uids, strict=False):
                setattr(found, keyword, uid)
            if level in COUNTS and self.counts:
                setattr(found, COUNTS[level], str(len(members)))
            yield 0xFF00, found

    def _sent(self, keys: Dataset) -> list[Dataset]:
        hidden = {str(self.held[number].SOPInstanceUID) for number in self.hides}
        return [each for each in self._matching(keys) if str(each.SOPInstanceUID) not in hidden]

    def _move(self, event: Any) -> Iterator[Any]:
        keys = event.identifier
        sent, how = self._sent(keys), self.move
        self.moved.append((keys.QueryRetrieveLevel, len(sent)))
        port = self.destinations.get(event.move_destination.strip())
        if port is None:
            yield None, None
            return
        if how == "send":
            yield HOST, port, {"contexts": _contexts(sent)}
            yield len(sent)
            yield from ((0xFF00, data_set) for data_set in sent)
            return
        if how == "silent":
            self.push(port, [*sent, *self.extra])
        if how == "abort":
            self.push(port, sent[:1])
            event.assoc.abort()
        yield HOST, port, {"contexts": _contexts(sent) or _contexts(self.held)}
        yield 0 if how == "silent" else len(sent)
        if how not in ("silent", "abort"):
            yield int(how, 16), None

    def push(self, port: int, data_sets: Iterable[Dataset], called: str = "DICOMNODE") -> list[int]:
        """C-STORE them, `pause` seconds apart; the statuses."""
        wanted = list(data_sets)
        if not wanted:
            return []
        association = AE(self.calls_itself).associate(HOST, port, contexts=_contexts(wanted), ae_title=called)
        if not association.is_established:
            return []
        statuses = []
        for data_set in wanted:
            time.sleep(self.pause)
            statuses.append(association.send_c_store(data_set).Status)
        association.release()
        return statuses


def _contexts(data_sets: Iterable[Dataset]) -> Any:
    from pynetdicom import build_context

    kinds = {(str(each.SOPClassUID), str(each.file_meta.TransferSyntaxUID)) for each in data_sets}
    return [build_context(sop_class, syntax) for sop_class, syntax in sorted(kinds)]
