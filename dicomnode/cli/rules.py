"""`dicomnode rules`: whether a rules file can be used, what it does to each attribute, and to one file."""

from __future__ import annotations

import secrets
from dataclasses import asdict
from pathlib import Path

import click

from dicomnode.cli import conformance as statement
from dicomnode.cli import convert as converting
from dicomnode.cli import difference, markdown, outputs, trial
from dicomnode.cli import explain as explaining
from dicomnode.cli.options import as_json, say_json
from dicomnode.deidentify import explanation
from dicomnode.deidentify.plan import Plan
from dicomnode.deidentify.schema import schema as rules_schema
from dicomnode.deidentify.standard import dictionary
from dicomnode.folders.engines import Engines
from dicomnode.folders.sources import source
from dicomnode.folders.work import look
from dicomnode.keys import KEY_BYTES, ProjectKeys, load_key
from dicomnode.recipes import load

LINES = ("attributes", "conditions", "pixels", "remarks")
"""Facts of which each stands on a line of its own."""
RULES = click.argument("file", metavar="RULES", type=click.Path(path_type=Path))


@click.group()
def rules() -> None:
    """Check and explain rules files."""


@rules.command()
@RULES
@as_json
def check(file: Path, as_json: bool) -> int:
    """Say whether RULES can be used, and what it declares."""
    plan = load(file)
    if as_json:
        say_json(_facts(plan))
    else:
        for name, value in _facts(plan).items():
            for line in value if isinstance(value, list) and name in LINES else [value]:
                click.echo(f"{name:12}{', '.join(line) if isinstance(line, list) else line}")
    return 0


def _facts(plan: Plan) -> dict[str, str | list[str]]:
    told = explaining.conditions(plan)
    return {
        "rules": plan.name,
        "digest": plan.digest,
        "options": sorted(plan.options) or ["none"],
        "dates": plan.dates,
        "method": list(plan.methods.text),
        "codes": [f"{value} {meaning}" for value, meaning in plan.methods.codes] or ["none"],
        "templates": [f"{name}={template}" for name, template in plan.templates.items()],
        "attributes": [explaining.said(asdict(each)) for each in explanation.exceptions(plan)] or ["none"],
        "conditions": [f"{name} {value}" for name, value in explaining.asked(told)] or ["none"],
        "pixels": _pixels(plan),
        "remarks": list(plan.remarks) or ["none"],
    }


def _pixels(plan: Plan) -> list[str]:
    """What the rules change of those about pixels."""
    changed = explaining.loosened({"rules": plan.pixels.rules, "off": explanation.loosened(plan)})
    changed += [f"not judged: {explanation.class_name(uid)}" for uid in sorted(plan.pixels.accepted)]
    return changed or ["judged by all rules"]


@rules.command()
@RULES
@click.option("--class", "--sop-class", "sop_class", help="In the IOD of this SOP class: its keyword or UID.")
@click.option("--attribute", help="Only this attribute: a keyword or a tag such as 0010,0010.")
@click.option("--format", "form", type=click.Choice(["text", "markdown", "json"]), default="text", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
def explain(file: Path, sop_class: str | None, attribute: str | None, form: str, as_json: bool) -> int:
    """Say what RULES does to each attribute, and why.

    That is every row of PS3.15 Table E.1-1 with its code, what the chosen options and the rules' own exceptions make
    of it, and what changes where an IOD requires the attribute (its Type); then what happens by VR to attributes that
    nothing names, how dates, UIDs and pseudonyms are made, which SOP classes are withheld, and what is claimed in
    De-identification Method and its code sequence.
    """
    plan = load(file)
    told = explaining.document(plan, sop_class and _class_uid(sop_class), _tag(attribute) if attribute else None)
    if as_json or form == "json":
        say_json(told)
    else:
        click.echo(markdown.rules(told) if form == "markdown" else explaining.text(told, bool(attribute)))
    return 0


@rules.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--rules", "rules_file", required=True, type=click.Path(path_type=Path), help="The rules file.")
@click.option("--key-file", type=click.Path(path_type=Path), help="The project's key; without it one is made up.")
@click.option("--hide-originals", is_flag=True, help="Leave out what only the original says.")
@click.option("--all", "everything", is_flag=True, help="Show what stays as well.")
@as_json
def diff(
    file: Path, rules_file: Path, key_file: Path | None, hide_originals: bool, everything: bool, as_json: bool
) -> int:
    """Show what RULES change in the DICOM file FILE, or why it would be withheld.

    The left column shows IDENTIFIED VALUES: it is for a person at a terminal, not for a file, a ticket or a mail.
    --hide-originals leaves them out. Nothing is written. Exit 1 when FILE would be withheld.
    """
    plan = load(rules_file)
    keys = load_key(key_file) if key_file else ProjectKeys.derive(secrets.token_bytes(KEY_BYTES))
    if not key_file:
        click.echo("without --key-file: pseudonyms and UIDs are not those that the node would give", err=True)
    told = difference.document(plan, keys, file.read_bytes(), hide_originals, everything)
    if as_json:
        say_json(told)
    else:
        click.echo(difference.text(told))
    return 1 if told["withheld"] else 0


@rules.command("try")
@RULES
@click.argument("folder", metavar="FOLDER")
@as_json
def attempt(file: Path, folder: str, as_json: bool) -> int:
    """Show per series what RULES would make of FOLDER, and why; nothing is written.

    FOLDER is a folder, a file or an address such as s3://bucket/folder. Files that would be withheld are counted by
    reason; those that are clean, but of a series or study that fails the rules' conditions, are kept back. Exit 1 when
    anything would stay.
    """
    plan = load(file)
    keys = ProjectKeys.derive(secrets.token_bytes(KEY_BYTES))
    place, engines = source(folder), Engines(lambda _: plan, keys, "", None)
    told = trial.document(plan, (look(place, engines, name) for name in place.names()))
    if as_json:
        say_json(told)
    else:
        click.echo(trial.text(told))
    return 0 if told["go"] == told["files"] and told["files"] else 1


@rules.command()
def schema() -> int:
    """Print the JSON Schema of rules files, for editors; rules/rules.schema.json is the same."""
    say_json(rules_schema())
    return 0


@rules.command()
@RULES
def conformance(file: Path) -> int:
    """Print the DICOM conformance statement of a node that uses RULES, as Markdown."""
    click.echo(statement.written(load(file)))
    return 0


@rules.command()
@click.argument("recipe", metavar="RECIPE", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write FILE, a new one."
)
@as_json
def convert(recipe: Path, output: Path | None, as_json: bool) -> int:
    """Make rules of a deid recipe, a script of CTP's anonymiser, or a vocabulary of dicom-anon.

    What cannot be carried over is said line by line on standard error. Exit 1 where the rules then protect less.
    """
    outputs.check_new({"--output": output})
    return converting.convert(recipe, output, as_json)


def _tag(word: str) -> int:
    digits = word.strip("()").replace(",", "").replace(" ", "")
    try:
        return int(digits, 16) if len(digits) == 8 else dictionary.keywords()[word]
    except (KeyError, ValueError):
        raise click.UsageError(f"unknown attribute '{word}'; give a DICOM keyword or a tag such as 0010,0010") from None


def _class_uid(word: str) -> str:
    for uid, name in dictionary.storage_classes().items():
        if word in (uid, name):
            return uid
    raise click.UsageError(f"unknown SOP class '{word}'; give a keyword such as MRImageStorage, or a UID")
