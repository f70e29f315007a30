"""Start a program, wait until it is ready, end it by its id within a bounded time."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
READY = 20.0
PATIENCE = 3.0
"""Machines differ: every wait for something to come about may take so many times as long."""
PORTS = range(10_000, 32_000)
"""Below those that outgoing connections take, so that a port that was free stays so."""
PACKAGES = {"Orthanc": "orthanc", "mosquitto": "mosquitto"}


class Unready(AssertionError):
    """A program did not start or stop in time; the message holds the end of its output."""


def find(program: str) -> str:
    """The path of a program; a clear error names the Debian package when it is missing."""
    path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if path is None:
        raise FileNotFoundError(f"{program} is missing: apt-get install {PACKAGES.get(program, 'dcmtk')}")
    return path


def _ports() -> Iterator[int]:
    """Each process that runs tests has a part of the range of its own, and begins anywhere in it."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    own = PORTS[worker % 10 * len(PORTS) // 10 : (worker % 10 + 1) * len(PORTS) // 10]
    begin = random.randrange(len(own))
    return itertools.cycle([*own[begin:], *own[:begin]])


_next_ports = _ports()


def free_port() -> int:
    """A TCP port on the loopback interface that nobody uses now, and that is not given again soon."""
    for port in itertools.islice(_next_ports, len(PORTS)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise AssertionError("no free port")


def until(condition: Callable[[], object], seconds: float = READY, what: str = "the condition") -> None:
    """Poll until the condition holds; raises AssertionError naming `what` after `seconds`."""
    end = time.monotonic() + seconds * PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come about within {seconds * PATIENCE:g} s")
        time.sleep(0.02)


def listens(port: int) -> bool:
    """Whether somebody accepts connections on that loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


class Program:
    """A child process whose output goes to a file."""

    def __init__(self, arguments: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None):
        self.log = log
        self.arguments = [str(argument) for argument in arguments]
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                self.arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None):
        self.stop()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None

    def output(self) -> str:
        """What it wrote to stdout and stderr so far."""
        return self.log.read_text(errors="replace")

    def wait_ready(self, ready: Callable[[], object], seconds: float = READY) -> None:
        """Wait for `ready`; raises Unready when the program ends before or takes longer."""
        end = time.monotonic() + seconds * PATIENCE
        while not ready():
            if not self.running or time.monotonic() > end:
                self.kill()
                raise Unready(f"{self.arguments[0]} is not ready: {self.output()[-2000:]}")
            time.sleep(0.02)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self, seconds: float = 15) -> int:
        """Wait for its end and return its exit code."""
        return self.process.wait(seconds * PATIENCE)

    def stop(self, seconds: float = 10) -> int:
        """SIGTERM, and SIGKILL if that did not end it in time; returns the exit code."""
        if self.running:
            self.signal(signal.SIGTERM)
            try:
                return self.process.wait(seconds * PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait(10)

    def kill(self) -> None:
        """SIGKILL at once."""
        self.process.kill()
        self.process.wait(10)


def run(
    arguments: Sequence[str | Path], seconds: float = 60, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; stdout and stderr come together as text in `stdout`."""
    return subprocess.run(
        [str(argument) for argument in arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=seconds * PATIENCE,
        env={**os.environ, **(environment or {})},
        check=False,
    )
