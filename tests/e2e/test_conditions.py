"""Conditions of the rules: a failing instance keeps its series or study back, until it is released."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing
from typing import Any

import images
import pytest
import synthetic
from peers import dcmtk
from peers.node import Node
from peers.process import until
from pydicom.dataset import Dataset

RULES = """profile: basic
suspicious_pixels: {off: all}
accept_if:
  Modality: {in: [ct, mr]}
  ImageType: {not_substring: screen}
aggregate: AGGREGATE
"""
LENIENT = "profile: basic\nsuspicious_pixels: {off: all}\n"
ENCORD = [
    "url",
    "StudyInstanceUID",
    "StudyInstanceUID_deid",
    "SeriesInstanceUID",
    "SeriesInstanceUID_deid",
    "save_conditions_evaluations",
    "save_condition",
    "save_condition_series_agg",
    "save_disabling_urls_series_agg",
    "url_deid",
]


def slice_(series: int, number: int, image_type: str = "AXIAL", size: int = 16) -> Dataset:
    made = synthetic.ct(1, series, number, rows=size, columns=size)
    made.ImageType = ["ORIGINAL", "PRIMARY", image_type]
    return made


def written(*made: Dataset) -> list[bytes]:
    return [images.written(each) for each in made]


def report(node: Node) -> list[dict[str, Any]]:
    (study,) = node.studies()
    return list(json.loads(node.command("studies", "report", study["study_key"][:12]).stdout))


def outbox_files(node: Node) -> int:
    """How many segments there are; a folder may be deleted while it is looked for, which os.walk does not mind."""
    return sum(name.endswith(".seg") for _, _, names in os.walk(node.storage / "outbox") for name in names)


@pytest.fixture
def failed(way, write_files):
    """A node that got a good series, and one of four in which the third instance fails."""
    chain = way(quiet="500ms", rules=RULES.replace("AGGREGATE", "series"), key=bytes(range(32)))
    good = written(*(slice_(2, number) for number in (1, 2, 3)))
    bad = written(*(slice_(1, number, "SCREEN SAVE" if number == 3 else "AXIAL") for number in (1, 2, 3, 4)))
    assert set(dcmtk.storescu(chain.port, write_files([*bad, *good])).statuses) == {0}
    chain.node.wait_settled()
    return chain, good, bad


def test_a_failing_instance_keeps_its_series_back(failed):
    chain, good, _ = failed
    assert chain.research.data_sets() == chain.expect(good)
    (study,) = chain.node.studies()
    assert (study["stored"], study["withheld"]) == (6, 1)
    assert "3 kept back by conditions of the rules" in study["evidence"]
    (withheld,) = chain.node.quarantine()
    assert (withheld["reason"], withheld["where"]) == ("series-conditions", "(0008,0008) not substring")
    (event,) = chain.node.events("instance-withheld")
    assert event["where"] == withheld["where"]
    assert "nothing of its series is sent" in withheld["explanation"]
    time.sleep(1)
    assert outbox_files(chain.node) >= 1, "the clean records of the series stay"


def test_the_report_has_encords_keys(failed):
    chain, _, _ = failed
    told = report(chain.node)
    assert [list(each) for each in told] == [ENCORD] * 7
    first = [each for each in told if each["SeriesInstanceUID"] == synthetic.uid(1, 1)]
    assert [each["save_condition"] for each in first] == [True, True, False, True]
    assert {each["save_condition_series_agg"] for each in first} == {False}
    (culprit,) = (each for each in first if not each["save_condition"])
    assert {tuple(each["save_disabling_urls_series_agg"]) for each in first} == {(culprit["url"],)}
    assert {each["url_deid"] for each in first} == {None}
    assert culprit["save_conditions_evaluations"] == [
        {
            "condition": {"value": ["ct", "mr"], "condition_type": "IN", "dicom_tag": "Modality"},
            "tag_value": "CT",
            "evaluated_value": True,
        },
        {
            "condition": {"value": "screen", "condition_type": "NOT_SUBSTR", "dicom_tag": "ImageType"},
            "tag_value": ["ORIGINAL", "PRIMARY", "SCREEN SAVE"],
            "evaluated_value": False,
        },
    ]
    sent = [each for each in told if each["SeriesInstanceUID"] == synthetic.uid(1, 2)]
    at_research = {f"urn:oid:{uid}" for uid in chain.research.data_sets()}
    assert {each["url_deid"] for each in sent} == at_research
    assert {each["StudyInstanceUID"] for each in told} == {synthetic.uid(1)}
    journal = (chain.node.storage / "journal.db").read_bytes() + chain.node.log.read_bytes()
    assert synthetic.uid(1).encode() not in journal and b"SCREEN SAVE" not in journal


def test_a_release_reuses_the_siblings(failed):
    chain, good, bad = failed
    chain.node.kill()
    chain.node.restart()
    time.sleep(1)
    assert chain.research.data_sets() == chain.expect(good), "a restart lets nothing go"
    (withheld,) = chain.node.quarantine()
    refused = chain.node.command("quarantine", "release", withheld["quarantine"])
    assert (refused.returncode, refused.stdout.startswith("stays withheld: series-conditions")) == (1, True)
    rows = _records(chain.node)
    chain.node.terminate()
    strict = chain.expect([bad[0]])
    chain.node.rules.write_text(LENIENT)
    chain.node.restart()
    assert chain.node.command("quarantine", "release", withheld["quarantine"]).returncode == 0
    until(lambda: len(chain.research.files()) == 7, 60, "the siblings go with it")
    chain.node.wait_settled()
    assert strict.items() <= chain.research.data_sets().items(), "as they were cleaned when they came"
    assert rows <= _records(chain.node)
    chain.node.wait_settled()
    told = report(chain.node)
    assert {each["save_condition_series_agg"] for each in told} == {True}
    assert {each["url_deid"] for each in told} == {f"urn:oid:{uid}" for uid in chain.research.data_sets()}
    until(lambda: outbox_files(chain.node) == 0, 60, "what was delivered is deleted")


def _records(node: Node) -> set[tuple[str, str]]:
    connection = sqlite3.connect(node.storage / "journal.db")
    found = connection.execute("SELECT instance_key, rules_digest FROM instance").fetchall()
    connection.close()
    return set(found)


def test_a_discarded_failure_still_keeps_the_series_back(failed):
    chain, good, _ = failed
    (withheld,) = chain.node.quarantine()
    assert chain.node.command("quarantine", "discard", withheld["quarantine"], "--yes").returncode == 0
    chain.node.terminate()
    chain.node.restart()
    time.sleep(1)
    assert chain.research.data_sets() == chain.expect(good)


def test_a_late_failure_stops_what_is_left_and_raises_an_alert(way, write_files):
    chain = way(quiet="500ms", rules=RULES.replace("AGGREGATE", "series"), key=bytes(range(32)))
    early = written(*(slice_(1, number) for number in (1, 2)))
    assert set(dcmtk.storescu(chain.port, write_files(early)).statuses) == {0}
    chain.node.wait_settled()
    assert len(chain.research.data_sets()) == 2
    late = written(slice_(1, 3), slice_(1, 4, "SCREEN SAVE"), slice_(2, 1))
    assert set(dcmtk.storescu(chain.port, write_files(late, "late")).statuses) == {0}
    until(lambda: bool(chain.node.events("conditions-failed-late")), 60, "the alert")
    (event,) = chain.node.events("conditions-failed-late")
    assert (event["sent"], event["reason"], event["level"]) == (2, "series-conditions", "error")
    until(lambda: len(chain.research.files()) == 3, 60, "the other series goes")
    chain.node.wait_settled()
    chain.node.wait_settled()
    assert chain.research.data_sets() == chain.expect([*early, late[2]])


@pytest.mark.parametrize("before", [False, True], ids=["at once", "as a second thought"])
def test_a_person_may_let_go_what_a_discarded_failure_keeps_back(before, failed):
    chain, good, bad = failed
    (withheld,) = chain.node.quarantine()
    discard = ("quarantine", "discard", withheld["quarantine"], "--yes")
    if before:
        assert chain.node.command(*discard).returncode == 0
        time.sleep(1)
        assert chain.research.data_sets() == chain.expect(good)
    assert chain.node.command(*discard, "--others", "send").returncode == 0
    until(lambda: len(chain.research.files()) == 6, 60, "the others go")
    chain.node.wait_settled()
    assert chain.research.data_sets() == chain.expect([*good, bad[0], bad[1], bad[3]])
    (study,) = chain.node.studies()
    assert (study["stored"], study["withheld"]) == (6, 0)
    until(lambda: outbox_files(chain.node) == 0, 60, "what was delivered is deleted")
    assert len({each["url_deid"] for each in report(chain.node)} - {None}) == 6
    again = chain.node.command(*discard, "--others", "delete")
    assert again.returncode == 1, "what was sent cannot be deleted here"


@pytest.mark.parametrize("before", [False, True], ids=["at once", "as a second thought"])
def test_a_person_may_delete_what_a_discarded_failure_keeps_back(before, failed):
    chain, good, _ = failed
    (withheld,) = chain.node.quarantine()
    discard = ("quarantine", "discard", withheld["quarantine"], "--yes")
    if before:
        assert chain.node.command(*discard, "--others", "keep").returncode == 0
        time.sleep(1)
        assert outbox_files(chain.node) >= 1
    assert chain.node.command(*discard, "--others", "delete").returncode == 0
    until(lambda: outbox_files(chain.node) == 0, 60, "what was kept back is deleted")
    assert chain.research.data_sets() == chain.expect(good)
    chain.node.terminate()
    chain.node.restart()
    time.sleep(1)
    assert chain.research.data_sets() == chain.expect(good)


def test_what_a_whole_study_keeps_back_is_deleted_too(way, write_files):
    chain = way(quiet="500ms", rules=RULES.replace("AGGREGATE", "study"), key=bytes(range(32)))
    made = written(slice_(1, 1), slice_(1, 2, "SCREEN SAVE"), slice_(2, 1))
    assert set(dcmtk.storescu(chain.port, write_files(made)).statuses) == {0}
    until(lambda: [study["state"] for study in chain.node.studies()] == ["withheld"], 60, "withheld")
    assert outbox_files(chain.node) == 1
    (withheld,) = chain.node.quarantine()
    refused = chain.node.command("quarantine", "discard", withheld["quarantine"], "--others", "delete")
    assert (refused.returncode, outbox_files(chain.node)) == (2, 1), "it has to be meant: --yes"
    done = chain.node.command("quarantine", "discard", withheld["quarantine"], "--yes", "--others", "delete")
    assert done.returncode == 0
    until(lambda: outbox_files(chain.node) == 0, 60, "what was kept back is deleted")


def test_a_failure_that_a_crash_left_without_a_row_raises_its_alert(way, write_files):
    chain = way(quiet="500ms", rules=RULES.replace("AGGREGATE", "series"), key=bytes(range(32)))
    assert set(dcmtk.storescu(chain.port, write_files(written(slice_(1, 1), slice_(1, 2)))).statuses) == {0}
    chain.node.wait_settled()
    assert dcmtk.storescu(chain.port, write_files(written(slice_(1, 3, "SCREEN SAVE")), "late")).statuses == [0]
    until(lambda: bool(chain.node.events("conditions-failed-late")), 60, "the alert")
    chain.node.kill()
    with closing(sqlite3.connect(chain.node.storage / "journal.db")) as journal:  # as if it had not been committed
        journal.execute("DELETE FROM withheld")
        journal.execute("DELETE FROM event WHERE name = 'conditions-failed-late'")
        journal.commit()
    chain.node.restart()
    until(lambda: len(chain.node.events("conditions-failed-late")) == 2, 60, "the alert at recovery")
    found = chain.node.events("conditions-failed-late")[1]
    assert (found["sent"], found["reason"], found["level"]) == (2, "series-conditions", "error")
    entered = "SELECT count(*) FROM event WHERE name = 'conditions-failed-late'"
    until(lambda: chain.node.column(entered) == [1], 60, "the event is entered")
    assert len(chain.research.files()) == 2


@pytest.mark.parametrize(("aggregate", "sent"), [("instance", 2), ("study", 0)])
def test_alone_or_the_whole_study(aggregate, sent, way, write_files):
    chain = way(quiet="500ms", rules=RULES.replace("AGGREGATE", aggregate), key=bytes(range(32)))
    named = slice_(2, 2)
    named.ConvolutionKernel = "Zwetschgenbaum"
    made = written(slice_(1, 1), slice_(1, 2, "SCREEN SAVE"), slice_(2, 1), named)
    assert set(dcmtk.storescu(chain.port, write_files(made)).statuses) == {0}
    state = "withheld" if aggregate == "study" else "confirmed"
    until(lambda: [study["state"] for study in chain.node.studies()] == [state], 60, state)
    assert len(chain.research.data_sets()) == sent
    told = report(chain.node)
    assert [each["save_condition"] for each in told] == [True, False, True, True]
    assert len({each["url_deid"] for each in told} - {None}) == sent, "one is withheld for another reason"


def test_large_instances_are_judged_too(way, write_files):
    settings = {"node": {"whole": "128KiB"}, "queue": {"bytes": "64MiB"}}
    rules = RULES.replace("AGGREGATE", "series")
    chain = way(quiet="500ms", rules=rules, key=bytes(range(32)), settings=settings)
    made = written(slice_(1, 1, size=512), slice_(1, 2, "SCREEN SAVE", size=512), slice_(2, 1, size=512))
    assert set(dcmtk.storescu(chain.port, write_files(made)).statuses) == {0}
    chain.node.wait_settled()
    assert chain.research.data_sets() == chain.expect(made[2:])
    assert [each["save_condition"] for each in report(chain.node)] == [True, False, True]


def test_a_failure_while_its_series_is_being_sent_stops_that(node, storescp, free_port, write_files):
    slow = storescp(options=("--sleep-after", "1"))
    peers = {"staging": ("STAGING", free_port()), "research": ("RESEARCH", slow.port)}
    made = node(peers, quiet="300ms", rules=RULES.replace("AGGREGATE", "series"), key=bytes(range(32))).start()
    early = written(*(slice_(1, number) for number in range(1, 9)))
    assert set(dcmtk.storescu(made.port, write_files(early)).statuses) == {0}
    until(lambda: len(slow.files()) >= 1, 60, "the first of the series")
    late = written(slice_(1, 9, "SCREEN SAVE"))
    assert dcmtk.storescu(made.port, write_files(late, "late")).statuses == [0]
    until(lambda: bool(made.events("conditions-failed-late")), 60, "the alert")
    until(lambda: [study["state"] for study in made.studies()] == ["withheld"], 60, "judged again")
    time.sleep(2.5)
    sent = len(slow.files())
    assert 1 <= sent <= 4
    made.kill()
    made.restart()
    time.sleep(2.5)
    assert len(slow.files()) == sent, "a restart sends nothing more"
