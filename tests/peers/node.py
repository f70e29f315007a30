"""The node as a black box: a configuration, a process, its log, its files, its commands."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from peers.process import HOST, Program, free_port, run, until

RULES = "profile: basic\nsuspicious_pixels: {off: all}\n"
"""Any picture may go through, so that transport can be tested with all the files there are."""
SETTLED = ("forwarded", "confirmed")


def _merge(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return merged


class Node:
    """One node with its storage in `folder`; peers are name -> (AE title, port) on the loopback interface.

    `key` is the project's, 32 bytes; without one the node creates it at its first start.
    """

    def __init__(
        self,
        folder: Path,
        peers: Mapping[str, tuple[str, int]],
        *,
        quiet: str = "500ms",
        rules: str = RULES,
        source: str | None = "staging",
        destinations: list[str] | None = None,
        settings: Mapping[str, Any] | None = None,
        key: bytes | None = None,
    ):
        self.folder = folder
        self.port = free_port()
        self.storage = folder / "storage"
        self.rules = folder / "rules.yaml"
        self.config = folder / "dicomnode.yaml"
        self.log = folder / "node.log"
        self.temporary = folder / "tmp"
        self.process: Program | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.storage.mkdir(exist_ok=True)
        self.rules.write_text(rules)
        self.key_file = self.storage / "keys" / "default.key"
        if key is not None:
            self.key_file.parent.mkdir(mode=0o700)
            self.key_file.touch(mode=0o600)
            self.key_file.write_text(key.hex())
        project = {
            "rules": str(self.rules),
            "source": source,
            "destinations": destinations if destinations is not None else ["research"],
            "completion": {"quiet": quiet, "patience": "1s"},  # the source is often not there at all
        }
        base = {
            "node": {"ae_title": "DICOMNODE", "bind": HOST, "port": self.port},
            "storage": {"directory": str(self.storage), "min_free": "64MiB"},
            "peers": {name: {"ae_title": t, "host": HOST, "port": port} for name, (t, port) in peers.items()},
            "projects": {"default": {key: value for key, value in project.items() if value is not None}},
        }
        self.write(_merge(base, settings or {}))

    def write(self, settings: Mapping[str, Any]) -> None:
        """Write the configuration; a running node does not see it before it is restarted."""
        self.settings = dict(settings)
        self.config.write_text(yaml.safe_dump(self.settings, sort_keys=False))

    def start(self) -> Node:
        """Start the node and wait until it listens."""
        arguments = [sys.executable, "-m", "dicomnode", "serve", "--config", self.config]
        self.temporary.mkdir(exist_ok=True)
        self.process = Program(arguments, self.log, {"TMPDIR": str(self.temporary)})
        self.process.wait_ready(self._listening, 30)
        return self

    def _listening(self) -> bool:
        """Looks into /proc: a connection only to see whether it listens would be an association that failed."""
        wanted = f"0100007F:{self.port:04X} 00000000:0000 0A"
        return wanted in Path("/proc/net/tcp").read_text()

    def _running(self) -> Program:
        assert self.process is not None, "the node was not started"
        return self.process

    @property
    def pid(self) -> int:
        """The process id of the running node."""
        return self._running().pid

    @property
    def running(self) -> bool:
        """Whether it is running."""
        return self.process is not None and self.process.running

    def terminate(self, seconds: float = 30) -> int:
        """SIGTERM; returns the exit code."""
        self._running().signal(signal.SIGTERM)
        return self._running().wait(seconds)

    def kill(self) -> None:
        """SIGKILL."""
        self._running().kill()

    def restart(self) -> Node:
        """Start it again after its end."""
        assert not self.running
        return self.start()

    def stop(self) -> None:
        """End it, whatever its state."""
        if self.process is not None:
            self.process.stop(20)

    def output(self) -> str:
        """Everything it wrote to stdout and stderr, over all its lives."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Its log lines (JSON), those of one event name if given."""
        lines = [json.loads(line) for line in self.output().splitlines() if line.startswith("{")]
        return [line for line in lines if name is None or line.get("event") == name]

    def command(self, *arguments: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """Run `dicomnode ARGUMENTS --config FILE`; stdout and stderr come together."""
        line = [sys.executable, "-m", "dicomnode", *arguments, "--config", self.config]
        return run(line, seconds)

    def _list(self, *arguments: str) -> list[dict[str, Any]]:
        line = [sys.executable, "-m", "dicomnode", *arguments, "--json", "--config", str(self.config)]
        result = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        return json.loads(result.stdout)

    def studies(self) -> list[dict[str, Any]]:
        """`dicomnode studies --json`."""
        return self._list("studies")

    def quarantine(self) -> list[dict[str, Any]]:
        """`dicomnode quarantine list --json`."""
        return self._list("quarantine", "list")

    def wait_settled(self, count: int = 1, seconds: float = 60) -> list[dict[str, Any]]:
        """Wait until `count` studies are there and all of them forwarded or confirmed; returns them."""
        found: list[dict[str, Any]] = []
        asked = (-1, 0.0)

        def settled() -> bool:
            nonlocal asked
            size, now = self.log.stat().st_size, time.monotonic()
            if size == asked[0] and now - asked[1] < 2:
                return False  # nothing was logged since the last look
            asked = (size, now)
            found[:] = self.studies()
            return len(found) >= count and all(study["state"] in SETTLED for study in found)

        try:
            until(settled, seconds, f"{count} studies forwarded")
        except AssertionError as error:
            raise AssertionError(f"{error}; studies: {found}; log: {self.output()[-3000:]}") from None
        return found

    def written_bytes(self, *, without: tuple[str, ...] = ("identity.db",)) -> dict[str, bytes]:
        """Every file below the storage directory, except those whose names start with one of `without`."""
        return {
            str(path.relative_to(self.storage)): path.read_bytes()
            for path in sorted(self.storage.rglob("*"))
            if path.is_file() and not path.name.startswith(without)
        }
