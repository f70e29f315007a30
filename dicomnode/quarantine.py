"""The quarantine: withheld originals, sealed, waiting for a person.

A file is <project>/<quarantine id>.sealed (its form: dicomnode.sealed). It gets its name only when it is whole.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from dicomnode import disk, sealed
from dicomnode.deidentify.digest import NO_PIXELS, content_digest, received_of
from dicomnode.deidentify.encoded import only_standard
from dicomnode.errors import CannotKeep, KeyFileError, SealBroken
from dicomnode.keys import ProjectKeys
from dicomnode.model import Buffer, Reason, Received, Withheld
from dicomnode.sealed import SUFFIX, UNFINISHED
from dicomnode.sealing import Chunks

LABEL = "quarantine"


@dataclass(frozen=True, slots=True)
class _Opened:
    """A sealed file whose header and command have been read and authenticated."""

    withheld: Withheld
    received: Received
    chunks: Chunks


class Quarantine:
    """All sealed originals below one directory. Safe for use from several threads."""

    def __init__(
        self, directory: Path, keys: Mapping[str, ProjectKeys], check: Callable[[], None] = lambda: None
    ) -> None:
        """`check` raises CannotKeep where the directory is not the right one any more."""
        self.directory = directory
        self._check = check
        self._keys = keys
        self._made: set[Path] = set()
        self._ended: set[tuple[str, str]] = set()  # whose deletion has not succeeded: recovery will delete these
        self.damaged: list[str] = []  # files that recover() could not authenticate: <project>/<file name>

    def seal(self, w: Withheld, received: Received, parts: Iterable[Buffer]) -> Withheld:
        """Seal an original; durable on return. Returns `w` with the data set's length; raises CannotKeep.

        A whole file of that quarantine id that is there already is kept: the id follows from the content. One that
        is damaged, or was to be deleted, is replaced.
        """
        self._check()
        folder = self._folder(w.project)
        path = folder / (_file_name(w.quarantine) + SUFFIX)
        length = self._whole_length(w.project, w.quarantine)
        if length is not None:
            disk.sync_directory(folder)
            return replace(w, length=length)
        told = {**asdict(w), "reason": str(w.reason)}
        del told["length"]
        length = sealed.place(path, self._keys[w.project], LABEL, told, received, parts)
        try:
            disk.sync_directory(folder)
            self._check()
        except BaseException:
            with suppress(CannotKeep):
                disk.unlink(path)  # a file that was refused must not be found at the next start
            raise
        self._ended.discard((w.project, w.quarantine))
        return replace(w, length=length)

    def _whole_length(self, project: str, quarantine: str) -> int | None:
        """The data set's length where every byte of the sealed file authenticates and it is to stay."""
        if (project, quarantine) in self._ended:
            return None
        try:
            _, _, chunks = self.read(project, quarantine)
            with closing(chunks):
                return sum(map(len, chunks))
        except (KeyError, SealBroken, KeyFileError, OSError):
            return None

    def _folder(self, project: str) -> Path:
        """The project's directory; its name is durable when this returns."""
        folder = self.directory / _file_name(project)
        if folder not in self._made:
            existed = [path for path in (self.directory, folder) if disk.is_directory(path)]
            disk.make_directory(folder)
            for path in existed:
                disk.sync_directory(path.parent)
            self._made.add(folder)
        return folder

    def recover(
        self, known: Collection[str] = (), ended: Mapping[str, float] = MappingProxyType({})
    ) -> Iterator[Withheld]:
        """Yield what is sealed and not in `known` (quarantine ids); delete unfinished files.

        Call it before the first seal(). A file whose id is in `ended` is deleted when it was received at that time,
        else it came again since. Files that do not authenticate are kept and named in `damaged`.
        """
        for project in self._keys:
            folder = self.directory / project
            for path in sorted(folder.glob("*" + UNFINISHED)):
                disk.unlink(path)
            found = [path for path in sorted(folder.glob("*" + SUFFIX)) if path.stem not in known]
            if found:
                disk.sync_directory(folder)
            for path in found:
                try:
                    withheld = self._recovered(project, path)
                except (SealBroken, KeyFileError):
                    self.damaged.append(f"{project}/{path.name}")
                    continue
                if ended.get(path.stem) == withheld.received_at:
                    self.delete(project, path.stem)
                else:
                    yield withheld

    def _recovered(self, project: str, path: Path) -> Withheld:
        """The record of a sealed file; the digest of one that was sealed as a stream is made from its data again."""
        withheld, _, chunks = self.read(project, path.stem)
        with closing(chunks):
            if withheld.received_digest:
                return withheld
            digest = received_of(self._keys[project].journal, content_digest(chunks), NO_PIXELS, NO_PIXELS)
        return replace(withheld, received_digest=digest)

    def read(self, project: str, quarantine: str) -> tuple[Withheld, Received, Generator[bytes, None, None]]:
        """Open a sealed original; the iterator yields the data set in chunks, each authenticated before it is given.

        Raises KeyError when there is none, SealBroken, KeyFileError; only an exhausted iterator was whole.
        """
        path = self.directory / _file_name(project) / (_file_name(quarantine) + SUFFIX)
        try:
            file = path.open("rb")
        except FileNotFoundError:
            raise KeyError(quarantine) from None
        try:
            opened = self._open(project, file)
        except BaseException:
            file.close()
            raise
        return (
            replace(opened.withheld, length=sealed.data_length(path)),
            opened.received,
            sealed.data(file, opened.chunks),
        )

    def holds(self, project: str, quarantine: str) -> bool:
        """Whether the sealed file of that id is there, every byte of it authenticates, and it is to stay."""
        return self._whole_length(project, quarantine) is not None

    def sealed_under(self, project: str, quarantine: str) -> str:
        """The name of the key that opens an original; raises KeyError when there is none, SealBroken."""
        try:
            with (self.directory / _file_name(project) / (_file_name(quarantine) + SUFFIX)).open("rb") as file:
                return str(json.loads(sealed.header(file))["key_id"])
        except FileNotFoundError:
            raise KeyError(quarantine) from None
        except ValueError:
            raise sealed.broken() from None

    def keys_needed(self, project: str) -> Counter[str]:
        """How many originals each key opens, by its name; damaged files are left out."""
        needed: Counter[str] = Counter()
        for path in (self.directory / _file_name(project)).glob("*" + SUFFIX):
            with suppress(SealBroken, KeyError):
                needed[self.sealed_under(project, path.stem)] += 1
        return needed

    def delete(self, project: str, quarantine: str) -> None:
        """Delete a sealed original for good; a missing one is no error."""
        folder = self.directory / _file_name(project)
        self._ended.add((project, quarantine))
        disk.unlink(folder / (_file_name(quarantine) + SUFFIX))
        self._ended.discard((project, quarantine))
        disk.sync_directory(folder)

    def _open(self, project: str, file: BinaryIO) -> _Opened:
        told, received, chunks = sealed.read(
            file, LABEL, lambda _, key_id: sealed.seal_key(self._keys[project], project, key_id)
        )
        try:
            read = {"reason": Reason(told["reason"]), "where": only_standard(told["where"]), "length": 0}
            withheld = Withheld(**told | read)
        except (ValueError, KeyError, TypeError):
            raise sealed.broken() from None
        return _Opened(withheld, received, chunks)


def _file_name(name: str) -> str:
    if not name or "/" in name or name.startswith("."):
        raise ValueError("a project or quarantine id cannot be a file name")
    return name
