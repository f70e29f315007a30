"""A process with a node in it, or a command handed to the process that has one."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator

import structlog

from dicomnode import control, memory
from dicomnode.config import Settings
from dicomnode.errors import ConfigError, DicomnodeError
from dicomnode.node import Node
from dicomnode.observe.notify import notify
from dicomnode.retrieve import Report

log = structlog.get_logger()

LAST_WORK = 8.0  # seconds after the deadline for associations, for what is on its way to the disk


async def _run(settings: Settings, work: Callable[[Node], object] | None = None) -> int:
    memory.settle()
    node, loop = Node(settings), asyncio.get_running_loop()
    renewals: list[asyncio.Task[bool]] = []
    asked: list[int] = []
    code = 0

    def renew() -> None:
        renewals.append(loop.create_task(node.renew()))

    loop.add_signal_handler(signal.SIGHUP, asked.append, signal.SIGHUP)
    try:
        await node.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _stop_or_leave, node)
        loop.add_signal_handler(signal.SIGHUP, renew)
        if asked:
            renew()
        notify("READY=1\nSTATUS=listening")
        if work is None:
            await node.run()
        else:
            code = await _run_beside(node, work)
    finally:
        await node.close()
    return code


async def _run_beside(node: Node, work: Callable[[Node], object]) -> int:
    running = asyncio.create_task(node.run())
    try:
        code = await work(node)  # type: ignore[misc]
    finally:
        node.stop()
        await running
    return int(code)


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


def _asked(settings: Settings, request: dict[str, object], report: Report) -> int:
    reports = control.ask(settings.storage.directory, request)
    return asyncio.run(_aside(settings, request, report)) if reports is None else _told(reports, report)


def retrieve(settings: Settings, study_uids: list[str], report: Report, project: str | None = None) -> int:
    """Hand the request to the running node, or run one until it is done; exit code 0 when all studies arrived."""
    request: dict[str, object] = {"command": "retrieve", "studies": study_uids, "project": project}
    reports = control.ask(settings.storage.directory, request)
    if reports is None:
        return asyncio.run(_run(settings, lambda node: node.orders.retrieve(request, report)))
    return _told(reports, report)


def _told(reports: Iterator[dict[str, object]], report: Report) -> int:
    """Pass the running node's answers on; the exit code."""
    for document in reports:
        if "error" in document:
            kind = ConfigError if document.get("exit") == control.WRONG_USE else DicomnodeError
            raise kind(str(document["error"]))
        if "exit" in document:
            return int(str(document["exit"]))
        report(document)
    raise DicomnodeError("the node ended before it had answered", "look at its journal and ask again")
