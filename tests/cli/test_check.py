"""`dicomnode check`: what is wrong, where, and which field to change; against real peers."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dicomnode.cli import main
from dicomnode.keys import create_key


def written(directory: Path, staging: int, research: int, port: int = 0) -> Path:
    (directory / "rules.yaml").write_text("profile: basic\n")
    (directory / "storage").mkdir(mode=0o700, exist_ok=True)
    if not (directory / "lung.key").exists():
        create_key(directory / "lung.key")
    settings = {
        "node": {"ae_title": "DICOMNODE", "bind": "127.0.0.1", "port": port},
        "storage": {"directory": "storage"},
        "peers": {
            "staging": {"ae_title": "STAGING", "host": "127.0.0.1", "port": staging},
            "research": {"ae_title": "RESEARCH", "host": "127.0.0.1", "port": research},
        },
        "projects": {
            "lung": {
                "rules": "rules.yaml",
                "key_file": "lung.key",
                "source": "staging",
                "destinations": ["research"],
                "ae_title": "LUNG",
            }
        },
    }
    file = directory / "c.yaml"
    file.write_text(yaml.safe_dump(settings))
    return file


def findings(capsys: pytest.CaptureFixture[str], file: Path) -> tuple[int, dict[str, tuple[str, str]]]:
    code = main(["check", "--config", str(file), "--json"])
    return code, {each["subject"]: (each["verdict"], each["text"]) for each in json.loads(capsys.readouterr().out)}


@pytest.fixture
def peers(storescp: Callable[..., Any]) -> tuple[Any, Any]:
    """Two receivers of DCMTK."""
    return storescp("staging"), storescp("research")


def test_a_site_that_works(tmp_path: Path, peers: tuple[Any, Any], capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, peers[0].port, peers[1].port)
    code, found = findings(capsys, file)
    assert code == 0, found
    assert {verdict for subject, (verdict, _) in found.items() if subject != "room"} == {"ok"}
    assert found["peer staging"][1].endswith("answers C-ECHO to LUNG")
    assert main(["check", "--config", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok      configuration")
    assert len(lines) == len(found)


def test_a_peer_that_is_down(
    tmp_path: Path, peers: tuple[Any, Any], free_port: Callable[[], int], capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = findings(capsys, written(tmp_path, peers[0].port, free_port()))
    assert code == 1
    assert found["peer research"][0] == "wrong"
    assert found["peer staging"][0] == "ok"


def test_a_wrong_configuration_is_the_only_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, 1, 2)
    file.write_text(file.read_text().replace("destinations", "destination"))
    code, found = findings(capsys, file)
    assert code == 1
    assert list(found) == ["configuration"]
    assert "did you mean 'destinations'?" in found["configuration"][1]


def test_rules_key_storage_and_port_each_have_their_line(
    tmp_path: Path, peers: tuple[Any, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        file = written(tmp_path, peers[0].port, peers[1].port, taken.getsockname()[1])
        (tmp_path / "rules.yaml").write_text("profile: basik\n")
        (tmp_path / "lung.key").chmod(0o644)
        (tmp_path / "storage").chmod(0o755)
        code, found = findings(capsys, file)
    assert code == 1
    assert "unknown profile 'basik'" in found["rules of lung"][1]
    assert "run chmod 600" in found["key of lung"][1]
    assert found["port"] == (
        "wrong",
        f"cannot listen on 127.0.0.1 port {taken_port(file)}: Address already in use; change node.bind or node.port",
    )


def taken_port(file: Path) -> int:
    port = yaml.safe_load(file.read_text())["node"]["port"]
    assert isinstance(port, int)
    return port


def test_a_name_that_does_not_resolve(
    tmp_path: Path, peers: tuple[Any, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, peers[0].port, peers[1].port)
    settings = yaml.safe_load(file.read_text())
    settings["peers"]["staging"]["host"] = "pacs.invalid"
    file.write_text(yaml.safe_dump(settings))
    code, found = findings(capsys, file)
    assert code == 1
    assert "the name pacs.invalid does not resolve" in found["peer staging"][1]


def test_a_key_beside_the_data_is_a_warning(
    tmp_path: Path, peers: tuple[Any, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, peers[0].port, peers[1].port)
    settings = yaml.safe_load(file.read_text())
    del settings["projects"]["lung"]["key_file"]
    file.write_text(yaml.safe_dump(settings))
    assert findings(capsys, file)[1]["key of lung"][0] == "warning"
    (tmp_path / "storage" / "keys").mkdir()
    create_key(tmp_path / "storage" / "keys" / "lung.key")
    code, found = findings(capsys, file)
    assert code == 0
    assert "lies beside the data that it protects" in found["key of lung"][1]
