"""Who is who: SQL, look-ups on record, pseudonyms of the site and of dicom-anon, and what waits for them."""

from __future__ import annotations

import json
import sqlite3
import stat

import images
import pytest
import synthetic
from peers import dcmtk
from peers.process import until


def _instance(study, patient, *, name="Zwetschgenbaum^Ottokar"):
    data_set = synthetic.small(study, 1, 1)
    data_set.PatientID, data_set.PatientName = patient, name
    data_set.AccessionNumber = f"ACC-{study:05}"
    return images.written(data_set)


def _at_research(chain, count):
    until(lambda: len(chain.research.files()) == count, 30, f"{count} instances at research")
    return [images.parse(part10) for part10 in chain.research.instances().values()]


def _sql(node, statement):
    with sqlite3.connect(node.storage / "identity.db") as connection:
        return connection.execute(statement).fetchall()


def test_the_book_answers_sql_and_a_look_up_leaves_a_record(way, write_files):
    chain = way()
    assert dcmtk.storescu(chain.port, write_files([_instance(1, "PID-1")])).statuses == [0]
    (sent,) = _at_research(chain, 1)
    node = chain.node
    assert stat.S_IMODE((node.storage / "identity.db").stat().st_mode) == 0o600
    for view, cleaned, original in (
        ("patient", sent.PatientID, "PID-1"),
        ("patientid", sent.PatientID, "PID-1"),
        ("patientsname", sent.PatientName, "Zwetschgenbaum^Ottokar"),
        ("accession_no", sent.AccessionNumber, "ACC-00001"),
        ("studyuid", sent.StudyInstanceUID, synthetic.uid(1)),
        ("sopinstanceuid", sent.SOPInstanceUID, synthetic.uid(1, 1, 1)),
    ):
        assert _sql(node, f"select original from {view} where cleaned = '{cleaned}'") == [(original,)], view
    (study,) = node.wait_settled()
    asked = node.command("reidentify", str(sent.PatientID), str(sent.AccessionNumber))
    assert asked.returncode == 0, asked.stdout
    assert f"{sent.PatientID}  PatientID  PID-1" in asked.stdout
    assert f"{sent.AccessionNumber}  AccessionNumber  ACC-00001" in asked.stdout
    told = json.loads(node.command("studies", "show", study["study_key"], "--json").stdout)
    assert json.dumps(told).count('"reidentified"') == 3, "Patient ID, Patient Name, accession number"
    assert len(node.events("reidentified")) == 1
    by_key = node.command("reidentify", study["study_key"][:10])
    assert f"StudyInstanceUID  {synthetic.uid(1)}" in by_key.stdout
    unknown = node.command("reidentify", "nobody")
    assert unknown.returncode == 1 and "number 1 of those asked for" in unknown.stdout
    assert "PID-1" not in node.output()
    node.terminate()
    assert "PID-1" in node.command("reidentify", str(sent.PatientID)).stdout


def test_a_table_of_the_site_gives_the_pseudonyms(way, write_files, tmp_path):
    chain = way(settings={"projects": {"default": {"patients": {"unknown": "withhold"}}}})
    table = tmp_path / "table.csv"
    table.write_text("original,pseudonym\nPID-1,Subject-001\n")
    imported = chain.node.command("mapping", "import", str(table), "--project", "default")
    assert imported.returncode == 0, imported.stdout
    sent = [_instance(1, "PID-1"), _instance(2, "PID-2"), _instance(3, "PID-3")]
    assert dcmtk.dcmsend(chain.port, write_files(sent)).statuses == [0, 0, 0]
    (first,) = _at_research(chain, 1)
    assert first.PatientID == "Subject-001"
    assert [each["reason"] for each in chain.node.quarantine()] == ["unknown-patient"] * 2
    table.write_text("original,pseudonym\nPID-1,Subject-001\nPID-2,Subject-002\n")
    grown = chain.node.command("mapping", "import", str(table), "--project", "default")
    assert "1 withheld instance released" in grown.stdout
    assert {str(each.PatientID) for each in _at_research(chain, 2)} == {"Subject-001", "Subject-002"}
    assert len(chain.node.quarantine()) == 1
    table.write_text("original,pseudonym\nPID-2,Subject-009\nPID-4,Subject-001\nPID-5,Subject-005\n")
    wrong = chain.node.command("mapping", "import", str(table), "--project", "default")
    assert wrong.returncode == 1
    assert "lines 2, 3 of the table: the patient has another pseudonym" in wrong.stdout
    assert _sql(chain.node, "select count(*) from mapping") == [(2,)]


def test_a_pseudonym_that_is_somebodys_name_or_id_is_refused(way, write_files, tmp_path):
    """Known to the book, or from another line of the table; nothing of the table is entered then."""
    chain = way()
    assert dcmtk.storescu(chain.port, write_files([_instance(1, "PID-70001")])).statuses == [0]
    _at_research(chain, 1)
    chain.node.wait_settled()
    table = tmp_path / "table.csv"
    for rows, lines in (
        ("PID-2,PID-70001\nPID-3,Subject-003\n", "line 2"),
        ("PID-3,Subject-003\nPID-2,X PID-70001\n", "line 3"),
        ("PID-2,Zwetschgenbaum-2\n", "line 2"),
        ("PID-2,ottokar\n", "line 2"),
        ("PID-2,ACC-00001\n", "line 2"),
        ("A7,B7\nPID-2,a7\n", "line 3"),
    ):
        table.write_text("original,pseudonym\n" + rows)
        refused = chain.node.command("mapping", "import", str(table), "--project", "default")
        assert refused.returncode == 1
        assert f"{lines} of the table: the pseudonym holds a name or an ID that a patient has" in refused.stdout
        assert "nothing was entered" in refused.stdout
        assert not any(value in refused.stdout for value in ("PID-70001", "ottokar", "ACC"))
    assert _sql(chain.node, "select count(*) from mapping") == [(0,)]
    table.write_text("original,pseudonym\nPID-2,Subject-003\nA7,B7\nPID-2,Subject-003\n")
    for _ in range(2):
        assert chain.node.command("mapping", "import", str(table), "--project", "default").returncode == 0
    table.write_text("original,pseudonym\nsubject-003,Subject-004\n")
    refused = chain.node.command("mapping", "import", str(table), "--project", "default")
    assert "line 2 of the table: the pseudonym holds a name" in refused.stdout


@pytest.mark.parametrize("large", [False, True])
def test_unknown_patients_can_be_refused(way, write_files, large):
    size = {"node": {"whole": "4KiB"}} if large else {}
    chain = way(settings={"projects": {"default": {"patients": {"unknown": "refuse"}}}, **size})
    assert dcmtk.storescu(chain.port, write_files([_instance(1, "PID-1")])).statuses == [0x0124]
    assert chain.node.quarantine() == []
    assert chain.node.studies() == []
    (refused,) = chain.node.events("instance-refused-patient")
    assert refused["level"] == "warning"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "the table needs a heading with the columns original and pseudonym"),
        ("original,pseudonym\nPID-1,\n", "line 2 of the table"),
        ("original,pseudonym\nPID-1,X-PID-1\n", "line 2 of the table: the pseudonym holds the original"),
        ("original,pseudonym\nPID-1,A^B\n", "line 2 of the table"),
        ("original,pseudonym\nPID-1,A\n\nPID-1,B\n", "lines 2 and 4 of the table: the patient has another pseudonym"),
        ("original,pseudonym\nP-1,A\nP-2,B\nP-2,A\n", "lines 3 and 4 of the table: the patient has another pseudonym"),
        ("original,pseudonym\nPID-1,A\nPID-2,A\n", "lines 2 and 3 of the table: the pseudonym has another patient"),
    ],
)
def test_a_table_that_cannot_be_is_told_by_its_line(way, tmp_path, text, words):
    chain = way()
    table = tmp_path / "table.csv"
    table.write_text(text)
    wrong = chain.node.command("mapping", "import", str(table), "--project", "default")
    assert wrong.returncode == 2
    assert words in wrong.stdout
    assert "PID-1" not in wrong.stdout


def _old_book(path):
    """What dicom-anon writes: a table per attribute, those of a study linked to it."""
    with sqlite3.connect(path) as book:
        book.execute("CREATE TABLE studyinstanceuid (id INTEGER PRIMARY KEY AUTOINCREMENT, original, cleaned)")
        linked = "(id INTEGER PRIMARY KEY AUTOINCREMENT, original, cleaned, study INTEGER)"
        for name in ("seriesinstanceuid", "sopinstanceuid", "patientid", "patientsname", "stationname"):
            book.execute(f"CREATE TABLE {name} {linked}")
        book.executemany(
            "INSERT INTO studyinstanceuid (original, cleaned) VALUES (?, ?)",
            [(synthetic.uid(1), "5.555.5.2013.1"), (synthetic.uid(2), "5.555.5.2013.2")],
        )
        book.execute(
            "INSERT INTO sopinstanceuid (original, cleaned, study) VALUES (?, '5.555.5.7', 1)", [synthetic.uid(1, 1, 1)]
        )
        book.executemany(
            "INSERT INTO patientid (original, cleaned, study) VALUES (?, ?, ?)",
            [("PID-1", "Patient ID 1", 1), ("PID-1", "Patient ID 2", 2), ("PID-9", "^^Audit Trail - Removed^^", 2)],
        )


def test_the_pseudonyms_of_dicom_anon_go_on(way, write_files, tmp_path):
    chain = way()
    _old_book(tmp_path / "old.db")
    imported = chain.node.command("mapping", "import", str(tmp_path / "old.db"), "--project", "default")
    assert imported.returncode == 0, imported.stdout
    sent = [_instance(study, "PID-1") for study in (1, 2, 3)]
    assert dcmtk.dcmsend(chain.port, write_files(sent)).statuses == [0, 0, 0]
    arrived = {str(each.StudyInstanceUID): each for each in _at_research(chain, 3)}
    assert arrived["5.555.5.2013.1"].PatientID == "Patient ID 1"
    assert arrived["5.555.5.2013.1"].SOPInstanceUID == "5.555.5.7"
    assert arrived["5.555.5.2013.2"].PatientID == "Patient ID 2"
    (new,) = [each for uid, each in arrived.items() if not uid.startswith("5.555")]
    assert new.PatientID == "Patient ID 1"
    assert _sql(chain.node, "select original from patient where cleaned = 'Patient ID 2'") == [("PID-1",)]
    no_book = tmp_path / "journal.db"
    with sqlite3.connect(no_book) as connection:
        connection.execute("CREATE TABLE x (y)")
    assert chain.node.command("mapping", "import", str(no_book), "--project", "default").returncode == 1
