"""Which changes of the configuration a running node can take up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dicomnode.config import Settings
from dicomnode.config.sections import Section
from dicomnode.errors import ConfigError

FIXED_SECTIONS = ("node", "storage", "queue", "mqtt", "metrics")
FIXED_OF_PROJECT = ("key_file", "seal_key_file", "older_seal_key_files")


def check_change(old: Settings, new: Settings) -> None:
    """Raise ConfigError when the change needs a restart; it names every key that does."""
    found = list(_fixed(old, new))
    if found:
        raise ConfigError(
            f"{new.file}: {', '.join(found)} cannot change while the node runs",
            "restart the node, or put the old value back",
        )


def _fixed(old: Settings, new: Settings) -> Iterator[str]:
    for name in FIXED_SECTIONS:
        yield from _differing(name, getattr(old, name), getattr(new, name))
    if old.forward.associations != new.forward.associations:
        yield "forward.associations"
    for name, peer in old.destinations.items():
        if name in new.destinations and peer.associations != new.destinations[name].associations:
            yield f"peers.{name}.associations"
    for name, project in old.projects.items():
        if name not in new.projects:
            yield f"projects.{name} (it is gone)"
            continue
        for key in FIXED_OF_PROJECT:
            if getattr(project, key) != getattr(new.projects[name], key):
                yield f"projects.{name}.{key}"


def _differing(name: str, old: Section, new: Section) -> Iterator[str]:
    values: dict[str, Any] = {key: getattr(new, key) for key in type(new).model_fields}
    for key, value in values.items():
        before = getattr(old, key)
        if isinstance(value, Section) and isinstance(before, Section):
            yield from _differing(f"{name}.{key}", before, value)
        elif value != before:
            yield f"{name}.{key}"
