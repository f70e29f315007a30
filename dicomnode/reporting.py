"""What the rooms that carry out commands share: where their answers go, and the answer to a command that none knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from dicomnode.errors import ConfigError


class Reporter(Protocol):
    """Where the answers go; `user` is who asked."""

    user: str

    def __call__(self, document: dict[str, object]) -> None:
        """Send one answer."""

    async def drain(self) -> None:
        """Wait until the other side keeps up; raises ConnectionError when it has gone."""


class Asked(Protocol):
    """A room that carries out commands."""

    async def command(self, request: Mapping[str, Any], report: Reporter) -> int:
        """Carry out one; its exit code. Raises DicomnodeError."""


def unknown_command() -> ConfigError:
    """The error of a command that comes from another version."""
    return ConfigError("the node does not know this command", "use the same version of dicomnode on both sides")
