"""The service notification protocol of systemd (sd_notify(3)): one datagram per message, nothing when not asked for."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

import structlog

log = structlog.get_logger()


def notify(state: str) -> bool:
    """Send e.g. READY=1, STATUS=..., STOPPING=1 or WATCHDOG=1; False when nobody listens. Never raises."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            sender.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
    except OSError:
        return False
    return True


def watchdog_interval() -> float | None:
    """Seconds between two WATCHDOG=1, half of what systemd allows; None when it does not ask this process."""
    try:
        allowed = int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6
        asked = int(os.environ.get("WATCHDOG_PID", os.getpid())) == os.getpid()
    except ValueError:
        return None
    return allowed / 2 if asked and allowed > 0 else None


async def ping_watchdog(trouble: Callable[[], str] = str) -> None:
    """Tell systemd that the event loop turns, while it does and there is no `trouble`; no end unless nobody asked."""
    interval = watchdog_interval()
    while interval is not None:
        why = trouble()
        if why:
            log.error("watchdog-silent", why=why)
        else:
            notify("WATCHDOG=1")
        await asyncio.sleep(interval)
