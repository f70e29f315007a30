"""An hour of mixed load: does anything grow, does anything get lost?

    python benchmarks/soak.py [--minutes 60] [--write]

`soak_senders.py` sends CT, small and JPEG instances and large ones on associations that come, go and break off in the
middle of a message; the sink is killed every other minute and is back some seconds later. Every minute memory,
descriptors, threads, the journal's size and how long answers took are noted. The first and the last quarter of the
notes are compared; at the end as many distinct instances must be at the sink as were answered with success.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import page
from measure import wait_idle
from plot import lines
from programs import ROOT, Node, Sink, Subject, compile_sink, free_port

DOWN_EVERY, DOWN_FOR = 120.0, 10.0  # seconds
WARM = 0.1  # part of the notes that does not count: caches fill
SETTINGS = {"forward": {"first": "1s", "most": "10s"}}


@dataclass(frozen=True)
class Note:
    """What was seen after some minutes; sizes in MB, latencies of this interval in ms without the large ones."""

    minutes: float
    instances: int
    rate: float
    memory: float
    descriptors: int
    threads: int
    journal: float
    p50: float
    p95: float
    p99: float

    @property
    def bytes_per_instance(self) -> float:
        """Of the journal."""
        return 1e6 * self.journal / max(1, self.instances)


COLUMNS: dict[str, tuple[Callable[[Note], float], float, float]] = {
    "memory MB": (lambda note: note.memory, 1.05, 5),
    "descriptors": (lambda note: note.descriptors, 1.0, 6),
    "threads": (lambda note: note.threads, 1.0, 2),
    "journal bytes per instance": (lambda note: note.bytes_per_instance, 1.1, 50),
    "p50 ms": (lambda note: note.p50, 1.25, 1),
    "p95 ms": (lambda note: note.p95, 1.25, 2),
    "p99 ms": (lambda note: note.p99, 1.5, 5),
}
"""What is compared, and how much more it may be in the last quarter: a factor, and something on top."""


class Answers:
    """What the senders were answered, read as it is written."""

    def __init__(self, path: Path) -> None:
        self._path, self._at = path, 0
        self.good = self.other = self.none = 0

    def new(self) -> list[float]:
        """Milliseconds of the answers since the last time, without large instances; counts all."""
        with self._path.open("rb") as file:
            file.seek(self._at)
            text = file.read()
        text = text[: text.rfind(b"\n") + 1]
        self._at += len(text)
        found = []
        for line in text.decode().splitlines():
            kind, seconds, status = line.split()
            self.good += status == "0000"
            self.none += status == "none"
            self.other += status not in ("0000", "none")
            if kind != "large":
                found.append(1000 * float(seconds))
        return sorted(found)


class Sinks:
    """The destination, which is killed and comes back on the same port."""

    def __init__(self, program: Path, folder: Path) -> None:
        self._program, self._folder, self.port = program, folder, free_port()
        self._lives = 0
        self._earlier: set[int] = set()
        self._sink: Sink | None = None
        self.start()

    def start(self) -> None:
        """Be there."""
        folder = self._folder / f"sink{self._lives}"
        folder.mkdir()
        self._lives += 1
        self._sink = Sink(self._program, folder, self.port)

    def kill(self) -> None:
        """Be gone, in the middle of whatever comes."""
        if self._sink is not None:
            self._sink.kill()
            self._earlier |= self._sink.distinct()
            self._sink = None

    @property
    def up(self) -> bool:
        """Whether it is there."""
        return self._sink is not None

    def distinct(self) -> set[int]:
        """What arrived in all its lives."""
        return self._earlier | (self._sink.distinct() if self._sink else set())


def look(node: Node, began: float, before: Note | None, answers: Answers) -> Note:
    """One note."""
    status = Path(f"/proc/{node.pid}/status").read_text()
    told = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    took = answers.new()
    minutes = (time.monotonic() - began) / 60
    since, count = (before.minutes, before.instances) if before else (0.0, 0)
    journal = (node.storage / "journal.db").stat().st_size
    return Note(
        minutes,
        answers.good,
        (answers.good - count) / max(60 * (minutes - since), 1e-9),
        int(told["VmRSS"].split()[0]) / 1000,
        len(list(Path(f"/proc/{node.pid}/fd").iterdir())),
        int(told["Threads"]),
        journal / 1e6,
        *(_percentile(took, part) for part in (0.5, 0.95, 0.99)),
    )


def _percentile(ordered: Sequence[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else 0.0


def work(minutes: float, folder: Path) -> tuple[list[Note], str, bool]:
    """The notes, what became of the instances, and whether each arrived."""
    sinks = Sinks(compile_sink(folder), folder)
    peers = {"staging": ("STAGING", free_port()), "research": ("RESEARCH", sinks.port)}
    rules = (ROOT / "rules" / "basic.yaml").read_text()
    node = Node(folder / "node", peers, quiet="1s", rules=rules, settings=SETTINGS).start()
    file = folder / "answers"
    try:
        wait_idle(Subject(node.port, "DICOMNODE", node.pid, node.stop))
        file.touch()
        senders = start_senders(node.port, file)
        answers, notes = Answers(file), []
        try:
            _watch(minutes, node, sinks, answers, notes, senders)
        finally:
            senders.communicate()
        ended = time.monotonic()
        if not sinks.up:
            sinks.start()
        answers.new()
        _wait(lambda: len(sinks.distinct()) >= answers.good)
        waited, arrived = time.monotonic() - ended, len(sinks.distinct())
        exact = answers.good <= arrived <= answers.good + answers.none and not answers.other and not node.quarantine()
        said = (
            f"{answers.good} instances answered with success, {answers.other} otherwise, {answers.none} not at all; "
            f"{arrived} distinct instances at the sink {waited:.0f} s after the last one was sent: "
            f"{'all there' if exact else '**not the same**'}."
        )
        return notes, said, exact
    finally:
        node.stop()
        sinks.kill()


def start_senders(port: int, file: Path) -> subprocess.Popen[str]:
    """soak_senders.py; it ends when its standard input is closed."""
    script = Path(__file__).with_name("soak_senders.py")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    line = [sys.executable, script, str(port), file]
    return subprocess.Popen(line, stdin=subprocess.PIPE, text=True, env=environment)


def _watch(
    minutes: float, node: Node, sinks: Sinks, answers: Answers, notes: list[Note], senders: subprocess.Popen[str]
) -> None:
    began = time.monotonic()
    every = min(60.0, minutes * 60 / 12)
    next_note, next_down = began + every, began + min(DOWN_EVERY, every * 2.5)
    while time.monotonic() - began < minutes * 60:
        time.sleep(0.2)
        if senders.poll() is not None:
            raise RuntimeError("the senders ended; what they said stands above")
        now = time.monotonic()
        if now >= next_down:
            if sinks.up:
                sinks.kill()
                next_down = now + DOWN_FOR
            else:
                sinks.start()
                next_down = now + DOWN_EVERY - DOWN_FOR
        if now >= next_note:
            notes.append(look(node, began, notes[-1] if notes else None, answers))
            print(f"# {notes[-1]}", file=sys.stderr, flush=True)
            next_note += every


def _wait(condition: Callable[[], bool], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.5)


def compared(notes: Sequence[Note]) -> tuple[str, bool]:
    """The table of the first and the last quarter, and whether all is flat."""
    counted = notes[int(len(notes) * WARM + 0.999) :]
    size = max(1, len(counted) // 4)
    rows, flat = [], True
    for name, (value, factor, more) in COLUMNS.items():
        first, last = (median(value(note) for note in part) for part in (counted[:size], counted[-size:]))
        good = last <= first * factor + more
        flat = flat and good
        every = [value(note) for note in counted]
        digits = 1 if name.endswith("ms") else 0
        cells = [f"{each:.{digits}f}" for each in (first, last, min(every), max(every))]
        rows.append([name, *cells, "flat" if good else "**grows**"])
    return page.table(["", "first quarter", "last quarter", "least", "most", ""], rows), flat


def plots(notes: Sequence[Note]) -> dict[str, str]:
    """Memory and latencies over time."""

    def line(value: Callable[[Note], float]) -> list[tuple[float, float]]:
        return [(round(note.minutes, 0 if notes[-1].minutes > 10 else 2), value(note)) for note in notes]

    of_memory = {"memory MB": line(lambda note: note.memory), "journal.db MB": line(lambda note: note.journal)}
    of_memory |= {"descriptors": line(lambda n: n.descriptors), "threads": line(lambda n: n.threads)}
    latencies = {name: line(value) for name, (value, _, _) in COLUMNS.items() if name.endswith("ms")}
    return {
        "soak-memory": lines("An hour of mixed load", of_memory, across="minutes", up="MB, or count"),
        "soak-latency": lines("Time to the answer", latencies, across="minutes", up="ms"),
    }


def main() -> int:
    """Measure, print, write when asked to; exit 1 when something grew or got lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--directory", type=Path, help="where the node stores")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="dicomnode-soak-", dir=options.directory))
    try:
        notes, said, exact = work(options.minutes, folder)
    finally:
        shutil.rmtree(folder)
    table, flat = compared(notes)
    rate = median(note.rate for note in notes)
    text = f"{options.minutes:g} minutes, {rate:.0f} instances a second. {said}\n\n{table}"
    print(f"\n{text}\n\n{'flat' if flat else 'not flat'}")
    if options.write:
        shown = "\n".join(page.image(plot, plot) for plot in plots(notes))
        page.write("soak", f"{text}\n\n{shown}", plots(notes))
    return int(not (flat and exact))


if __name__ == "__main__":
    sys.exit(main())
