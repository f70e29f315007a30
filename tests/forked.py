"""The node as a black box that starts in a tenth of a second, and that can be made to end at a durability point."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

from killpoint import Forge, Forked, Point
from peers.node import Node


class ForkedNode(Node):
    """A node started by a forge; so are its commands."""

    forge: Forge

    def start_to_die(self, at: Point, trace: Path) -> None:
        """Start it; it ends at this point, perhaps before it listens."""
        self.process = self._forked(trace, at)

    def start(self) -> Node:
        """Start it and wait until it listens."""
        self.process = self._forked(None, ("", 0))
        assert self.running, self.output()[-2000:]
        return self

    def _forked(self, trace: Path | None, at: Point) -> Forked:
        forked = self.forge.start(["serve", "--config", str(self.config)], self.log, trace, at)
        forked.wait_ready(self._listening)
        return forked

    def command(self, *arguments: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """Run `dicomnode ARGUMENTS --config FILE`; stdout and stderr come together."""
        told = self.folder / "command.log"
        told.unlink(missing_ok=True)
        line = [*arguments, "--config", str(self.config)]
        code = self.forge.start(line, told).wait(seconds)
        return subprocess.CompletedProcess(line, code, told.read_text())

    def _list(self, *arguments: str) -> list[dict[str, Any]]:
        result = self.command(*arguments, "--json")
        assert result.returncode == 0, result.stdout
        return json.loads(result.stdout)

    def column(self, statement: str) -> list[str]:
        """The first column of a query on the journal."""
        with closing(sqlite3.connect(f"file:{self.storage}/journal.db?mode=ro", uri=True, timeout=10)) as journal:
            return [row[0] for row in journal.execute(statement)]

    def settled(self) -> bool:
        """Whether nothing is under way."""
        return set(self.column("SELECT state FROM study")) <= {"confirmed", "withheld"}
