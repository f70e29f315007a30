"""Retrievals with DCMTK's archive as the source: what is asked for, what is said of it, and what survives."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from datetime import datetime, timedelta

import images
import pytest
import synthetic
from chain import cleaned
from peers import dcmtk
from peers.process import until


def _study(number, *, accession="", patient="", date="20240311", modality="CT"):
    data_set = synthetic.small(number, 1, 1)
    data_set.AccessionNumber, data_set.PatientID = accession or f"A-{number}", patient or f"P-{number}"
    data_set.StudyDate, data_set.Modality = date, modality
    return images.written(data_set)


@pytest.fixture
def archive(dcmqrscp, node, storescp, free_port, write_files):
    """archive(files, **arguments of Node): a node that does not run yet, with an archive that holds the files."""

    def start(files, **arguments):
        research, port = storescp(), free_port()
        made = node({"staging": ("STAGING", port), "research": ("RESEARCH", research.port)}, **arguments)
        source = dcmqrscp({"DICOMNODE": made.port}, port=port)
        assert set(dcmtk.dcmsend(port, write_files(files), called="STAGING").statuses) == {0}
        return made, research, source

    return start


def _jobs(node, *arguments):
    return json.loads(node.command("jobs", *arguments, "--json").stdout)


def test_what_is_asked_for_is_found_and_what_is_not_is_said(archive, tmp_path):
    files = [
        _study(1, accession="A-1", patient="P-1"),
        _study(2, accession="A-2", patient="P-1", date="20240401"),
        _study(3, accession="TWICE", patient="P-3"),
        _study(4, accession="TWICE", patient="P-4"),
        _study(5, accession="A-5", patient="P-5", modality="MR"),
        _study(6, accession="PAIR", patient="P-6"),
        _study(7, accession="PAIR", patient="P-6"),
    ]
    node, research, _ = archive(files)
    node.start()
    reviewed = tmp_path / "list.csv"
    reviewed.write_text(
        "Study UID;Accession Number;Patient ID;From;To\n"
        f"{synthetic.uid(1)};;;;\n;PAIR;;;\n;TWICE;;;\n;A-5;;;\n;;P-1;2024-03-30;2024-04-02\n;NONE;;;\n"
    )
    result = node.command("retrieve", "--list", str(reviewed), "--modality", "ct")
    assert result.returncode == 1
    assert "2 found" in result.stdout
    assert "accession 3: ambiguous: 2 studies of 2 patients match" in result.stdout
    assert "wrong-modality: its modalities are MR" in result.stdout
    assert "accession 6: unknown: staging has no study that matches" in result.stdout
    assert "4 of 7 studies delivered; see" in result.stdout
    listed = node.command("jobs", "--all").stdout
    assert "7 of 7 done, 4 instances here, 1 unknown, 1 ambiguous, 1 wrong-modality" in listed
    wanted = [files[0], files[1], files[5], files[6]]
    assert research.data_sets() == dict(cleaned(node, part10) for part10 in wanted)
    for secret in (synthetic.uid(1), "P-1", "P-6", "PAIR", "TWICE"):
        assert secret not in result.stdout
        assert secret not in node.output()
        assert secret not in node.command("jobs", "show", "1").stdout
    by_state = {}
    for job in _jobs(node, "show", "1"):
        by_state[job["state"]] = by_state.get(job["state"], 0) + 1
    assert by_state == {"arrived": 4, "resolved": 3, "ambiguous": 1, "unknown": 1, "wrong-modality": 1}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--study", "1.2.x"], "study 1 is not a UID"),
        (["--accession", "A*"], "accession number 1 must have 1 to 64 characters, none of them * ?"),
        (["--patient", "P-1", "--date", "20241301"], "--date: write days as"),
        (["--patient", "P-1", "--date", "20240302-20240301"], "the first day comes after the last"),
        (["--study", "1.2.3", "--date", "20240101"], "--date goes with --patient"),
        ([], "nothing is asked for"),
        (["--study", "1.2.3", "--no-wait"], "none runs"),
    ],
)
def test_what_cannot_be_asked_is_told_on_one_line(archive, arguments, words):
    node, _, _ = archive([_study(1)])
    result = node.command("retrieve", *arguments)
    assert result.returncode == 2
    assert words in result.stdout
    assert len(result.stdout.strip().splitlines()) == 1


def test_without_a_node_the_command_works_the_jobs_itself(archive):
    files = [_study(number) for number in (1, 2, 3)]
    node, research, _ = archive(files)
    listed = node.folder / "list.txt"
    listed.write_text(f"# reviewed\n{synthetic.uid(1)}\n{synthetic.uid(2)}\nA-3\n{synthetic.uid(1)}\n")
    result = node.command("retrieve", "--list", str(listed), "-m", "2")
    assert result.returncode == 0, result.stdout
    assert research.data_sets() == dict(cleaned(node, part10) for part10 in files[:2])
    assert _jobs(node) == []
    assert "2 of 2 studies delivered, 1 left out\n" in result.stdout
    (ended,) = _jobs(node, "--all")
    assert ended["progress"]["states"] == {"arrived": 2, "cancelled": 1}
    assert "2 of 2 done, 2 instances here, 1 left out" in node.command("jobs", "--all").stdout


def test_jobs_survive_the_end_of_the_node_and_obey_people(archive):
    files = [_study(number) for number in range(1, 6)]
    closed = f"{(datetime.now() + timedelta(hours=2)):%H:%M}-{(datetime.now() + timedelta(hours=3)):%H:%M}"
    hours = dict.fromkeys(("mon", "tue", "wed", "thu", "fri", "sat", "sun"), closed)
    node, research, _ = archive(files, settings={"peers": {"staging": {"off_peak": hours, "max_moves": 2}}})
    node.start()
    uids = [part for number in (1, 2, 3) for part in ("--study", synthetic.uid(number))]
    assert node.command("retrieve", *uids, "--no-wait").returncode == 0
    assert node.command("retrieve", "--study", synthetic.uid(4), "--no-wait", "--priority", "5").returncode == 0
    assert node.command("jobs", "pause", "2").stdout == "retrieval 2: paused, priority 5\n"
    node.kill()
    assert node.command("jobs", "priority", "2", "7").stdout == "retrieval 2: paused, priority 7\n"
    node.restart()
    assert [(each["id"], each["state"], each["priority"]) for each in _jobs(node)] == [
        (1, "active", 0),
        (2, "paused", 7),
    ]
    time.sleep(1)
    assert research.files() == []
    assert "0 of 3 done, 0 instances here; its off-peak hours begin in " in node.command("jobs").stdout
    assert node.events("control-refused") == []
    urgent = node.command("retrieve", "--study", synthetic.uid(5), "--now")
    assert urgent.returncode == 0, urgent.stdout
    assert research.data_sets() == dict([cleaned(node, files[4])])
    assert node.command("jobs", "cancel", "2").returncode == 0
    assert node.command("jobs", "resume", "2").returncode == 1
    node.write({**node.settings, "peers": {**node.settings["peers"], "staging": _always(node)}})
    node.terminate()
    node.restart()
    until(lambda: len(research.files()) == 4, 30, "the first retrieval, after the restart")
    assert research.data_sets() == dict(cleaned(node, files[number]) for number in (0, 1, 2, 4))
    until(lambda: _jobs(node) == [], 10, "the end of the retrievals")


def test_who_waits_for_a_study_is_told_why_and_that_it_is_kept(archive):
    closed = dict.fromkeys(("mon", "tue", "wed", "thu", "fri", "sat", "sun"))
    other = "mon" if datetime.now().weekday() in (3, 4, 5) else "fri"
    node, research, _ = archive(
        [_study(1)], settings={"peers": {"staging": {"off_peak": {**closed, other: "03:00-04:00"}}}}
    )
    node.start()
    line = [sys.executable, "-m", "dicomnode", "retrieve", "--study", synthetic.uid(1), "--config", node.config]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as waiting:
        assert re.fullmatch(r"not yet: its off-peak hours begin in \S+ (h|days)\n", waiting.stdout.readline())
        node.kill()
        text, _ = waiting.communicate(timeout=60)
    assert waiting.returncode == 1
    assert "retrieval 1 is kept and goes on when it starts again: dicomnode jobs" in text
    assert research.files() == []


def _always(node):
    return {name: value for name, value in node.settings["peers"]["staging"].items() if name != "off_peak"}


def test_a_source_that_is_away_keeps_its_jobs(archive):
    files = [_study(1), _study(2)]
    node, _, source = archive(files)
    source.stop()
    result = node.command("retrieve", "--study", synthetic.uid(1), "--study", synthetic.uid(2))
    assert result.returncode == 1
    assert "staging (127.0.0.1:" in result.stdout
    assert "tried again in" in result.stdout
    assert "failed 3 times in a row, so this command gives up; what is left is kept" in result.stdout
    (kept,) = _jobs(node)
    assert kept["progress"]["states"] == {"waiting": 2}
