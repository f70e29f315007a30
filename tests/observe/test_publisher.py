"""The publisher and brokers that misbehave: no descriptor is lost, nothing waits for ever."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from peers.process import until
from structlog.testing import capture_logs

from dicomnode import config
from dicomnode.errors import ConfigError
from dicomnode.model import Event
from dicomnode.observe import mqtt
from dicomnode.observe.mqtt import Publisher
from dicomnode.store.journal import Journal

TEXT = """
node: {{ae_title: "A/B #1", bind: 127.0.0.1, port: 11112}}
storage: {{directory: /srv/dicomnode}}
peers:
  research: {{ae_title: RESEARCH, host: 10.0.0.9, port: 4243}}
projects:
  lung: {{rules: rules/basic.yaml, destinations: [research]}}
mqtt: {{host: 127.0.0.1, port: {port}{more}}}
"""
CONNACK, REFUSED = b"\x20\x02\x00\x00", b"\x20\x02\x00\x05"
STUDY = "oej4yyol3wecbyhee2dwiayada"


def settings(port: int, more: str = "") -> config.Settings:
    return config.parse(TEXT.format(port=port, more=more).encode(), Path("/etc/dicomnode/c.yaml"))


@pytest.fixture
def publisher(tmp_path: Path) -> Any:
    journal = Journal.open(tmp_path / "journal.db")
    journal.publishing = True
    yield lambda port: Publisher(settings(port), journal)
    journal.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "ANSWER", 0.2)
    monkeypatch.setattr(mqtt, "FIRST", 0.02)
    monkeypatch.setattr(mqtt, "MOST", 0.02)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counted, not walked


class Broker:
    """Answers each CONNECT with the same bytes (None: hangs up); then it `leaves`, or waits for the other to."""

    def __init__(self, answer: bytes | None, *, leaves: bool = False) -> None:
        self.calls = 0
        self._answer = answer
        self._leaves = leaves
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self._serve(self._listener.accept()[0])

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self.calls += 1
            if self._answer is None:
                return
            connection.recv(1000)
            connection.sendall(self._answer)
            connection.settimeout(5)
            while not self._leaves and connection.recv(1000):
                pass

    def close(self) -> None:
        self._listener.close()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("answer", [b"", REFUSED, CONNACK, b"HTTP/1.1 400 Bad Request\r\n\r\n", None])
def test_a_broker_that_misbehaves_costs_no_descriptor(
    publisher: Callable[[int], Publisher], answer: bytes | None
) -> None:
    broker = Broker(answer)
    made = publisher(broker.port)
    made.start()
    until(lambda: broker.calls >= 3, what="three attempts")
    before, threads = descriptors(), threading.active_count()
    until(lambda: broker.calls >= 12, what="twelve attempts")
    assert descriptors() <= before + 3
    assert threading.active_count() <= threads + 3
    assert not made.connected
    assert made.stop(20)
    broker.close()


@pytest.mark.usefixtures("impatient")
def test_a_broker_that_hangs_up_once_we_are_in_is_told_once_in_plain_words(
    publisher: Callable[[int], Publisher], caplog: pytest.LogCaptureFixture
) -> None:
    broker = Broker(CONNACK, leaves=True)
    made = publisher(broker.port)
    with capture_logs() as lines:
        made.start()
        until(lambda: broker.calls >= 6, what="six attempts")
        assert made.stop(20)
    broker.close()
    assert [line["error"] for line in lines if line["event"] == "mqtt-lost"] == ["the connection to it was lost"]
    assert not caplog.records, "nothing of the library's own"


@pytest.mark.usefixtures("impatient")
def test_where_nobody_listens_it_ends_when_told(
    publisher: Callable[[int], Publisher], free_port: Callable[[], int]
) -> None:
    made = publisher(free_port())
    made.start()
    time.sleep(0.2)
    assert not made.connected
    assert made.stop(20)


def test_topics_and_documents(publisher: Callable[[int], Publisher]) -> None:
    made = publisher(1)
    facts = {"destination": "research", "error": "answered 0xA700", "unheard": "Zwetschgenbaum^Ottokar"}
    topic, document = made.message(7, Event("delivery-postponed", 1.5, "lung", STUDY, facts))
    assert topic == f"projects/lung/studies/{STUDY}"
    assert document == {
        "schema": 1,
        "id": 7,
        "at": "1970-01-01T00:00:01.500Z",
        "event": "delivery-postponed",
        "project": "lung",
        "study": STUDY,
        "destination": "research",
        "error": "answered 0xA700",
        "unknown_fields": 1,
        "node": "A/B #1",
    }
    assert made.message(8, Event("destination-up", 1.0, facts={"destination": "research"}))[0] == "peers/research"
    assert made.message(9, Event("instance-withheld", 1.0, "lung"))[0] == "projects/lung/instances"
    assert mqtt.prefix(settings(1)) == "dicomnode/A_B__1"
    assert mqtt.prefix(settings(1, ", topic: site/node")) == "site/node"


def test_an_identified_value_does_not_pass(publisher: Callable[[int], Publisher]) -> None:
    facts = {
        "error": "Zwetschgenbaum^Ottokar 19370214",
        "where": "PID-73918264",
        "instance": "1.2.826.0.1",
        "evidence": "x",
    }
    _, document = publisher(1).message(1, Event("retrieve-failed", 1.0, "lung", "1.2.826.0.1.3680043", facts))
    told = str(document)
    assert not any(word in told for word in ("Zwetschgenbaum", "1937", "7391", "1.2.826"))


async def test_the_password_file(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    with pytest.raises(ConfigError, match="cannot be read"):
        mqtt.client(settings(1, f", username: node, password_file: {secret}"))
    secret.write_text("s3cret\r\nmore\n")
    secret.chmod(0o644)
    with pytest.raises(ConfigError, match="run chmod 600"):
        mqtt.client(settings(1, f", username: node, password_file: {secret}"))
    secret.chmod(0o600)
    made = mqtt.client(settings(1, f", username: node, password_file: {secret}"))
    assert made._client._password == b"s3cret"


async def test_certificates_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    for name in ("ca.pem", "missing.pem"):
        with pytest.raises(ConfigError, match="they must be PEM files"):
            mqtt.client(settings(1, f', tls: "on", ca_file: {tmp_path / name}'))
