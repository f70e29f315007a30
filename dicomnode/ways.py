"""A project made ready to run: its plan, its keys, and where its studies come from and go to."""

from __future__ import annotations

from dataclasses import dataclass

from dicomnode.deidentify import Deidentifier
from dicomnode.keys import ProjectKeys


@dataclass(frozen=True, slots=True)
class Way:
    """One project at work; `quiet` is seconds, `destinations` and `source` are names of peers."""

    project: str
    ae_title: str
    keys: ProjectKeys
    deidentifier: Deidentifier
    rules_digest: str
    source: str | None
    destinations: tuple[str, ...]
    quiet: float
