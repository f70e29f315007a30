"""What people do with withheld originals: export, release, discard. Each is an audit record in the journal.

The record is durable before the original is handed out, and in the same transaction as its new fate.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import count
from typing import Any

import structlog

from dicomnode import keep, large
from dicomnode.completion import Completion
from dicomnode.deidentify.part10 import file_head
from dicomnode.errors import PermanentError
from dicomnode.intake import Intake
from dicomnode.keep import Kept
from dicomnode.model import EXPLANATIONS, FAILING, Doubt, Event, Fate, Reason, Received, Withheld
from dicomnode.reporting import Reporter, unknown_command
from dicomnode.ways import Way

log = structlog.get_logger()

KEEP = "keep"
OTHERS = {KEEP: Fate.DISCARDED, "send": Fate.DISCARDED_ALONE, "delete": Fate.DISCARDED_WITH_OTHERS}
"""What a person can make of those that a discarded original keeps back."""

Opened = tuple[Withheld, Received, Iterator[bytes]]


class Custody:
    """Carries out `quarantine` commands; an instance has one turn for these and for its arrival."""

    def __init__(self, ways: Mapping[str, Way], intake: Intake, completion: Completion, whole: int) -> None:
        self._ways = ways
        self._intake = intake
        self._completion = completion
        self._journal = intake.storage.journal
        self._quarantine = intake.storage.quarantine
        self._whole = whole
        self._numbers = count(-1, -1)  # associations that never were

    async def command(self, request: Mapping[str, object], report: Reporter) -> int:
        """Do what is asked with one original; 0 when it was done. Raises DicomnodeError."""
        do, others = str(request.get("do")), request.get("others")
        work = {"export": self._export, "release": self._release}.get(do)
        fate = OTHERS.get(str(others or KEEP)) if do == "discard" else None
        if work is None and fate is None:
            raise unknown_command()
        again = bool(others) and fate is not None
        record = await asyncio.to_thread(self._find, str(request.get("id", "")), request.get("project"), again)
        return await (work(record, report) if work else self._discard(record, report, fate or Fate.DISCARDED))

    def _find(self, begins: str, project: object, again: bool) -> Withheld:
        """The one that begins so; `again` also of those discarded before, of which the others are decided about."""
        project = None if project is None else str(project)
        waiting = self._journal.withheld_list(project=project)
        if again:
            waiting += [w for w, fate, _ in self._journal.ended_list(project) if fate is Fate.DISCARDED]
        found = [w for w in waiting if w.project in self._ways and begins and w.quarantine.startswith(begins)]
        if len(found) != 1:
            what = "several withheld originals begin so" if found else "no such withheld original waits"
            raise PermanentError(what, "dicomnode quarantine list shows the ids")
        return found[0]

    def _open(self, record: Withheld) -> Opened:
        try:
            return self._quarantine.read(record.project, record.quarantine)
        except KeyError:
            raise PermanentError(
                "the sealed file of this original is missing", "restore it from the backup, or discard the record"
            ) from None

    async def _export(self, record: Withheld, report: Reporter) -> int:
        _, received, chunks = await asyncio.to_thread(self._open, record)
        await self._audit(_event("quarantine-exported", record, report.user))
        report({"data": _text(part10_head(received))})
        while chunk := await asyncio.to_thread(next, chunks, b""):
            report({"data": _text(chunk)})
            await report.drain()
        return 0

    async def _discard(self, record: Withheld, report: Reporter, fate: Fate) -> int:
        """Delete an original; `fate` says what becomes of the others of its series or study that it keeps back."""
        key = (record.project, record.study_key)
        if fate is not Fate.DISCARDED and record.reason not in FAILING:
            raise PermanentError(f"an original withheld for {record.reason} keeps no others back", "leave out --others")
        async with self._intake.turn(record.project, record.instance_key):
            await self._end(record, fate, report)
        if fate is Fate.DISCARDED_ALONE:
            self._completion.arrived(key, None)
        elif fate is Fate.DISCARDED_WITH_OTHERS:
            self._completion.may_delete(key)
        return 0

    async def _release(self, record: Withheld, report: Reporter) -> int:
        way = self._ways[record.project]
        async with self._intake.turn(record.project, record.instance_key):
            self._intake.check_ready()
            try:
                await self._take(way, record)
            except Doubt as doubt:
                facts = {"reason": str(doubt.reason), "where": doubt.where}
                await self._audit(_event("quarantine-kept", record, report.user, **facts))
                report({"event": "kept", **facts, "explanation": EXPLANATIONS[doubt.reason]})
                return 1
            await self._end(record, Fate.RELEASED, report)
        return 0

    async def release_known(self, project: str, report: Reporter) -> int:
        """Let go on what was withheld because its patient was unknown and is known now; how many that were."""
        waiting = await asyncio.to_thread(self._journal.withheld_list, project=project)
        released = 0
        for record in [each for each in waiting if each.reason is Reason.UNKNOWN_PATIENT]:
            async with self._intake.turn(project, record.instance_key):
                try:
                    await self._take(self._ways[project], record)
                except Doubt as doubt:
                    if doubt.reason is not Reason.UNKNOWN_PATIENT:
                        facts = {"reason": str(doubt.reason), "where": doubt.where}
                        await self._audit(_event("quarantine-kept", record, report.user, **facts))
                    continue
                await self._end(record, Fate.RELEASED, report)
                released += 1
        return released

    async def _take(self, way: Way, record: Withheld) -> None:
        """Today's rules over the original, then the normal way. Raises Doubt, CannotKeep, SealBroken."""
        _, received, chunks = await asyncio.to_thread(self._open, record)
        received = replace(received, origin=replace(received.origin, association=next(self._numbers)))
        clean: Callable[..., Kept | None] = self._clean_whole if record.length <= self._whole else self._clean_stream
        try:
            kept = await asyncio.to_thread(clean, way, received, record.instance_key, chunks)
            if kept is not None:
                self._intake.note_kept(kept, received)
        finally:
            self._intake.closed(received.origin, "released")

    def _clean_whole(self, way: Way, received: Received, key: str, chunks: Iterator[bytes]) -> Kept | None:
        data = bytearray().join(chunks)
        try:
            cleaned = way.deidentifier.clean(received, data)
        except Doubt:
            raise
        except Exception as error:  # noqa: BLE001 - promise 3: whatever happens, the instance stays withheld
            raise keep.internal(error) from None
        digest, _ = keep.digests(way, cleaned)
        if self._intake.is_duplicate(way, key, cleaned.originals, digest):
            return None
        self._intake.check_owner(way, cleaned)
        record = keep.record(way, received, cleaned, time.time())
        return keep.keep(self._intake.leases, received.origin.association, record)

    def _clean_stream(self, way: Way, received: Received, key: str, chunks: Iterator[bytes]) -> Kept | None:
        writing = large.Writing(self._intake.leases, way, received)
        try:
            return large.clean(self._intake, way, key, writing, chunks)
        finally:
            writing.void()

    async def _end(self, record: Withheld, fate: Fate, report: Reporter) -> None:
        """The fate is durable before the sealed file goes: recovery deletes a file that was left."""
        event = _event(f"quarantine-{fate}", record, report.user)
        place = (record.project, record.quarantine)
        await asyncio.wrap_future(self._journal.end_withheld(*place, fate, event.at, event))
        _tell(event)
        await asyncio.to_thread(self._quarantine.delete, *place)
        report({"event": str(fate), "project": record.project, "study": record.study_key})

    async def _audit(self, event: Event) -> None:
        self._journal.event(event)
        await asyncio.wrap_future(self._journal.flush())
        _tell(event)


def _event(name: str, record: Withheld, user: str, **facts: Any) -> Event:
    told = {
        "user": user,
        "instance": record.instance_key,
        "quarantine": record.quarantine,
        "reason": str(record.reason),
    }
    return Event(name, time.time(), record.project, record.study_key, told | facts)


def _tell(event: Event) -> None:
    log.warning(event.name, project=event.project, study=event.study_key, **event.facts)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def part10_head(received: Received) -> bytes:
    """File meta as the C-STORE command had it; characters that a UID cannot have become question marks."""
    uids = (received.sop_class, received.sop_uid, received.transfer_syntax)
    return file_head(*(uid.encode("ascii", "replace").decode() for uid in uids))
