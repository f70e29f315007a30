"""The word to systemd, heard on a socket of the test's own: ready, alive, wedged, alive again, stopping."""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import images
import pytest
import synthetic
from peers.dcmtk import Result, dcmsend
from peers.node import Node
from peers.process import HOST, Program, until

WEDGED = Path(__file__).parents[1] / "wedged.py"
PING = "WATCHDOG=1"
PINGED_EVERY = 0.25  # seconds
LARGE = 200 * 1024


class Systemd:
    """Hears what a service says, and since when it has said nothing of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[tuple[float, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        threading.Thread(target=self._hear, daemon=True).start()

    def _hear(self) -> None:
        while said := self._socket.recv(4096):
            self.heard.append((time.monotonic(), said.decode()))

    def close(self) -> None:
        """Hear no more."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ourselves:
            ourselves.sendto(b"", str(self.path))

    def environment(self) -> dict[str, str]:
        """What systemd gives a service with WatchdogSec."""
        return {"NOTIFY_SOCKET": str(self.path), "WATCHDOG_USEC": str(int(2 * PINGED_EVERY * 1e6))}

    def said(self, what: str) -> bool:
        """Whether it said that, alone or with more."""
        return any(what in said.split("\n") for _, said in list(self.heard))

    def pings(self, since: float) -> int:
        """How often it said since then that it lives."""
        return sum(said == PING for at, said in list(self.heard) if at > since)


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    hears = Systemd(tmp_path / "notify")
    yield hears
    hears.close()


def _start(running: Node, wedge: Path, systemd: Systemd) -> Program:
    arguments = [sys.executable, WEDGED, wedge, "serve", "--config", running.config]
    running.process = Program(arguments, running.log, systemd.environment())
    running.process.wait_ready(lambda: systemd.said("READY=1"), 30)
    return running.process


def _health(port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/healthz", timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize("whole", ["8MiB", "64KiB"], ids=["held whole", "streamed"])
def test_a_wedged_disk_stops_the_pings(
    node: Callable[..., Node], free_port: Callable[[], int], systemd: Systemd, tmp_path: Path, whole: str
) -> None:
    page, wedge, file = free_port(), tmp_path / "wedge", tmp_path / "one.dcm"
    settings = {"timeouts": {"answer": "2s"}, "metrics": {"port": page}, "node": {"whole": whole}}
    running = node({"staging": ("STAGING", free_port()), "research": ("RESEARCH", free_port())}, settings=settings)
    process = _start(running, wedge, systemd)
    one = synthetic.ct(1, 1, 1)
    assert len(one.PixelData) > LARGE
    file.write_bytes(images.written(one))
    until(lambda: systemd.pings(0) > 2, 20, "pings of an idle node")
    assert _health(page) == 200

    wedge.touch()
    results: list[Result] = []
    sender = threading.Thread(target=lambda: results.append(dcmsend(running.port, [file])))
    sender.start()
    until(lambda: bool(running.events("watchdog-silent")), 30, "silence")
    since = time.monotonic() + PINGED_EVERY / 2
    time.sleep(PINGED_EVERY * 6)
    assert systemd.pings(since) == 0
    assert _health(page) == 503
    assert running.events("watchdog-silent")[0]["why"].startswith("an instance is stuck since ")

    wedge.unlink()
    freed = time.monotonic()
    until(lambda: systemd.pings(freed) > 2, 20, "pings again")
    sender.join(60)
    assert _health(page) == 200
    assert results[0].statuses == [0xA700]  # long answered when the disk came back
    assert dcmsend(running.port, [file]).statuses == [0x0000]
    process.signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert systemd.said("STOPPING=1")
