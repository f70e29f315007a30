"""The real node of the demonstration: configuration, child process, and the commands that talk to it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import yaml

from dicomnode.control import SOCKET
from dicomnode.demo.staging import HOST
from dicomnode.errors import PeerUnreachable

READY = 20.0  # seconds
STOP = 20.0
RULES = "profile: basic\n"


class NodeProcess:
    """`dicomnode serve` as a child process; everything it writes lies below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.storage = folder / "storage"
        self.config = folder / "dicomnode.yaml"
        self.rules = folder / "rules.yaml"
        self.key_file = folder / "project.key"
        self.log = folder / "node.log"
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, port: int, staging: int, research: int, quiet: str) -> None:
        """Write the configuration and the rules."""
        self.storage.mkdir(mode=0o700)
        self.rules.write_text(RULES)
        settings = {
            "node": {"ae_title": "DICOMNODE", "bind": HOST, "port": port},
            "storage": {"directory": str(self.storage), "keep": "segments", "min_free": "64MiB"},
            "peers": {
                "staging": {"ae_title": "STAGING", "host": HOST, "port": staging},
                "research": {"ae_title": "RESEARCH", "host": HOST, "port": research},
            },
            "projects": {
                "demo": {
                    "rules": str(self.rules),
                    "key_file": str(self.key_file),
                    "source": "staging",
                    "destinations": ["research"],
                    "completion": {"quiet": quiet},
                }
            },
        }
        self.config.write_text(yaml.safe_dump(settings, sort_keys=False))

    def _arguments(self, *command: str) -> list[str]:
        return [sys.executable, "-m", "dicomnode", *command, "--config", str(self.config)]

    def start(self) -> None:
        """Start the node and wait until it has opened its control socket; raises DicomnodeError."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._arguments("serve"), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        end = time.monotonic() + READY
        while not (self.storage / SOCKET).exists():
            if self._process.poll() is not None or time.monotonic() > end:
                raise PeerUnreachable("the node did not start", f"read {self.log}")
            time.sleep(0.05)

    def retrieve(self, uids: list[str]) -> int:
        """`dicomnode retrieve --study UID ...`, with its progress on our output; returns its exit code."""
        studies = [part for uid in uids for part in ("--study", uid)]
        return subprocess.run(self._arguments("retrieve", *studies), stdin=subprocess.DEVNULL, check=False).returncode

    def states(self) -> dict[str, str]:
        """Study key to state, from `dicomnode studies --json`."""
        result = subprocess.run(self._arguments("studies", "--json"), capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise PeerUnreachable(f"dicomnode studies ended with {result.returncode}", f"read {self.log}")
        return {study["study_key"]: study["state"] for study in json.loads(result.stdout)}

    def stop(self) -> int | None:
        """SIGTERM, and SIGKILL if that takes too long; returns the exit code, None when it never ran."""
        if self._process is None:
            return None
        self._process.terminate()
        try:
            return self._process.wait(STOP)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
