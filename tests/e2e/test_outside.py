"""The node as Prometheus, health checks and systemd see it."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import synthetic
from peers import dcmtk, raw
from peers.process import HOST, until
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.own_process


def page(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def numbers(port: int) -> dict[str, float]:
    _, text = page(port, "/metrics")
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_the_numbers_tell_what_happened(way, free_port, write_files):
    port = free_port()
    chain = way(quiet="300ms", settings={"metrics": {"port": port}})
    good = list(synthetic.series(3))
    (cut,) = synthetic.series(1, 2)
    dcmtk.dcmsend(chain.port, write_files(good))
    dcmtk.dcmsend(chain.port, write_files(good[:1], "again"))
    raw.store(chain.port, [cut[:-1000]])
    until(lambda: [numbers(port)[f"dicomnode_studies{{state={s}}}"] for s in ("confirmed", "withheld")] == [1, 1])
    found = numbers(port)
    assert found["dicomnode_instances_total{outcome=stored}"] == 3
    assert found["dicomnode_instances_total{outcome=duplicate}"] == 1
    assert found["dicomnode_withheld_total{reason=truncated}"] == 1
    assert found["dicomnode_sent_instances_total{destination=research,outcome=sent}"] == 3
    assert found["dicomnode_destination_up{destination=research}"] == 1
    assert found["dicomnode_stage_seconds_count{stage=answer}"] == 5
    assert found["dicomnode_stage_seconds_count{stage=keep}"] == 3
    assert found["dicomnode_studies{state=confirmed}"] == 1
    assert found["dicomnode_disk_free_bytes"] > 0
    assert found["dicomnode_received_bytes_total"] > sum(map(len, good)) * 0.9
    assert not any("mqtt" in name for name in found)


def test_large_instances_are_timed_too(way, free_port):
    port = free_port()
    chain = way(settings={"metrics": {"port": port}, "node": {"whole": "64KiB"}, "queue": {"bytes": "64MiB"}})
    (part10,) = synthetic.series(1)
    assert raw.store(chain.port, [part10]) == [0]
    found = numbers(port)
    assert found["dicomnode_stage_seconds_count{stage=answer}"] == 1
    assert found["dicomnode_received_bytes_total"] > 64 << 10


def test_no_number_names_anybody(way, free_port, write_files):
    port = free_port()
    chain = way(quiet="300ms", settings={"metrics": {"port": port}})
    dcmtk.dcmsend(chain.port, write_files(synthetic.series(2)))
    chain.node.wait_settled()
    (study,) = chain.node.studies()
    _, text = page(port, "/metrics")
    for needle in (
        *synthetic.PERSON.needles(),
        synthetic.ROOT,
        study["study_key"],
        study["study_uid"],
        study["patient"],
    ):
        assert needle not in text


def test_health(way, free_port):
    port = free_port()
    chain = way(settings={"metrics": {"port": port}})
    assert page(port, "/healthz") == (200, "ok\n")
    assert page(port, "/readyz") == (200, "ok\n")
    assert page(port, "/")[0] == 404
    assert chain.node.terminate() == 0


def test_a_port_in_use_is_said_in_one_line(node, free_port):
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        made = node(
            {"staging": ("STAGING", free_port()), "research": ("RESEARCH", free_port())},
            settings={"metrics": {"port": port}},
        )
        assert f"cannot listen on 127.0.0.1 port {port}" in made.command("serve").stdout


class Systemd:
    """What systemd hears from a service."""

    def __init__(self, folder: Path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.path = folder / "notify"
        self.socket.bind(str(self.path))
        self.socket.setblocking(False)
        self.heard: list[str] = []

    def listen(self) -> list[str]:
        while True:
            try:
                self.heard += self.socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return self.heard


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    found = Systemd(tmp_path)
    monkeypatch.setenv("NOTIFY_SOCKET", str(found.path))
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    yield found
    found.socket.close()


def test_systemd_hears_ready_status_pings_and_the_end(way, systemd):
    chain = way()
    until(lambda: "WATCHDOG=1" in systemd.listen(), what="a ping")
    assert "READY=1" in systemd.heard
    assert any(re.fullmatch(r"STATUS=\d+ associations, \d+ studies open, \d+ waiting", line) for line in systemd.heard)
    chain.node.terminate()
    assert "STOPPING=1" in systemd.listen()


def test_a_node_that_does_not_turn_does_not_ping(way, systemd):
    chain = way()
    until(lambda: "WATCHDOG=1" in systemd.listen(), what="a ping")
    os.kill(chain.node.pid, signal.SIGSTOP)
    try:
        systemd.listen()
        count = len(systemd.heard)
        time.sleep(2)
        assert len(systemd.listen()) == count
    finally:
        os.kill(chain.node.pid, signal.SIGCONT)
