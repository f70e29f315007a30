"""`dicomnode unseal`: the identified originals in a run's folder, for a person who may see them; recorded."""

from __future__ import annotations

from pathlib import Path

import click

from dicomnode import originals, running
from dicomnode.cli.options import configured, counted
from dicomnode.cli.quarantine import new_file, write_all
from dicomnode.config import Settings
from dicomnode.custody import part10_head
from dicomnode.errors import PermanentError
from dicomnode.keys import ProjectKeys, load_key
from dicomnode.runs.folder import is_run
from dicomnode.sealed import SUFFIX


@click.command()
@configured()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--to", "target", type=click.Path(path_type=Path), required=True, help="The folder to write to.")
def unseal(settings: Settings, folder: Path, target: Path) -> int:
    """Write the sealed originals below FOLDER (from_staging or quarantine of a run) as DICOM files.

    They IDENTIFY. Who asked, when, and for which studies stands in the journal.
    """
    _check_place(settings, target)
    found = sorted(folder.rglob(f"*{SUFFIX}"))
    if not found:
        raise PermanentError(f"there is no sealed original below {folder}", "name from_staging or quarantine of a run")
    told = [originals.header(path) for path in found]
    studies = sorted({(each["project"], each["study_key"]) for each in told})
    request: dict[str, object] = {"command": "reidentify", "do": "unsealed", "studies": studies, "count": len(found)}
    running.ask_node(settings, lambda ask: ask(request, lambda _: None))
    keys = {project: _keys(settings, project) for project in {project for project, _ in studies} & {*settings.projects}}
    for path in found:
        _write(path, target / path.relative_to(folder).with_suffix(".dcm"), keys)
    click.echo(f"{counted(len(found), 'IDENTIFIED original')} in {target}; this is recorded, delete them after use")
    return 0


def _check_place(settings: Settings, target: Path) -> None:
    place = target.absolute().resolve()
    if place.is_relative_to(settings.storage.directory.resolve()) or any(map(is_run, place.parts)):
        raise click.UsageError(
            "the storage directory and the folders of runs hold nothing identified in the clear; name another place"
        )


def _keys(settings: Settings, project: str) -> ProjectKeys:
    chosen = settings.projects[project]
    own = load_key(settings.key_file(project))
    current = load_key(chosen.seal_key_file) if chosen.seal_key_file else own
    return own.sealing_with(current, [load_key(path) for path in chosen.older_seal_key_files])


def _write(sealed: Path, path: Path, keys: dict[str, ProjectKeys]) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with originals.opened(sealed, keys) as (received, chunks), new_file(path) as file:
        write_all(file, part10_head(received))
        for chunk in chunks:
            write_all(file, chunk)
