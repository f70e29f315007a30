"""`dicomnode summary`: what a folder of DICOM files says of its studies, series and patients, each once."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import click
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from dicomnode.cli.options import as_json, say_json

ASKED = {
    "study descriptions": "StudyDescription",
    "series descriptions": "SeriesDescription",
    "patient names": "PatientName",
}


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@as_json
def summary(folder: Path, as_json: bool) -> int:
    """List the study descriptions, series descriptions and patient names in FOLDER, each once. They may identify."""
    found: dict[str, set[str]] = {title: set() for title in ASKED}
    count = 0
    for _, header in instances(folder):
        count += 1
        for title, keyword in ASKED.items():
            value = str(header.get(keyword) or "").strip()
            if value:
                found[title].add(value)
    told = {title: sorted(values) for title, values in found.items()}
    if as_json:
        say_json({"files": count, **told})
        return 0
    for title, values in told.items():
        click.echo(f"{title}: {len(values)}")
        for value in values:
            click.echo(f"\t{''.join(letter if letter.isprintable() else '?' for letter in value)}")
    click.echo(f"{count} DICOM files")
    return 0


def instances(folder: Path) -> Iterator[tuple[Path, Dataset]]:
    """The DICOM files below a folder with what their headers say; others are left out."""
    wanted = ["StudyInstanceUID", "SeriesInstanceUID", *ASKED.values(), "SpecificCharacterSet"]
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote values
            try:
                yield path, pydicom.dcmread(path, stop_before_pixels=True, specific_tags=wanted)
            except (InvalidDicomError, OSError, ValueError, EOFError):
                continue
