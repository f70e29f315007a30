"""The fuzzer: mutates inputs, keeps those that reach new code, and collects what goes wrong."""

from __future__ import annotations

import hashlib
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import CodeType, FrameType
from typing import Any

import dicomnode

PACKAGE = str(Path(dicomnode.__file__).parent)
CORPUS = Path(__file__).with_name("corpus")

Arc = tuple[CodeType, int, int]
Mutate = Callable[[Random, bytes, Sequence[bytes]], bytes]


@dataclass(frozen=True)
class Target:
    """What is fuzzed: `run` takes one input and raises when a promise is broken."""

    name: str
    seeds: Callable[[], list[bytes]]
    run: Callable[[bytes], None]
    mutate: Mutate

    def corpus(self) -> list[Path]:
        """The inputs that once went wrong."""
        return sorted((CORPUS / self.name).glob("*"))


@dataclass
class Findings:
    """Inputs that went wrong, one for each place where they did; how many inputs were tried and kept."""

    inputs: dict[str, bytes] = field(default_factory=dict)
    tried: int = 0
    kept: int = 0

    def add(self, error: BaseException, data: bytes) -> None:
        where = [frame for frame in traceback.extract_tb(error.__traceback__) if PACKAGE in frame.filename]
        place = f"{Path(where[-1].filename).name}:{where[-1].lineno}" if where else ""
        words = str(error).partition(":")[0] if isinstance(error, AssertionError) else ""
        name = f"{type(error).__name__} {words} {place}"
        if len(data) < len(self.inputs.get(name, data + b" ")):
            self.inputs[name] = data

    def save(self, folder: Path) -> list[str]:
        """Write the inputs to files; what was found, for people."""
        folder.mkdir(parents=True, exist_ok=True)
        told = []
        for name, data in self.inputs.items():
            path = folder / hashlib.sha256(data).hexdigest()[:12]
            path.write_bytes(data)
            told.append(f"{path}: {name}")
        return told


def plainly(target: Target, seed: int, count: int) -> Findings:
    """Try `count` mutations of the seeds; the same seed gives the same inputs."""
    random, pool, findings = Random(seed), target.seeds(), Findings()
    for _ in range(count):
        _try(target, target.mutate(random, random.choice(pool), pool), findings)
    return findings


def by_coverage(target: Target, seed: int, seconds: float) -> Findings:
    """Mutate for some time, what reaches new lines (or reaches them another way) again and again."""
    random, findings, seen = Random(seed), Findings(), set[Arc]()
    pool = []
    end = time.monotonic() + seconds
    for data in _inputs(target, random, pool, end):
        arcs = _traced(target, data, findings)
        if not arcs <= seen:
            seen |= arcs
            pool.append(data)
    findings.kept = len(pool)
    return findings


def _inputs(target: Target, random: Random, pool: list[bytes], end: float) -> Iterator[bytes]:
    yield from target.seeds()
    yield from (path.read_bytes() for path in target.corpus())
    while time.monotonic() < end:
        newest = pool[-50:] if random.random() < 0.3 else pool
        yield target.mutate(random, random.choice(newest), pool)


def _try(target: Target, data: bytes, findings: Findings) -> None:
    findings.tried += 1
    try:
        target.run(data)
    except Exception as error:  # noqa: BLE001 - this is what is looked for
        findings.add(error, data)


def _traced(target: Target, data: bytes, findings: Findings) -> set[Arc]:
    arcs: set[Arc] = set()

    def enter(frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE):
            return None
        before = 0

        def line(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal before
            if event == "line":
                arcs.add((code, before, frame.f_lineno))
                before = frame.f_lineno
            return line

        return line

    sys.settrace(enter)
    try:
        _try(target, data, findings)
    finally:
        sys.settrace(None)
    return arcs
