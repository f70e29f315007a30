"""The programs under measurement, each started fresh on free loopback ports: the node, Orthanc, storescp, nothing."""

from __future__ import annotations

import json
import mmap
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from peers.dcmtk import echo  # noqa: E402 - the tests' own peers
from peers.node import Node  # noqa: E402
from peers.orthanc import Orthanc  # noqa: E402
from peers.process import Program, find, free_port, listens  # noqa: E402

MOST_RECORDS = 1_000_000
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "dicomnode", "environments")
ANONYMIZER = "dicom-anonymizer==2.1.0"  # the packages of the obvious script
PYNETDICOM = "pynetdicom==3.0.4"
TICKS = os.sysconf("SC_CLK_TCK")

ORTHANC_SCRIPT = """
function OnStableStudy(study, tags, metadata)
  if metadata['AnonymizedFrom'] ~= nil then return end
  local clean = ParseJson(RestApiPost('/studies/' .. study .. '/anonymize', '{}'))['ID']
  RestApiPost('/modalities/sink/store', clean)
  RestApiDelete('/studies/' .. clean)
  RestApiDelete('/studies/' .. study)
end
"""


def compile_sink(folder: Path) -> Path:
    """Compile sink.c; raises FileNotFoundError when there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise FileNotFoundError("a C compiler is missing: apt-get install gcc libc6-dev")
    program = folder / "sink"
    source = Path(__file__).with_name("sink.c")
    subprocess.run([compiler, "-O2", "-pthread", "-o", program, source], check=True)
    return program


class Sink(Program):
    """The receiver at the far end: it discards, and remembers when each instance was complete."""

    def __init__(self, program: Path, folder: Path, port: int | None = None) -> None:
        self.port = port or free_port()
        self._file = folder / "sink.records"
        super().__init__([program, str(self.port), self._file, str(MOST_RECORDS)], folder / "sink.log")
        self.wait_ready(lambda: listens(self.port))
        with self._file.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)

    @property
    def count(self) -> int:
        """Instances so far."""
        return int(struct.unpack_from("<Q", self._map)[0])

    def arrivals(self) -> list[tuple[float, int]]:
        """(monotonic seconds, data set bytes) of each instance, in order of time."""
        return sorted((seconds, size) for seconds, size, _ in self._records())

    def distinct(self) -> set[int]:
        """Hashes of the SOP Instance UIDs that arrived."""
        return {uid for _, _, uid in self._records()}

    def _records(self) -> Iterator[tuple[float, int, int]]:
        size = min(self.count, MOST_RECORDS)
        return struct.iter_unpack("<dQQ", self._map[8 : 8 + size * 24])


@dataclass
class Subject:
    """A program under measurement: where senders call, whose cost counts, how it ends; `forwards` to the sink."""

    port: int
    ae_title: str
    pid: int | None
    stop: Callable[[], object]
    forwards: bool = True

    def _family(self) -> list[int]:
        return [] if self.pid is None else _with_children(self.pid)

    def cpu(self) -> float:
        """CPU seconds that the process and its children, ended ones too, have used so far."""
        return sum(map(_ticks, self._family())) / TICKS

    def peak(self) -> float:
        """Peak resident memory in MB (VmHWM), of the process and its living children together."""
        return sum(_peak(pid) for pid in self._family())


def _with_children(pid: int) -> list[int]:
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(each for child in found for each in _with_children(int(child)))]


def _ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0
    return sum(int(field) for field in fields[11:15])


def _peak(pid: int) -> float:
    with suppress(OSError):  # it may have ended
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1000
    return 0.0


def environment(name: str, *packages: str) -> Path:
    """The Python of an environment of its own in the cache directory, made when it is missing."""
    python = CACHE / f"{name}-python{sys.version_info.major}.{sys.version_info.minor}" / "bin" / "python"
    ready = python.parent.parent / ".ready"
    if not ready.exists():
        print(f"installing {', '.join(packages)} into {ready.parent}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", ready.parent], check=True)
        pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, *packages], check=True)
        ready.touch()
    return python


def start_node(folder: Path, sink: Sink, no_delay: bool) -> Subject:
    """The node as shipped: rules/basic.yaml, gate, fsync, journal, log, metrics; quiet time 1 s."""
    settings: dict[str, object] = {"metrics": {"port": free_port()}}
    if os.environ.get("DICOMNODE_BENCH_FORWARD"):
        settings["forward"] = {"associations": 2}
    rules = (ROOT / "rules" / "basic.yaml").read_text()
    peers = {"staging": ("STAGING", free_port()), "research": ("RESEARCH", sink.port)}
    node = Node(folder / "node", peers, quiet="1s", rules=rules, settings=settings).start()
    return Subject(node.port, "DICOMNODE", node.pid, node.stop)


def start_orthanc(folder: Path, sink: Sink, no_delay: bool) -> Subject:
    """Orthanc that anonymises, forwards and deletes each stable study by a Lua script."""
    (folder / "orthanc").mkdir()
    script = folder / "orthanc" / "forward.lua"
    script.write_text(ORTHANC_SCRIPT)
    settings = {"LuaScripts": [str(script)], "StableAge": 1, "OverwriteInstances": False}
    orthanc = Orthanc(
        folder / "orthanc",
        {"sink": ("RESEARCH", sink.port)},
        ae_title="ORTHANC",
        settings=settings,
        environment=nagle(no_delay),
    )
    return Subject(orthanc.port, "ORTHANC", orthanc.pid, orthanc.stop)


STORESCP_TUNED = ["-dhl", "+B", "-pdu", "131072"]  # no name look-ups, bytes written as they come, the largest PDUs


def start_storescp(folder: Path, sink: Sink, no_delay: bool, tuned: Sequence[str] = ()) -> Subject:
    """DCMTK storescp: it receives and writes files, unsynced; nothing else."""
    received = folder / "received"
    received.mkdir()
    port = free_port()
    line = [find("storescp"), "--fork", "-aet", "STORESCP", "+xa", *tuned, "-od", received]
    program = Program([*line, str(port)], folder / "storescp.log", nagle(no_delay))
    program.wait_ready(lambda: echo(port, called="STORESCP").code == 0)
    return Subject(port, "STORESCP", program.pid, program.stop, forwards=False)


def start_obvious(folder: Path, sink: Sink, no_delay: bool) -> Subject:
    """The obvious script, obvious.py, in an environment of its own; pynetdicom leaves Nagle's algorithm on."""
    name = "-".join(package.replace("==", "-") for package in (ANONYMIZER, PYNETDICOM))
    python, port = environment(name, ANONYMIZER, PYNETDICOM), free_port()
    script = Path(__file__).with_name("obvious.py")
    program = Program([python, script, str(port), str(sink.port)], folder / "obvious.log")
    program.wait_ready(lambda: echo(port, called="OBVIOUS").code == 0)
    return Subject(port, "OBVIOUS", program.pid, program.stop)


def start_nothing(folder: Path, sink: Sink, no_delay: bool) -> Subject:
    """The limit of sender, loopback and sink."""
    return Subject(sink.port, "SINK", sink.pid, lambda: None)


def nagle(no_delay: bool) -> dict[str, str]:
    """The environment in which DCMTK turns Nagle's algorithm off; its default is on, on both sides."""
    return {"TCP_NODELAY": "1"} if no_delay else {}


SUBJECTS: dict[str, Callable[[Path, Sink, bool], Subject]] = {
    "dicomnode": start_node,
    "Orthanc, anonymise and forward": start_orthanc,
    "pynetdicom with dicom-anonymizer": start_obvious,
    "DCMTK storescp, receive only": start_storescp,
    "DCMTK storescp tuned, receive only": partial(start_storescp, tuned=STORESCP_TUNED),
    "limit: sender into the sink": start_nothing,
}


def version(arguments: list[str]) -> str:
    """The first line that a program says of its version."""
    result = subprocess.run(arguments, capture_output=True, text=True, check=False)
    return (result.stdout + result.stderr).splitlines()[0].strip("$ ")


def sync_time(directory: Path | None) -> float:
    """Milliseconds that an fdatasync after an append of 64 KiB takes there: the median of 50."""
    times = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(50):
            file.write(bytes(65536))
            file.flush()
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(1000 * (time.perf_counter() - started))
    return median(times)


def machine(directory: Path | None = None) -> dict[str, str]:
    """What the numbers were measured on; `directory` is where the programs store."""
    processor = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        "unknown",
    )
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 1e6
    return {
        "processor": f"{processor}, {os.cpu_count()} cores",
        "memory": f"{memory:.0f} GB",
        "fdatasync": f"{sync_time(directory):.2f} ms after an append of 64 KiB (median)",
        "system": " ".join(os.uname()[index] for index in (0, 2, 4)),
        "Python": sys.version.split()[0],
        "DCMTK": version([find("storescp"), "--version"]),
        "Orthanc": version([find("Orthanc"), "--version"]),
        "day": time.strftime("%Y-%m-%d"),
    }


if __name__ == "__main__":
    print(json.dumps(machine(), indent=1))
