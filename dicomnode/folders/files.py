"""One file of a source: DICOM, or why there is nothing to de-identify in it."""

from __future__ import annotations

import os

from dicomnode.folders.part10 import is_bare, is_part10
from dicomnode.folders.sources import NoFile, Source
from dicomnode.folders.tally import Fate
from dicomnode.model import Buffer


class Other(Exception):
    """A file that is nothing to de-identify."""

    def __init__(self, fate: Fate, where: str = "") -> None:
        super().__init__(fate)
        self.fate = fate
        self.where = where


def read(source: Source, name: str) -> Buffer:
    """A DICOM file; raises Other where it is none."""
    try:
        content = source.read(name)
    except NoFile:
        raise Other(Fate.NO_FILE) from None
    except OSError as error:
        raise Other(Fate.UNREADABLE, os.strerror(error.errno) if error.errno else "") from None
    if not is_part10(content):
        raise Other(Fate.BARE if is_bare(content) else Fate.NOT_DICOM)
    return content
