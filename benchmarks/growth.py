"""How the node's cost grows: with rows in the journal, with open studies, with associations, with a study's size.

    python benchmarks/growth.py [rows] [studies] [associations] [large] [--write]

rows: small instances per second, and the time to start, with a journal of 0 to 1 000 000 instances.
studies: answers per second while 0 to 10 000 studies are open, and how fast these are opened (each by one instance).
associations: small instances per second on 4 to 64 associations.
large: one study of 20 000 small instances; answers and deliveries per second by quarter.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import page
import senders
from fill import multiply
from kinds import KINDS, prepare
from measure import Case, Measured, measure, steady, wait_idle
from plot import lines
from programs import ROOT, Node, Sink, Subject, compile_sink, free_port
from results import spread

SETTINGS = {"node": {"associations": 100, "associations_per_address": 100}}
PAST = 200  # instances of the study that the journal's past is made of
STARTS = 3
Part = tuple[str, dict[str, str]]


class Bench:
    """What all measurements share: options, the sink, the instances."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.sink = compile_sink(folder)
        self.files = prepare(folder, "small")
        self._past: Path | None = None

    def node(self, folder: Path, sink: Sink, quiet: str = "1s", past: Path | None = None) -> Node:
        """A node in `folder`, not started; with a `past` its storage is a copy of that one's."""
        peers = {"staging": ("STAGING", free_port()), "research": ("RESEARCH", sink.port)}
        rules = (ROOT / "rules" / "basic.yaml").read_text()
        if past:
            shutil.copytree(past, folder / "node" / "storage")
        return Node(folder / "node", peers, quiet=quiet, rules=rules, settings=SETTINGS)

    def starter(self, quiet: str = "1s", past: Path | None = None) -> Callable[[Path, Sink, bool], Subject]:
        """What `measure` starts."""

        def start(folder: Path, sink: Sink, no_delay: bool) -> Subject:
            return subject_of(self.node(folder, sink, quiet, past).start())

        return start

    def rate(self, case: Case, start: Callable[[Path, Sink, bool], Subject]) -> Measured:
        """One run."""
        options = self.options
        run = measure(start, case, self.files, options.seconds, self.sink, options.directory)
        print(f"# {case}: {run.sustained:.0f}/s, lost {run.lost}, refused {run.refused}", file=sys.stderr, flush=True)
        return run

    def past(self, instances: int) -> Path:
        """A storage directory whose journal has so many instances, all delivered."""
        if self._past is None:
            self._past = self.folder / "past"
            with Sink(self.sink, self.folder) as sink:
                node = self.node(self.folder, sink).start()
                sender = senders.start("storescu", 0, self.folder, *self._given(node, study=PAST))
                _until(lambda: len(sender.answers()[0]) >= PAST)
                sender.stop()
                node.wait_settled(1)
                node.terminate()
            (node.storage / "control.sock").unlink(missing_ok=True)
            shutil.move(node.storage, self._past)
            shutil.rmtree(node.folder)
        filled = self.folder / f"past{instances}"
        shutil.copytree(self._past, filled)
        print(f"# a journal of {multiply(filled, instances)} instances", file=sys.stderr, flush=True)
        return filled

    def _given(self, node: Node, study: int) -> tuple[Any, ...]:
        return replace(KINDS["small"], study=study), self.files, node.port, "DICOMNODE", True


def subject_of(node: Node) -> Subject:
    """A running node as what is measured."""
    return Subject(node.port, "DICOMNODE", node.pid, node.stop)


def _until(condition: Callable[[], bool], seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:g} s")
        time.sleep(0.1)


def rows(bench: Bench) -> Part:
    """Rates and times to start by rows in the journal; the sizes take turns."""
    counts = [0, *(count for count in (10_000, 100_000, 1_000_000) if count <= bench.options.most_rows)]
    pasts = {count: bench.past(count) if count else None for count in counts}
    case = Case("small", 4)
    runs: dict[int, list[Measured]] = {count: [] for count in counts}
    starts: dict[int, list[float]] = {count: [] for count in counts}
    for number in range(max(STARTS, bench.options.rounds)):
        for count in counts:
            starts[count].append(start_time(bench, pasts[count]))
            if number < bench.options.rounds:
                runs[count].append(bench.rate(case, bench.starter(past=pasts[count])))
    table = page.table(
        ["instances in the journal", "instances/s", "CPU ms", "peak MB", "seconds to start"],
        [
            [
                f"{count:,}".replace(",", " "),
                spread([run.sustained for run in runs[count]]),
                spread([run.cpu for run in runs[count]], 2),
                spread([run.peak for run in runs[count]]),
                spread(starts[count], 2),
            ]
            for count in counts
        ],
    )
    line = {"small instances, 4 associations": [(c, median(r.sustained for r in runs[c])) for c in counts]}
    started = {"until it listens": [(c, median(starts[c])) for c in counts]}
    return table, {
        "growth-rows": _plot("Rate by instances in the journal", line, "instances in the journal", True),
        "growth-start": lines(
            "Start-up", started, across="instances in the journal", up="seconds until it listens", logarithmic=True
        ),
    }


def start_time(bench: Bench, past: Path | None) -> float:
    """Seconds from the start of the program until it listens."""
    folder = Path(tempfile.mkdtemp(dir=bench.options.directory, prefix="dicomnode-bench-"))
    try:
        with Sink(bench.sink, folder) as sink:
            node = bench.node(folder, sink, past=past)
            began = time.monotonic()
            node.start()
            taken = time.monotonic() - began
            node.stop()
            return taken
    finally:
        shutil.rmtree(folder)


def studies(bench: Bench) -> Part:
    """Open studies one after the other on one node; between, the rate of answers for studies of the usual size."""
    counts = [count for count in (0, 1, 100, 1000, 5000, 10_000) if count <= bench.options.most_studies]
    rates: dict[int, list[float]] = {}
    opened: dict[int, float] = {}
    folder = Path(tempfile.mkdtemp(dir=bench.options.directory, prefix="dicomnode-bench-"))
    try:
        with Sink(bench.sink, folder) as sink:
            node = bench.node(folder, sink, quiet="2h").start()
            wait_idle(subject_of(node))
            try:
                before = 0
                for number, count in enumerate(counts):
                    if count > before:
                        opened[count] = _open(bench, node, folder, number, count - before)
                    before = count
                    rates[count] = [_answers(bench, node, folder, number, n) for n in range(bench.options.rounds)]
                    print(f"# {count} studies open: {rates[count]} answers/s", file=sys.stderr, flush=True)
                peak = subject_of(node).peak()
            finally:
                node.stop()
    finally:
        shutil.rmtree(folder)
    table = page.table(
        ["studies open", "answers/s, one association", "opened per second since the line before"],
        [[f"{count}", spread(rates[count]), f"{opened[count]:.0f}" if count in opened else ""] for count in counts],
    )
    line = {
        "answers": [(count, median(rates[count])) for count in counts],
        "studies opened": [(count, rate) for count, rate in opened.items() if count >= 100],
    }
    plot = _plot("Rate by open studies", line, "studies open", True)
    return f"{table}\n\nPeak memory with all of them open: {peak:.0f} MB.", {"growth-studies": plot}


def _send(bench: Bench, node: Node, folder: Path, name: str, study: int) -> senders.Sender:
    own = folder / name
    own.mkdir()
    return senders.start("storescu", 0, own, *bench._given(node, study))


def _open(bench: Bench, node: Node, folder: Path, number: int, count: int) -> float:
    """Open `count` studies with an instance each; how many per second."""
    sender = _send(bench, node, folder, f"opening{number}", 1)
    _until(lambda: len(sender.answers()[0]) >= count or sender.broken)
    sender.stop()
    return steady(sender.answers()[0])


def _answers(bench: Bench, node: Node, folder: Path, number: int, again: int) -> float:
    sender = _send(bench, node, folder, f"usual{number}-{again}", 200)
    time.sleep(bench.options.seconds)
    sender.stop()
    return steady(sender.answers()[0])


def associations(bench: Bench) -> Part:
    """Rates by associations, which take turns."""
    counts = [4, 16, 64]
    runs: dict[int, list[Measured]] = {count: [] for count in counts}
    for _ in range(bench.options.rounds):
        for count in counts:
            runs[count].append(bench.rate(Case("small", count), bench.starter()))
    table = page.table(
        ["associations", "instances/s", "CPU ms", "peak MB"],
        [
            [
                f"{count}",
                spread([run.sustained for run in runs[count]]),
                spread([run.cpu for run in runs[count]], 2),
                spread([run.peak for run in runs[count]]),
            ]
            for count in counts
        ],
    )
    line = {"small instances": [(count, median(run.sustained for run in runs[count])) for count in counts]}
    return table, {"growth-associations": _plot("Rate by associations", line, "associations", False)}


def large(bench: Bench) -> Part:
    """One study of many instances on one association: answers and deliveries per second by tenth of it."""
    count = bench.options.study
    folder = Path(tempfile.mkdtemp(dir=bench.options.directory, prefix="dicomnode-bench-"))
    try:
        with Sink(bench.sink, folder) as sink:
            node = bench.node(folder, sink).start()
            try:
                sender = _send(bench, node, folder, "large", count)
                _until(lambda: len(sender.answers()[0]) >= count)
                sender.stop()
                _until(lambda: len(sink.distinct()) >= count)
                answers = sorted(sender.answers()[0])[:count]
                arrived, peak = [at for at, _ in sink.arrivals()][:count], subject_of(node).peak()
            finally:
                node.stop()
    finally:
        shutil.rmtree(folder)
    parts = {"answers": _by_part(answers), "deliveries": _by_part(arrived)}
    table = page.table(
        ["instances", *(f"{count * n // 10}–{count * (n + 1) // 10}" for n in range(10))],
        [[f"{name}/s", *(f"{rate:.0f}" for _, rate in values)] for name, values in parts.items()],
    )
    wait = arrived[0] - answers[-1]
    said = (
        f"First delivery {wait:.1f} s after the last answer, the last one {arrived[-1] - answers[-1]:.1f} s after it; "
    )
    plot = _plot(f"One study of {count} instances", parts, "instances so far", False)
    return f"{table}\n\n{said}peak memory {peak:.0f} MB.", {"growth-large": plot}


def _by_part(times: Sequence[float], parts: int = 10) -> list[tuple[float, float]]:
    size = len(times) // parts
    found = []
    for number in range(parts):
        first, last = times[number * size], times[(number + 1) * size - 1]
        found.append(((number + 1) * size, (size - 1) / max(last - first, 1e-9)))
    return found


def _plot(title: str, line: Mapping[str, Sequence[tuple[float, float]]], across: str, logarithmic: bool) -> str:
    return lines(title, line, across=across, up="per second", logarithmic=logarithmic)


PARTS: dict[str, Callable[[Bench], Part]] = {
    "rows": rows,
    "studies": studies,
    "associations": associations,
    "large": large,
}


def main() -> int:
    """Measure what was asked for, print the tables, and write them when asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; default all")
    parser.add_argument("--seconds", type=float, default=10, help="of sending in each run (default 10)")
    parser.add_argument("--rounds", type=int, default=3, help="default 3")
    parser.add_argument("--most-rows", type=int, default=1_000_000)
    parser.add_argument("--most-studies", type=int, default=10_000)
    parser.add_argument("--study", type=int, default=20_000, help="instances of the large study")
    parser.add_argument("--directory", type=Path, help="where the node stores")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"{', '.join(unknown)}: there are {', '.join(PARTS)}")
    folder = Path(tempfile.mkdtemp(prefix="dicomnode-bench-data-", dir=options.directory))
    try:
        bench = Bench(options, folder)
        for name in options.parts or PARTS:
            text, plots = PARTS[name](bench)
            print(f"\n{text}", flush=True)
            if options.write:
                shown = "\n".join(page.image(plot, plot) for plot in plots)
                page.write(f"growth-{name}", f"{text}\n\n{shown}", plots)
    finally:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
