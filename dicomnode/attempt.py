"""One attempt to deliver a study: associations with the contexts that it needs, and the answer to each instance.

An instance that the destination takes only in another transfer syntax is transcoded on the way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import structlog

from dicomnode.cuts import Cuts
from dicomnode.dimse.sender import Patience as Deadlines
from dicomnode.dimse.sender import Sender
from dicomnode.dimse.status import Outcome, describe, outcome
from dicomnode.dimse.syntaxes import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from dicomnode.errors import CannotKeep, DicomnodeError, PeerRejected, PeerUnreachable, PermanentError, StoreDamaged
from dicomnode.loading import Loaded, Row, loaded
from dicomnode.model import Buffer, Event, Instance, Peer
from dicomnode.outbox import Outbox
from dicomnode.store.journal import Journal
from dicomnode.studies import Key
from dicomnode.tally import Departures
from dicomnode.transcode import CannotTranscode, Transcoder

log = structlog.get_logger()

MOST_CONTEXTS = 128
MOST_IN_A_ROW = 3  # refusals for the moment, after which the destination is left alone for now
NO_CONTEXT = 0x0122  # the status we record where the destination took no context for the instance

Context = tuple[str, str]


@dataclass(slots=True)
class Result:
    """What came of the attempt: `error` says why it has to be made again, `held` why a person is needed.

    `refused` and `unread` are the errors of single instances; in the last attempt for such they are final. `progress`
    says that the destination gave a final answer to an instance, `unreachable` that it cannot be reached now, and
    `instance` is the key of the one to which the error is due.
    """

    error: str = ""
    refused: str = ""
    unread: str = ""
    held: str = ""
    unreachable: bool = False
    rejected: bool = False
    progress: bool = False
    instance: str = ""
    last_chance: bool = False
    last_read: bool = False


def proposals(instance: Instance) -> tuple[Context, ...]:
    """The presentation contexts for an instance: its own transfer syntax, then those that it could be brought into."""
    syntaxes = dict.fromkeys((instance.transfer_syntax, EXPLICIT_LITTLE, IMPLICIT_LITTLE))
    return tuple((instance.sop_class, syntax) for syntax in syntaxes)


def split(rows: Iterable[Row], most: int = MOST_CONTEXTS) -> Iterator[tuple[list[Context], list[Row]]]:
    """Group instances so that each group needs at most `most` presentation contexts."""
    by_contexts: dict[tuple[Context, ...], list[Row]] = {}
    for row in rows:
        by_contexts.setdefault(proposals(row[0]), []).append(row)
    contexts: dict[Context, None] = {}
    group: list[Row] = []
    for wanted, those in sorted(by_contexts.items(), key=lambda item: item[0]):
        if group and len(contexts | dict.fromkeys(wanted)) > most:
            yield list(contexts), group
            contexts, group = {}, []
        contexts |= dict.fromkeys(wanted)
        group += those
    if group:
        yield list(contexts), group


class Attempt:
    """Sends what of a study has no answer yet; then `result` is there. `stopping` is asked after each instance."""

    def __init__(
        self,
        destination: Peer,
        key: Key,
        outbox: Outbox,
        journal: Journal,
        *,
        deadlines: Deadlines,
        departures: Departures,
        cuts: Cuts,
        most_cuts: int,
        stopping: Callable[[], bool],
        last_chance: bool,
        last_read: bool,
    ) -> None:
        self.result = Result(last_chance=last_chance, last_read=last_read)
        self._destination = destination
        self._key = key
        self._outbox = outbox
        self._journal = journal
        self._deadlines = deadlines
        self._departures = departures
        self._cuts = cuts
        self._most_cuts = most_cuts  # for which one instance may be to blame, after which it is held
        self._stopping = stopping
        self._in_a_row = 0

    async def run(self, calling: str, rows: Sequence[Row]) -> None:
        """Send until all is answered, or until something says to stop."""
        rest, cut = self._cuts.apart(self._key, rows)
        groups = [*split(rest), *((list(proposals(row[0])), [row]) for row in cut)]  # each that was cut is alone
        async with Transcoder() as transcoder:
            for contexts, group in groups:
                while group and not self._over:
                    group = await self._send_group(calling, contexts, group, transcoder)
                if self._over:
                    break
        self.result.error = self.result.error or self.result.refused or self.result.unread

    @property
    def _over(self) -> bool:
        return bool(self.result.error) or self._stopping()

    async def _send_group(
        self, calling: str, contexts: list[Context], group: list[Row], transcoder: Transcoder
    ) -> list[Row]:
        """Send on one association; what is left where a record that could not be read to its end has ended it."""
        result, done = self.result, 0
        try:
            sender = await Sender.connect(self._destination, calling, contexts, patience=self._deadlines)
        except (PeerUnreachable, PeerRejected) as error:
            result.error, result.unreachable = error.what, True
            result.rejected = isinstance(error, PeerRejected) and error.result == 1
            return []
        try:
            async with aclosing(loaded(self._outbox, group)) as records:
                async for record in records:
                    await self._send(sender, record, transcoder)
                    done += 1
                    if self._over or sender.ended:
                        break
            await sender.release()
        except PeerUnreachable as error:
            sender.abort()
            self._note_cut(group[done][0], error)
            done += 1
        except BaseException:
            sender.abort()
            raise
        return group[done:]

    def _note_cut(self, instance: Instance, error: PeerUnreachable) -> None:
        """No answer came: it is sent again, after all others. The one to blame for too many cuts is held."""
        result = self.result
        times = self._cuts.cut(self._key, instance.instance_key, progress=result.progress)
        if not times:
            result.error, result.unreachable = error.what, True
            return
        what = f"instance {instance.instance_key} alone ends each association on which it is sent: {error.what}"
        if times < self._most_cuts:
            result.error, result.instance = what, instance.instance_key
        else:
            hint = f"look into the log of {self._destination.name}, then dicomnode studies retry"
            self._hold(instance, PermanentError(what, hint))

    async def _send(self, sender: Sender, record: Loaded, transcoder: Transcoder) -> None:
        instance = record.instance
        syntax = next((syntax for _, syntax in proposals(instance) if sender.accepts(instance.sop_class, syntax)), None)
        if syntax is None:
            self._record(instance, NO_CONTEXT, ok=False)
            return
        try:
            if record.trouble is not None:
                raise record.trouble
            status = await self._store(sender, record, syntax, transcoder)
        except CannotTranscode as error:
            self._hold(instance, error)
        except StoreDamaged as error:
            self._lose(record, error)
        except CannotKeep as error:
            self._leave(record, error)
        else:
            self._judge(instance, status)

    async def _store(self, sender: Sender, record: Loaded, syntax: str, transcoder: Transcoder) -> int:
        instance, location = record.instance, record.location
        if syntax == instance.transfer_syntax:
            length = location.data_length - location.data_set_offset
            data_set: Iterable[Buffer] = record.pieces(location.data_set_offset)
        else:
            transcoded = await transcoder.transcode(record.pieces(), location.data_length, syntax)
            length, data_set = len(transcoded), [transcoded]
        began = time.perf_counter()
        blocks = None if record.whole is not None else length
        status = await sender.store(instance.sop_class, instance.sop_uid, syntax, data_set, blocks)
        self._departures.send.add(time.perf_counter() - began)
        self._departures.bytes += length
        return status

    def _judge(self, instance: Instance, status: int) -> None:
        """What a status means for the instance, and for those behind it (PS3.4 B.2.3)."""
        meaning = outcome(status)
        self._cuts.answered()
        if meaning is Outcome.RETRY and not self.result.last_chance:
            self._in_a_row += 1
            self.result.refused = f"{self._destination.name} answered: {describe(status)}"
            if self._in_a_row >= MOST_IN_A_ROW:
                self.result.error = self.result.refused
            return
        self._in_a_row = 0
        self.result.progress = True
        if meaning is Outcome.VERIFY:
            self._tell("instance-verify", instance=instance.instance_key, status=f"0x{status:04X}")
        self._record(instance, status, ok=meaning in (Outcome.SENT, Outcome.VERIFY))

    def _record(self, instance: Instance, status: int, *, ok: bool) -> None:
        self._departures.sent += ok
        self._departures.refused += not ok
        self._journal.sent(
            instance.project, instance.instance_key, self._destination.name, status=status, ok=ok, at=time.time()
        )
        if not ok:
            self._tell("instance-refused", instance=instance.instance_key, status=f"0x{status:04X}")

    def _leave(self, record: Loaded, error: CannotKeep) -> None:
        """The disk does not give it now; when that goes on a person is needed. The rest goes on."""
        what = f"an instance in segment {record.location.segment} cannot be sent: {error.what}"
        if self.result.last_read:
            self._hold(record.instance, CannotKeep(what, "repair the disk, then dicomnode studies retry"))
        else:
            self.result.unread = what

    def _hold(self, instance: Instance, error: DicomnodeError) -> None:
        """The instance keeps its place among those to be sent; the rest goes on."""
        self.result.held = self.result.held or str(error)
        self._tell("instance-held", instance=instance.instance_key, error=str(error))

    def _lose(self, record: Loaded, error: StoreDamaged) -> None:
        """The record is gone: the instance is taken again when it comes again; the rest goes on."""
        instance, location = record.instance, record.location
        self.result.held = self.result.held or str(error)
        event = self._event("instance-lost", instance=instance.instance_key, error=str(error))
        self._journal.lose(instance.project, instance.instance_key, location, event)
        log.error(event.name, study=event.study_key, **event.facts)

    def _event(self, name: str, **facts: object) -> Event:
        return Event(name, time.time(), *self._key, {"destination": self._destination.name, **facts})

    def _tell(self, name: str, **facts: object) -> None:
        event = self._event(name, **facts)
        self._journal.event(event)
        log.warning(event.name, study=event.study_key, **event.facts)
