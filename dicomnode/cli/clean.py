"""`dicomnode clean`: the image files of old runs go, their text files stay."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from dicomnode.cli.options import counted
from dicomnode.runs.folder import IMAGES, RunFolder, runs


@click.command()
@click.option("--before", type=click.DateTime(["%Y-%m-%d", "%Y%m%d", "%m/%d/%Y"]), required=True, metavar="DATE")
@click.option(
    "--data", type=click.Path(path_type=Path), default=Path("data"), show_default=True, help="Where runs lie."
)
def clean(before: datetime, data: Path) -> int:
    """Delete the image folders of runs that began before DATE (2026-01-31); overview and lists stay."""
    deleted = 0
    for began, path in runs(data):
        folder = RunFolder(path)
        there = [name for name in IMAGES if folder.has(name)]
        if began >= before or not there:
            continue
        for name in there:
            folder.remove(name)
        click.echo(f"{path.name}: {', '.join(there)} deleted")
        deleted += 1
    click.echo(f"{counted(deleted, 'run')} cleaned")
    return 0
