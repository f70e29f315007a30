"""The command line: exit codes, one-line errors, listings in pseudonyms."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from dicomnode.cli import COMMANDS, main
from dicomnode.cli.options import table
from dicomnode.model import (
    Delivery,
    DeliveryState,
    IdentityEntry,
    Instance,
    Location,
    Reason,
    StudyState,
    Withheld,
)
from dicomnode.store.identity import IdentityBook
from dicomnode.store.journal import Journal

STUDY = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A configuration file with its rules and an empty storage directory."""
    (tmp_path / "storage").mkdir(mode=0o700)
    (tmp_path / "rules.yaml").write_text("profile: basic\n")
    settings = {
        "node": {"ae_title": "DICOMNODE", "bind": "127.0.0.1", "port": 11112},
        "storage": {"directory": "storage"},
        "peers": {
            "staging": {"ae_title": "STAGING", "host": "127.0.0.1", "port": 4242},
            "research": {"ae_title": "RESEARCH", "host": "127.0.0.1", "port": 4243},
        },
        "projects": {"lung": {"rules": "rules.yaml", "source": "staging", "destinations": ["research"]}},
    }
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump(settings))
    return file


@pytest.fixture
def journal(site: Path) -> Iterator[Journal]:
    """The open journal of a node with one study: two instances stored, one withheld."""
    with closing(Journal.open(site.parent / "storage" / "journal.db")) as opened:
        for number in (1, 2):
            opened.stored(instance(number), Location("s.seg", number * 100, 100, 10, 80, 20))
        opened.withheld(
            Withheld(
                "lung",
                "q234",
                STUDY,
                "k" * 26,
                "w" * 26,
                "2.25.7",
                Reason.RESIDUE,
                "(0008,103E)",
                "1.2.840.10008.5.1.4.1.1.2",
                "d",
                "r",
                "staging",
                1.7e9,
                4096,
            )
        )
        opened.study("lung", STUDY, state=StudyState.FORWARDING, expected=3, evidence="quiet for 60 s")
        opened.delivery(
            Delivery("lung", STUDY, "research", DeliveryState.WAITING, 2, 1.7e9, "connection refused", 1, 0)
        )
        opened.flush().result(10)
        yield opened


def instance(number: int) -> Instance:
    key = str(number + 1) * 26
    return Instance(
        "lung", STUDY, "s" * 26, key, "2.25.7", "2.25.8", f"2.25.{number}", "1.2.840.10008.5.1.4.1.1.2",
        "1.2.840.10008.1.2.1", "pseudonym1", "CT", "d" * 64, "e" * 64, "f" * 64, "staging", 1.7e9 + number,
    )  # fmt: skip


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert [line.split()[0] for line in out.split("Commands:")[1].splitlines() if line.strip()] == list(COMMANDS)


@pytest.mark.parametrize("command", [*COMMANDS, "quarantine list", "rules check", "rules explain"])
def test_each_command_has_help(capsys: pytest.CaptureFixture[str], command: str) -> None:
    code, out, _ = run(capsys, *command.split(), "--help")
    assert code == 0
    assert f"dicomnode {command}" in out


def test_it_is_a_module_too() -> None:
    ended = subprocess.run([sys.executable, "-m", "dicomnode", "--version"], capture_output=True, text=True, check=True)
    assert ended.stdout.startswith("dicomnode, version ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["foward"], "dicomnode: No such command 'foward'; see dicomnode --help"),
        (["chek"], "dicomnode: No such command 'chek'. Did you mean 'check'?; see dicomnode --help"),
        (["rules", "diff", "gone.dcm"], "dicomnode: Invalid value for 'FILE': File 'gone.dcm' does not exist; see"),
        (["studies", "--jsn"], "dicomnode: No such option '--jsn'"),
        (["retrieve", "--config", "CONFIG"], "dicomnode: nothing is asked for: --study"),
        (["retrieve", "--study", "1.2.x", "--config", "CONFIG"], "dicomnode: study 1 is not a UID"),
        (["retrieve", "--study", "1." * 40 + "1", "--config", "CONFIG"], "dicomnode: study 1 is not a UID"),
        (["studies", "--config", "gone.yaml"], "dicomnode: gone.yaml: no such file; name the configuration"),
        (["rules", "check", "gone.yaml"], "dicomnode: rules file gone.yaml does not exist"),
        (["rules", "explain", "RULES", "--sop-class", "Ct"], "dicomnode: unknown SOP class 'Ct'"),
        (["rules", "explain", "RULES", "--attribute", "Name"], "dicomnode: unknown attribute 'Name'"),
    ],
)
def test_wrong_use_is_one_line_and_exit_2(
    site: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    places = {"CONFIG": str(site), "RULES": str(site.with_name("rules.yaml"))}
    code, out, err = run(capsys, *(places.get(word, word) for word in words))
    assert code == 2
    assert out == ""
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys)
    assert code == 2
    assert "Commands:" in out


def test_a_wrong_uid_is_not_repeated(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, _, err = run(capsys, "retrieve", "--config", site, "--study", "1.2.3", "--study", "Doe^Jane")
    assert "study 2 is not a UID" in err
    assert "Doe" not in err


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> None:
        raise KeyError("Doe^Jane")

    monkeypatch.setattr("dicomnode.cli.studies.open_journal", fail)


@pytest.mark.usefixtures("broken")
def test_an_unexpected_error_tells_its_type_and_place(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "studies", "--config", site)
    assert code == 1
    assert err.startswith("dicomnode: unexpected KeyError at test_commands.py:")
    assert err.count("\n") == 1


@pytest.mark.usefixtures("broken")
def test_debug_shows_frames_and_still_no_value(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "studies", "--config", site, "--debug")
    assert code == 1
    assert "studies.py" in err
    assert "KeyError: " not in err


def test_studies_before_the_first_start(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "studies", "--config", site)
    assert code == 1
    assert "there is no journal in" in err


@pytest.mark.usefixtures("journal")
def test_studies_while_the_node_holds_the_journal(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "studies", "--config", site)
    assert code == 0
    head, row = out.splitlines()
    assert head.startswith("study       project  patient     state       stored  withheld  expected")
    assert row.startswith("abcdefghij  lung     pseudonym1  forwarding       2         1         3")
    assert "research waiting (connection refused)" in row
    assert row.endswith("quiet for 60 s")


def test_studies_tell_until_when_a_destination_is_left_alone(
    site: Path, journal: Journal, capsys: pytest.CaptureFixture[str]
) -> None:
    journal.delivery(Delivery("lung", STUDY, "research", DeliveryState.WAITING, 2, 4e9, "connection refused", 1, 0))
    journal.flush().result(10)
    assert (
        "research waiting until 2096-10-02 07:06:40Z (connection refused)"
        in run(capsys, "studies", "--config", site)[1]
    )


@pytest.mark.usefixtures("journal")
def test_studies_as_json(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "studies", "--config", site, "--json")
    (study,) = json.loads(out)
    assert study["study_key"] == STUDY
    assert study["state"] == "forwarding"
    assert study["deliveries"][0]["destination"] == "research"


@pytest.mark.usefixtures("journal")
def test_studies_can_be_chosen(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "studies", "--config", site, "--state", "failed")[1] == "no studies\n"
    assert run(capsys, "studies", "--config", site, "--project", "other")[1] == "no studies\n"
    assert STUDY[:10] in run(capsys, "studies", "--config", site, "--state", "forwarding", "--project", "lung")[1]


@pytest.mark.usefixtures("journal")
@pytest.mark.parametrize("value", ["PAT-1", "ACC-1", "1.2.3.4", "pseudonym1", "acc2345", "2.25.7", STUDY, "PAT-1 "])
def test_studies_are_found_by_what_a_person_has_in_hand(
    site: Path, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    with closing(IdentityBook.open(site.parent / "storage" / "identity.db")) as book:
        told = (("PatientID", "PAT-1", "pseudonym1"), ("AccessionNumber", "ACC-1", "acc2345"))
        entries = [IdentityEntry(*each) for each in (*told, ("StudyInstanceUID", "1.2.3.4", "2.25.7"))]
        book.put("lung", entries, STUDY)
        book.put("lung", [IdentityEntry("PatientID", "PAT-2", "pseudonym2")], "z" * 26)
    assert STUDY[:10] in run(capsys, "studies", "--config", site, "--of", value)[1]
    code, out, err = run(capsys, "studies", "--config", site, "--of", "PAT-2")
    assert (code, out, err.count("\n")) == (1, "", 1) and "PAT-2" not in err


@pytest.mark.usefixtures("journal")
@pytest.mark.parametrize("value", ["", " "])
def test_who_has_nothing_in_hand_finds_no_study(site: Path, capsys: pytest.CaptureFixture[str], value: str) -> None:
    """As where a variable of a script is empty; what was emptied is in the book as well."""
    with closing(IdentityBook.open(site.parent / "storage" / "identity.db")) as book:
        book.put("lung", [IdentityEntry("AccessionNumber", "ACC-1", "")], STUDY)
    code, out, err = run(capsys, "studies", "--config", site, "--of", value)
    assert (code, out) == (1, "")
    assert err.startswith("dicomnode: no study here is of that patient")


def test_the_newest_studies(site: Path, journal: Journal, capsys: pytest.CaptureFixture[str]) -> None:
    for letter in "xyz":
        journal.study("lung", letter * 26, state=StudyState.CONFIRMED, at=1.8e9 + ord(letter))
    journal.flush().result(10)
    rows = run(capsys, "studies", "--config", site, "--last", "2")[1].splitlines()[1:]
    assert [row[:2] for row in rows] == ["yy", "zz"]


@pytest.mark.usefixtures("journal")
def test_the_quarantine_tells_reason_and_place(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "quarantine", "list", "--config", site)
    assert code == 0
    assert run(capsys, "quarantine", "list", "--config", site, "--study", STUDY[:8])[1] == out
    assert run(capsys, "quarantine", "list", "--config", site, "--study", "nosuch")[0] == 1
    _, story, _ = run(capsys, "studies", "show", "--config", site, STUDY)
    assert "to       research: waiting, 1 of 2 sent (connection refused)" in story
    assert "residue: the gate found an identifying value in the bytes about to be written, at (0008,103E)" in story
    assert "CT Image Storage  residue  (0008,103E)  the gate found an identifying value" in out.splitlines()[1]
    _, out, _ = run(capsys, "quarantine", "list", "--config", site, "--json")
    (withheld,) = json.loads(out)
    assert withheld["quarantine"] == "q234"
    assert withheld["reason"] == "residue"


def test_rules_are_checked_and_explained(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = site.with_name("rules.yaml")
    code, out, _ = run(capsys, "rules", "check", rules)
    assert code == 0
    assert "PS3.15 2026d Basic Profile" in out
    _, out, _ = run(capsys, "rules", "explain", rules, "--attribute", "PatientName")
    assert out.splitlines()[1].split()[:3] == ["(0010,0010)", "PatientName", "pseudonym"]
    _, out, _ = run(capsys, "rules", "explain", rules, "--json")
    actions = {each["attribute"]: each["action"] for each in json.loads(out)["attributes"]}
    assert len(actions) > 600
    assert actions["PatientBirthDate"] == "empty"
    assert actions["StudyInstanceUID"] == "uid"


def test_tables_are_aligned() -> None:
    assert table(("a", "n"), [("x", "1"), ("long", "100")], right={1}) == "a       n\nx       1\nlong  100"


@pytest.mark.parametrize("command", ["deidentify", "identifiers", "rules"])
def test_a_command_on_files_starts_without_database_configuration_and_pixels(command: str) -> None:
    heavy = "{'sqlalchemy', 'pydantic', 'numpy.linalg'} & set(sys.modules)"
    asked = f"import sys; from dicomnode.cli import main; main(['{command}', '-h']); print({heavy})"
    result = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, timeout=120)
    assert result.stdout.splitlines()[-1] == "set()"
