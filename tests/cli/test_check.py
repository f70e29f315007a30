"""`dicomnode check`: what is wrong, where, and which field to change; against real peers."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme
import yaml
from peers import dcmtk
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from dicomnode.cli import main
from dicomnode.control import SOCKET
from dicomnode.keys import create_key
from dicomnode.model import Reason, StudyState, Withheld
from dicomnode.store.journal import Journal


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
def peers(storescp: Callable[..., Any], dcmqrscp: Callable[..., Any]) -> tuple[Any, Any]:
    """DCMTK's archive and its receiver."""
    return dcmqrscp({"LUNG": 11112}, "staging"), storescp("research")


def test_a_site_that_works(tmp_path: Path, peers: tuple[Any, Any], capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, peers[0].port, peers[1].port)
    code, found = findings(capsys, file)
    assert code == 0, found
    assert {verdict for subject, (verdict, _) in found.items() if subject not in ("room", "clock")} == {"ok"}
    assert found["peer staging"][1].endswith("answers C-ECHO to LUNG")
    assert found["staging C-FIND"][1] == "answers C-FIND to LUNG"
    assert found["staging C-MOVE"][1].startswith("takes C-MOVE from LUNG")
    assert re.match(
        r"takes 1\d\d of 1\d\d storage SOP classes; Explicit VR Little Endian", found["research C-STORE"][1]
    )
    assert main(["check", "--config", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok      configuration")
    assert len(lines) == len(found)


def test_hooks_that_cannot_be_called(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, 1, 1)
    settings = yaml.safe_load(file.read_text())
    program = tmp_path / "hook.sh"
    program.write_text("#!/bin/sh\n")
    for run, study, said in (
        ("/nope/x", "nosuchentry", "/nope/x cannot be run"),
        (str(program), "nosuchentry", f"{program} cannot be run; correct the path, or make it executable"),
    ):
        settings["projects"]["lung"]["hooks"] = {"run": run, "study": study}
        file.write_text(yaml.safe_dump(settings))
        code, found = findings(capsys, file)
        assert code == 1
        assert found["run hook of lung"][0] == "wrong"
        assert found["run hook of lung"][1].startswith(said)
        assert found["study hook of lung"][0] == "wrong"
        assert found["study hook of lung"][1].startswith("no installed package has the hook nosuchentry")
    program.chmod(0o755)
    assert findings(capsys, file)[1]["run hook of lung"] == ("ok", f"{program}, a command")


def test_a_peer_that_is_down(
    tmp_path: Path, peers: tuple[Any, Any], free_port: Callable[[], int], capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = findings(capsys, written(tmp_path, peers[0].port, free_port()))
    assert code == 1
    assert found["peer research"][0] == "wrong"
    assert found["peer staging"][0] == "ok"


def test_a_peer_of_two_projects_that_is_down_is_told_once(
    tmp_path: Path, peers: tuple[Any, Any], free_port: Callable[[], int], capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, peers[0].port, free_port())
    settings = yaml.safe_load(file.read_text())
    settings["projects"]["heart"] = settings["projects"]["lung"] | {"ae_title": "HEART", "key_file": None}
    file.write_text(json.dumps(settings))
    assert main(["check", "--config", str(file)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert sum("peer research" in line for line in lines) == 1
    assert sum("peer staging" in line for line in lines) == 2


def test_a_wrong_configuration_is_the_only_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, 1, 2)
    file.write_text(file.read_text().replace("destinations", "destination"))
    code, found = findings(capsys, file)
    assert code == 2 == main(["serve", "--config", str(file)])
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
    assert code == 2, "the rules cannot be used"
    assert "unknown profile 'basik'" in found["rules of lung"][1]
    assert "run chmod 600" in found["key of lung"][1]
    assert found["port"] == (
        "wrong",
        f"cannot listen on 127.0.0.1 port {taken_port(file)}: Address already in use; "
        "stop what uses it, or change node.bind or node.port",
    )


def test_the_port_of_the_metrics_is_looked_at_too(
    tmp_path: Path, peers: tuple[Any, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        file = written(tmp_path, peers[0].port, peers[1].port)
        changed(file, "metrics", {"port": taken.getsockname()[1]})
        code, found = findings(capsys, file)
    assert code == 1
    assert found["port"][0] == "ok"
    assert found["metrics port"][0] == "wrong"
    assert found["metrics port"][1].endswith("stop what uses it, or change metrics.bind or metrics.port")
    assert findings(capsys, file)[1]["metrics port"][0] == "ok"


def test_peers_that_cannot_be_told_apart_when_they_call(
    tmp_path: Path, peers: tuple[Any, Any], free_port: Callable[[], int], capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, peers[0].port, peers[1].port)
    other = {"ae_title": "STAGING", "host": "localhost", "port": free_port(), "addresses": ["127.0.0.1"]}
    changed(file, "peers", {"twin": other})
    _, found = findings(capsys, file)
    assert found["caller twin"][0] == "warning"
    assert "STAGING from 127.0.0.1 is peer staging too, and counts as that one when it calls" in found["caller twin"][1]
    changed(file, "peers", {"twin": {**other, "addresses": ["127.0.0.2"]}})
    assert "caller twin" not in findings(capsys, file)[1]


def test_a_file_system_that_is_read_only_or_has_no_room_for_files(
    tmp_path: Path, peers: tuple[Any, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, peers[0].port, peers[1].port)
    real = os.statvfs(tmp_path)
    few = SimpleNamespace(
        f_bavail=real.f_bavail, f_blocks=real.f_blocks, f_bfree=real.f_bfree, f_frsize=real.f_frsize,
        f_files=10**6, f_favail=999, f_flag=os.ST_RDONLY,
    )  # fmt: skip
    monkeypatch.setattr(os, "statvfs", lambda _: few)
    code, found = findings(capsys, file)
    assert code == 1
    assert found["room"][0] == "wrong"
    assert "has room for fewer than 1000 files (inodes): instances are refused" in found["room"][1]
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path / "storage" or not mode & os.W_OK)
    assert "is on a file system that is read-only; look at its disk" in findings(capsys, file)[1]["storage"][1]


def test_a_database_that_was_begun_and_has_no_tables(
    tmp_path: Path, peers: tuple[Any, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, peers[0].port, peers[1].port)
    (tmp_path / "storage" / "journal.db").touch(mode=0o600)
    assert findings(capsys, file)[1]["journal"] == (
        "ok",
        f"{tmp_path / 'storage' / 'journal.db'} is empty; the next start makes its tables",
    )


def taken_port(file: Path) -> int:
    port = yaml.safe_load(file.read_text())["node"]["port"]
    assert isinstance(port, int)
    return port


def test_less_room_than_the_node_must_have(
    tmp_path: Path, peers: tuple[Any, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, peers[0].port, peers[1].port)
    settings = yaml.safe_load(file.read_text())
    settings["storage"]["min_free"] = "900TiB"
    file.write_text(yaml.safe_dump(settings))
    code, found = findings(capsys, file)
    assert code == 1
    assert found["room"][0] == "wrong"
    assert "storage.min_free is 921600.0 GiB: instances are refused; make room" in found["room"][1]


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
    assert findings(capsys, file)[1]["key of lung"][0] == "ok"
    (tmp_path / "storage" / "keys").mkdir()
    create_key(tmp_path / "storage" / "keys" / "lung.key")
    code, found = findings(capsys, file)
    assert code == 0
    assert "lies beside the data that it protects" in found["key of lung"][1]


def test_a_key_with_which_the_node_would_not_start_is_wrong(
    tmp_path: Path, peers: tuple[Any, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, peers[0].port, peers[1].port)
    (tmp_path / "storage" / "keys").mkdir()
    (tmp_path / "storage" / "keys" / "lung.id").write_text("0123456789abcdef\n")
    assert "is not the one its studies were de-identified under" in findings(capsys, file)[1]["key of lung"][1]
    settings = yaml.safe_load(file.read_text())
    del settings["projects"]["lung"]["key_file"]
    file.write_text(yaml.safe_dump(settings))
    assert findings(capsys, file)[1]["key of lung"][0] == "ok"
    journal = Journal.open(tmp_path / "storage" / "journal.db")
    journal.study("lung", "a" * 26, state=StudyState.CONFIRMED, at=1.7e9)
    journal.close()
    code, found = findings(capsys, file)
    assert (code, found["key of lung"][0]) == (1, "wrong")
    assert "lung.key is missing but project lung has studies; restore it from" in found["key of lung"][1]


def changed(file: Path, section: str, values: dict[str, Any]) -> Path:
    settings = yaml.safe_load(file.read_text())
    settings[section] = {**settings.get(section, {}), **values}
    file.write_text(yaml.safe_dump(settings))
    return file


@pytest.mark.parametrize(
    ("days", "verdict", "said"),
    [
        (-1, "wrong", "it has expired; renew it, then systemctl reload dicomnode"),
        (20, "warning", "; renew it, then systemctl reload dicomnode"),
        (200, "ok", "own.pem, valid until "),
        (None, "wrong", "own.pem with its key cannot be used; give a PEM certificate and its key without a password"),
    ],
)
def test_the_certificate_that_callers_are_shown(tmp_path: Path, capsys: Any, days: int | None, verdict: str, said: str):
    authority, own = trustme.CA(), tmp_path / "own.pem"
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    own.write_text("no certificate")
    if days is not None:
        dates = {"not_before": datetime(2020, 1, 1, tzinfo=UTC), "not_after": datetime.now(UTC) + timedelta(days)}
        authority.issue_cert("node.example", **dates).private_key_and_cert_chain_pem.write_to_path(str(own))
    file = written(tmp_path, 1, 1)
    settings = yaml.safe_load(file.read_text())
    settings["node"]["tls"] = {"port": 2762, "certificate": "own.pem", "ca": "ca.pem"}
    file.write_text(yaml.safe_dump(settings))
    _, found = findings(capsys, file)
    assert found["TLS of node"][0] == verdict
    assert said in found["TLS of node"][1]


def test_what_a_destination_lacks_is_named(
    tmp_path: Path, peers: tuple[Any, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    entity = AE("RESEARCH")
    entity.add_supported_context(Verification)
    entity.add_supported_context(CTImageStorage, [ExplicitVRLittleEndian])
    server = entity.start_server(("127.0.0.1", 0), block=False)
    try:
        _, found = findings(capsys, written(tmp_path, peers[0].port, server.server_address[1]))
    finally:
        server.shutdown()
    verdict, text = found["research C-STORE"]
    assert verdict == "warning"
    assert text.startswith("takes 1 of ")
    assert "; Explicit VR Little Endian; not MR, Computed Radiography," in text
    assert "allow them on research" in text


def test_a_destination_that_takes_implicit_vr_alone_takes_what_is_transcoded(
    tmp_path: Path, peers: tuple[Any, Any], storescp: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    _, found = findings(capsys, written(tmp_path, peers[0].port, storescp("implicit", options=["+xi"]).port))
    verdict, text = found["research C-STORE"]
    assert verdict == "ok", text
    assert text.endswith("; Implicit VR Little Endian")


def test_a_destination_that_takes_nothing(
    tmp_path: Path, peers: tuple[Any, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    entity = AE("RESEARCH")
    entity.add_supported_context(Verification)
    server = entity.start_server(("127.0.0.1", 0), block=False)
    try:
        code, found = findings(capsys, written(tmp_path, peers[0].port, server.server_address[1]))
    finally:
        server.shutdown()
    assert (code, found["research C-STORE"][0]) == (1, "wrong")
    assert "allow C-STORE from LUNG on research" in found["research C-STORE"][1]


def test_a_source_that_cannot_be_asked(
    tmp_path: Path, storescp: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = findings(capsys, written(tmp_path, storescp("staging").port, storescp("research").port))
    assert code == 1
    assert found["staging C-FIND"][0] == "wrong"
    assert "allow C-FIND (study root) from LUNG on staging" in found["staging C-FIND"][1]


def test_a_running_node_tells_who_called(
    node: Callable[..., Any], storescp: Callable[..., Any], free_port: Callable[[], int]
) -> None:
    research = storescp("research")
    made = node({"staging": ("STAGING", free_port()), "research": ("RESEARCH", research.port)}).start()
    assert dcmtk.echo(made.port).code == 0
    for _ in range(3):
        assert dcmtk.echo(made.port, calling="STAGNG").code != 0
    found = json.loads(made.command("check", "--json").stdout)
    texts = {each["subject"]: each["text"] for each in found}
    assert texts["staging calls us"].startswith("called us last at ")
    assert texts["research calls us"].startswith("has not called us since the node started")
    (turned_away,) = [each["text"] for each in found if each["subject"] == "callers"]
    assert turned_away.startswith("STAGNG at 127.0.0.1 called DICOMNODE and was rejected at ")
    assert "calling AE title not recognised; correct peers.*.ae_title" in turned_away
    assert made.command("check", "--running").stdout == (
        "the node is running: 0 associations, 0 studies open, 0 waiting\n"
    )
    assert json.loads(made.command("check", "--running", "--json").stdout)["running"] is True
    assert "control-refused" not in made.log.read_text()
    assert texts["journal"].endswith("sound")
    assert texts["identity book"].endswith("sound")
    assert made.command("check").returncode == 1
    assert made.terminate() == 0
    assert made.events("control-refused") == []


def test_the_broker(
    tmp_path: Path,
    peers: tuple[Any, Any],
    mosquitto: Any,
    free_port: Callable[[], int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = changed(
        written(tmp_path, peers[0].port, peers[1].port), "mqtt", {"host": "127.0.0.1", "port": mosquitto.port}
    )
    code, found = findings(capsys, file)
    assert (code, found["MQTT"]) == (
        0,
        ("ok", f"127.0.0.1:{mosquitto.port} takes our events below dicomnode/DICOMNODE"),
    )
    changed(file, "mqtt", {"port": free_port()})
    code, found = findings(capsys, file)
    assert (code, found["MQTT"][0]) == (1, "wrong")
    assert "Connection refused; correct mqtt.* here" in found["MQTT"][1]


def test_databases_are_looked_at_and_not_changed(
    tmp_path: Path, peers: tuple[Any, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, peers[0].port, peers[1].port)
    Journal.open(tmp_path / "storage" / "journal.db").close()
    (tmp_path / "storage" / "identity.db").write_bytes(b"SQLite format 3" + b"x" * 5000)
    before = (tmp_path / "storage" / "journal.db").read_bytes()
    code, found = findings(capsys, file)
    assert code == 1
    assert found["journal"][0] == "ok"
    assert found["identity book"][0] == "wrong"
    assert (tmp_path / "storage" / "journal.db").read_bytes() == before


def test_a_clock_that_was_set_back(tmp_path: Path, peers: tuple[Any, Any], capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, peers[0].port, peers[1].port)
    journal = Journal.open(tmp_path / "storage" / "journal.db")
    journal.study("lung", "study", at=time.time() + 86400).result()
    journal.close()
    code, found = findings(capsys, file)
    assert (code, found["clock"][0]) == (1, "wrong")
    assert "set the clock" in found["clock"][1]


@pytest.mark.parametrize(
    ("rules", "hint"),
    [
        ("other.yaml", "in that folder there is c.yaml, rules.yaml"),
        ("none/basic.yaml", "copy one from the folder rules"),
    ],
)
def test_rules_that_do_not_exist(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], free_port: Callable[[], int], rules: str, hint: str
) -> None:
    file = written(tmp_path, free_port(), free_port())
    file.write_text(file.read_text().replace("rules: rules.yaml", f"rules: {rules}"))
    code, found = findings(capsys, file)
    assert code == 2
    assert f"{rules} does not exist; {hint}" in found["rules of lung"][1]


def test_a_destination_that_is_to_confirm_by_find_has_to_answer(
    tmp_path: Path, peers: tuple[Any, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, peers[0].port, peers[1].port)
    settings = yaml.safe_load(file.read_text())
    settings["projects"]["lung"]["confirm"] = "find"
    file.write_text(yaml.safe_dump(settings))
    code, found = findings(capsys, file)
    assert code == 1
    assert found["research C-FIND"][0] == "wrong"
    assert "allow C-FIND (study root) from LUNG on research" in found["research C-FIND"][1]


def test_what_waits_and_what_a_person_should_look_at(
    tmp_path: Path, peers: tuple[Any, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, peers[0].port, peers[1].port)
    journal = Journal.open(tmp_path / "storage" / "journal.db")
    for letter, state in zip("abcd", ("confirmed", "confirmed", "forwarding", "incomplete"), strict=True):
        journal.study("lung", letter * 26, state=StudyState(state), at=1.7e9)
    journal.withheld(
        Withheld(
            *("lung", "q" * 26, "d" * 26, "", "i" * 26, "2.25.7", Reason.RESIDUE, "", CTImageStorage, "d", "r"),
            *("staging", 1.7e9, 4096),
        )
    )
    journal.close()
    _, found = findings(capsys, file)
    assert found["quarantine"] == (
        "ok",
        "1 withheld original, the oldest since 2023-11-14 22:13:20Z; see dicomnode quarantine list",
    )
    main(["check", "--config", str(file), "--json"])
    told = [each for each in json.loads(capsys.readouterr().out) if each["subject"] == "studies"]
    assert [(each["verdict"], each["text"]) for each in told] == [
        ("ok", "2 confirmed, 1 forwarding since 2023-11-14 22:13:20Z"),
        (
            "warning",
            "1 incomplete, the oldest since 2023-11-14 22:13:20Z; see dicomnode studies --state incomplete",
        ),
    ]


def test_a_configuration_that_everybody_can_change(
    tmp_path: Path, peers: tuple[Any, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, peers[0].port, peers[1].port)
    file.chmod(0o666)
    code, found = findings(capsys, file)
    assert code == 0
    assert found["rights"] == ("warning", f"{file} can be changed by everybody; run chmod o-w {file}")
    assert main(["check", "--config", str(file), "--running", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {"running": False, "status": ""}


@pytest.mark.parametrize(
    "answer", [b"", b'{"status": "0 assoc', b'{"error": "the node was told to stop", "exit": 1}\n']
)
def test_a_node_that_ends_while_it_is_asked_does_not_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], answer: bytes
) -> None:
    file = written(tmp_path, 1, 1)

    def end(listener: socket.socket) -> None:
        with listener.accept()[0] as connection:
            connection.recv(4096)
            connection.sendall(answer)

    with socket.socket(socket.AF_UNIX) as listener, ThreadPoolExecutor(1) as threads:
        listener.bind(str(tmp_path / "storage" / SOCKET))
        listener.listen()
        threads.submit(end, listener)
        assert main(["check", "--config", str(file), "--running"]) == 1
    assert capsys.readouterr().out == "the node does not answer; see its log\n"
