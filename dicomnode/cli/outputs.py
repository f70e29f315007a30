"""Files that a command writes: new ones, no input, nothing among the originals, and each for itself."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import click

from dicomnode.disk import aside
from dicomnode.errors import PermanentError
from dicomnode.folders import objects

Options = Mapping[str, Path | None]


def check_new(options: Options) -> None:
    """Raises PermanentError where there is a file already, unless it is a report of a former run."""
    for option, file in options.items():
        if file and os.path.lexists(file) and not is_report(file):
            raise PermanentError(f"{option} {file} is there already", "name a new file")


def is_report(file: Path) -> bool:
    """Whether a file has what an instance's conditions said, for some or for none; a link is none."""
    try:
        told = None if file.is_symlink() or not file.is_file() else json.loads(file.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(told, list) and all(isinstance(each, dict) and "save_condition" in each for each in told)


def check_apart(outputs: Options, inputs: Options, places: Mapping[str, str]) -> None:
    """Raises UsageError where an output is an input or another output, or lies inside a place such as SRC."""
    taken: dict[Path, str] = {}
    for option, file in inputs.items():
        for path in (file.resolve(), written(file)) if file else ():
            taken.setdefault(path, option)
    for option, file in outputs.items():
        if not file:
            continue
        path = written(file)
        for name, place in places.items():
            if not objects.is_address(place) and path.is_relative_to(Path(place).resolve()):
                raise click.UsageError(f"{option} lies inside {name}: name a file outside of it")
        for each in (path, aside(path)):
            if each in taken:
                raise click.UsageError(f"{option} {file} would replace what {taken[each]} names: name another file")
        taken |= {path: option, aside(path): option}


def written(file: Path) -> Path:
    """Where a file of this name comes to lie: a symbolic link is replaced itself, not what it leads to."""
    return file.parent.resolve() / file.name
