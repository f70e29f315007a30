"""`dicomnode filter`: move the instances of a study or a series out of a folder."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import click

from dicomnode.cli.options import counted
from dicomnode.cli.summary import instances


@click.command("filter")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--to", "target", type=click.Path(path_type=Path, file_okay=False), required=True, help="Where they go.")
@click.option("--study", "studies", multiple=True, metavar="UID", help="A Study Instance UID; repeatable.")
@click.option("--series", multiple=True, metavar="UID", help="A Series Instance UID; repeatable.")
def filter_(folder: Path, target: Path, studies: tuple[str, ...], series: tuple[str, ...]) -> int:
    """Move the instances of studies or series out of FOLDER, keeping their places below it. Exit 1 when none is there.

    Nothing in the target is replaced.
    """
    if not studies and not series:
        raise click.UsageError("name a study or a series: --study UID or --series UID")
    if target.resolve().is_relative_to(folder.resolve()):
        raise click.UsageError("the target lies in the folder itself")
    moved: Counter[str] = Counter()
    for path, header in instances(folder):
        if header.get("StudyInstanceUID") in studies or header.get("SeriesInstanceUID") in series:
            place = target / path.relative_to(folder)
            if place.exists():
                raise click.UsageError(f"file {moved.total() + 1} to be moved is in the target already")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, place)
            moved["moved"] += 1
    click.echo(f"{counted(moved.total(), 'instance')} moved to {target}")
    return int(not moved)
