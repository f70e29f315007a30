"""CPU time per instance of the de-identification engine, beside three other Python programs in the same run.

Each program runs in a process and an environment of its own; the environments are made in the cache directory when
they are missing. The programs take turns, round by round, so that a slow minute of the machine hits all of them.
CPU time is that of the process, user and system. The instances are made up; the same bytes every time.
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from programs import ROOT, environment, machine
from synthetic import PERSON, ct, images, jpeg, numbered, small

PACKAGES = {"dicom-anonymizer": "2.1.0", "deid": "0.4.0", "dicognito": "0.19.0"}
CASES = {"ct": "CT 512x512, 0.53 MB", "small": "MR, 12 KB, header-heavy", "jpeg": "JPEG, 8 KB"}
MODES = {"file": "file to file", "memory": "bytes to bytes in memory", "call": "data set to data set"}
RULES = "profile: basic\nsuspicious_pixels: {accept: [SecondaryCaptureImageStorage]}\n"  # the JPEG is one


def prepare(folder: Path, kind: str, count: int) -> Path:
    """Write the instances of one case; each has a SOP Instance UID of its own."""
    files = folder / kind
    files.mkdir()
    if kind == "jpeg":
        contents = [images.written(jpeg(number=number)) for number in range(1, count + 1)]
    else:
        contents = list(numbered({"ct": ct, "small": small}[kind](), count))
    for number, content in enumerate(contents):
        (files / f"{number:03}.dcm").write_bytes(content)
    return files


@dataclass(frozen=True)
class Program:
    """One running `deidentifiers.py`."""

    name: str
    process: subprocess.Popen[str]

    @classmethod
    def start(cls, name: str, rules: Path) -> Program:
        """Start it in its environment; ours is this one."""
        python = (
            Path(sys.executable)
            if name == "dicomnode"
            else environment(f"{name}-{PACKAGES[name]}", f"{name}=={PACKAGES[name]}")
        )
        line = [python, ROOT / "benchmarks" / "deidentifiers.py", name, rules]
        pipe = subprocess.PIPE
        return cls(name, subprocess.Popen(line, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True))

    def ask(self, mode: str, folder: Path) -> float | str:
        """One round; raises RuntimeError when the program died."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps({"mode": mode, "folder": str(folder)}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.name} ended in the middle of {mode}")
        return json.loads(answer)  # type: ignore[no-any-return]

    def stop(self) -> None:
        """End of input ends it."""
        self.process.communicate()

    def version(self) -> str:
        """Its name and version."""
        return f"{self.name} {PACKAGES[self.name]}" if self.name in PACKAGES else self.name

    def left(self, folder: Path) -> int:
        """How many of the identifying values of the made-up patient are still in its output."""
        output = base64.b64decode(str(self.ask("output", folder)))
        return sum(needle.encode("latin-1") in output for needle in set(PERSON.needles()))


def rounds(programs: list[Program], cases: dict[str, Path], count: int) -> dict[tuple[str, str, str], float]:
    """The median CPU milliseconds per instance by program, case and mode; a first round is not counted."""
    times: dict[tuple[str, str, str], list[float]] = {}
    for number in range(count + 1):
        for case, folder in cases.items():
            for mode in MODES:
                for program in programs[number % len(programs) :] + programs[: number % len(programs)]:
                    spent = program.ask(mode, folder)
                    if number:
                        times.setdefault((program.name, case, mode), []).append(float(spent))
    return {key: median(values) for key, values in times.items()}


def report(programs: list[Program], cases: dict[str, Path], found: dict[tuple[str, str, str], float]) -> str:
    """A Markdown table for each case: milliseconds, in brackets how many times ours, and what was left."""
    parts = []
    for case, folder in cases.items():
        parts += ["", f"**{CASES[case]}**, CPU ms per instance", ""]
        parts += [f"| program | {' | '.join(MODES.values())} | identifying values left |"]
        parts += ["| --- " * (len(MODES) + 2) + "|"]
        total = len(set(PERSON.needles()))
        for program in programs:
            cells = [_cell(found[program.name, case, mode], found["dicomnode", case, mode]) for mode in MODES]
            parts.append(f"| {program.version()} | {' | '.join(cells)} | {program.left(folder)} of {total} |")
    return "\n".join(parts)


def _cell(spent: float, ours: float) -> str:
    return f"{spent:.3f}" + (f" ({spent / ours:.0f} x)" if spent != ours else "")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="rounds that count (default 9)")
    parser.add_argument("--instances", type=int, default=20, help="instances of each case in a round (default 20)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dicomnode-bench-") as folder:
        cases = {kind: prepare(Path(folder), kind, chosen.instances) for kind in CASES}
        rules = Path(folder, "rules.yaml")
        rules.write_text(RULES)
        programs = [Program.start(name, rules) for name in ("dicomnode", *PACKAGES)]
        try:
            found = rounds(programs, cases, chosen.rounds)
            about = machine()
            print(f"{about['processor']}, Python {about['Python']}, {about['day']};", end=" ")
            print(f"medians of {chosen.rounds} rounds of {chosen.instances} instances")
            print(report(programs, cases, found))
        finally:
            for program in programs:
                program.stop()


if __name__ == "__main__":
    main()
