"""Instances per second through the node, beside Orthanc, DCMTK storescp and a script on pynetdicom in the same run.

Every measurement starts its program afresh, lets DCMTK senders push new studies for some seconds, waits until the
sink has everything, and takes the rate at the sink between the 10th and the 90th percentile of its arrivals.
The programs take turns, so that a slow minute of the machine hits all of them. What was measured is added to
--results; --write puts all of it into docs/performance.md. The full run:

    make bench ARGS="--rounds 5 --seconds 60 --write"
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import page
import results as kept
from kinds import KINDS, prepare
from measure import DRAIN, Case, Measured, measure
from programs import ROOT, SUBJECTS, compile_sink, machine, sync_time
from senders import SENDERS

NICKNAMES = dict(zip(("dicomnode", "orthanc", "script", "storescp", "tuned", "limit"), SUBJECTS, strict=True))
RESULTS = ROOT / "docs" / "performance" / "throughput.json"


def cases(options: argparse.Namespace) -> list[Case]:
    """What is to be measured.

    CT and small instances on every number of associations by storescu, on the first two by dcmsend, on the first with
    Nagle on by both; multi-frames on every number; compressed ones on the second number.
    """
    counts, found = options.associations, []
    middle = counts[min(1, len(counts) - 1)]
    for kind in options.kinds:
        if kind in ("ct", "small"):
            found += [Case(kind, count) for count in counts]
            found += [Case(kind, count, "dcmsend") for count in counts[:2]]
            found += [Case(kind, counts[0], sender, no_delay=False) for sender in SENDERS]
        elif kind == "multiframe":
            found += [Case(kind, count) for count in counts]
        else:
            found.append(Case(kind, middle))
    return [
        case
        for case in found
        if case.sender in options.senders and (options.nagle is None or case.no_delay == (options.nagle == "off"))
    ]


def programs(case: Case, only: list[str] | None) -> list[str]:
    """The programs that are measured in a case; those that serve as limits only where nothing else is in play."""
    skipped: tuple[str, ...] = ("script", "tuned", "limit")
    if case.sender == "storescu":
        skipped = {"ct": (), "small": (), "multiframe": ("script",)}.get(case.kind, skipped)
    chosen = only or [name for name in NICKNAMES if name not in skipped]
    return [NICKNAMES[name] for name in chosen]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15, help="how long the senders push in each run (default 15)")
    parser.add_argument("--rounds", type=int, default=3, help="default 3")
    parser.add_argument("--quick", action="store_true", help="one round of 4 s, CT and small on 1 and 4 associations")
    parser.add_argument("--only", nargs="+", choices=NICKNAMES, help="programs")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--associations", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--senders", nargs="+", choices=SENDERS, default=list(SENDERS))
    parser.add_argument("--nagle", choices=("on", "off"), help="only cases with Nagle's algorithm on, or off")
    parser.add_argument("--directory", type=Path, help="where the programs store; /dev/shm leaves the disk out of it")
    parser.add_argument("--results", type=Path, help="file of what was measured; runs are added to it, cases replaced")
    parser.add_argument("--write", action="store_true", help=f"write docs/performance.md; --results {RESULTS.name}")
    parser.add_argument("--list", action="store_true", help="say what would be measured and how long it takes")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.rounds, options.nagle, options.senders = 4.0, 1, "off", ["storescu"]
        options.kinds = [kind for kind in options.kinds if kind in ("ct", "small")] or options.kinds
        options.associations = options.associations[:2]
    if options.write and not options.results:
        options.results = RESULTS
    return options


def main() -> int:
    """Measure, print, keep, and write docs/performance.md when asked to."""
    options = _arguments()
    wanted = cases(options)
    if options.list:
        return _tell(wanted, options)
    print(f"# one fdatasync after 64 KiB takes {sync_time(options.directory):.2f} ms here", file=sys.stderr)
    described, found = kept.read(options.results) if options.results else ({}, {})
    described = machine(options.directory)
    folder = Path(tempfile.mkdtemp(prefix="dicomnode-bench-data-"))
    try:
        sink_program = compile_sink(folder)
        files = {kind: prepare(folder, kind) for kind in dict.fromkeys(case.kind for case in wanted)}
        for case in wanted:
            found[case] = _measure_case(case, files[case.kind], options, sink_program)
            print(f"\n{kept.case_table(case, found[case])}", flush=True)
            if options.results:
                options.results.parent.mkdir(exist_ok=True)
                kept.keep(options.results, described, found)
    finally:
        shutil.rmtree(folder)
    if options.write:
        page.write("throughput", kept.text(described, found), kept.plots(found))
    return 0


def _tell(wanted: list[Case], options: argparse.Namespace) -> int:
    runs = slow = 0
    for case in wanted:
        names = programs(case, options.only)
        runs += len(names) * options.rounds
        slow += (NICKNAMES["orthanc"] in names) * options.rounds
        print(f"{case}: {', '.join(names)}")
    least = runs * (options.seconds + 8) / 3600
    more = slow * DRAIN / 3600
    print(f"{runs} runs, {least:.1f} hours, and up to {more:.1f} more for what Orthanc still has to deliver")
    return 0


def _measure_case(
    case: Case, files: Path, options: argparse.Namespace, sink_program: Path
) -> dict[str, list[Measured]]:
    names = programs(case, options.only)
    results: dict[str, list[Measured]] = {name: [] for name in names}
    for number in range(options.rounds):
        for name in names:
            began = time.monotonic()
            run = measure(SUBJECTS[name], case, files, options.seconds, sink_program, options.directory)
            results[name].append(run)
            said = f"{case}, round {number + 1}: {name}: {run.rate:.1f}/s at the sink"
            failed = f", refused {run.refused}, lost {run.lost}, broken {run.broken}"
            failed = failed if run.refused or run.lost or run.broken else ""
            print(f"# {said}{failed} ({time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)
    return results


if __name__ == "__main__":
    sys.exit(main())
