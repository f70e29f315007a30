"""How many instructions an instance costs, on fixed instances: a guard that no busy machine disturbs.

    python benchmarks/instructions.py [--record]

The way of an instance from the bytes of its message to its durable record (reading PDUs, de-identification, gate,
digests, record, write and sync) is counted by valgrind (Debian package valgrind; it takes a minute), for instances of
a series that is known. Rows and commits are left out: how many share one is a matter of time. Exit 1 when a count is
more than TOLERANCE above the recorded one, which holds for one version of Python: another build counts a tenth more.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

KNOWN, COUNTED = 10, 20  # instances before those that count, and these
TOLERANCE = 1.05
KINDS = ("ct", "small")
SWITCH = """
#include <valgrind/callgrind.h>
void begin(void) { CALLGRIND_START_INSTRUMENTATION; }
void end(void) { CALLGRIND_STOP_INSTRUMENTATION; }
"""
RECORDED = Path(__file__).with_name("instructions.json")


def prepare(kind: str, folder: Path) -> None:
    """Write the instances of a series as C-STORE requests, and what they are: what counts has nothing of this to do."""
    import programs  # noqa: F401 - puts the tests' modules within reach
    from rooms import associated, message_of
    from synthetic import ct, images, numbered, small

    files = list(numbered({"ct": ct, "small": small}[kind](), KNOWN + COUNTED))
    syntax, sop_class = images.split(files[0])[0], str(images.header(files[0]).SOPClassUID)
    calling, _ = associated(sop_class, syntax)
    uids = [str(images.header(file).SOPInstanceUID) for file in files]
    (folder / "about.json").write_text(json.dumps([sop_class, syntax, uids]))
    for number, (uid, file) in enumerate(zip(uids, files, strict=True)):
        (folder / f"{number}.message").write_bytes(message_of(calling, sop_class, uid, images.split(file)[1]))


def go(folder: Path) -> None:
    """The way of the instances, in this process."""
    from rooms import ORIGIN, Rooms, associated

    from dicomnode import keep
    from dicomnode.model import Received
    from dicomnode.upper_layer import DataSet

    switch = ctypes.CDLL(str(folder / "switch.so"))
    sop_class, syntax, uids = json.loads((folder / "about.json").read_text())
    messages = [(folder / f"{number}.message").read_bytes() for number in range(len(uids))]
    _, called = associated(sop_class, syntax)
    rooms = Rooms(folder / "storage")
    way = rooms.way()
    for number, (uid, message) in enumerate(zip(uids, messages, strict=True)):
        if number == KNOWN:
            gc.collect()
            switch.begin()
        called.receive(memoryview(message))
        data = bytearray()
        while (event := called.next_event()) is not None:
            if isinstance(event, DataSet):
                data += event.data
        received = Received(ORIGIN, sop_class, uid, syntax, 0.0)
        cleaned = way.deidentifier.clean(received, data)
        keep.keep(rooms.leases, 1, keep.record(way, received, cleaned, 0.0))
    switch.end()
    rooms.close()


def compile_switch(folder: Path) -> None:
    """What tells valgrind when to count. Raises FileNotFoundError when a program is missing."""
    for program, package in (("valgrind", "valgrind"), ("gcc", "gcc libc6-dev")):
        if shutil.which(program) is None:
            raise FileNotFoundError(f"{program} is missing: apt-get install {package}")
    source = folder / "switch.c"
    source.write_text(SWITCH)
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", folder / "switch.so", source], check=True)


def per_instance(kind: str) -> int:
    """What one instance of a kind costs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "storage").mkdir()
        compile_switch(folder)
        prepare(kind, folder)
        line = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder / 'out'}"]
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        command = [*line, sys.executable, __file__, "--go", folder]
        result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    found = re.search(r"Collected : (\d+)", result.stderr)
    if found is None or result.returncode:
        raise RuntimeError(f"valgrind failed: {result.stderr[-1000:]}")
    return int(found[1]) // COUNTED


def main() -> int:
    """Count, compare, record when asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="record what was counted as what may be")
    parser.add_argument("--go", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.go:
        go(options.go)
        return 0
    version = f"Python {platform.python_version()}"
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    bounds = recorded.get(version, {})
    found = {kind: per_instance(kind) for kind in KINDS}
    print(f"| {version} | instructions per instance | recorded |\n| --- | ---: | ---: |")
    for kind, count in found.items():
        print(f"| {kind} | {count:,} | {bounds[kind]:,} |" if kind in bounds else f"| {kind} | {count:,} | none |")
    if options.record:
        RECORDED.write_text(json.dumps(recorded | {version: found}, indent=1) + "\n")
        return 0
    worse = [kind for kind, count in found.items() if kind in bounds and count > TOLERANCE * bounds[kind]]
    if worse:
        print(f"{' and '.join(worse)}: more than {TOLERANCE:.0%} of what is recorded", file=sys.stderr)
    return int(bool(worse))


if __name__ == "__main__":
    sys.exit(main())
