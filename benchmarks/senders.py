"""DCMTK senders that send new studies as they go, and what their logs say about the answers.

storescu makes up new UIDs and patients itself, on one association without end. dcmsend sends what lies in its folder,
one study on one association; it is started again and again, and before each time the study's number is written anew
into the UIDs of its files.
"""

from __future__ import annotations

import re
import threading
import time
from itertools import count
from pathlib import Path

from kinds import Kind, own_set, renumber
from programs import Program, find, nagle

SENDERS = ("storescu", "dcmsend")
ANSWER = re.compile(r"^(\d\d):(\d\d):(\d\d\.\d+) Received (?:C-STORE|Store) Response \((.*)\)")
LOG = """log4cplus.rootLogger = INFO, file
log4cplus.appender.file = log4cplus::FileAppender
log4cplus.appender.file.File = {path}
log4cplus.appender.file.Append = true
log4cplus.appender.file.layout = log4cplus::PatternLayout
log4cplus.appender.file.layout.ConversionPattern = %D{{%H:%M:%S.%q}} %m%n
"""


class Sender:
    """One association at a time to the program; without `no_delay` Nagle's algorithm is on (DCMTK's default)."""

    def __init__(self, number: int, folder: Path, kind: Kind, files: Path, port: int, ae_title: str, no_delay: bool):
        self._number, self._folder, self._kind, self._files = number, folder, kind, files
        self._called = ["-aet", "STAGING", "-aec", ae_title]
        self._peer = ["127.0.0.1", str(port)]
        self._environment = nagle(no_delay)
        self.log = folder / f"sender{number}.answers"
        self._configuration = folder / f"sender{number}.cfg"
        self._configuration.write_text(LOG.format(path=self.log))

    def _start(self, program: str, *options: object) -> Program:
        line = [find(program), "-lc", self._configuration, *self._called, *options]
        return Program(line, self._folder / f"sender{self._number}.log", self._environment)

    @property
    def broken(self) -> bool:
        """Whether it ended by itself, which it does only when the association failed."""
        raise NotImplementedError

    def stop(self) -> None:
        """End it in the middle of whatever it does."""
        raise NotImplementedError

    def answers(self) -> tuple[list[float], int]:
        """When each success came (monotonic seconds), and how many other answers came."""
        since = time.monotonic() - _second_of_the_day()
        found = list(filter(None, map(ANSWER.match, self._lines())))
        good = [int(m[1]) * 3600 + int(m[2]) * 60 + float(m[3]) + since for m in found if m[4] == "Success"]
        return good, len(found) - len(good)

    def has_answer(self) -> bool:
        """Whether there was one already."""
        return any(map(ANSWER.match, self._lines()))

    def _lines(self) -> list[str]:
        return self.log.read_text(errors="replace").splitlines() if self.log.exists() else []


class Storescu(Sender):
    """storescu on one association."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        count = min(4, self._kind.study)
        invent = ["+II", "+IR", str(self._kind.study // count), "+IS", str(count), "+IP", "1"]
        proposed = [] if self._kind.proposes == "-x=" else [self._kind.proposes]
        options = [*proposed, "-R", "-nh", "--repeat", "1000000", *invent, "+sd"]
        self._program = self._start("storescu", *options, *self._peer, self._files)

    @property
    def broken(self) -> bool:
        return not self._program.running

    def stop(self) -> None:
        self._program.kill()


class Dcmsend(Sender):
    """dcmsend, once for each study."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        own = self._folder / f"study{self._number}"
        own.mkdir()
        self._places = own_set(self._files, own, self._kind.study)
        self._program: Program | None = None
        self._failed = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._go_on, args=(own,))
        self._thread.start()

    def _go_on(self, own: Path) -> None:
        for study in count(1 + self._number * 1_000_000):
            renumber(self._places, study)
            self._program = self._start("dcmsend", "-dn", "-nuc", "-nh", "+sd", *self._peer, own)
            while self._program.running and not self._stopped.wait(0.002):
                pass
            if self._stopped.is_set():
                self._program.kill()
                return
            self._failed += self._program.wait() != 0

    @property
    def broken(self) -> bool:
        return self._failed > 0

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()


def start(sender: str, *given: object) -> Sender:
    """Start a sender that goes on until it is stopped; the arguments are those of Sender."""
    return {"storescu": Storescu, "dcmsend": Dcmsend}[sender](*given)


def _second_of_the_day() -> float:
    now = time.time()
    local = time.localtime(now)
    return local.tm_hour * 3600 + local.tm_min * 60 + local.tm_sec + now % 1
