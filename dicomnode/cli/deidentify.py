"""`dicomnode deidentify`: the node's engine on files, folders and object storage."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from dicomnode import disk
from dicomnode.cli import outputs
from dicomnode.cli.options import as_json, counted, say_json
from dicomnode.deidentify import acceptance
from dicomnode.errors import KeyFileError
from dicomnode.folders import entities, mapping, objects, options, progress, targets
from dicomnode.folders.job import Job, keys_of
from dicomnode.folders.run import Result, run
from dicomnode.folders.tally import SAID, Fate, Tally
from dicomnode.keys import ProjectKeys, create_key, load_key
from dicomnode.model import EXPLANATIONS
from dicomnode.observe import log
from dicomnode.recipes.conversion import without_value

BASIC = Path("basic")
"""The name of the rules where no file is named."""
NO_KEYS = ProjectKeys(b"", b"", b"", "", "")
NAMED = tuple(fate for fate in SAID if fate is not Fate.THERE)
IDS = "Values of a recipe's variables, by entity and item: what dicomnode identifiers wrote, completed; JSON or CSV."
EXPORT = "Write what the options and the rules come to as a new rules file; without SRC and DST nothing else is done."
EACH_LINE = 30.0
"""Seconds between lines of progress where standard error is no terminal."""
CLEAR = "\r\033[K"
"""Back to the start of a terminal's line, which is empty then."""


@click.command()
@click.argument("source", metavar="SRC", required=False)
@click.argument("target", metavar="DST", required=False)
@click.option(
    "--rules",
    "rules_file",
    type=click.Path(path_type=Path),
    help="The rules file, or a recipe of deid, a script of CTP; without it the Basic Profile.",
)
@click.option(
    "--key-file", type=click.Path(path_type=Path), help="The project's key; without it DST.key, made when missing."
)
@click.option("--patient-id", default="", metavar="ID", help="Patient ID and Name in DST; SRC is of one patient then.")
@click.option("--project", default="", metavar="NAME", help="The project; each has UIDs and pseudonyms of its own.")
@click.option("--site", default="", metavar="NAME", help="Clinical Trial Site Name.")
@click.option("--site-id", default="", metavar="ID", help="Clinical Trial Site ID.")
@click.option("--event", default="", metavar="NAME", help="Clinical Trial Time Point ID.")
@click.option("--date-increment", "days", type=int, metavar="DAYS", help="Move dates by so many days, such as -42.")
@click.option(
    "--tag-change",
    "tag_changes",
    multiple=True,
    metavar="TAG=VALUE",
    help='Such as "0008,0080=PROJECTNAME"; VALUE is text, keep, remove, empty, hash, hashuid or incrementdate.',
)
@click.option(
    "--reg-tag-change",
    "reg_tag_changes",
    multiple=True,
    metavar="TAG=PATTERN",
    help="Keep of the value what the groups of a regular expression match.",
)
@click.option("--export-rules", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help=EXPORT)
@click.option("--ids", "ids_file", type=click.Path(path_type=Path), metavar="FILE", help=IDS)
@click.option("--entity", default=entities.ENTITY, show_default=True, help="The attribute that FILE calls entity.")
@click.option("--item", default=entities.ITEM, show_default=True, help="The attribute that FILE calls item.")
@click.option("--by-series", is_flag=True, help="DST/series/instance.dcm, without a folder for the study.")
@click.option(
    "--store-mapping",
    "mapping_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write original and new Study and Series Instance UIDs as JSON; it IDENTIFIES, and former runs stay in it.",
)
@click.option(
    "--report",
    "report_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write what accept_if and withhold_if said, file by file: a new FILE with Encord's keys; it IDENTIFIES.",
)
@click.option("--workers", type=click.IntRange(1, 256), help="Processes; without it one for each processor.")
@click.option("--overwrite", is_flag=True, help="Replace files that are already in DST.")
@click.option("--names", is_flag=True, help="Name the files that were not taken over; file names may identify.")
@as_json
def deidentify(
    source: str | None,
    target: str | None,
    rules_file: Path | None,
    key_file: Path | None,
    patient_id: str,
    export_rules: Path | None,
    ids_file: Path | None,
    entity: str,
    item: str,
    by_series: bool,
    mapping_file: Path | None,
    report_file: Path | None,
    workers: int | None,
    overwrite: bool,
    names: bool,
    as_json: bool,
    **said: Any,
) -> int:
    """De-identify the DICOM files of SRC into DST/study/series/instance.dcm.

    SRC is a file, a folder or an address such as s3://bucket/folder; DST a folder or an address. Files in doubt are
    withheld: nothing of them is copied. A run that was interrupted goes on where it was when it is started again; with
    the same key, runs over parts of a study give the same study. Exit 1 when a file was withheld, could
    not be read or has no preamble, or none was found.
    """
    log.configure()
    told = options.Options(**said)
    made = options.rules(told, rules_file) if told.any or rules_file is None else None
    outputs.check_new({"--export-rules": export_rules, "--report": report_file})
    if export_rules and source is None:
        _export(export_rules, made, rules_file, patient_id)
        return 0
    if source is None or target is None:
        raise click.UsageError("Missing argument 'SRC' or 'DST'.")
    _check_places(source, target)
    key_place = key_file or _key_beside(target)
    outputs.check_apart(
        {"--export-rules": export_rules, "--store-mapping": mapping_file, "--report": report_file},
        {"--key-file": key_place, "--rules": rules_file, "--ids": ids_file, "SRC": Path(source)},
        {"SRC": source, "DST": target},
    )
    known = mapping.load(mapping_file) if mapping_file else None
    ids = entities.load(ids_file, entity, item) if ids_file else None
    job = Job(source, target, rules_file or BASIC, NO_KEYS, overwrite, by_series, made)
    job = replace(job, project=told.project, patient_id=options.patient_id(patient_id), ids=ids)
    plan = job.plan()
    keys, fresh = _named_key(key_file, target) if key_file else _made_key(key_place, Path(target).resolve())
    job = replace(job, keys=keys_of(keys, told.project))
    if fresh:
        click.echo(f"made the key {key_place}: keep it apart from DST and back it up", err=True)
    with Progress() as tell:
        result = run(job, workers or len(os.sched_getaffinity(0)), tell)
    if mapping_file and known:
        known.merge(result.mapping)
        mapping.store(mapping_file, known)
    if export_rules:
        _export(export_rules, made, rules_file, patient_id)
    if report_file:
        mapping.write(report_file, acceptance.report(result.judged, result.sent))
    facts = {"rules": plan.name, "digest": plan.digest, "key": job.keys.key_id, "key_file": str(key_place)}
    _tell(result, target, facts, names, as_json)
    return 0 if result.tally.good else 1


def _export(path: Path, made: str | None, rules_file: Path | None, patient_id: str) -> None:
    """Write the rules; options that are no rules are named in them."""
    if made is None:
        made = f"include: {rules_file.resolve() if rules_file else ''}\n"
    targets.write(path, options.exported(made, ["--patient-id ID"] if patient_id else []).encode())
    click.echo(f"wrote {path}", err=True)


def _check_places(source: str, target: str) -> None:
    """Raises UsageError where a place cannot be meant."""
    if not objects.is_address(source) and not Path(source).exists():
        raise click.UsageError(f"SRC {source} does not exist")
    if objects.is_address(target):
        inside = objects.is_address(source) and f"{target.rstrip('/')}/".startswith(f"{source.rstrip('/')}/")
    else:
        if Path(target).is_file():
            raise click.UsageError(f"DST {target} is a file: name a folder")
        inside = not objects.is_address(source) and Path(target).resolve().is_relative_to(Path(source).resolve())
    if inside:
        raise click.UsageError("DST lies inside SRC: name a folder outside of it")


def _key_beside(target: str) -> Path:
    """Where the key lies when none is named; raises UsageError."""
    if objects.is_address(target):
        raise click.UsageError("DST is no folder that a key can lie beside: name one with --key-file")
    folder = Path(target).resolve()
    return folder.with_name(f"{folder.name}.key")


def _named_key(key_file: Path, target: str) -> tuple[ProjectKeys, bool]:
    """The key of that file, unless DST was begun with the one beside it: all would be there twice."""
    keys = load_key(key_file)
    if not objects.is_address(target):
        folder, beside = Path(target).resolve(), _key_beside(target)
        if beside.exists() and folder.is_dir() and any(folder.iterdir()) and load_key(beside).key_id != keys.key_id:
            raise KeyFileError(f"{folder} was begun with another key, {beside}", "name that key, or another DST")
    return keys, False


def _made_key(path: Path, folder: Path) -> tuple[ProjectKeys, bool]:
    """The key beside DST, and whether it was made: never for files that have another one."""
    made = not path.exists()
    if made and folder.is_dir() and any(folder.iterdir()):
        raise KeyFileError(f"{path} is missing but {folder} has files", "name their key with --key-file")
    disk.make_directory(path.parent)
    return create_key(path), made


class Progress:
    """Tells on standard error how far the run is: one line that changes on a terminal, else a line now and then."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._told = time.monotonic()
        self._last = ""

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Of a run that was interrupted or failed, tell how far it came."""
        if kind and self._last:
            click.echo(
                f"{CLEAR * self._terminal}{self._last}; what is in DST stays there, and the same command goes on",
                err=True,
            )

    def __call__(self, tally: Tally, total: int, seconds: float) -> None:
        """Tell it, if it is time to."""
        now = time.monotonic()
        self._last = progress.line(tally, total, 0)
        if self._terminal:
            click.echo(f"{CLEAR}{progress.line(tally, total, seconds)}", nl=False, err=True)
            if tally.done >= total:
                click.echo(CLEAR, nl=False, err=True)
        elif now - self._told >= EACH_LINE:
            self._told = now
            click.echo(progress.line(tally, total, seconds), err=True)


def _tell(result: Result, target: str, facts: dict[str, str], names: bool, as_json: bool) -> None:
    tally = result.tally
    if as_json:
        say_json({**_document(tally, target, facts, names), "missing": result.missing})
        return
    click.echo(f"{counted(tally.fates[Fate.CLEANED], 'file')} de-identified into {target}")
    for fate, text in SAID.items():
        if count := tally.fates[fate]:
            click.echo(f"{counted(count, 'file')} {text}")
            for outcome in tally.names.get(fate, ()) if names else ():
                click.echo(f"    {outcome.name}")
    for reason, count in sorted(tally.reasons.items()):
        click.echo(f"{count} withheld, {reason}: {EXPLANATIONS[reason]}")
        if names:
            for outcome in tally.names[Fate.WITHHELD]:
                if outcome.reason is reason:
                    click.echo(f"    {outcome.name} {outcome.where}".rstrip())
        else:
            for where, times in tally.places[reason].most_common():
                if where:
                    click.echo(f"    {times} at {where}")
    for missing, count in sorted(result.missing.items()):
        attribute, variable, became = without_value(missing)
        click.echo(f"{counted(count, 'file')} without a value for {variable}: {attribute} {became}")
    if tally.reasons and not names:
        click.echo("withheld files stay where they are, nothing of them was copied; --names shows which")


def _document(tally: Tally, target: str, facts: dict[str, str], names: bool) -> dict[str, object]:
    counts: dict[str, object] = {fate.value: tally.fates[fate] for fate in Fate if fate is not Fate.WITHHELD}
    withheld: dict[str, object] = {str(reason): count for reason, count in tally.reasons.items()}
    if names:
        for reason in tally.reasons:
            withheld[str(reason)] = [each.name for each in tally.names[Fate.WITHHELD] if each.reason is reason]
        counts |= {"names": {fate.value: [each.name for each in tally.names.get(fate, ())] for fate in NAMED}}
    where = {
        f"{reason} {place}".strip(): times for reason, places in tally.places.items() for place, times in places.items()
    }
    return {**counts, "withheld": withheld, "where": where, "target": target, **facts}
