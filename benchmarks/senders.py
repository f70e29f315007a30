"""DCMTK senders that make up new studies as they go, and what their logs say about the answers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from programs import Program, find, nagle
from synthetic import ct, numbered, small

FILES = 50  # per sender; the sender gives each instance new UIDs whenever it sends it
SERIES = 50  # instances per series
STUDY = 4  # series per study
KINDS = {"ct": ct, "small": small}

LOG = """log4cplus.rootLogger = INFO, file
log4cplus.appender.file = log4cplus::FileAppender
log4cplus.appender.file.File = {path}
log4cplus.appender.file.layout = log4cplus::PatternLayout
log4cplus.appender.file.layout.ConversionPattern = %D{{%H:%M:%S.%q}} %m%n
"""


def prepare(folder: Path, kind: str) -> Path:
    """Write the instances that the senders start from; the same bytes every time."""
    files = folder / kind
    files.mkdir(exist_ok=True)
    for number, data in enumerate(numbered(KINDS[kind](), FILES)):
        (files / f"{number:03}.dcm").write_bytes(data)
    return files


@dataclass
class Sender:
    """One running storescu on one association."""

    program: Program
    log: Path

    def answers(self) -> list[float]:
        """Seconds of the day at which each success came."""
        pattern = re.compile(r"^(\d\d):(\d\d):(\d\d\.\d+) Received Store Response \(Success\)")
        found = (pattern.match(line) for line in self.log.read_text(errors="replace").splitlines())
        return [int(m[1]) * 3600 + int(m[2]) * 60 + float(m[3]) for m in found if m]


def start(number: int, folder: Path, files: Path, port: int, ae_title: str, *, no_delay: bool) -> Sender:
    """Start a sender that goes on until it is stopped; without `no_delay` Nagle's algorithm is on (DCMTK's default)."""
    log = folder / f"sender{number}.answers"
    configuration = folder / f"sender{number}.cfg"
    configuration.write_text(LOG.format(path=log))
    invent = ["+II", "+IR", str(SERIES), "+IS", str(STUDY), "+IP", "1"]
    line = [find("storescu"), "-lc", configuration, "-aet", "STAGING", "-aec", ae_title, "-R", "-nh"]
    line += ["--repeat", "1000000", *invent, "+sd", "127.0.0.1", str(port), files]
    return Sender(Program(line, folder / f"sender{number}.log", nagle(no_delay)), log)
