"""A process with a node in it, or a command handed to the process that has one."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import structlog

from dicomnode import control, disk, memory
from dicomnode.config import MetricsSettings, MqttSettings, Settings
from dicomnode.errors import ConfigError, DicomnodeError, NodeEnded, StorageLocked
from dicomnode.keys import create_key
from dicomnode.node import Node
from dicomnode.observe.notify import notify
from dicomnode.retrieve import Report
from dicomnode.store.lock import StorageLock

log = structlog.get_logger()

PRACTICE = "practice-"
CHANGES = 15.0  # seconds that a node may take to start or to end while a command waits for it
LAST_WORK = 8.0  # seconds after the deadline for associations, for what is on its way to the disk


async def _run(
    settings: Settings,
    work: Callable[[Node], Awaitable[int]] | None = None,
    *,
    alone: bool = False,
    practice: bool = False,
) -> int:
    memory.settle()
    node, loop = Node(settings, alone=alone, practice=practice), asyncio.get_running_loop()
    renewals: list[asyncio.Task[bool]] = []
    asked: list[int] = []
    code = 0

    def renew() -> None:
        renewals.append(loop.create_task(node.renew()))

    loop.add_signal_handler(signal.SIGHUP, asked.append, signal.SIGHUP)
    for number in (signal.SIGTERM, signal.SIGINT):  # before anybody hears that it listens: else it would be killed
        loop.add_signal_handler(number, _stop_or_leave, node)
    try:
        await node.start()
        loop.add_signal_handler(signal.SIGHUP, renew)
        if asked:
            renew()
        notify("READY=1\nSTATUS=listening")
        if work is None:
            memory.running()
            await node.run()
        else:
            code = await _run_beside(node, work)
    finally:
        await node.close()
    return code


async def _run_beside(node: Node, work: Callable[[Node], Awaitable[int]]) -> int:
    running = asyncio.create_task(node.run())
    try:
        return await work(node)
    finally:
        node.stop()
        await running


def _stop_or_leave(node: Node) -> None:
    """The first signal drains, the second leaves at once; what was answered is safe either way."""
    if node.stopping:
        os._exit(1)
    _leave_after(node.settings.timeouts.drain + LAST_WORK)
    node.stop()


def _leave_after(seconds: float) -> None:
    """End the process when it has not ended by then: a thread that waits for a disk that hangs cannot be told to."""

    def leave() -> None:
        log.error("node-stuck", seconds=seconds)
        os._exit(1)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()


def serve(settings: Settings) -> int:
    """Run the node until a signal ends it."""
    _erase_practice(settings.storage.directory)
    return asyncio.run(_run(settings))


async def _aside(settings: Settings, request: dict[str, object], report: Report) -> int:
    node = Node(settings)
    try:
        await node.start(listen=False)
        return await node.aside(request, report)
    finally:
        await node.close()


def quarantine(settings: Settings, request: dict[str, object], report: Report) -> int:
    """Hand a `quarantine` command to the running node, or carry it out; what is released goes out when a node runs."""
    return _asked(settings, {"command": "quarantine", **request}, report)


def study(settings: Settings, request: dict[str, object], report: Report) -> int:
    """Hand a decision about a study to the running node, or enter it for the next one."""
    return _asked(settings, {"command": "study", **request}, report)


def retrieval(settings: Settings, request: dict[str, object], report: Report) -> int:
    """Hand a decision about a retrieval to the running node, or enter it for the next one."""
    return _asked(settings, {"command": "retrieve", **request}, report)


def _asked(settings: Settings, request: dict[str, object], report: Report) -> int:
    return _either(
        settings,
        request,
        lambda reports: _told(reports, report),
        lambda: asyncio.run(_aside(settings, request, report)),
    )


Reports = Iterator[dict[str, object]]


def _either(
    settings: Settings, request: dict[str, object], through: Callable[[Reports], int], alone: Callable[[], int]
) -> int:
    """Through the running node, or without one; one that is just starting or ending is waited for."""
    ends = time.monotonic() + CHANGES
    while True:
        reports = control.ask(settings.storage.directory, request)
        if reports is not None:
            return through(reports)
        try:
            return alone()
        except StorageLocked:
            if time.monotonic() > ends:
                raise
            time.sleep(0.1)


def is_there(settings: Settings) -> bool:
    """Whether a node runs on the storage directory."""
    reports = control.ask(settings.storage.directory, {"command": "status"})
    return reports is not None and bool(list(reports))


Ask = Callable[[dict[str, object], Report], int]
"""Gives a command to a node and passes its answers on; the exit code (blocking)."""


def converse(settings: Settings, talk: Callable[[Ask], int]) -> int:
    """Let `talk` give commands to the running node, or to one that runs for it until it is done; its exit code."""
    return _conversation(settings, talk, lambda: asyncio.run(_run(settings, partial(_talk, talk), alone=True)))


def ask_node(settings: Settings, talk: Callable[[Ask], int]) -> int:
    """Let `talk` give commands to the running node, or to one that is opened for it and does not listen."""
    return _conversation(settings, talk, lambda: asyncio.run(_beside(settings, talk)))


def _conversation(settings: Settings, talk: Callable[[Ask], int], alone: Callable[[], int]) -> int:
    def through(status: Reports) -> int:
        list(status)
        return talk(lambda request, report: _told(_answers(settings, request), report))

    return _either(settings, {"command": "status"}, through, alone)


async def _beside(settings: Settings, talk: Callable[[Ask], int]) -> int:
    node, loop = Node(settings), asyncio.get_running_loop()

    def ask(request: dict[str, object], report: Report) -> int:
        return asyncio.run_coroutine_threadsafe(node.aside(request, report), loop).result()

    try:
        await node.start(listen=False)
        return await asyncio.to_thread(talk, ask)
    finally:
        await node.close()


def practise(settings: Settings, talk: Callable[[Ask, Settings], int]) -> int:
    """Like `converse`, on a node with a store of its own that sends nothing and is erased at the end."""
    directory = settings.storage.directory
    if is_there(settings):
        raise ConfigError("the node runs, and the source would send to it", "stop it for the practice run")
    disk.make_directory(directory)
    _erase_practice(directory)
    aside = directory / f"{PRACTICE}{os.getpid()}"
    disk.make_directory(aside)
    projects = {
        name: project.model_copy(update={"key_file": _key_of(settings, name)})
        for name, project in settings.projects.items()
    }
    storage = settings.storage.model_copy(update={"directory": aside})
    there = replace(settings, storage=storage, projects=projects, mqtt=MqttSettings(), metrics=MetricsSettings())
    try:
        return asyncio.run(_run(there, partial(_talk, lambda ask: talk(ask, there)), alone=True, practice=True))
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _erase_practice(directory: Path) -> None:
    """What practice runs have left that were killed; one that works holds its lock."""
    for path in directory.glob(f"{PRACTICE}*"):
        try:
            StorageLock(path).release()
        except StorageLocked:
            continue
        shutil.rmtree(path, ignore_errors=True)


def _key_of(settings: Settings, project: str) -> Path:
    """The project's own key, so that pseudonyms are as they will be; it is made where there is none yet."""
    path = settings.key_file(project)
    disk.make_directory(path.parent)
    create_key(path)
    return path


def _answers(settings: Settings, request: dict[str, object]) -> Reports:
    reports = control.ask(settings.storage.directory, request)
    if reports is None:
        raise NodeEnded("the node has ended", "start it again; what it had taken up goes on then")
    return reports


async def _talk(talk: Callable[[Ask], int], node: Node) -> int:
    loop = asyncio.get_running_loop()

    def ask(request: dict[str, object], report: Report) -> int:
        command = node.command(request, control.Own(report))
        return asyncio.run_coroutine_threadsafe(command, loop).result()

    return await asyncio.to_thread(talk, ask)


def _told(reports: Reports, report: Report) -> int:
    """Pass the running node's answers on; the exit code."""
    for document in reports:
        if "error" in document and "exit" in document:
            kind = ConfigError if document.get("exit") == control.WRONG_USE else DicomnodeError
            raise kind(str(document["error"]))
        if "exit" in document:
            return int(str(document["exit"]))
        report(document)
    raise NodeEnded("the node ended before it had answered", "look at its journal and ask again")
