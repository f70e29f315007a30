"""A project made ready to run: its plan, its keys, and where its studies come from and go to."""

from __future__ import annotations

from dataclasses import dataclass

from dicomnode.deidentify import Deidentifier
from dicomnode.keys import ProjectKeys
from dicomnode.studies import Verify


@dataclass(frozen=True, slots=True)
class Way:
    """One project at work; `quiet` and `patience` are seconds, `destinations` and `source` are names of peers.

    `incomplete_go` says whether studies go although they lack something; `asked` are the destinations that are
    asked whether they hold what they took. With `refuses_unknown` patients that its table does not have are refused.
    """

    project: str
    ae_title: str
    keys: ProjectKeys
    deidentifier: Deidentifier
    rules_digest: str
    source: str | None
    destinations: tuple[str, ...]
    quiet: float
    verify: Verify
    patience: float
    incomplete_go: bool
    asked: frozenset[str]
    refuses_unknown: bool = False
