"""The outbox: clean instances as records in append-only segment files, one or more per study.

A record counts once append() or finish() has returned; it is then on stable storage. A segment is
leased to one association at a time. Segments of an earlier run are read, never appended to.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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

    def __init__(
        self,
        directory: Path,
        keys: Mapping[str, ProjectKeys],
        *,
        idle: int = 32,
        spare: int = 0,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """`check` raises CannotKeep where the directory is not the right one any more.

        Up to `spare` bytes of deleted segments stay as files without a study: the next ones are written into them.

        What is written over what is there already is synced in half the time: the file system has nothing to allocate.
        What a leased segment has not yet written over counts; when it is given back, that is cut off.
        """
        self.directory = directory
        self._most_spare = spare
        self._check = check
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
            self._check()
            folder = self._study_directory(project, study_key)
            path = folder / (secrets.token_hex(6) + SUFFIX)  # a name never comes back: the journal may know the old one
            fd, left = self._open_new(project, path)
            try:
                disk.sync_directory(folder)
                self._check()  # it may have been changed since: nothing has been written yet
            except CannotKeep:
                os.close(fd)
                with suppress(CannotKeep):
                    disk.unlink(path)
                raise
            name = f"{project}/{study_key}/{path.name}"
            segment = Segment(path, name, project, study_key, self._keys[project], fd, left)
            with self._lock:
                self._own[segment.name] = segment
                self._leased.add(segment.name)
        return segment

    def _open_new(self, project: str, path: Path) -> tuple[int, int]:
        """The descriptor of a file with a name that never was, and how many bytes a former segment left in it."""
        spares = self._spares.get(project)
        if spares:
            spare, size = spares.pop()
            try:
                return _take_over(spare, path), size
            except CannotKeep:  # it is no more than a spare
                _unlink_all([spare])
        return disk.create(path), 0

    def _retire(self, path: Path, name: str, others: Iterable[tuple[Path, int]]) -> list[tuple[Path, int]]:
        """Delete a segment's file, or where that is worth it make it a spare beside `others`, not to be used yet."""
        with self._lock:
            segment = self._own.get(name)
            left = sum(self._own[each].surplus for each in self._leased)
        sizes = [size for spares in (others, *self._spares.values()) for _, size in spares]
        size = disk.size(path) if segment is not None and segment.usable else 0
        fits = len(sizes) < MOST_SPARES and sum(sizes) + left + size <= self._most_spare
        spare = path.parent.parent / (path.stem + SPARE)
        if size and fits:
            with suppress(CannotKeep):  # a name in another directory may need space that is not there
                if disk.free(self.directory) >= AMPLE * self._most_spare:
                    disk.rename(path, spare)
                    return [(spare, size)]
        disk.unlink(path)
        return []

    def drop_spares(self) -> None:
        """Delete them, also those of another run: their space is needed, or nothing is to stay. Raises CannotKeep."""
        with self._making:
            self._spares = {}
            self._drop_others()

    def _drop_others(self) -> None:
        """Delete the spares that are not known: of a run that was killed, or where something failed half-way."""
        known = {path for spares in self._spares.values() for path, _ in spares}
        for path in sorted(self.directory.glob("*/*" + SPARE)):
            if path not in known:
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
        with self._making:
            self._drop_others()
        for project, keys in self._keys.items():
            for path in sorted((self.directory / project).glob("*/*" + SUFFIX)):
                name = path.relative_to(self.directory).as_posix()
                if name not in self._own:
                    yield from self._recover_segment(path, name, keys, known.get(name, 0), rows.get(name, 0))

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
        fd = self._open_to_read(location)
        try:
            yield from records.pieces(fd, location, start)
        finally:
            os.close(fd)

    def wholes(self, locations: Sequence[Location]) -> list[memoryview | StoreDamaged]:
        """The Part 10 bytes of records of one segment that lie one behind the other, each as by `pieces`, or its error.

        Blocks; raises StoreDamaged, CannotKeep where nothing can be read at all.
        """
        fd = self._open_to_read(locations[0])
        try:
            return records.wholes(fd, locations)
        finally:
            os.close(fd)

    def _open_to_read(self, location: Location) -> int:
        """A segment is gone only where the directory is still the right one: else nothing in it is."""
        try:
            return os.open(self.directory / location.segment, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._check()
            raise _unreadable(location) from None
        except OSError as error:
            raise CannotKeep(f"cannot open segment {location.segment}: {os.strerror(error.errno or 0)}") from error

    def write_file(self, location: Location, path: Path, *, new: bool = False) -> None:
        """The Part 10 bytes of a record as a file, over what is there unless `new`; none where they cannot be had.

        The study may be deleted meanwhile and another be in its file. Raises StoreDamaged, CannotKeep, OSError.
        """
        with path.open("xb" if new else "wb") as file:
            try:
                file.writelines(self.pieces(location))
            except BaseException:
                path.unlink()
                raise

    def delete_study(self, project: str, study_key: str, known: Mapping[str, int] | None = None) -> list[str] | None:
        """Delete a study's segments; the names of those that are gone. None, and all stays, while one is leased.

        With `known` (as for recover) also None when a segment holds more than the journal knows; those of it that
        were gone before are named too. Raises CannotKeep.
        """
        folder, prefix = self.directory / project / study_key, f"{project}/{study_key}/"
        with self._making:
            self._check()
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
            self._made.discard(folder)
            self._remove(project, folder, paths, names)
        return sorted({*names, *(name for name in known or () if name.startswith(prefix))})

    def _remove(self, project: str, folder: Path, paths: list[Path], names: list[str]) -> None:
        """Delete the files and the directory of a study, so that their names never come back."""
        spares: list[tuple[Path, int]] = []
        try:
            for path, name in zip(paths, names, strict=True):
                spares += self._retire(path, name, spares)
                with self._lock:
                    self._own.pop(name, None)
            if paths:
                disk.sync_directory(folder)
            disk.remove_directory(folder)
            if disk.is_directory(folder.parent):
                disk.sync_directory(folder.parent)
        except CannotKeep:
            _unlink_all(path for path, _ in spares)  # their former names may come back
            raise
        self._spares.setdefault(project, []).extend(spares)

    def _end(self, path: Path, name: str) -> int:
        """Where the records of a segment end; behind that may lie what a former segment left in the file."""
        return self._own[name].end if name in self._own else disk.size(path)

    def close(self) -> None:
        """Close the descriptors of all segments that are not leased; there are no spares without a run."""
        with self._lock:
            while self._open:
                self._open.popitem()[1]._close()
        with suppress(CannotKeep):  # the next start tries again
            self.drop_spares()


def _take_over(spare: Path, path: Path) -> int:
    """The descriptor of a spare under its new name; raises CannotKeep, it then has it not."""
    fd = disk.reopen(spare)
    try:
        disk.rename(spare, path)
    except CannotKeep:
        os.close(fd)
        raise
    return fd


def _unlink_all(spares: Iterable[Path]) -> None:
    """Delete what is of no use; what cannot be deleted goes with the next that are dropped."""
    for path in spares:
        with suppress(CannotKeep):
            disk.unlink(path)


def _unreadable(location: Location) -> StoreDamaged:
    return StoreDamaged(
        f"segment {location.segment} lacks the record at {location.offset}", "retrieve the study again from its source"
    )
