"""How many instructions an instance costs, on fixed instances: a guard that no busy machine disturbs.

    python benchmarks/instructions.py [--record]

The way of an instance from the bytes of its message to its durable record (reading PDUs, de-identification, gate,
digests, record, write and sync) is gone by COUNTS instances of a series, in processes of their own; the difference
between more and fewer of them, by the difference of their numbers, is what one costs. `perf stat` counts where the
machine has hardware counters, else valgrind (Debian package valgrind; a minute or two). Rows and commits are left
out: how many share one is a matter of time. Exit 1 when a count is more than TOLERANCE above the recorded one, which
holds for one version of Python and one way of counting.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

COUNTS = (15, 35)
TOLERANCE = 1.05
KINDS = ("ct", "small")
RECORDED = Path(__file__).with_name("instructions.json")


def prepare(kind: str, folder: Path) -> None:
    """Write the instances of a series as C-STORE requests, and what they are: what counts has nothing of this to do."""
    import programs  # noqa: F401 - puts the tests' modules within reach
    from rooms import associated, message_of
    from synthetic import ct, images, numbered, small

    files = list(numbered({"ct": ct, "small": small}[kind](), COUNTS[1]))
    syntax, sop_class = images.split(files[0])[0], str(images.header(files[0]).SOPClassUID)
    calling, _ = associated(sop_class, syntax)
    uids = [str(images.header(file).SOPInstanceUID) for file in files]
    (folder / "about.json").write_text(json.dumps([sop_class, syntax, uids]))
    for number, (uid, file) in enumerate(zip(uids, files, strict=True)):
        (folder / f"{number}.message").write_bytes(message_of(calling, sop_class, uid, images.split(file)[1]))


def go(folder: Path, count: int) -> None:
    """The way of the first `count` instances, in this process."""
    from rooms import ORIGIN, Rooms, associated

    from dicomnode import keep
    from dicomnode.model import Received
    from dicomnode.upper_layer import DataSet

    sop_class, syntax, uids = json.loads((folder / "about.json").read_text())
    _, called = associated(sop_class, syntax)
    with tempfile.TemporaryDirectory() as storage:
        rooms = Rooms(Path(storage))
        way = rooms.way()
        for number, uid in enumerate(uids[:count]):
            called.receive(memoryview((folder / f"{number}.message").read_bytes()))
            data = bytearray()
            while (event := called.next_event()) is not None:
                if isinstance(event, DataSet):
                    data += event.data
            received = Received(ORIGIN, sop_class, uid, syntax, 0.0)
            cleaned = way.deidentifier.clean(received, data)
            keep.keep(rooms.leases, 1, keep.record(way, received, cleaned, 0.0))
        rooms.close()


def counter() -> list[str]:
    """The program that counts: perf where it can, else valgrind. Raises FileNotFoundError."""
    if perf := shutil.which("perf"):
        line = [perf, "stat", "-x,", "-e", "instructions:u"]
        tried = subprocess.run([*line, "true"], capture_output=True, text=True, check=False)
        if tried.returncode == 0 and re.match(r"\d+,", tried.stderr):
            return line
    if valgrind := shutil.which("valgrind"):
        return [valgrind, "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    raise FileNotFoundError("neither perf counts here nor is there valgrind: apt-get install valgrind")


def counted(line: list[str], folder: Path, count: int) -> int:
    """The instructions of a whole process that takes `count` instances."""
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONMALLOC": "pymalloc"}
    command = [*line, sys.executable, __file__, "--go", folder, str(count)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    found = re.search(r"^(\d+),|Collected : (\d+)", result.stderr, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"{line[0]} said nothing: {result.stderr[-500:]}")
    return int(found[1] or found[2])


def per_instance(line: list[str], kind: str) -> int:
    """What one more instance costs."""
    with tempfile.TemporaryDirectory() as folder:
        prepare(kind, Path(folder))
        few, many = (counted(line, Path(folder), count) for count in COUNTS)
    return (many - few) // (COUNTS[1] - COUNTS[0])


def about(line: list[str]) -> str:
    """What a recorded count holds for."""
    return f"{Path(line[0]).name}, Python {sys.version_info.major}.{sys.version_info.minor}"


def main() -> int:
    """Count, compare, record when asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="record what was counted as what may be")
    parser.add_argument("--go", nargs=2, metavar=("FOLDER", "COUNT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.go:
        go(Path(options.go[0]), int(options.go[1]))
        return 0
    line = counter()
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    bounds = recorded.get(about(line), {})
    found = {kind: per_instance(line, kind) for kind in KINDS}
    print(f"| {about(line)} | instructions per instance | recorded |\n| --- | ---: | ---: |")
    for kind, count in found.items():
        print(f"| {kind} | {count:,} | {bounds[kind]:,} |" if kind in bounds else f"| {kind} | {count:,} | none |")
    if options.record:
        RECORDED.write_text(json.dumps(recorded | {about(line): found}, indent=1) + "\n")
        return 0
    worse = [kind for kind, count in found.items() if kind in bounds and count > TOLERANCE * bounds[kind]]
    if worse:
        print(f"{' and '.join(worse)}: more than {TOLERANCE:.0%} of what is recorded", file=sys.stderr)
    return int(bool(worse))


if __name__ == "__main__":
    sys.exit(main())
