"""CPU and elapsed time of whole folder runs: `dicomnode deidentify`, three Python programs, and mmiv's C++ program.

    python benchmarks/folders.py [--anonymize PATH]

PATH is the program that was built from mmiv's DICOMAnonymizer. Each program de-identifies the same folder in one
process; the times are those of the process and its children, start included. Then ours runs with more workers.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from deidentify import PACKAGES, RULES, Program, prepare
from programs import machine

CASES = {"ct": ("CT 512x512, 0.53 MB", 1000), "small": ("MR, 12 KB, header-heavy", 4000)}


@dataclass(frozen=True)
class Time:
    """Seconds that a run took."""

    cpu: float
    elapsed: float


def timed(command: list[str | Path]) -> Time:
    """Run a command to its end."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Time(cpu, time.monotonic() - began)


def ours(folder: Path, source: Path, workers: int) -> Time:
    """One run of dicomnode into a fresh folder."""
    out = folder / "out"
    (folder / "rules.yaml").write_text(RULES)
    command = [sys.executable, "-m", "dicomnode", "deidentify", source, out, "--rules", folder / "rules.yaml"]
    found = timed([*command, "--workers", str(workers)])
    _emptied(out, len(list(source.iterdir())))
    return found


def theirs(anonymize: Path, folder: Path, source: Path, threads: int) -> Time:
    """One run of mmiv's program into a fresh folder."""
    out = folder / "out"
    out.mkdir()
    options = ["--patientid", "S1", "--dateincrement", "42", "--byseries", "--numthreads", str(threads)]
    found = timed([anonymize, "--input", source, "--output", out, *options])
    _emptied(out, len(list(source.iterdir())))
    return found


def _emptied(out: Path, expected: int) -> None:
    written = len(list(out.rglob("*.dcm")))
    shutil.rmtree(out)
    if written != expected:
        raise RuntimeError(f"{written} of {expected} files were written")


def row(name: str, times: list[Time], count: int) -> str:
    """One line of the table: medians."""
    cpu, elapsed = median(each.cpu for each in times), median(each.elapsed for each in times)
    return f"| {name} | {cpu * 1000 / count:.2f} | {elapsed:.1f} | {count / elapsed:.0f} |"


def rounds(folder: Path, source: Path, anonymize: Path | None, number: int) -> dict[str, list[Time]]:
    """The times of each program; they take turns."""
    found: dict[str, list[Time]] = {}
    counts = sorted({1, len(os.sched_getaffinity(0))})
    for _ in range(number):
        for workers in counts:
            found.setdefault(f"dicomnode, --workers {workers}", []).append(ours(folder, source, workers))
            if anonymize:
                times = found.setdefault(f"DICOMAnonymizer, --numthreads {workers}", [])
                times.append(theirs(anonymize, folder, source, workers))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--anonymize", type=Path, help="mmiv's program")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each (default 3)")
    parser.add_argument("--folder", type=Path, help="where the files lie (default: the system's temporary folder)")
    chosen = parser.parse_args()
    about = machine()
    print(f"{about['processor']}, Python {about['Python']}, {about['day']}; medians of {chosen.rounds} rounds")
    for kind, (said, count) in CASES.items():
        with tempfile.TemporaryDirectory(prefix="dicomnode-bench-", dir=chosen.folder) as name:
            folder = Path(name)
            source = prepare(folder, kind, count)
            print(f"\n**{said}**, {count} files\n")
            print("| program | CPU ms per file | seconds | files per second |\n| --- | --- | --- | --- |")
            for program, times in rounds(folder, source, chosen.anonymize, chosen.rounds).items():
                print(row(program, times, count), flush=True)
            others(folder, source)


def others(folder: Path, source: Path) -> None:
    """The Python programs, file to file, without their start: 100 files, CPU alone."""
    sample = folder / "sample"
    sample.mkdir()
    for file in sorted(source.iterdir())[:100]:
        (sample / file.name).symlink_to(file)
    for name in PACKAGES:
        program = Program.start(name, folder / "rules.yaml")
        try:
            program.ask("file", sample)
            print(f"| {program.version()} | {float(program.ask('file', sample)):.2f} | | |", flush=True)
        finally:
            program.stop()


if __name__ == "__main__":
    main()
