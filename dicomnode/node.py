"""The whole machine: what is opened, connected and closed, in order.

staging --C-STORE--> dimse.scp -> intake -> deidentify, gate -> outbox | quarantine -> 0x0000
                                                                   |
research <--C-STORE-- forward <-- completion <---------------------+
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import structlog

from dicomnode import admission, config, control, disk
from dicomnode.admission import Admission
from dicomnode.batch import Batch
from dicomnode.completion import Completion
from dicomnode.config import Settings
from dicomnode.config.changes import check_change
from dicomnode.consent import Consent
from dicomnode.crew import Crew
from dicomnode.custody import Custody
from dicomnode.desk import Desk
from dicomnode.dimse.apart import apart
from dicomnode.dimse.scp import Limits, Server
from dicomnode.dimse.sender import Patience as Deadlines
from dicomnode.dimse.tls import client_context, server_context
from dicomnode.errors import CannotListen
from dicomnode.forward import Forwarder, Patience
from dicomnode.intake import Intake, Storage
from dicomnode.jobs import Worker
from dicomnode.keys import ProjectKeys
from dicomnode.linking import Linking
from dicomnode.observe.log import configure
from dicomnode.observe.notify import notify
from dicomnode.observe.outside import Outside
from dicomnode.observe.view import View
from dicomnode.observe.words import vocabulary
from dicomnode.orders import Orders
from dicomnode.originals import FOLDER, Originals
from dicomnode.outbox import Outbox
from dicomnode.places import Places
from dicomnode.projects import keys_of, way_of
from dicomnode.quarantine import Quarantine
from dicomnode.recovery import recover
from dicomnode.reporting import Asked, unknown_command
from dicomnode.retrieve import Report, Retriever
from dicomnode.route import Route
from dicomnode.source import Mover
from dicomnode.space import Space
from dicomnode.stalled import Stalled
from dicomnode.store.identity import IdentityBook
from dicomnode.store.journal import Journal
from dicomnode.store.lock import StorageLock
from dicomnode.studies import OpenStudies
from dicomnode.verify import Verifier
from dicomnode.watch import Watch
from dicomnode.ways import Way

log = structlog.get_logger()

STORAGE_THREADS = 8
RESOLVE_EVERY = 60.0  # seconds between look-ups of the peers' host names


class Node:
    """One node on one storage directory; `start`, then `run` until told to stop, then `drain`."""

    def __init__(self, settings: Settings, *, alone: bool = False, practice: bool = False) -> None:
        """With `alone` it fetches nothing but what is asked for while it runs; in `practice` it sends nothing."""
        self.settings = settings
        self._alone = alone
        self._practice = practice
        self._closing = ExitStack()
        self._stop = asyncio.Event()
        self._renewing = asyncio.Lock()
        self.port = self.tls_port = 0

    async def start(self, *, listen: bool = True) -> None:
        """Open the storage directory, recover what a crash left, and listen. Raises DicomnodeError."""
        settings = self.settings
        self._tls = self._read_certificates(settings)
        vocabulary()  # before there is anything to wait for it
        directory = settings.storage.directory
        disk.make_directory(directory)
        lock = self._closing.enter_context(StorageLock(directory))
        self._threads = Crew(STORAGE_THREADS, "storage")
        self._closing.callback(self._threads.close)
        self._large_threads = ThreadPoolExecutor(settings.node.associations, "large")
        self._closing.callback(self._large_threads.shutdown)
        # The journal's rows keep recovery from reading a record again, so the book commits first, always.
        self._book = IdentityBook.open(directory / "identity.db")
        self._closing.callback(self._book.close)
        self._journal = Journal.open(directory / "journal.db", self._book)
        self._closing.callback(self._journal.close)
        self._keys: dict[str, ProjectKeys] = {}
        self._ways: dict[str, Way] = {}
        self._stalled = Stalled(self._journal.trouble)
        self._keep(*self._make_ways(settings))
        outbox = Outbox(directory / "outbox", self._keys, spare=settings.storage.spare or 0, check=lock.check)
        quarantine = Quarantine(directory / "quarantine", self._keys, lock.check)
        originals = Originals(directory / FOLDER, self._keys)
        self._storage = Storage(outbox, quarantine, self._journal, self._book, originals)
        self._closing.callback(self._storage.outbox.close)
        self._space = Space(directory, settings.storage.min_free, outbox.drop_spares)
        self._space.look()
        self._connect_rooms()
        await asyncio.to_thread(recover, outbox, quarantine, self._journal, self._book)
        if not listen:
            return
        await self._completion.resume()
        await asyncio.wrap_future(self._book.jobs.take_back())
        self.port = await self._listen()
        await self._outside.start()
        self._control = await control.listen(directory, self.command)
        told = {"ae_title": settings.node.ae_title, "address": settings.node.bind, "port": self.port}
        log.info("node-listening", **told, **({"tls_port": self.tls_port} if self.tls_port else {}))

    async def _listen(self) -> int:
        """Listen in clear, over TLS, or both; returns the first port."""
        node = self.settings.node
        if self._tls is None or node.tls.port is not None:
            port = await self._bind(node.port, None)
            if self._tls is not None:
                self.tls_port = await self._bind(node.tls.port or 0, self._tls)
            return port
        self.tls_port = await self._bind(node.port, self._tls)
        return self.tls_port

    async def _bind(self, port: int, tls: ssl.SSLContext | None) -> int:
        bind = self.settings.node.bind
        try:
            return await self._server.listen(bind, port, tls)
        except OSError as error:
            raise CannotListen(
                f"cannot listen on {bind} port {port}: {os.strerror(error.errno or 0)}",
                "stop what uses the port, or change node.bind or node.port",
            ) from None

    @staticmethod
    def _read_certificates(settings: Settings) -> ssl.SSLContext | None:
        """What those who call over TLS are shown. Raises ConfigError when any file of TLS cannot be used."""
        for peer in settings.peers.values():
            if peer.tls is not None:
                client_context(peer.tls)
        tls = settings.node.tls
        return server_context(tls.certificate, tls.key, tls.ca) if tls.certificate and tls.ca else None

    def _make_ways(self, settings: Settings) -> tuple[dict[str, ProjectKeys], dict[str, Way]]:
        """The projects as configured, each with the keys that it has or, where it is new, gets (blocking)."""
        keys = {
            name: self._keys.get(name)
            or keys_of(settings, name, lambda project: bool(self._journal.studies(project=project)))
            for name in settings.projects
        }
        return keys, {name: self._make_way(settings, name, keys[name]) for name in settings.projects}

    async def _remake_ways(self) -> None:
        """The pseudonyms that are given have changed."""
        self._keep(*await asyncio.to_thread(self._make_ways, self.settings))

    def _make_way(self, settings: Settings, name: str, keys: ProjectKeys) -> Way:
        mappings = self._book.mappings
        return way_of(settings, name, keys, mappings.table(name) if mappings.count(name) else None)

    def _keep(self, keys: dict[str, ProjectKeys], ways: dict[str, Way]) -> None:
        self._keys.update(keys)
        self._ways.update(ways)

    def _connect_rooms(self) -> None:
        settings = self.settings
        self._open = OpenStudies()
        silence = settings.timeouts.silence
        self._mover = Mover(settings.peers, self._open, silence, lambda *ends: self._route.is_wrong(*ends))
        self._closing.callback(self._mover.lines.close)
        self._completion = Completion(
            self._ways,
            self._open,
            self._journal,
            self._storage.outbox,
            Verifier(self._ways, self._open, self._journal, self._book, self._mover),
            keep_segments=settings.storage.keep == "segments",
        )
        for name in self._destinations():
            self._completion.forwarders[name] = self._forwarder(name)
        self._admission = Admission(admission.resolve(settings.peers.values()), self._titles())
        self._consent = Consent(settings, self._book.jobs, self._journal, self._completion, practice=self._practice)
        self._completion.kept_back = self._consent
        self._retriever = Retriever(self._open, self._completion, self._journal, self._mover, self._admission)
        desk = Desk(self._ways, self._completion, self._journal, self._book.jobs)
        self._intake = Intake(
            self._ways,
            self._admission,
            self._storage,
            self._open,
            self._completion,
            Places(settings.queue.instances),
            Places(settings.queue.bytes),
            self._threads,
            self._large_threads,
            self._space,
        )
        self._intake.tells_each = settings.log.level == "debug"
        self._connect_jobs()
        self._server = Server(settings.node.ae_title, self._intake, self._limits(), room=self._intake.room)
        self._outside = Outside(
            View(settings, self._journal, self._intake, self._server, self._open, self._completion.forwarders)
        )
        custody = Custody(self._ways, self._intake, self._completion, settings.node.whole)
        linking = Linking(self._ways, self._book, self._journal, custody, self._remake_ways)
        self._asked |= {"study": desk, "quarantine": custody, "reidentify": linking, "mapping": linking}

    def _connect_jobs(self) -> None:
        settings, jobs = self.settings, self._book.jobs
        self._route = Route(settings, jobs, self._intake.expected, self._open)
        self._worker = Worker(
            settings,
            self._ways,
            self._retriever,
            self._route,
            jobs,
            self._open,
            self._intake.check_ready,
            self._intake.modalities,
            self._storage.originals.wanted,
        )
        self._worker.only = 0 if self._alone else None
        self.orders = Orders(settings, self._ways, self._worker, self._route, jobs, self._journal, self._consent)
        batch = Batch(jobs, self._journal, self._completion, self._storage.originals)
        self._asked: dict[str, Asked] = {"run": batch, "retrieve": self.orders}

    def _destinations(self) -> list[str]:
        return sorted({name for way in self._ways.values() for name in way.destinations})

    def _titles(self) -> dict[str, str]:
        return {way.ae_title: way.project for way in self._ways.values()}

    def _limits(self) -> Limits:
        node, timeouts = self.settings.node, self.settings.timeouts
        return Limits(
            associations=node.associations,
            per_address=node.associations_per_address,
            pdu=node.pdu,
            whole=node.whole,
            handshake=timeouts.handshake,
            idle=timeouts.idle,
            stall=timeouts.stall,
            answer=timeouts.answer,
        )

    def _forwarder(self, name: str) -> Forwarder:
        patience, deadlines = self._patience()
        return Forwarder(
            self.settings.peers[name],
            lambda project: self._ways[project].ae_title,
            self._storage.outbox,
            self._journal,
            self._completion.delivered,
            patience=patience,
            deadlines=deadlines,
            associations=self.settings.associations(name),
            asked=lambda project: name in self._ways[project].asked,
        )

    def _patience(self) -> tuple[Patience, Deadlines]:
        forward, timeouts = self.settings.forward, self.settings.timeouts
        deadlines = Deadlines(timeouts.connect, timeouts.connect, timeouts.stall, timeouts.answer)
        return Patience(forward.first, forward.most, forward.attempts), deadlines

    async def renew(self) -> bool:
        """Take up the configuration file and the rules as they are now, all of it or nothing; whether it was.

        One renewal after the other: the last one asked for reads the files last.
        """
        async with self._renewing:
            return await self._renew()

    async def _renew(self) -> bool:
        try:
            settings = await asyncio.to_thread(config.load, self.settings.file)
            check_change(self.settings, settings)
            tls = self._read_certificates(settings)
            keys, ways = await asyncio.to_thread(self._make_ways, settings)
            callers = await apart(admission.resolve, list(settings.peers.values()))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the files, the node goes on as it was
            log.error("configuration-kept", error=error)
            return False
        if not self._stop.is_set():
            self._keep(keys, ways)
            self._renew_rooms(settings, callers)
            if tls is not None:
                self._server.renew_tls(tls)
            log.info("configuration-loaded", path=str(settings.file))
        return True

    def _renew_rooms(self, settings: Settings, callers: dict[str, list[admission.Caller]]) -> None:
        self.settings = self.orders.settings = self._worker.settings = self._route.settings = settings
        self._consent.settings = settings
        self._worker.try_again()
        configure(settings)
        self._intake.tells_each = settings.log.level == "debug"
        self._outside.renew(settings)
        self._admission.renew(callers, self._titles())
        self._server.limits = self._limits()
        self._mover.peers, self._mover.silence = settings.peers, settings.timeouts.silence
        for name in self._destinations():
            forwarder = self._completion.forwarders.get(name)
            if forwarder is not None:
                forwarder.renew(settings.peers[name], *self._patience())
            else:
                forwarder = self._completion.forwarders[name] = self._forwarder(name)
                self._forwarding.append(self._rooms.create_task(forwarder.run()))
        self._completion.destinations_changed()

    async def run(self) -> None:
        """Work until `stop` is called; then drain."""
        self._threads.submit(self._journal.learn)
        async with asyncio.TaskGroup() as rooms:
            self._rooms = rooms
            always = (self._completion.run(), self._look_up_peers(), Watch(self._space, self._journal).run())
            tasks = [rooms.create_task(work) for work in always]
            self._fetching = rooms.create_task(self._worker.run())
            self._forwarding = [rooms.create_task(each.run()) for each in self._completion.forwarders.values()]
            rooms.create_task(self._drain_when_told(tasks))

    def stop(self) -> None:
        """Finish what is under way, then end."""
        self._stop.set()

    @property
    def stopping(self) -> bool:
        """Whether it was told to end."""
        return self._stop.is_set()

    async def _drain_when_told(self, tasks: list[asyncio.Task[None]]) -> None:
        await self._stop.wait()
        log.info("node-stopping", associations=self._server.associations)
        notify("STOPPING=1")
        self._fetching.cancel()
        seconds = self.settings.timeouts.drain
        for forwarder in self._completion.forwarders.values():
            forwarder.stop()
        ends = time.monotonic() + seconds
        await self._server.drain(seconds)
        if self._forwarding:
            await asyncio.wait(self._forwarding, timeout=max(1.0, ends - time.monotonic()))
        for task in (*tasks, *self._forwarding):
            task.cancel()
        await self._outside.stop()

    async def close(self) -> None:
        """Close everything; what was answered is durable already."""
        if hasattr(self, "_control"):
            self._control.close()
        await asyncio.to_thread(self._closing.close)
        if self.port:
            log.info("node-stopped")

    async def _look_up_peers(self) -> None:
        while True:
            await asyncio.sleep(RESOLVE_EVERY)
            settings = self.settings
            try:
                callers = await apart(admission.resolve, list(settings.peers.values()))
            except Exception as error:  # noqa: BLE001 - they are judged by what was found before
                log.error("look-up-failed", why=type(error).__name__)
                continue
            if settings is self.settings:  # else there are newer ones, looked up since
                self._admission.callers = callers

    async def command(self, request: dict[str, object], report: control.Reports | control.Own) -> int:
        """Carry out a command; its exit code. Raises DicomnodeError."""
        work = self._command(request, report)
        return await (work if request.get("do") == "follow" else self._stalled.watched(work))

    async def _command(self, request: dict[str, object], report: control.Reports | control.Own) -> int:
        room = self._asked.get(str(request.get("command")))
        if room is not None:
            return await room.command(request, report)
        if request.get("command") == "status":
            called, away = self._admission.last_call, self._admission.turned_away
            report({"status": self._outside.status(), "called": dict(called), "turned_away": list(away)})
            return 0
        raise unknown_command()

    async def aside(self, request: dict[str, object], report: Report) -> int:
        """Carry out a command of this process's own user; what follows from it is in the journal."""
        return await self._stalled.watched(self._aside(request, control.Own(report)))

    async def _aside(self, request: dict[str, object], report: control.Own) -> int:
        code = await self._command(request, report)
        await self._completion.settle()
        return code
