"""`dicomnode identifiers`: what identifies, by entity and item, for a person to look at or to complete."""

from __future__ import annotations

from pathlib import Path

import click

from dicomnode.cli import outputs
from dicomnode.cli.options import counted
from dicomnode.deidentify.standard import dictionary
from dicomnode.folders import entities, objects, targets
from dicomnode.folders.sources import source
from dicomnode.folders.tally import LEFT, SAID
from dicomnode.observe import log


@click.command()
@click.argument("place", metavar="SRC")
@click.option("--entity", default=entities.ENTITY, show_default=True, help="The attribute that names whose it is.")
@click.option("--item", default=entities.ITEM, show_default=True, help="The attribute that names which one it is.")
@click.option("--private", is_flag=True, help="Private attributes alone, by creator.")
@click.option("--format", "form", type=click.Choice(["json", "csv"]), default="json", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write FILE, a new one (0600)."
)
def identifiers(
    place: str, entity: str, item: str, private: bool, form: str, as_json: bool, output: Path | None
) -> int:
    """Print the attributes of the DICOM files of SRC by entity and item: IDENTIFIED VALUES, as they came.

    SRC is a file, a folder or an address such as s3://bucket/folder. Add names of your own to each item, and give the
    file to dicomnode deidentify --ids: a recipe's var:NAME is then the value of NAME. Exit 1 when a file
    was left out though it may be DICOM, or there was none.
    """
    log.configure()
    for keyword in (entity, item):
        if keyword not in dictionary.keywords():
            raise click.UsageError(f"unknown attribute '{keyword}'; give a DICOM keyword such as PatientID")
    if not objects.is_address(place) and not Path(place).exists():
        raise click.UsageError(f"SRC {place} does not exist")
    outputs.check_new({"--output": output})
    outputs.check_apart({"--output": output}, {}, {"SRC": place})
    found, others = entities.extract(source(place), entity, item, private)
    text = entities.as_csv(found) if form == "csv" and not as_json else entities.as_json(found) + "\n"
    if output:
        targets.write(output, text.encode())
    else:
        click.echo(text, nl=False)
    for fate, said in SAID.items():
        if count := others[fate]:
            click.echo(f"{counted(count, 'file')} {said}", err=True)
    return 0 if found and not any(others[fate] for fate in LEFT) else 1
