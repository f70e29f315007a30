"""What a running node can take up, and what it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomnode import config
from dicomnode.config.changes import check_change
from dicomnode.errors import ConfigError

TEXT = """
node: {ae_title: DICOMNODE, bind: 127.0.0.1, port: 11112}
storage: {directory: /var/lib/dicomnode}
peers:
  staging: {ae_title: STAGING, host: 127.0.0.1, port: 4242}
  research: {ae_title: RESEARCH, host: 127.0.0.1, port: 4243}
projects:
  default: {rules: basic.yaml, source: staging, destinations: [research]}
forward: {attempts: 20}
"""


def settings(text: str = TEXT) -> config.Settings:
    return config.parse(text.encode(), Path("/etc/dicomnode/c.yaml"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("port: 4243", "port: 5555"),
        ("rules: basic.yaml", "rules: other.yaml"),
        ("source: staging, ", ""),
        ("source: staging, ", "source: staging, confirm: find, completion: {incomplete: forward}, "),
        ("port: 4243", "port: 4243, confirm: find"),
        ("attempts: 20", "attempts: 3"),
        ("default: {", "default: {ae_title: LUNG, "),
        (
            "destinations: [research]}",
            "destinations: [research]}\n  more: {rules: b.yaml, ae_title: MORE, destinations: [research]}",
        ),
        ("forward:", "log: {level: debug}\ntimeouts: {answer: 1m}\nforward:"),
    ],
)
def test_what_can_be_taken_up(old: str, new: str) -> None:
    assert old in TEXT
    check_change(settings(), settings(TEXT.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("port: 11112", "port: 104", "node.port"),
        ("ae_title: DICOMNODE", "ae_title: OTHER", "node.ae_title"),
        ("/var/lib/dicomnode", "/srv/dicomnode", "storage.directory"),
        ("default: {", "default: {key_file: k, ", "projects.default.key_file"),
        ("  default:", "  renamed:", "projects.default (it is gone)"),
        ("attempts: 20", "associations: 4", "forward.associations"),
        ("port: 4243", "port: 4243, associations: 2", "peers.research.associations"),
        ("forward:", "metrics: {port: 9104}\nforward:", "metrics.port"),
        ("forward:", "mqtt: {host: broker}\nforward:", "mqtt.host"),
        ("forward:", "queue: {instances: 9}\nforward:", "queue.instances"),
        ("port: 11112}", "port: 104, pdu: 64KiB}", "node.port, node.pdu"),
    ],
)
def test_what_needs_a_restart_is_named(old: str, new: str, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_change(settings(), settings(TEXT.replace(old, new, 1)))
    assert str(caught.value) == (
        f"/etc/dicomnode/c.yaml: {named} cannot change while the node runs; restart the node, or put the old value back"
    )
