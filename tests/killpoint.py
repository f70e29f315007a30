"""Runs dicomnode in processes that end themselves by SIGKILL at a durability point.

A durability point is a moment on either side of something that must survive: each call of dicomnode.disk, the middle of
a write, a commit of journal or identity book, an answer, and the note that an instance was sent. They are made here, by
wrapping functions of the running program; the program itself knows nothing of them.

The processes are forked from one that has imported everything (`Forge`), so that each starts in a tenth of a second.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from peers.process import PATIENCE

PATHS = ("create", "reopen", "rename", "unlink", "create_directory", "remove_directory", "sync_directory")
FILES = ("write", "sync", "truncate")
ROOMS = ("outbox", "quarantine", "keys")

Point = tuple[str, int]  # a name, and which one of that name


class Points:
    """Writes the names of the points that are passed to a file; the process dies at the N-th of one name."""

    def __init__(self, last: str, number: int, trace: str) -> None:
        self._last = last
        self._left = number
        self._trace = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._lock = threading.Lock()

    def dies(self, name: str) -> bool:
        """Whether the next point of that name is the last."""
        return name == self._last and self._left == 1

    def passed(self, name: str) -> None:
        """A point is passed, or the process ends here."""
        with self._lock:
            os.write(self._trace, f"{name}\n".encode())
            self._left -= name == self._last
            if name == self._last and not self._left:
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(60)


def _room(place: object) -> str:
    path = os.fspath(Path(f"/proc/self/fd/{place}").readlink() if isinstance(place, int) else place)  # type: ignore[call-overload]
    return next((room for room in ROOMS if f"/{room}" in path), "storage")


def _wrap_disk(points: Points) -> None:
    from dicomnode import disk

    def wrapped(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(place: Any, *rest: Any) -> Any:
            points.passed(f"{name} {_room(place)}")
            if name == "write":
                half = f"half of write {_room(place)}"
                if points.dies(half):
                    whole = b"".join(bytes(part) for part in rest[0])
                    original(place, [whole[: len(whole) // 2]], rest[1])
                points.passed(half)
            return original(place, *rest)

        return call

    for name in PATHS + FILES:
        setattr(disk, name, wrapped(name, getattr(disk, name)))


def _wrap_commits(points: Points) -> None:
    from dicomnode.store.writer import Writer

    begin = Writer.__init__

    def init(self: Writer, engine: Any, apply: Any, committed: Any, name: str, *rest: Any) -> None:
        def applied(connection: Any, operations: Any) -> None:
            apply(connection, operations)
            points.passed(f"before commit {name}")

        def told(operations: Any) -> None:
            points.passed(f"after commit {name}")
            committed(operations)

        begin(self, engine, applied, told, name, *rest)

    Writer.__init__ = init  # type: ignore[method-assign]


def _wrap_answers(points: Points) -> None:
    from dicomnode.intake import Intake
    from dicomnode.large import LargeInstance
    from dicomnode.store.journal import Journal

    store, finish, sent = Intake.store, LargeInstance.finish, Journal.sent

    async def stored(self: Intake, *arguments: Any) -> int:
        status = await store(self, *arguments)
        points.passed("before answer")
        return status

    async def finished(self: LargeInstance) -> int:
        status = await finish(self)
        points.passed("before answer of a stream")
        return status

    def noted(self: Journal, *arguments: Any, **named: Any) -> Any:
        points.passed("before note of sent")
        return sent(self, *arguments, **named)

    Intake.store = stored  # type: ignore[method-assign]
    LargeInstance.finish = finished  # type: ignore[method-assign]
    Journal.sent = noted  # type: ignore[method-assign]


def _run(arguments: Sequence[str], log: str, trace: str, last: str, number: int) -> None:
    """In the forked process: become the program, and never come back."""
    try:
        _become(arguments, log, trace, last, number)
    finally:
        traceback.print_exc()
        os._exit(70)


def _become(arguments: Sequence[str], log: str, trace: str, last: str, number: int) -> None:
    folder = Path(log).parent
    os.chdir(folder)  # where a core dump would be
    (folder / "tmp").mkdir(exist_ok=True)
    os.environ["TMPDIR"] = str(folder / "tmp")
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(output, stream)
    if trace:
        points = Points(last, number, trace)
        _wrap_disk(points)
        _wrap_commits(points)
        _wrap_answers(points)
    from dicomnode import cli

    os._exit(cli.main(list(arguments)))


def _prepare(rules: str) -> None:
    """Import and read everything that a node needs, so that its children have it."""
    import dicomnode.cli.serve
    import dicomnode.node  # noqa: F401
    from dicomnode.deidentify.rules import load
    from dicomnode.observe.words import vocabulary

    load(Path(rules)).for_class("1.2.840.10008.5.1.4.1.1.2")
    vocabulary()


def _serve() -> None:
    """Fork a program for each line on standard input; answer with its id."""
    _prepare(sys.argv[1])
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            print(_ended(request["wait"]), flush=True)
            continue
        child = os.fork()
        if not child:
            os.setsid()
            _run(**request)
        print(child, flush=True)


def _ended(child: int) -> int:
    """The exit code of a child; of one killed by a signal the negative number; 0 when that was told before."""
    try:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except ChildProcessError:
        return 0


class Forked:
    """A forked program, with what tests need of peers.process.Program."""

    def __init__(self, forge: Forge, pid: int) -> None:
        self._forge = forge
        self.pid = pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except (FileNotFoundError, ProcessLookupError):
            return False

    def wait_ready(self, ready: Callable[[], object], seconds: float = 20) -> None:
        """Wait until `ready` or its end."""
        ends = time.monotonic() + seconds * PATIENCE
        while not ready() and self.running:
            assert time.monotonic() < ends, "it neither listens nor ends"
            time.sleep(0.01)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        if self.running:
            os.kill(self.pid, number)

    def wait(self, seconds: float = 30) -> int:
        """Wait for its end."""
        ends = time.monotonic() + seconds * PATIENCE
        while self.running:
            assert time.monotonic() < ends, "it does not end"
            time.sleep(0.01)
        return self._forge.reap(self.pid)

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self, seconds: float = 30) -> int:
        """SIGTERM, and wait."""
        self.signal(signal.SIGTERM)
        return self.wait(seconds)


class Forge:
    """Starts forked programs; use it as a context."""

    def __init__(self, rules: Path) -> None:
        arguments = [sys.executable, __file__, str(rules)]
        self._lock = threading.Lock()
        self._process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._line() == "ready"

    def __enter__(self) -> Forge:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def _ask(self, **request: object) -> int:
        with self._lock:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return int(self._line())

    def start(self, arguments: Sequence[str], log: Path, trace: Path | None = None, at: Point = ("", 0)) -> Forked:
        """Run `dicomnode ARGUMENTS`; with a trace, its points are noted, and point `at` (if any) ends it."""
        told = {"trace": str(trace) if trace else "", "last": at[0], "number": at[1]}
        return Forked(self, self._ask(arguments=list(arguments), log=str(log), **told))

    def reap(self, pid: int) -> int:
        """Take leave of a child that has ended."""
        return self._ask(wait=pid)


def names(trace: Path) -> list[str]:
    """The points that were passed, in order."""
    return trace.read_text().splitlines() if trace.exists() else []


def sample(passed: Sequence[str], count: int) -> list[Point]:
    """At most `count` points: the middle one of each name first, then the others."""
    numbers = {name: list(range(1, passed.count(name) + 1)) for name in dict.fromkeys(passed)}
    chosen: list[Point] = []
    while any(numbers.values()):
        chosen += [(name, left.pop(len(left) // 2)) for name, left in numbers.items() if left]
    return chosen[:count]


if __name__ == "__main__":
    _serve()
