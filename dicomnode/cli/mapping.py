"""`dicomnode mapping`: pseudonyms that the site gives, or that a program used before has given."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import click

from dicomnode.cli import lists
from dicomnode.cli.options import configured, counted
from dicomnode.config import Settings
from dicomnode.running import Ask
from dicomnode.store import dicom_anon

SQLITE = b"SQLite format 3\0"
PART = 20_000  # pairs that are handed over at once
LONGEST = 64
COLUMNS = {"original": ("original", "patientid", "patient"), "pseudonym": ("pseudonym", "cleaned", "pseudonymid")}

Pair = list[str]


@click.group()
def mapping() -> None:
    """Give patients pseudonyms from a table, or go on with those of dicom-anon."""


@mapping.command("import")
@configured()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--project", required=True, help="For which project.")
def import_(settings: Settings, file: Path, project: str) -> int:
    """Take up FILE: a CSV with the columns original and pseudonym (of Patient IDs), or an identity.db of dicom-anon.

    What is withheld because its patient was unknown is let go on when the patient is known now.
    """
    from dicomnode import running

    with file.open("rb") as start:
        old_book = start.read(len(SQLITE)) == SQLITE
    said: list[dict[str, object]] = []

    def talk(ask: Ask) -> int:
        common: dict[str, object] = {"command": "mapping", "do": "enter", "project": project}
        if old_book:
            return _old_book(ask, common, file, said)
        table = _pairs(lists.read(str(file)))
        click.echo(f"{counted(len(table), 'patient')} in the table")
        pairs = {"pairs": list(table.values()), "lines": list(table)}
        return ask({**common, **pairs, "strict": True, "last": True}, said.append)

    code = running.ask_node(settings, talk)
    for document in said:
        if document.get("event") == "mapping-entered":
            then = "; their studies go out when they are quiet and the node runs" if document.get("released") else ""
            click.echo(f"entered; {counted(document.get('released'), 'withheld instance')} released{then}")
    return code


def _old_book(ask: Ask, common: dict[str, object], file: Path, said: list[dict[str, object]]) -> int:
    """The pairs of dicom-anon, for the engine and for look-ups."""
    found = dicom_anon.read(file)
    count = 0
    while part := list(islice(found, PART)):
        count += len(part)
        pairs = [[each.attribute, each.original, each.cleaned, each.study] for _, each in part]
        ask({**common, "pairs": pairs, "keywords": [keyword for keyword, _ in part], "last": False}, said.append)
    click.echo(f"{counted(count, 'pair')} of dicom-anon")
    return ask({**common, "pairs": [], "last": True}, said.append)


def _pairs(text: str) -> dict[int, Pair]:
    """The pairs of the table by their lines; of lines that say the same the first one."""
    rows = lists.table(text, COLUMNS)
    if rows is None or any("original" not in row or "pseudonym" not in row for _, row in rows):
        raise click.UsageError("the table needs a heading with the columns original and pseudonym")
    pairs: dict[int, Pair] = {}
    patients: dict[str, int] = {}
    pseudonyms: dict[str, int] = {}
    for number, row in rows:
        original, pseudonym = row["original"], row["pseudonym"]
        _check(original, pseudonym, number)
        before, owner = patients.setdefault(original, number), pseudonyms.setdefault(pseudonym, number)
        if before != owner:
            other, why = (before, "the patient has another pseudonym")
            if before == number:
                other, why = (owner, "the pseudonym has another patient")
            raise click.UsageError(f"lines {other} and {number} of the table: {why}")
        if before == number:
            pairs[number] = ["PatientID", original, pseudonym, ""]
    return pairs


def _check(original: str, pseudonym: str, number: int) -> None:
    wrong = not original or not pseudonym or max(len(original), len(pseudonym)) > LONGEST
    if wrong or not pseudonym.isprintable() or set(pseudonym) & set("\\^=*?"):
        raise click.UsageError(f"line {number} of the table: both need 1 to 64 characters, without \\ ^ = * ?")
    if original.lower() in pseudonym.lower():
        raise click.UsageError(f"line {number} of the table: the pseudonym holds the original")
