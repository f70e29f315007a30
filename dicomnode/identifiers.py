"""Extracting identifiers and replacing them, as deid's functions do: by file, keyed by the tag's place in it.

    ids = get_identifiers(files)
    ids[files[0]]["id"] = "subject-1"
    replace_identifiers(files, ids=ids, deid="recipe.dicom", save=True, output_folder="out", key_file="project.key")

What comes out went through the node's engine: the recipe, then the Basic Profile for what it does not name.
"""

from __future__ import annotations

import secrets
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from dicomnode.deidentify import Deidentifier
from dicomnode.deidentify.plan import Plan
from dicomnode.errors import RulesError
from dicomnode.folders import part10
from dicomnode.folders.fields import DicomField, fields
from dicomnode.keys import KEY_BYTES, ProjectKeys, load_key
from dicomnode.model import Doubt, Origin, Received
from dicomnode.recipes import conversion
from dicomnode.recipes.deid import NOT_CHANGED
from dicomnode.recipes.draft import Draft, Entry, Function
from dicomnode.recipes.fields import keywords_in

File = str | Path
Lookup = dict[str, Any]
LOCAL = Origin("local", "local", "", "", "", 0)
__all__ = ["DicomField", "get_identifiers", "replace_identifiers"]


def get_identifiers(
    dicom_files: File | Sequence[File],
    force: bool = True,
    strip_sequences: bool = False,
    remove_private: bool = False,
    disable_skip: bool = False,
    expand_sequences: bool = True,
) -> dict[str, dict[str, DicomField]]:
    """The elements of each file, by its absolute path and by place, such as (0040,0275)__0__(0040,0007).

    Pixel data, look-up tables and what describes the file are left out unless `disable_skip`.
    """
    found = {}
    for file in [dicom_files] if isinstance(dicom_files, str | Path) else dicom_files:
        dataset = pydicom.dcmread(file, force=force, stop_before_pixels=not disable_skip)
        if remove_private:
            dataset.remove_private_tags()
        skip = frozenset() if disable_skip else NOT_CHANGED
        depth = expand_sequences and not strip_sequences
        found[str(Path(file).absolute())] = {
            each.uid: each for each in fields(dataset, skip, depth, not strip_sequences)
        }
    return found


def replace_identifiers(
    dicom_files: File | Sequence[File],
    ids: Mapping[str, Lookup] | None = None,
    deid: File | None = None,
    save: bool = False,
    overwrite: bool = False,
    output_folder: File | None = None,
    key_file: File | None = None,
) -> list[Any]:
    """De-identify files by a recipe or rules, with the values of `ids` by file for var: and func:.

    Returns data sets, or with `save` the names of the files written. A file in doubt is left out, with a warning that
    says why. Without `key_file` the key is made up: pseudonyms and UIDs are others in each call.
    """
    keys = load_key(Path(key_file)) if key_file else ProjectKeys.derive(secrets.token_bytes(KEY_BYTES))
    folder = Path(output_folder) if output_folder else Path(tempfile.mkdtemp()) if save else None
    replaced: list[Any] = []
    for number, file in enumerate([dicom_files] if isinstance(dicom_files, str | Path) else dicom_files, 1):
        lookup = dict((ids or {}).get(str(Path(file).absolute())) or (ids or {}).get(str(file)) or {})
        content = Path(file).read_bytes()
        try:
            written = _replaced(content, lookup, deid, keys)
        except (Doubt, RulesError) as error:
            warnings.warn(f"file {number} is left out: {error}", stacklevel=2)
            continue
        replaced.append(written if folder is None else _saved(written, folder / Path(file).name, overwrite))
    return replaced


def _replaced(content: bytes, lookup: Lookup, deid: File | None, keys: ProjectKeys) -> Dataset:
    dataset = pydicom.dcmread(BytesIO(content), force=True)
    plan = _plan(deid, dataset, lookup).of_project(LOCAL.project)
    for missing in plan.missing:
        attribute, variable, fate = conversion.without_value(missing)
        warnings.warn(f"{variable} has no value, so {attribute} {fate}", stacklevel=3)
    meta = part10.read_meta(content)
    received = Received(LOCAL, meta.sop_class, meta.sop_uid, meta.transfer_syntax)
    cleaned = Deidentifier(plan, keys).clean(received, content[meta.data_set :])
    parts = [*cleaned.head, *([cleaned.pixels] if cleaned.pixels is not None else []), *cleaned.tail]
    return pydicom.dcmread(BytesIO(b"".join(parts)))


def _saved(dataset: Dataset, path: Path, overwrite: bool) -> str:
    """Write a file under the name of its source; deid keeps names, and so does this."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb" if overwrite else "xb") as opened:
        dataset.save_as(opened)
    return str(path)


def _plan(deid: File | None, dataset: Dataset, lookup: Lookup) -> Plan:
    """The rules for one file, functions called and variables filled in."""
    variables = variables_of(lookup)
    if deid is None:
        return conversion.compiled(Draft("Basic Profile"), Path("basic"), variables).plan
    path = Path(deid)
    text = path.read_text(encoding="utf-8")
    if not conversion.is_recipe(text):
        return conversion.load(path, variables)
    draft = conversion.drafted(text, path)
    _call(draft, dataset, lookup, variables)
    return conversion.accepted(conversion.compiled(draft, path, variables), path).plan


def variables_of(lookup: Mapping[str, object]) -> dict[str, str]:
    """What stands for var: texts and numbers; fields and functions are none."""
    return {f"var:{name}": str(value) for name, value in lookup.items() if isinstance(value, str | int | float)}


def _call(draft: Draft, dataset: Dataset, lookup: Lookup, variables: dict[str, str]) -> None:
    """Call the functions that are there, field by field; what they return takes the place of their lines."""
    found = [each for each in fields(dataset, NOT_CHANGED) if not each.is_filemeta]
    for function in draft.functions:
        called = lookup.get(function.name)
        if not callable(called):
            continue
        named = frozenset(keywords_in(function.key))
        draft.entries = [each for each in draft.entries if each.source != function.source]
        draft.notes = [each for each in draft.notes if each.source != function.source]
        results: dict[str, list[object]] = {}
        for each in found:
            if each.element.keyword in named:
                value = called(item=lookup, value=f"func:{function.name}", field=each, dicom=dataset)
                results.setdefault(" > ".join(each.name.split("__")), []).append(value)
        for key, values in results.items():
            _use(draft, function, key, values, variables)


def _use(draft: Draft, function: Function, key: str, values: list[object], variables: dict[str, str]) -> None:
    """A field, in sequences under its path, removed or given the function's value; items cannot differ."""
    if any(entry.key == key for entry in draft.entries):
        return
    made: object = "remove"
    if function.word == "REMOVE":
        if not any(values):
            return
    elif any(value != values[0] for value in values):
        warnings.warn(f"{function.name} gives items of {key} different values, so it is removed", stacklevel=4)
    elif values[0] is not None:
        name = f"func:{function.name} {key}"
        variables[name] = str(values[0])
        made = {"shift" if function.word == "JITTER" else "replace": f"{{{name}}}"}
    draft.entries.append(Entry("attributes", key, made, function.source))
