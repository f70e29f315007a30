"""DCMTK's programs: storescp and dcmqrscp as servers, the senders as functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import images

from peers.process import HOST, Program, find, free_port, listens, run

QUICK = {"TCP_NODELAY": "1"}  # DCMTK leaves Nagle's algorithm on unless told so


@dataclass(frozen=True)
class Result:
    """How a DCMTK program ended; `statuses` are the C-STORE statuses of storescu -d or dcmsend -d, in order."""

    code: int
    output: str

    @property
    def statuses(self) -> list[int]:
        """Every DIMSE status of a C-STORE response in the debug output."""
        found = re.findall(r"C-STORE RSP.*?DIMSE Status\s*:\s*0x([0-9a-fA-F]{4})", self.output, re.DOTALL)
        return [int(status, 16) for status in found]

    @property
    def acknowledged(self) -> list[str]:
        """SOP Instance UIDs (of the command) that were answered with 0x0000."""
        pattern = r"C-STORE RSP.*?Affected SOP Instance UID\s*:\s*(\S+).*?DIMSE Status\s*:\s*0x([0-9a-fA-F]{4})"
        pairs = re.findall(pattern, self.output, re.DOTALL)
        return [uid for uid, status in pairs if int(status, 16) == 0]

    @property
    def rejection(self) -> tuple[str, ...] | None:
        """Result, source and reason lines of an A-ASSOCIATE-RJ, as DCMTK words them."""
        found = re.search(r"Result: (.*?), Source: (.*)\n.*?Reason: (.*)", self.output)
        return tuple(part.strip() for part in found.groups()) if found else None


class Storescp(Program):
    """DCMTK's receiver; it writes what it gets bit by bit into `folder`."""

    def __init__(self, folder: Path, *, ae_title: str = "RESEARCH", port: int | None = None, options: Sequence = ()):
        self.folder = folder
        self.port = port or free_port()
        self.ae_title = ae_title
        folder.mkdir(parents=True, exist_ok=True)
        arguments = [find("storescp"), "-d", "-dhl", "-aet", ae_title, "+xa", "-pm", "+B", "-od", folder, *options]
        super().__init__([*arguments, str(self.port)], folder.with_name(folder.name + ".log"), QUICK)
        with_tls = "+tls" in options
        self.wait_ready(lambda: listens(self.port) if with_tls else echo(self.port, called=ae_title).code == 0)

    def files(self) -> list[Path]:
        """What it received whole so far, one file per SOP Instance UID."""
        there = sorted(path for path in self.folder.iterdir() if path.is_file())
        writing = self._open()
        return [path for path in there if str(path) not in writing]

    def _open(self) -> set[str]:
        """What it has open, so also what it is writing."""
        found = set()
        for descriptor in Path(f"/proc/{self.pid}/fd").glob("*") if self.running else ():
            with suppress(OSError):
                found.add(str(descriptor.readlink()))
        return found

    def instances(self) -> dict[str, bytes]:
        """SOP Instance UID to the Part 10 file as it was written."""
        return {path.name.split(".", 1)[1]: images.Content(path.read_bytes()) for path in self.files()}

    def data_sets(self) -> dict[str, tuple[str, bytes]]:
        """SOP Instance UID to transfer syntax and data set bytes."""
        return {uid: images.split(data) for uid, data in self.instances().items()}


class Dcmqrscp(Program):
    """DCMTK's archive: C-STORE, C-FIND and C-MOVE; `destinations` are the AE titles it may move to."""

    def __init__(
        self,
        folder: Path,
        destinations: dict[str, int],
        *,
        ae_title: str = "STAGING",
        port: int | None = None,
        options: Sequence = (),
    ):
        self.folder = folder
        self.port = port or free_port()
        self.ae_title = ae_title
        storage = folder / "db"
        storage.mkdir(parents=True, exist_ok=True)
        config = folder / "dcmqrscp.cfg"
        config.write_text(self._configuration(storage, destinations))
        super().__init__([find("dcmqrscp"), "-v", *options, "-c", config], folder / "dcmqrscp.log", QUICK)
        self.wait_ready(lambda: echo(self.port, called=ae_title).code == 0)

    def _configuration(self, storage: Path, destinations: dict[str, int]) -> str:
        hosts = "\n".join(f"{title.lower()} = ({title}, {HOST}, {port})" for title, port in destinations.items())
        return (
            f"NetworkTCPPort = {self.port}\nMaxPDUSize = 65536\nMaxAssociations = 16\n"
            f"HostTable BEGIN\n{hosts}\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
            f"AETable BEGIN\n{self.ae_title} {storage} RW (500, 4gb) ANY\nAETable END\n"
        )


def _call(program: str, port: int, calling: str, called: str, rest: Iterable, seconds: float, quick: bool = True):
    arguments = [find(program), "-aet", calling, "-aec", called, HOST, str(port), *rest]
    result = run(arguments, seconds, QUICK if quick else None)
    return Result(result.returncode, result.stdout)


def echo(port: int, *, called: str = "DICOMNODE", calling: str = "STAGING", seconds: float = 20) -> Result:
    """echoscu, with its own timeouts at 5 s."""
    options = ["-v", "-to", "5", "-ta", "5", "-td", "5"]
    return _call("echoscu", port, calling, called, options, seconds)


def dcmsend(
    port: int,
    files: Sequence[Path],
    *,
    called: str = "DICOMNODE",
    calling: str = "STAGING",
    options: Sequence[str] = (),
    seconds: float = 120,
) -> Result:
    """dcmsend -d without conversions; folders are searched through."""
    rest = ["-d", "-nh", "-dn", "-nuc", "+sd", "+r", *options, *files]
    return _call("dcmsend", port, calling, called, rest, seconds)


def storescu(
    port: int,
    files: Sequence[Path],
    *,
    called: str = "DICOMNODE",
    calling: str = "STAGING",
    options: Sequence[str] = ("-R",),
    seconds: float = 120,
) -> Result:
    """storescu -d; `options` say what it proposes, by default only what the files need (uncompressed)."""
    return _call("storescu", port, calling, called, ["-d", "-nh", *options, *files], seconds)


def findscu(port: int, keys: Sequence[str], *, called: str, calling: str = "DICOMNODE", seconds: float = 60) -> Result:
    """findscu -S with keys such as 'QueryRetrieveLevel=STUDY'."""
    rest = ["-S", "-v", *(part for key in keys for part in ("-k", key))]
    return _call("findscu", port, calling, called, rest, seconds)


def movescu(
    port: int, destination: str, keys: Sequence[str], *, called: str, calling: str = "DICOMNODE", seconds: float = 120
) -> Result:
    """movescu -S to another AE title."""
    rest = ["-S", "-v", "-aem", destination, *(part for key in keys for part in ("-k", key))]
    return _call("movescu", port, calling, called, rest, seconds)
