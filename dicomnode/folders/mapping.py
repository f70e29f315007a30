"""Original and new UIDs of studies and series, as a JSON file for the identified side."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from dicomnode.errors import ConfigError
from dicomnode.folders import targets
from dicomnode.model import Originals

STUDY, SERIES = "StudyInstanceUID", "SeriesInstanceUID"


@dataclass(slots=True)
class Mapping:
    """Original UID to new UID; identified."""

    studies: dict[str, str] = field(default_factory=dict)
    series: dict[str, str] = field(default_factory=dict)

    def add(self, originals: Originals, study_uid: str, series_uid: str) -> None:
        """Enter one instance's study and series."""
        self.studies[originals.study_uid] = study_uid
        self.series[originals.series_uid] = series_uid

    def merge(self, other: Mapping) -> None:
        """Enter what another worker or run found."""
        self.studies |= other.studies
        self.series |= other.series


def load(path: Path) -> Mapping:
    """The mapping of former runs; an empty one where the file is missing. Raises ConfigError."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Mapping(dict(found[STUDY]), dict(found[SERIES]))
    except FileNotFoundError:
        return Mapping()
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(f"{path} is no mapping of a former run", "name another file with --store-mapping") from None


def store(path: Path, mapping: Mapping) -> None:
    """Write it whole (0600), durable on return."""
    write(path, {STUDY: dict(sorted(mapping.studies.items())), SERIES: dict(sorted(mapping.series.items()))})


def write(path: Path, told: object) -> None:
    """Write a document that identifies (0600), durable on return."""
    targets.write(path, json.dumps(told, indent=2).encode() + b"\n")
