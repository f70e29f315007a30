"""One measurement: a program started afresh, senders that push studies at it for some seconds, a sink that counts."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import senders
from kinds import KINDS
from programs import Sink, Subject

DRAIN = 120.0  # seconds that a program gets to forward what it still has
STILL = 12.0  # seconds without an arrival after which it forwards nothing more
LOOK = 0.1  # seconds between two looks at the sink
LEAST_FREE = 4e9  # bytes of disk below which a measurement ends early
IDLE = 0.4  # seconds without CPU after which a program has started


@dataclass(frozen=True)
class Case:
    """What is sent: the kind, associations at once, by which program, whether DCMTK turns Nagle's algorithm off."""

    kind: str
    associations: int
    sender: str = "storescu"
    no_delay: bool = True

    def __str__(self) -> str:
        count = f"{self.associations} association{'s' if self.associations > 1 else ''}"
        nagle = "" if self.no_delay else ", DCMTK's default (Nagle on)"
        return f"{KINDS[self.kind].name}, {count}, {self.sender}{nagle}"


@dataclass(frozen=True)
class Measured:
    """One run.

    `rate` instances per second at the sink and the `megabytes` that these were before, `answers` per second, `cpu` ms
    per instance from the first answer on, `startup` CPU seconds until then, `peak` MB, `tail` seconds from the last
    answer to the last delivery, `instances` answered with success, `lost`: of these not delivered in time, `refused`
    answered otherwise, `broken` senders whose association failed, `seconds` that they sent.
    """

    rate: float
    megabytes: float
    answers: float
    cpu: float
    startup: float
    peak: float
    tail: float
    instances: int
    lost: int
    refused: int
    broken: int
    seconds: float

    @property
    def sustained(self) -> float:
        """What goes through: studies that were held back and are sent all at once at the end do not make it more."""
        return min(self.rate, self.answers)

    def json(self) -> dict[str, float]:
        """Its numbers, rounded."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


class Watch:
    """Looks at the program while it works: its peak, and its CPU when the first instance had been answered."""

    def __init__(self, subject: Subject, sending: Sequence[senders.Sender]) -> None:
        self._subject, self._sending = subject, sending
        self.peak = 0.0
        self.startup: float | None = None
        self.answered = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stopped.wait(0.02 if self.startup is None else 0.5):
            if self.startup is None and any(sender.has_answer() for sender in self._sending):
                self.startup = self._subject.cpu()
                self.answered = sum(len(sender.answers()[0]) for sender in self._sending)
            self.peak = max(self.peak, self._subject.peak())


def steady(times: Sequence[float]) -> float:
    """Events per second between the 10th and the 90th percentile of their times; 0 for fewer than 5."""
    if len(times) < 5:
        return 0.0
    ordered = sorted(times)
    first, last = len(ordered) // 10, len(ordered) * 9 // 10
    return (last - first) / max(ordered[last] - ordered[first], 1e-9)


def measure(
    start: Callable[[Path, Sink, bool], Subject],
    case: Case,
    files: Path,
    seconds: float,
    sink_program: Path,
    directory: Path | None,
) -> Measured:
    """Start a program and measure it once; what it stores lies in `directory`."""
    folder = Path(tempfile.mkdtemp(prefix="dicomnode-bench-", dir=directory))
    try:
        with Sink(sink_program, folder) as sink:
            subject = start(folder, sink, case.no_delay)
            try:
                wait_idle(subject)
                return _load(subject, sink, case, files, seconds, folder)
            finally:
                subject.stop()
    finally:
        shutil.rmtree(folder)


def wait_idle(subject: Subject) -> None:
    """Wait until the program has started: it uses no CPU any more."""
    end = time.monotonic() + 20
    used = -1.0
    while subject.cpu() - used > 0.011 and time.monotonic() < end:
        used = subject.cpu()
        time.sleep(IDLE)


def _load(subject: Subject, sink: Sink, case: Case, files: Path, seconds: float, folder: Path) -> Measured:
    given = (folder, KINDS[case.kind], files, subject.port, subject.ae_title, case.no_delay)
    sending = [senders.start(case.sender, number, *given) for number in range(case.associations)]
    began = time.monotonic()
    try:
        with Watch(subject, sending) as watch:
            while time.monotonic() - began < seconds and shutil.disk_usage(folder).free > LEAST_FREE:
                time.sleep(0.05)
            broken = sum(sender.broken for sender in sending)
    finally:
        for sender in sending:
            sender.stop()
    sent_for = time.monotonic() - began
    answers = [sender.answers() for sender in sending]
    good, refused = sorted(at for times, _ in answers for at in times), sum(other for _, other in answers)
    if subject.forwards:
        _wait_delivered(sink, len(good))
    size = mean(file.stat().st_size for file in files.iterdir()) / 1e6
    return _result(subject, sink, watch, good, size, refused=refused, broken=broken, seconds=sent_for)


def _wait_delivered(sink: Sink, expected: int) -> None:
    """Looks are counted, not seconds: a machine that was paused meanwhile has lost nothing."""
    count, still = sink.count, 0
    for _ in range(int(DRAIN / LOOK)):
        still = 0 if sink.count != count else still + 1
        count = sink.count
        if still * LOOK > STILL or len(sink.distinct()) >= expected:
            break
        time.sleep(LOOK)
    time.sleep(0.3)


def _result(subject: Subject, sink: Sink, watch: Watch, good: list[float], size: float, **told: Any) -> Measured:
    arrivals = sink.arrivals()
    times = [seconds for seconds, _ in arrivals] if subject.forwards else good
    startup = watch.startup or 0.0
    rate = steady(times)
    return Measured(
        rate=rate,
        megabytes=rate * size,
        answers=steady(good),
        cpu=1000 * (subject.cpu() - startup) / max(1, len(good) - watch.answered),
        startup=startup,
        peak=max(watch.peak, subject.peak()),
        tail=max(0.0, arrivals[-1][0] - good[-1]) if arrivals and good else 0.0,
        instances=len(good),
        lost=max(0, len(good) - len(sink.distinct())) if subject.forwards else 0,
        **told,
    )
