"""Instances per second through the node, beside Orthanc and DCMTK storescp in the same run.

Every measurement starts its program afresh, lets DCMTK senders push new studies for some seconds, waits until the
sink has everything, and takes the rate at the sink between the 10th and the 90th percentile of its arrivals.
The programs take turns, so that a slow minute of the machine hits all of them.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from programs import ROOT, SUBJECTS, Sink, Subject, compile_sink, machine, sync_time
from senders import KINDS, prepare, start

DRAIN = 30.0  # seconds that a program gets to forward what it still has
STILL = 4.0  # seconds without an arrival after which it has forwarded everything


@dataclass(frozen=True)
class Case:
    """What is sent: the kind of instance, associations at once, whether DCMTK turns Nagle's algorithm off."""

    kind: str
    associations: int
    no_delay: bool = True

    def __str__(self) -> str:
        name = {"ct": "CT 0.53 MB", "small": "small 12 KB"}[self.kind]
        return f"{name}, {self.associations} association{'s' if self.associations > 1 else ''}" + (
            "" if self.no_delay else ", DCMTK's default (Nagle on)"
        )


@dataclass(frozen=True)
class Measured:
    """One run: instances/s and MB/s at the sink, answers/s, CPU ms per instance, peak MB, seconds of the tail."""

    rate: float
    megabytes: float
    answers: float
    cpu: float
    peak: float
    tail: float
    instances: int


def steady(times: Sequence[float]) -> float:
    """Events per second between the 10th and the 90th percentile of their times."""
    if len(times) < 20:
        return 0.0
    ordered = sorted(times)
    first, last = len(ordered) // 10, len(ordered) * 9 // 10
    return (last - first) / max(ordered[last] - ordered[first], 1e-9)


def measure(name: str, case: Case, files: Path, seconds: float, sink_program: Path, directory: Path | None) -> Measured:
    """Run one program once; what it stores lies in `directory`."""
    folder = Path(tempfile.mkdtemp(prefix="dicomnode-bench-", dir=directory))
    try:
        with Sink(sink_program, folder) as sink:
            subject = SUBJECTS[name](folder, sink, case.no_delay)
            try:
                return _load(subject, sink, case, files, seconds, folder)
            finally:
                subject.stop()
    finally:
        shutil.rmtree(folder)


def _load(subject: Subject, sink: Sink, case: Case, files: Path, seconds: float, folder: Path) -> Measured:
    before = subject.cpu()
    senders = [
        start(number, folder, files, subject.port, subject.ae_title, no_delay=case.no_delay)
        for number in range(case.associations)
    ]
    time.sleep(seconds)
    for sender in senders:
        sender.program.kill()
    stopped = time.monotonic()
    answers = [answer for sender in senders for answer in sender.answers()]
    if subject.forwards:
        _wait_still(sink)
    return _result(subject, sink, answers, stopped, before)


def _wait_still(sink: Sink) -> None:
    end = time.monotonic() + DRAIN
    count, changed = sink.count, time.monotonic()
    while time.monotonic() < end and time.monotonic() - changed < STILL:
        if sink.count != count:
            count, changed = sink.count, time.monotonic()
        time.sleep(0.05)


def _result(subject: Subject, sink: Sink, answers: list[float], stopped: float, before: float) -> Measured:
    arrivals = sink.arrivals()
    times = [seconds for seconds, _ in arrivals] if subject.forwards else answers
    mean = sum(size for _, size in arrivals) / len(arrivals) / 1e6 if arrivals else 0.0
    rate = steady(times)
    return Measured(
        rate=rate,
        megabytes=rate * mean,
        answers=steady(answers),
        cpu=1000 * (subject.cpu() - before) / max(1, len(times)),
        peak=subject.peak(),
        tail=max(0.0, arrivals[-1][0] - stopped) if arrivals else 0.0,
        instances=len(times),
    )


def _spread(values: Sequence[float], digits: int = 0) -> str:
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def rows(case: Case, results: dict[str, list[Measured]]) -> list[str]:
    """The Markdown table of one case: medians, and in brackets the least and the most."""
    lines = [
        f"\n**{case}**\n",
        "| program | instances/s at the sink | answers/s | CPU ms per instance | peak MB | tail s | instances |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, runs in results.items():
        lines.append(
            f"| {name} | {_spread([run.rate for run in runs])} | {_spread([run.answers for run in runs])} "
            f"| {_spread([run.cpu for run in runs], 2)} | {max(run.peak for run in runs):.0f} "
            f"| {_spread([run.tail for run in runs], 1)} | {sum(run.instances for run in runs)} |"
        )
    return lines + _ratios(results)


def _ratios(results: dict[str, list[Measured]]) -> list[str]:
    rate = {name: median(run.rate for run in runs) for name, runs in results.items() if runs}
    ours = rate.get("dicomnode")
    others = {name: value for name, value in rate.items() if name.startswith(("Orthanc", "DCMTK")) and value}
    if not ours or not others:
        return []
    return ["\ndicomnode is " + ", ".join(f"{ours / value:.2f} × {name}" for name, value in others.items()) + "."]


def document(tables: list[str], options: argparse.Namespace) -> str:
    """The whole page: the machine, how it was measured, the tables."""
    described = "\n".join(f"- {key}: {value}" for key, value in machine(options.directory).items())
    return (
        "# How fast it is\n\nMade by `make bench`; `benchmarks/throughput.py` says how it measures.\n\n"
        f"{described}\n- {options.rounds} rounds of {options.seconds:g} s each, the programs in turn; medians, "
        "in brackets the least and the most\n- sender: DCMTK storescu, which makes up a new study every 200 instances; "
        "everything on one machine, the sink included\n" + "\n".join(tables) + "\n"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=15, help="how long the senders push in each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round of 4 s, without the runs with Nagle on")
    parser.add_argument("--only", action="append", choices=sorted(name.split()[0].strip(":,") for name in SUBJECTS))
    parser.add_argument("--kinds", nargs="+", choices=sorted(KINDS), default=list(KINDS))
    parser.add_argument("--associations", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--no-nagle", action="store_true", help="leave out the runs with DCMTK's default (Nagle on)")
    parser.add_argument("--directory", type=Path, help="where the programs store; /dev/shm leaves the disk out of it")
    parser.add_argument("--write", action="store_true", help="write docs/throughput.md")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.rounds, options.no_nagle = 4.0, 1, True
    return options


def main() -> int:
    """Measure, print, and write docs/throughput.md when asked to."""
    options = _arguments()
    print(f"# one fdatasync after 64 KiB takes {sync_time(options.directory):.2f} ms here", file=sys.stderr)
    names = [name for name in SUBJECTS if not options.only or name.split()[0].strip(":,") in options.only]
    cases = [Case(kind, count) for kind in options.kinds for count in options.associations]
    if not options.no_nagle:
        cases += [Case(kind, 1, no_delay=False) for kind in options.kinds]
    folder = Path(tempfile.mkdtemp(prefix="dicomnode-bench-data-"))
    tables: list[str] = []
    try:
        sink_program = compile_sink(folder)
        files = {kind: prepare(folder, kind) for kind in options.kinds}
        for case in cases:
            tables += _measure_case(case, names, files[case.kind], options, sink_program)
    finally:
        shutil.rmtree(folder)
    if options.write:
        (ROOT / "docs" / "throughput.md").write_text(document(tables, options))
    return 0


def _measure_case(
    case: Case, names: list[str], files: Path, options: argparse.Namespace, sink_program: Path
) -> list[str]:
    results: dict[str, list[Measured]] = {name: [] for name in names}
    for number in range(options.rounds):
        for name in names:
            run = measure(name, case, files, options.seconds, sink_program, options.directory)
            results[name].append(run)
            print(f"# {case}, round {number + 1}: {name}: {run.rate:.0f}/s at the sink", file=sys.stderr, flush=True)
    table = rows(case, results)
    print("\n".join(table), flush=True)
    return table


if __name__ == "__main__":
    sys.exit(main())
