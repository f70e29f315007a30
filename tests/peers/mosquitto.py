"""Mosquitto, the MQTT broker."""

from __future__ import annotations

from pathlib import Path

from peers.process import HOST, Program, find, free_port, listens, run


class Mosquitto(Program):
    """A broker without persistence on a free loopback port.

    With `certificate` (a PEM file: key and chain) it speaks TLS, with `user` (name, password) it knows nobody else.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        certificate: Path | None = None,
        user: tuple[str, str] | None = None,
    ):
        self.port = port or free_port()
        folder.mkdir(parents=True, exist_ok=True)
        lines = [f"listener {self.port} {HOST}", "persistence false", "log_dest stdout", "user root"]
        if certificate is not None:
            lines += [f"certfile {certificate}", f"keyfile {certificate}"]
        if user is not None:
            run([find("mosquitto_passwd"), "-b", "-c", folder / "passwords", *user])
            lines.append(f"password_file {folder / 'passwords'}")
        lines.append(f"allow_anonymous {'false' if user else 'true'}")
        config = folder / "mosquitto.conf"
        config.write_text("\n".join(lines) + "\n")
        super().__init__([find("mosquitto"), "-c", config], folder / "mosquitto.log")
        self.wait_ready(lambda: listens(self.port))
