"""`dicomnode rules`: whether a rules file can be used, and what it does to each attribute."""

from __future__ import annotations

from pathlib import Path

import click

from dicomnode.cli.options import as_json, say_json, table
from dicomnode.deidentify.plan import Plan, Step, key_of
from dicomnode.deidentify.rules import load
from dicomnode.deidentify.standard import dictionary, tables

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
            click.echo(f"{name:12}{', '.join(value) if isinstance(value, list) else value}")
    return 0


def _facts(plan: Plan) -> dict[str, str | list[str]]:
    return {
        "rules": plan.name,
        "digest": plan.digest,
        "options": sorted(plan.options) or ["none"],
        "dates": plan.dates,
        "method": list(plan.methods.text),
        "codes": [f"{value} {meaning}" for value, meaning in plan.methods.codes] or ["none"],
        "templates": [f"{name}={template}" for name, template in plan.templates.items()],
    }


@rules.command()
@RULES
@click.option(
    "--sop-class", default="CTImageStorage", show_default=True, help="For this SOP class: its keyword or UID."
)
@click.option("--attribute", help="Only this attribute: a keyword or a tag such as 0010,0010.")
@as_json
def explain(file: Path, sop_class: str, attribute: str | None, as_json: bool) -> int:
    """Say what RULES does to each attribute of Table E.1-1 (or to one attribute), and why."""
    plan = load(file)
    uid = _class_uid(sop_class)
    steps = plan.for_class(uid)
    tags = [_tag(attribute)] if attribute else _table_tags()
    found = [(tag, steps[key_of(tag, dictionary.vr_of(tag))]) for tag in tags]
    if as_json:
        say_json({"sop_class": uid, "withheld": plan.refuses(uid), "attributes": [_document(*each) for each in found]})
        return 0
    if plan.refuses(uid):
        click.echo(f"instances of {dictionary.storage_classes().get(uid, uid)} are withheld whole")
    documents = [_document(*each) for each in found]
    rows = [(each["tag"], each["attribute"], each["action"], each["reason"]) for each in documents]
    click.echo(table(("tag", "attribute", "action", "because"), rows))
    return 0


def _document(tag: int, step: Step) -> dict[str, str]:
    return {
        "tag": f"({tag >> 16:04X},{tag & 0xFFFF:04X})",
        "attribute": dictionary.keyword_of(tag),
        "action": step.action.name.lower(),
        "reason": step.reason,
    }


def _table_tags() -> list[int]:
    """The attributes of the table; of repeating groups and elements the first."""
    return sorted(int(tag.replace("x", "0"), 16) for tag in tables.rows() if tag != "private")


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
