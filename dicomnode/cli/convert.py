"""`dicomnode rules convert`: a recipe as rules, and what could not be carried over."""

from __future__ import annotations

from pathlib import Path

import click

from dicomnode.cli.options import counted, say_json
from dicomnode.errors import RulesError
from dicomnode.recipes import Converted
from dicomnode.recipes import convert as converted
from dicomnode.recipes.conversion import without_value


def convert(recipe: Path, output: Path | None, as_json: bool) -> int:
    """Convert a recipe and tell what is lost; returns the exit code. Raises RulesError when it is no recipe."""
    try:
        text = recipe.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RulesError(f"{recipe} cannot be read ({type(error).__name__})", "it must be text in UTF-8") from None
    found = converted(text, recipe)
    if output:
        output.write_text(found.text, encoding="utf-8")
    if as_json:
        say_json(_document(found))
    else:
        if not output:
            click.echo(found.text, nl=False)
        _tell(found, recipe)
    return 1 if found.lost else 0


def _tell(found: Converted, recipe: Path) -> None:
    for note in found.notes:
        weight = "NOT CARRIED OVER" if note.lost else "note"
        where = f"{recipe}:{note.source.line}" if note.source.line else str(recipe)
        click.echo(f"{where}: {weight}: {note.source.text}: {note.why}", err=True)
    for missing in found.plan.missing:
        attribute, variable, fate = without_value(missing)
        click.echo(f"{attribute} {fate} where {variable} has no value; deidentify --ids gives it", err=True)
    for remark in found.plan.remarks:
        click.echo(remark, err=True)
    if found.lost:
        lines = counted(len(found.lost), "line")
        click.echo(f"the rules protect less than the {found.kind}: {lines} NOT CARRIED OVER", err=True)


def _document(found: Converted) -> dict[str, object]:
    return {
        "kind": found.kind,
        "rules": found.text,
        "digest": found.plan.digest,
        "notes": [
            {"line": note.source.line, "text": note.source.text, "why": note.why, "lost": note.lost}
            for note in found.notes
        ],
        "variables": sorted({missing.rpartition(": ")[2] for missing in found.plan.missing}),
        "remarks": list(found.plan.remarks),
    }
