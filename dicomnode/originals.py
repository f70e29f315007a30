"""Sealed originals of what was de-identified, for runs that keep them (projects.*.keep_identified).

A file is <project>/<study key>/<instance key>.sealed (its form: dicomnode.sealed); the run takes it to its folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dicomnode import disk, sealed
from dicomnode.errors import ConfigError
from dicomnode.keys import ProjectKeys
from dicomnode.model import Buffer, Received
from dicomnode.sealed import SUFFIX
from dicomnode.studies import Key

FOLDER = "from_staging"
LABEL = "from staging"
WITHHELD = "quarantine"  # the label, and what only the header of a withheld original has


class Originals:
    """All sealed originals below one directory. `wanted` are the studies of which they are kept now."""

    def __init__(self, directory: Path, keys: Mapping[str, ProjectKeys]) -> None:
        self.directory = directory
        self.wanted: set[Key] = set()
        self._keys = keys

    def seal(self, key: Key, instance_key: str, received: Received, parts: Iterable[Buffer]) -> None:
        """Seal one original; durable on return, in the place of one that was there. Blocks; raises CannotKeep."""
        folder = self.directory / key[0] / key[1]
        disk.make_directory(folder)
        told = {"project": key[0], "study_key": key[1], "instance_key": instance_key}
        sealed.place(folder / (instance_key + SUFFIX), self._keys[key[0]], LABEL, told, received, parts)
        disk.sync_directory(folder)

    def files(self, key: Key) -> list[Path]:
        """The sealed originals of a study."""
        return disk.files(self.directory / key[0] / key[1], SUFFIX)

    def delete(self, key: Key) -> None:
        """Those of a study go for good."""
        folder = self.directory / key[0] / key[1]
        for path in disk.files(folder, ""):
            disk.unlink(path)
        disk.remove_directory(folder)


def header(path: Path) -> dict[str, Any]:
    """Whose original a sealed file is: project, study_key, instance_key. Raises SealBroken."""
    try:
        with path.open("rb") as file:
            told: dict[str, Any] = json.loads(sealed.header(file))
        return {name: str(told[name]) for name in ("project", "study_key", "instance_key")}
    except (ValueError, KeyError, TypeError):
        raise sealed.broken() from None


@contextmanager
def opened(path: Path, keys: Mapping[str, ProjectKeys]) -> Iterator[tuple[Received, Iterator[bytes]]]:
    """A sealed original, or a withheld one: the command, and the data set in authenticated chunks.

    Raises SealBroken, KeyFileError, ConfigError.
    """

    def key_of(told: dict[str, Any], key_id: str) -> bytes:
        project = str(told.get("project"))
        if project not in keys:
            raise ConfigError("the configuration has no such project any more", "put it back to open its originals")
        return sealed.seal_key(keys[project], project, key_id)

    with path.open("rb") as file:
        withheld = b'"quarantine"' in sealed.header(file)
        file.seek(0)
        _, received, chunks = sealed.read(file, WITHHELD if withheld else LABEL, key_of)
        yield received, sealed.data(file, chunks)
