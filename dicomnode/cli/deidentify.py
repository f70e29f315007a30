"""`dicomnode deidentify`: the node's engine on files and folders."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from mmap import ACCESS_READ, mmap
from pathlib import Path

import click

from dicomnode import disk
from dicomnode.cli.options import as_json, counted, say_json
from dicomnode.cli.part10 import DIRECTORY, FileMeta, is_part10, read_meta
from dicomnode.deidentify import Cleaned, Deidentifier
from dicomnode.deidentify.rules import load
from dicomnode.errors import CannotKeep, KeyFileError
from dicomnode.keys import ProjectKeys, create_key, load_key
from dicomnode.model import EXPLANATIONS, Buffer, Doubt, Origin, Reason, Received
from dicomnode.observe import log

LOCAL = Origin("local", "local", "", "", "", 0)


@dataclass(slots=True)
class Tally:
    """What became of the files; `withheld` has the names of the files by reason."""

    cleaned: int = 0
    there: int = 0
    not_dicom: int = 0
    directories: int = 0
    withheld: dict[Reason, list[str]] = field(default_factory=dict)
    places: Counter[str] = field(default_factory=Counter)

    def withhold(self, doubt: Doubt, name: str) -> None:
        """Count a file that stays where it is."""
        self.withheld.setdefault(doubt.reason, []).append(name)
        self.places[f"{doubt.reason} {doubt.where}".strip()] += 1


@click.command()
@click.argument("source", metavar="SRC", type=click.Path(exists=True, path_type=Path))
@click.argument("target", metavar="DST", type=click.Path(file_okay=False, path_type=Path))
@click.option("--rules", "rules_file", required=True, type=click.Path(path_type=Path), help="The rules file.")
@click.option(
    "--key-file", type=click.Path(path_type=Path), help="The project's key; without it DST.key, made when missing."
)
@click.option("--overwrite", is_flag=True, help="Replace files that are already in DST.")
@click.option("--names", is_flag=True, help="Name the files that were withheld; file names may identify.")
@as_json
def deidentify(
    source: Path,
    target: Path,
    rules_file: Path,
    key_file: Path | None,
    overwrite: bool,
    names: bool,
    as_json: bool,
) -> int:
    """De-identify the DICOM files of SRC into DST/study/series/instance.dcm.

    Files in doubt are withheld: nothing of them is copied. Exit 1 when one was withheld or none was found.
    """
    log.configure()
    if target.resolve() == source.resolve() or target.resolve().is_relative_to(source.resolve()):
        raise click.UsageError("DST lies inside SRC: name a folder outside of it")
    plan = load(rules_file)
    keys, key_place, made = _keys(key_file, target)
    if made:
        click.echo(f"made the key {key_place}: keep it apart from DST and back it up", err=True)
    tally = Tally()
    run = Run(Deidentifier(plan, keys), target, overwrite, tally)
    for count, file in enumerate(_files(source), 1):
        run.take(file, str(file.relative_to(source)) if file != source else file.name)
        if sys.stderr.isatty() and count % 20 == 0:
            click.echo(f"\r{count} files", nl=False, err=True)
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)
    facts = {"rules": plan.name, "digest": plan.digest, "key": keys.key_id, "key_file": str(key_place)}
    _tell(tally, target, facts, names, as_json)
    return 0 if not tally.withheld and tally.cleaned + tally.there else 1


def _keys(key_file: Path | None, target: Path) -> tuple[ProjectKeys, Path, bool]:
    if key_file is not None:
        return load_key(key_file), key_file, False
    target = target.resolve()
    path = target.with_name(f"{target.name}.key")
    made = not path.exists()
    if made and target.is_dir() and any(target.iterdir()):
        raise KeyFileError(f"{path} is missing but {target} has files", "name their key with --key-file")
    disk.make_directory(path.parent)
    return create_key(path), path, made


def _files(source: Path) -> Iterator[Path]:
    """The files of a folder in a fixed order, symbolic links left out; or the one file."""
    if source.is_file():
        yield source
        return
    for folder, folders, files in os.walk(source):
        folders.sort()
        for name in sorted(files):
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                yield path


class Run:
    """De-identifies files one by one."""

    def __init__(self, deidentifier: Deidentifier, target: Path, overwrite: bool, tally: Tally) -> None:
        self._deidentifier = deidentifier
        self._target = target
        self._overwrite = overwrite
        self._tally = tally

    def take(self, file: Path, name: str) -> None:
        """Clean one file, or count why not."""
        try:
            content = _content(file)
        except OSError as error:
            raise CannotKeep(f"a file cannot be read: {error.strerror}", "check its permissions") from None
        if not is_part10(content):
            self._tally.not_dicom += 1
            return
        try:
            meta = read_meta(content)
            if meta.sop_class == DIRECTORY:
                self._tally.directories += 1
                return
            self._keep(self._clean(meta, memoryview(content)[meta.data_set :]))
        except Doubt as doubt:
            self._tally.withhold(doubt, name)

    def _clean(self, meta: FileMeta, data: Buffer) -> Cleaned:
        received = Received(LOCAL, meta.sop_class, meta.sop_uid, meta.transfer_syntax)
        try:
            return self._deidentifier.clean(received, data)
        except (Doubt, KeyboardInterrupt):
            raise
        except Exception as error:  # noqa: BLE001 - whatever goes wrong withholds the instance
            raise Doubt(Reason.INTERNAL, type(error).__name__) from None

    def _keep(self, cleaned: Cleaned) -> None:
        """Write the clean file; what is already there is never replaced unless asked for."""
        path = self._target / cleaned.study_uid / cleaned.series_uid / f"{cleaned.sop_uid}.dcm"
        parts = [*cleaned.head, *([cleaned.pixels] if cleaned.pixels is not None else []), *cleaned.tail]
        if path.exists() and not self._overwrite:
            if path.read_bytes() != b"".join(parts):
                raise Doubt(Reason.CONFLICT)
            self._tally.there += 1
            return
        disk.make_directory(path.parent)
        write(path, parts)
        self._tally.cleaned += 1


def _content(file: Path) -> Buffer:
    """The file's bytes, mapped into memory; the map lives as long as somebody looks at it."""
    with file.open("rb") as opened:
        if os.fstat(opened.fileno()).st_size <= 0:
            return b""
        return memoryview(mmap(opened.fileno(), 0, access=ACCESS_READ))


def write(path: Path, parts: list[Buffer]) -> None:
    """Write a file whole or not at all."""
    unfinished = path.with_name(f".{path.name}.part")
    disk.unlink(unfinished)
    fd = disk.create(unfinished)
    try:
        disk.write(fd, parts, 0)
        disk.sync(fd)
        disk.rename(unfinished, path)
    except BaseException:
        disk.unlink(unfinished)
        raise
    finally:
        os.close(fd)


def _tell(tally: Tally, target: Path, facts: dict[str, str], names: bool, as_json: bool) -> None:
    counts = {"cleaned": tally.cleaned, "already_there": tally.there}
    counts |= {"not_dicom": tally.not_dicom, "dicomdir": tally.directories}
    if as_json:
        withheld = {reason: files if names else len(files) for reason, files in tally.withheld.items()}
        say_json({**counts, "withheld": withheld, "where": tally.places, "target": str(target), **facts})
        return
    click.echo(f"{counted(tally.cleaned, 'file')} de-identified into {target}")
    for count, text in (
        (tally.there, "already there, with the same content"),
        (tally.not_dicom, "not DICOM"),
        (tally.directories, "DICOMDIR, which names patients and is not taken over"),
    ):
        if count:
            click.echo(f"{counted(count, 'file')} {text}")
    for reason, files in sorted(tally.withheld.items()):
        click.echo(f"{len(files)} withheld, {reason}: {EXPLANATIONS[reason]}")
        for name in files if names else ():
            click.echo(f"    {name}")
    if tally.withheld and not names:
        click.echo("withheld files stay where they are, nothing of them was copied; --names shows which")
