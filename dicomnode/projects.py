"""Making a configured project ready to run: its keys, its plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import structlog

from dicomnode import disk
from dicomnode.config import Settings
from dicomnode.deidentify import Deidentifier
from dicomnode.deidentify.pseudonyms import Table
from dicomnode.errors import KeyFileError
from dicomnode.keys import ProjectKeys, create_key, load_key
from dicomnode.recipes import load
from dicomnode.studies import Verify
from dicomnode.ways import Way

log = structlog.get_logger()


def keys_of(settings: Settings, project: str, has_studies: Callable[[str], bool]) -> ProjectKeys:
    """A project's keys; its own is made at first start, never where there is something made under another.

    Raises KeyFileError.
    """
    chosen = settings.projects[project]
    own = load_key(settings.key_file(project)) if chosen.key_file else _own_key(settings, project, has_studies)
    _same_as_before(settings, project, own)
    current = load_key(chosen.seal_key_file) if chosen.seal_key_file else own
    return own.sealing_with(current, [load_key(path) for path in chosen.older_seal_key_files])


def refuse_lost_key(settings: Settings, project: str, has_studies: Callable[[str], bool]) -> None:
    """Raise KeyFileError where a project's own key file is gone and something is here that was made under it."""
    path, directory = settings.key_file(project), settings.storage.directory
    kept = any((directory / room / project).exists() for room in ("outbox", "quarantine"))
    if not path.exists() and (kept or has_studies(project)):
        raise KeyFileError(
            f"key file {path} is missing but project {project} has studies",
            "restore it from the site's backup; a new key would give every patient a new pseudonym",
        )


def _own_key(settings: Settings, project: str, has_studies: Callable[[str], bool]) -> ProjectKeys:
    refuse_lost_key(settings, project, has_studies)
    path = settings.key_file(project)
    disk.make_directory(path.parent)
    if not path.exists():
        log.warning("key-created", project=project, path=str(path))
    return create_key(path)


def _same_as_before(settings: Settings, project: str, keys: ProjectKeys) -> None:
    """The first key that a project ran under is remembered by its id: another would give other pseudonyms."""
    if not refuse_other_key(settings, project, keys):
        path = _id_file(settings, project)
        disk.make_directory(path.parent)
        disk.replace(path, keys.key_id.encode("ascii") + b"\n")


def refuse_other_key(settings: Settings, project: str, keys: ProjectKeys) -> bool:
    """Raise KeyFileError where the project ran under another key before; whether it ran under any."""
    path = _id_file(settings, project)
    try:
        before = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        raise KeyFileError(f"{path} cannot be read", "make it readable, or restore it from the site's backup") from None
    if before and before != keys.key_id:
        raise KeyFileError(
            f"the key of project {project} is not the one its studies were de-identified under",
            f"restore that key file (its id is {before}), or give the new key to a new project",
        )
    return bool(before)


def _id_file(settings: Settings, project: str) -> Path:
    return settings.storage.directory / "keys" / f"{project}.id"


def way_of(settings: Settings, project: str, keys: ProjectKeys, table: Table | None = None) -> Way:
    """The project as configured now, with the pseudonyms of its `table`; raises RulesError."""
    chosen = settings.projects[project]
    plan = load(chosen.rules).of_project(project)
    return Way(
        project=project,
        ae_title=settings.called(project),
        keys=keys,
        deidentifier=Deidentifier(plan, keys, table, known_only=chosen.patients.unknown != "assign"),
        rules_digest=plan.digest,
        source=chosen.source,
        destinations=chosen.destinations,
        quiet=chosen.completion.quiet,
        verify=Verify(chosen.completion.verify),
        patience=chosen.completion.patience,
        incomplete_go=chosen.completion.incomplete == "forward",
        asked=frozenset(name for name in chosen.destinations if settings.confirm(project, name) == "find"),
        refuses_unknown=chosen.patients.unknown == "refuse",
    )
