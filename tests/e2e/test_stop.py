"""How the node starts, stops and refuses to start."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import images
import synthetic
from peers.dcmtk import Result, dcmsend
from peers.node import Node
from peers.process import Program, free_port, until

from dicomnode.upper_layer import AssociateRequest, Connection, ProposedContext, Role


def _files(folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    made = []
    for number in range(1, count + 1):
        path = folder / f"{number}.dcm"
        path.write_bytes(images.written(synthetic.small(1, 1, number)))
        made.append(path)
    return made


def _running(node: Callable[..., Node], **settings: object) -> Node:
    peers = {"staging": ("STAGING", free_port()), "research": ("RESEARCH", free_port())}
    return node(peers, **settings).start()


def test_sigterm_ends_an_idle_node_at_once(node: Callable[..., Node]) -> None:
    running = _running(node)
    begun = time.monotonic()
    assert running.terminate() == 0
    assert time.monotonic() - begun < 10
    assert [line["event"] for line in running.events()][-2:] == ["node-stopping", "node-stopped"]


def test_sigterm_does_not_wait_for_an_idle_association(node: Callable[..., Node]) -> None:
    running = _running(node)
    request = _silent_association(running.port)
    try:
        until(lambda: bool(running.events("association-opened")), 20)
        begun = time.monotonic()
        assert running.terminate(60) == 0
        assert time.monotonic() - begun < 12
    finally:
        request.close()


def test_sigterm_lets_an_open_association_finish(node: Callable[..., Node], tmp_path: Path) -> None:
    running = _running(node)
    files = _files(tmp_path / "sent", 150)
    results = []
    sending = threading.Thread(target=lambda: results.append(dcmsend(running.port, files)))
    sending.start()
    until(lambda: bool(running.events("association-opened")), 20)
    assert running.terminate(60) == 0
    sending.join()
    assert results[0].code == 0
    running.restart()
    assert [study["stored"] for study in running.studies()] == [150]


def test_a_second_signal_leaves_at_once(node: Callable[..., Node]) -> None:
    running = _running(node, settings={"timeouts": {"drain": "60s"}})
    request = _silent_association(running.port)
    try:
        until(lambda: bool(running.events("association-opened")), 20)
        running.process.signal(15)
        until(lambda: bool(running.events("node-stopping")), 20)
        begun = time.monotonic()
        assert running.terminate() != 0
        assert time.monotonic() - begun < 20
    finally:
        request.close()


HANGS = """
import os, sys, time
from dicomnode import disk
from dicomnode.cli import main
disk.sync = lambda fd: time.sleep(3600) if os.path.exists(sys.argv[-1] + ".hangs") else os.fdatasync(fd)
sys.exit(main())
"""


def test_a_disk_that_hangs_does_not_keep_the_node_from_ending(node: Callable[..., Node], tmp_path: Path) -> None:
    """A thread in a system call that never returns cannot be ended; what it was about was never answered."""
    peers = {"staging": ("STAGING", free_port()), "research": ("RESEARCH", free_port())}
    made = node(peers, settings={"timeouts": {"drain": "2s"}})
    made.process = Program([sys.executable, "-c", HANGS, "serve", "--config", made.config], made.log)
    made.process.wait_ready(made._listening, 30)
    made.config.with_name(made.config.name + ".hangs").touch()
    results: list[Result] = []
    sending = threading.Thread(target=lambda: results.append(dcmsend(made.port, _files(tmp_path / "sent", 1))))
    sending.start()
    until(lambda: list(made.storage.glob("outbox/*/*/*.seg")), 20)
    begun = time.monotonic()
    assert made.terminate(60) == 1
    assert time.monotonic() - begun < 20
    sending.join()
    assert results[0].acknowledged == []
    assert made.events("node-stuck")
    made.restart()
    assert len(dcmsend(made.port, [tmp_path / "sent" / "1.dcm"]).acknowledged) == 1


def _silent_association(port: int) -> socket.socket:
    """An association that stays open and says nothing."""
    connection = Connection(Role.REQUESTOR, 16384)
    context = ProposedContext(1, "1.2.840.10008.1.1", ("1.2.840.10008.1.2",))
    connection.request(AssociateRequest("DICOMNODE", "STAGING", (context,), 16384))
    opened = socket.create_connection(("127.0.0.1", port), timeout=10)
    opened.sendall(b"".join(bytes(part) for part in connection.output()))
    assert opened.recv(1) == b"\x02"
    return opened


def _refusal(node: Node) -> subprocess.CompletedProcess[str]:
    result = node.command("serve", seconds=30)
    assert "Traceback" not in result.stdout
    return result


def test_a_port_in_use_is_said_in_one_line(node: Callable[..., Node]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        peers = {"staging": ("STAGING", free_port()), "research": ("RESEARCH", free_port())}
        refused = _refusal(node(peers, settings={"node": {"port": port}}))
    assert refused.returncode == 1
    assert (
        f"dicomnode: cannot listen on 127.0.0.1 port {port}: Address already in use; "
        "stop what uses the port, or change node.bind or node.port"
    ) in refused.stdout.splitlines()


def test_a_second_node_on_the_same_storage_is_refused(node: Callable[..., Node]) -> None:
    running = _running(node)
    refused = _refusal(running)
    assert refused.returncode == 1
    assert (
        f"dicomnode: another dicomnode holds {running.storage}; stop it, or let the running one do the work"
    ) in refused.stdout.splitlines()


def test_a_lost_key_is_never_replaced(node: Callable[..., Node], tmp_path: Path) -> None:
    running = _running(node)
    assert dcmsend(running.port, _files(tmp_path / "sent", 1)).code == 0
    running.terminate()
    key = running.storage / "keys" / "default.key"
    key.unlink()
    refused = _refusal(running)
    assert refused.returncode == 1
    assert (
        f"dicomnode: key file {key} is missing but project default has studies; "
        "restore it from the site's backup; a new key would give every patient a new pseudonym"
    ) in refused.stdout.splitlines()
    assert not key.exists()


def test_another_key_is_refused(node: Callable[..., Node], tmp_path: Path) -> None:
    running = _running(node)
    running.terminate()
    key = running.storage / "keys" / "default.key"
    before = (running.storage / "keys" / "default.id").read_text().strip()
    key.write_text("ab" * 32 + "\n")
    refused = _refusal(running)
    assert refused.returncode == 1
    assert (
        "dicomnode: the key of project default is not the one its studies were de-identified under; "
        f"restore that key file (its id is {before}), or give the new key to a new project"
    ) in refused.stdout.splitlines()
