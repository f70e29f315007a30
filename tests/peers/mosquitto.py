"""Mosquitto, the MQTT broker."""

from __future__ import annotations

from pathlib import Path

from peers.process import HOST, Program, find, free_port, listens


class Mosquitto(Program):
    """A broker without persistence and accounts on a free loopback port."""

    def __init__(self, folder: Path, *, port: int | None = None):
        self.port = port or free_port()
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "mosquitto.conf"
        config.write_text(f"listener {self.port} {HOST}\nallow_anonymous true\npersistence false\nlog_dest stdout\n")
        super().__init__([find("mosquitto"), "-c", config], folder / "mosquitto.log")
        self.wait_ready(lambda: listens(self.port))
