"""The outbox: clean instances as records in append-only segment files, one or more per study.

A record counts once append() or finish() has returned; it is then on stable storage. A segment is
leased to one association at a time. Segments of an earlier run are read, never appended to.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from dicomnode import disk, records
from dicomnode.errors import CannotKeep, StoreDamaged
from dicomnode.keys import ProjectKeys
from dicomnode.model import Location
from dicomnode.records import Recovered
from dicomnode.segments import RecordWriter, Segment

__all__ = ["Outbox", "RecordWriter", "Recovered", "Segment"]

SUFFIX = ".seg"
SPARE = ".spare"
MOST_SPARES = 32
AMPLE = 8  # spares stay where so many times as much is free


class Outbox:
    """All segments below one directory: <project>/<study key>/<random name>.seg. Safe for use from several threads."""

    def __init__(self, directory: Path, keys: Mapping[str, ProjectKeys], *, idle: int = 32, spare: int = 0) -> None:
        """Up to `spare` bytes of deleted segments stay as files without a study: the next ones are written into them.

        What is written over what is there already is synced in half the time: the file system has nothing to allocate.
        """
        self.directory = directory
        self._most_spare = spare
        self._keys = keys
        self._most_idle = idle
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._own: dict[str, Segment] = {}
        self._leased: set[str] = set()
        self._free: dict[tuple[str, str], list[Segment]] = {}
        self._open: OrderedDict[str, Segment] = OrderedDict()
        self._made: set[Path] = set()
        self._spares: dict[str, list[tuple[Path, int]]] = {}  # by project, with their sizes
        self.damaged: dict[str, list[tuple[int, int]]] = {}  # by segment, where recovery misses records
        self._left: dict[str, int] = {}  # sizes of segments whose end recovery could neither read nor cut off

    def lease(self, project: str, study_key: str) -> Segment:
        """A segment of the study that no one else writes to; blocks, raises CannotKeep."""
        with self._lock:
            free = self._free.get((project, study_key))
            segment = free.pop() if free else None
            if segment:
                self._open.pop(segment.name, None)
                self._leased.add(segment.name)
        if segment is None:
            return self._new(project, study_key)
        try:
            segment._reopen()
        except CannotKeep:
            self.give_back(segment)
            raise
        return segment

    def give_back(self, segment: Segment) -> None:
        """End a lease. The descriptors of the segments unused for longest are closed."""
        segment._drop_writer()
        closing = []
        with self._lock:
            self._leased.discard(segment.name)
            if not segment.usable or segment.name not in self._own:
                closing.append(segment)
            else:
                self._free.setdefault((segment.project, segment.study_key), []).append(segment)
                self._open[segment.name] = segment
                while len(self._open) > self._most_idle:
                    closing.append(self._open.popitem(last=False)[1])
            for idle in closing:
                idle._close()

    def _new(self, project: str, study_key: str) -> Segment:
        with self._making:
            folder = self._study_directory(project, study_key)
            path = folder / (secrets.token_hex(6) + SUFFIX)  # a name never comes back: the journal may know the old one
            fd = self._open_new(project, path)
            try:
                disk.sync_directory(folder)
            except CannotKeep:
                os.close(fd)
                with suppress(CannotKeep):
                    disk.unlink(path)
                raise
            segment = Segment(path, f"{project}/{study_key}/{path.name}", project, study_key, self._keys[project], fd)
            with self._lock:
                self._own[segment.name] = segment
                self._leased.add(segment.name)
        return segment

    def _open_new(self, project: str, path: Path) -> int:
        """The descriptor of a file with a name that never was; its content, if any, is of a former segment."""
        spares = self._spares.get(project)
        if not spares:
            return disk.create(path)
        disk.rename(spares.pop()[0], path)
        return disk.reopen(path)

    def _retire(self, project: str, path: Path, segment: Segment | None) -> tuple[Path, int] | None:
        """Delete a segment's file; where that is worth it, it becomes a spare once its old name is durably gone."""
        size = disk.size(path) if segment is not None and segment.usable else 0
        sizes = [each for spares in self._spares.values() for _, each in spares]
        full = len(sizes) == MOST_SPARES or sum(sizes) + size > self._most_spare
        if not size or full or disk.free(self.directory) < AMPLE * self._most_spare:
            disk.unlink(path)
            return None
        spare = self.directory / project / (path.stem + SPARE)
        disk.rename(path, spare)
        return spare, size

    def drop_spares(self) -> None:
        """Delete them: their space is needed. Raises CannotKeep."""
        with self._making:
            spares, self._spares = self._spares, {}
            for path, _ in (each for those in spares.values() for each in those):
                disk.unlink(path)

    def _study_directory(self, project: str, study_key: str) -> Path:
        """The study's directory; its name and its parents' names are durable when this returns."""
        for name in (project, study_key):
            if not name or "/" in name or name.startswith("."):
                raise ValueError("a project or study key cannot be a directory name")
        folder = self.directory / project / study_key
        for path in (self.directory, folder.parent, folder):
            if path not in self._made:
                existed = path.is_dir()
                disk.make_directory(path)
                if existed:
                    disk.sync_directory(path.parent)
                self._made.add(path)
        return folder

    def recover(self, known: Mapping[str, int], rows: Mapping[str, int] | None = None) -> Iterator[Recovered]:
        """Yield the records from where `known` says on, by the segment's name; cut off what was half-written.

        `rows` (else `known`) says up to which offset the journal has rows: nothing of that is cut. Segments of this
        run and of projects without a key are left alone. Raises KeyFileError, StoreDamaged, CannotKeep.
        """
        rows = known if rows is None else rows
        for project, keys in self._keys.items():
            self._drop_former_spares(project)
            for path in sorted((self.directory / project).glob("*/*" + SUFFIX)):
                name = path.relative_to(self.directory).as_posix()
                if name not in self._own:
                    yield from self._recover_segment(path, name, keys, known.get(name, 0), rows.get(name, 0))

    def _drop_former_spares(self, project: str) -> None:
        with self._making:
            own = [path for path, _ in self._spares.get(project, ())]
            for path in disk.files(self.directory / project, SPARE):
                if path not in own:
                    disk.unlink(path)

    def _recover_segment(self, path: Path, name: str, keys: ProjectKeys, offset: int, extent: int) -> list[Recovered]:
        size = disk.size(path)
        if size < extent:
            self._damage(name, size, extent)
        if size <= offset:
            return []
        fd = disk.reopen(path)
        try:
            seen = records.scan(fd, size, offset, name, keys)
            for gap in seen.gaps:
                self._damage(name, *gap)
            if seen.end < size and (seen.torn or seen.end < extent):
                self._damage(name, seen.end, size)
                self._left[name] = size
            elif seen.end < size:
                disk.truncate(fd, seen.end)
            disk.sync(fd)  # the run that wrote them may have been killed before its own sync
        finally:
            os.close(fd)
        for folder in (path.parent, path.parent.parent, self.directory):
            disk.sync_directory(folder)
        return seen.found

    def missing(self, names: Iterable[str]) -> list[str]:
        """Those of these segments, of the projects with a key, that are not there; raises CannotKeep."""
        known = [name for name in names if name.split("/")[0] in self._keys]
        return [name for name in known if not disk.is_there(self.directory / name)]

    def _damage(self, name: str, start: int, end: int) -> None:
        self.damaged.setdefault(name, []).append((start, end))

    def studies(self) -> list[tuple[str, str]]:
        """Project and study key of every study of the known projects that has a directory."""
        return [
            (project, folder.name)
            for project in self._keys
            for folder in sorted((self.directory / project).glob("*"))
            if folder.is_dir()
        ]

    def pieces(self, location: Location, start: int = 0) -> Iterator[memoryview]:
        """The Part 10 bytes of a record from `start` on; the last piece comes only when all are as they were written.

        One piece up to 8 MiB, else pieces of 1 MiB. Blocks; raises StoreDamaged, CannotKeep.
        """
        fd = _open_to_read(self.directory / location.segment, location)
        try:
            yield from records.pieces(fd, location, start)
        finally:
            os.close(fd)

    def delete_study(self, project: str, study_key: str, known: Mapping[str, int] | None = None) -> list[str] | None:
        """Delete a study's segments; the names of those that are gone. None, and all stays, while one is leased.

        With `known` (as for recover) also None when a segment holds more than the journal knows; those of it that
        were gone before are named too. Raises CannotKeep.
        """
        folder, prefix = self.directory / project / study_key, f"{project}/{study_key}/"
        with self._making:
            paths = disk.files(folder, SUFFIX)
            names = [prefix + path.name for path in paths]
            with self._lock:
                if any(name.startswith(prefix) for name in self._leased):
                    return None
                if known is not None and any(
                    self._end(path, name) > max(known.get(name, 0), self._left.get(name, 0))
                    for path, name in zip(paths, names, strict=True)
                ):
                    return None
                for segment in self._free.pop((project, study_key), []):
                    self._open.pop(segment.name, None)
                    segment._close()
                own = [self._own.pop(name, None) for name in names]
            self._made.discard(folder)
            spares = [self._retire(project, path, segment) for path, segment in zip(paths, own, strict=True)]
            if paths:
                disk.sync_directory(folder)
            disk.remove_directory(folder)
            if disk.is_directory(folder.parent):
                disk.sync_directory(folder.parent)
            self._spares.setdefault(project, []).extend(filter(None, spares))
        return sorted({*names, *(name for name in known or () if name.startswith(prefix))})

    def _end(self, path: Path, name: str) -> int:
        """Where the records of a segment end; behind that may lie what a former segment left in the file."""
        return self._own[name].end if name in self._own else disk.size(path)

    def close(self) -> None:
        """Close the descriptors of all segments that are not leased."""
        with self._lock:
            while self._open:
                self._open.popitem()[1]._close()


def _open_to_read(path: Path, location: Location) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise _unreadable(location) from None
    except OSError as error:
        raise CannotKeep(f"cannot open segment {location.segment}: {os.strerror(error.errno or 0)}") from error


def _unreadable(location: Location) -> StoreDamaged:
    return StoreDamaged(
        f"segment {location.segment} lacks the record at {location.offset}", "retrieve the study again from its source"
    )
