"""A disk that can lose its power: records what is done through dicomnode.disk and rebuilds what was durable.

    with Recorder(directory) as recorder: ...          # everything below `directory` through dicomnode.disk
    recorder.rebuild(point, target)                    # only what was synced before `point`
    recorder.rebuild(point, target, seed=7)            # and some of what was not, torn and out of order

A point is a number of recorded steps; `now()` is the current one. Content counts from the file's last sync,
names (creations, renames, deletions) from the last sync of the directory that holds them. A sync covers what
was recorded before it was called, not what other threads did meanwhile.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from dicomnode import disk
from dicomnode.model import Buffer

SECTOR = 512
RECORDED = ("create", "reopen", "write", "sync", "truncate", "rename", "unlink")
RECORDED_DIRECTORIES = ("create_directory", "remove_directory", "sync_directory")


@dataclass(frozen=True)
class Step:
    """One step: what was done to which file or name; `covers` is how many steps a sync makes durable."""

    kind: str
    file: int = -1
    path: str = ""
    target: str = ""
    offset: int = 0
    data: bytes = b""
    covers: int = 0


@dataclass
class _File:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, Step]] = field(default_factory=list)


@dataclass
class _Folder:
    """Names of one directory: a file's number, or None for a directory."""

    durable: dict[str, int | None] = field(default_factory=dict)
    pending: list[tuple[int, Step]] = field(default_factory=list)


class Recorder:
    """Wraps the functions of dicomnode.disk while it is entered; they still do their work."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.steps: list[Step] = []
        self._lock = threading.Lock()
        self._originals: dict[str, Callable[..., Any]] = {}
        self._numbers: dict[tuple[int, int], int] = {}
        self._files = 0
        self._before = _Disk()

    def __enter__(self) -> Recorder:
        self._take_stock()
        for name in RECORDED + RECORDED_DIRECTORIES:
            self._originals[name] = getattr(disk, name)
            setattr(disk, name, partial(getattr(self, f"_{name}"), self._originals[name]))
        return self

    def __exit__(self, *_: object) -> None:
        for name, original in self._originals.items():
            setattr(disk, name, original)

    def now(self) -> int:
        """How many steps have been recorded."""
        with self._lock:
            return len(self.steps)

    def count(self, kind: str) -> int:
        """How often a function of dicomnode.disk was called."""
        with self._lock:
            return sum(step.kind == kind for step in self.steps)

    def rebuild(self, point: int, target: Path, seed: int | None = None) -> Path:
        """Write what a power cut after `point` steps leaves into the new directory `target`.

        With a seed, some of the unsynced writes (by sectors) and names have reached the disk as well.
        """
        state = self._before.copy()
        for number, step in enumerate(self.steps[:point]):
            state.take(number, step)
        if seed is not None:
            state.tear(random.Random(seed))
        state.write(target)
        return target

    # What was there before counts as durable.
    def _take_stock(self) -> None:
        self._before.folders[""] = _Folder()
        for path in sorted(self.root.rglob("*")):
            folder = self._before.folders[self._place(path.parent)]
            if path.is_dir():
                folder.durable[path.name] = None
                self._before.folders[self._place(path)] = _Folder()
            else:
                folder.durable[path.name] = number = self._number(path)
                self._before.files[number] = _File(bytearray(path.read_bytes()))

    def _place(self, path: Path) -> str:
        """The path relative to the root ('' for itself); paths outside begin with '..'."""
        relative = os.path.relpath(path.resolve() if path.is_dir() else path.parent.resolve() / path.name, self.root)
        return "" if relative == "." else relative

    def _number(self, path: Path) -> int:
        status = path.stat()
        return self._numbered((status.st_dev, status.st_ino), new=True)

    def _numbered(self, inode: tuple[int, int], *, new: bool = False) -> int:
        if new or inode not in self._numbers:
            self._files += 1
            self._numbers[inode] = self._files
        return self._numbers[inode]

    def _of(self, fd: int, *, new: bool = False) -> int:
        status = os.fstat(fd)
        with self._lock:
            return self._numbered((status.st_dev, status.st_ino), new=new)

    def _add(self, step: Step) -> None:
        with self._lock:
            self.steps.append(step)

    def _create(self, original: Callable[..., int], path: Path) -> int:
        fd = original(path)
        self._add(Step("create", self._of(fd, new=True), self._place(path)))
        return fd

    def _reopen(self, original: Callable[..., int], path: Path) -> int:
        return original(path)

    def _write(self, original: Callable[..., int], fd: int, parts: Sequence[Buffer], offset: int) -> int:
        data = b"".join(bytes(part) for part in parts)
        end = original(fd, parts, offset)
        self._add(Step("write", self._of(fd), offset=offset, data=data))
        return end

    def _truncate(self, original: Callable[..., None], fd: int, length: int) -> None:
        original(fd, length)
        self._add(Step("truncate", self._of(fd), offset=length))

    def _sync(self, original: Callable[..., None], fd: int) -> None:
        before = self.now()
        original(fd)
        self._add(Step("sync", self._of(fd), covers=before))

    def _rename(self, original: Callable[..., None], source: Path, target: Path) -> None:
        """To another directory it is two changes of names, each durable with its own directory."""
        original(source, target)
        if source.parent == target.parent:
            self._add(Step("rename", path=self._place(source), target=self._place(target)))
            return
        status = target.stat()
        self._add(Step("link", self._numbered((status.st_dev, status.st_ino)), self._place(target)))
        self._add(Step("unlink", path=self._place(source)))

    def _unlink(self, original: Callable[..., None], path: Path) -> None:
        original(path)
        self._add(Step("unlink", path=self._place(path)))

    def _create_directory(self, original: Callable[..., None], path: Path) -> None:
        original(path)
        self._add(Step("create_directory", path=self._place(path)))

    def _remove_directory(self, original: Callable[..., None], path: Path) -> None:
        original(path)
        self._add(Step("unlink", path=self._place(path)))

    def _sync_directory(self, original: Callable[..., None], path: Path) -> None:
        before = self.now()
        original(path)
        self._add(Step("sync_directory", path=self._place(path), covers=before))


class _Disk:
    """What is durable and what is not, step by step."""

    def __init__(self) -> None:
        self.files: dict[int, _File] = {}
        self.folders: dict[str, _Folder] = {}

    def copy(self) -> _Disk:
        copy = _Disk()
        copy.files = {number: _File(bytearray(file.durable)) for number, file in self.files.items()}
        copy.folders = {place: _Folder(dict(folder.durable)) for place, folder in self.folders.items()}
        return copy

    def take(self, number: int, step: Step) -> None:
        match step.kind:
            case "write" | "truncate":
                self.files.setdefault(step.file, _File()).pending.append((number, step))
            case "sync":
                file = self.files.setdefault(step.file, _File())
                for _, earlier in _covered(file.pending, step.covers):
                    _change(file.durable, earlier)
            case "sync_directory":
                folder = self._folder(step.path)
                for _, earlier in _covered(folder.pending, step.covers):
                    self._name(folder, earlier)
            case _:
                if step.kind == "create":
                    self.files[step.file] = _File()
                self._folder(os.path.dirname(step.path)).pending.append((number, step))  # noqa: PTH120

    def _folder(self, place: str) -> _Folder:
        return self.folders.setdefault(place, _Folder())

    def _name(self, folder: _Folder, step: Step) -> None:
        """Make one change of names durable."""
        name = Path(step.path).name
        match step.kind:
            case "create" | "link":
                folder.durable[name] = step.file
            case "create_directory":
                folder.durable[name] = None
            case "unlink":
                if folder.durable.pop(name, -1) is None:
                    self.folders.pop(step.path, None)
            case "rename":
                assert Path(step.target).parent == Path(step.path).parent
                folder.durable[Path(step.target).name] = folder.durable.pop(name)

    def tear(self, choice: random.Random) -> None:
        """Let some of the pending changes through: sectors in any order, names in order up to some point."""
        for number in sorted(self.files):
            file = self.files[number]
            pieces = [piece for _, step in file.pending for piece in _sectors(step)]
            choice.shuffle(pieces)
            for piece in pieces[: choice.randint(0, len(pieces))]:
                _change(file.durable, piece)
        for place in sorted(self.folders):
            folder = self.folders.get(place)
            if folder is None:  # the change before took it away
                continue
            for _, step in folder.pending[: choice.randint(0, len(folder.pending))]:
                self._name(folder, step)

    def write(self, target: Path, place: str = "") -> None:
        target.mkdir(parents=True)
        for name, number in self.folders.get(place, _Folder()).durable.items():
            if number is None:
                self.write(target / name, f"{place}/{name}" if place else name)
            else:
                (target / name).write_bytes(self.files[number].durable)
                (target / name).chmod(0o600)


def _covered(pending: list[tuple[int, Step]], covers: int) -> list[tuple[int, Step]]:
    """Take out of `pending` what a sync that began after `covers` steps makes durable."""
    covered = [entry for entry in pending if entry[0] < covers]
    pending[:] = [entry for entry in pending if entry[0] >= covers]
    return covered


def _change(content: bytearray, step: Step) -> None:
    if step.kind == "truncate":
        del content[step.offset :]
        content.extend(bytes(step.offset - len(content)))
        return
    content.extend(bytes(max(0, step.offset - len(content))))
    content[step.offset : step.offset + len(step.data)] = step.data


def _sectors(step: Step) -> list[Step]:
    """A write cut at the boundaries of the sectors."""
    if step.kind == "truncate":
        return [step]
    cuts = range(step.offset - step.offset % SECTOR, step.offset + len(step.data), SECTOR)
    pieces = []
    for first in cuts:
        start, end = max(first, step.offset), min(first + SECTOR, step.offset + len(step.data))
        pieces.append(Step("write", step.file, offset=start, data=step.data[start - step.offset : end - step.offset]))
    return pieces
