"""The running node as seen by those who watch it: systemd, Prometheus, health checks and people."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from dicomnode.config import Settings
from dicomnode.dimse.scp import Server
from dicomnode.forward import Forwarder
from dicomnode.intake import Intake
from dicomnode.store.journal import Journal
from dicomnode.studies import OpenStudies

STUCK_MARGIN = 60.0  # seconds beyond timeouts.answer until an instance counts as stuck; no more than that itself


@dataclass(slots=True)
class View:
    """The rooms that can be looked at; everything here only reads. The settings can be exchanged."""

    settings: Settings
    journal: Journal
    intake: Intake
    server: Server
    open_studies: OpenStudies
    forwarders: Mapping[str, Forwarder]

    def stuck(self, now: float | None = None) -> str:
        """Why the node is not alive: an instance that should have been kept long ago; empty when it is."""
        oldest = self.intake.arrivals.oldest()
        waits = 0.0 if oldest is None else (time.perf_counter() if now is None else now) - oldest
        answer = self.settings.timeouts.answer
        return f"an instance is stuck since {waits:.0f} s" if waits > answer + min(answer, STUCK_MARGIN) else ""

    def unready(self) -> str:
        """Why new instances should not be sent here now; empty when they can be."""
        if self.server.refusing or not self.server.listening:
            return "the node does not listen"
        if self.journal.last_error:
            return "the journal cannot be written"
        return self.stuck()

    def status(self) -> str:
        """One line: what is open, what waits, who is away."""
        waiting = sum(forwarder.waiting for forwarder in self.forwarders.values())
        down = sorted(name for name, forwarder in self.forwarders.items() if not forwarder.up)
        line = f"{self.server.associations} associations, {len(self.open_studies)} studies open, {waiting} waiting"
        if down:
            line += f"; down: {', '.join(down)}"
        if self.journal.last_error:
            line += "; the journal cannot be written"
        return line
