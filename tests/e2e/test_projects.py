"""Several projects on one node: each a full copy of the same study, by its own rules, key and destination."""

from __future__ import annotations

import copy
from pathlib import Path

import images
import pytest
import synthetic
from peers import dcmtk
from peers.process import until
from pydicom.dataset import Dataset

from dicomnode.keys import load_key

HEART_RULES = "profile: basic\nsuspicious_pixels: {off: all}\noptions: [retain_longitudinal_modified_dates]\n"
SENT = [*synthetic.series(3), *synthetic.series(2, series=2)]


@pytest.fixture
def site(orthanc, node, storescp, free_port):
    """A hospital (Orthanc), the node with two projects, a receiver for each."""
    lung, heart, port = storescp("lung"), storescp("heart", ae_title="HEARTPACS"), free_port()
    peers = {"staging": ("STAGING", port), "research": ("RESEARCH", lung.port), "heartpacs": ("HEARTPACS", heart.port)}
    made = node(peers, quiet="500ms")
    rules = made.folder / "heart.yaml"
    rules.write_text(HEART_RULES)
    settings = copy.deepcopy(made.settings)
    default = settings["projects"]["default"]
    heart_project = {**copy.deepcopy(default), "rules": str(rules), "ae_title": "HEART", "destinations": ["heartpacs"]}
    made.write({**settings, "projects": {"default": default, "heart": heart_project}})
    modalities = {"lung": ("DICOMNODE", made.port), "heart": ("HEART", made.port)}
    staging = orthanc("staging", modalities, port=port)
    return staging, made.start(), lung, heart


def _texts(folder_files: list[Path]) -> set[str]:
    """Every UID, name, ID, date and time of all files that could link one copy to another."""
    found: set[str] = set()

    def take(data_set: Dataset) -> None:
        for element in data_set.iterall():
            if element.VR in ("UI", "PN", "DA", "DT", "LO", "SH") and element.value:
                values = element.value if element.VM > 1 else [element.value]
                found.update(f"{element.VR} {value}" for value in values)

    for path in folder_files:
        take(images.parse(path.read_bytes()))
    return {text for text in found if not text.startswith("UI 1.2.840.10008.")}


def _common(lung, heart) -> set[str]:
    return _texts(lung.files()) & _texts(heart.files())


def _pixels(receiver) -> list[bytes]:
    return sorted(bytes(images.parse(path.read_bytes()).PixelData) for path in receiver.files())


def _check_copies(node, lung, heart) -> None:
    assert (len(lung.files()), len(heart.files())) == (len(SENT), len(SENT))
    assert _pixels(lung) == _pixels(heart) == sorted(bytes(images.parse(part10).PixelData) for part10 in SENT)
    common = _common(lung, heart)
    assert {text for text in common if text.startswith(("UI", "PN", "DA", "DT"))} == set()
    for receiver in (lung, heart):
        assert len({images.parse(path.read_bytes()).PatientID for path in receiver.files()}) == 1
        text = b"".join(path.read_bytes() for path in receiver.files())
        assert not [needle for needle in synthetic.PERSON.needles() if needle.encode() in text]
    first, second = (images.parse(receiver.files()[0].read_bytes()) for receiver in (lung, heart))
    assert first.PatientID != second.PatientID
    methods = [str(each.DeidentificationMethod) for each in (first, second)]
    assert methods[0] != methods[1], "each by its own rules"
    assert second.StudyDate, "these rules move dates"
    assert not first.get("StudyDate"), "and these remove them"
    one, other = (load_key(node.storage / "keys" / f"{name}.key") for name in ("default", "heart"))
    assert one.key_id != other.key_id
    keys = {study["project"]: study["study_key"] for study in node.studies()}
    assert keys["default"] != keys["heart"], "not even the journal links them"


def test_one_study_pushed_to_two_titles_is_two_copies_that_nothing_links(site) -> None:
    staging, node, lung, heart = site
    ids = staging.upload(SENT)
    staging.store("lung", ids)
    staging.store("heart", ids)
    node.wait_settled(2)
    _check_copies(node, lung, heart)
    assert {study["evidence"] for study in node.studies()} == {"source lists 5, 5 here"}
    for study in node.studies():
        (delivery,) = study["deliveries"]
        assert delivery["destination"] == {"default": "research", "heart": "heartpacs"}[study["project"]]


def test_each_project_fetches_its_own_copy(site) -> None:
    staging, node, lung, heart = site
    staging.upload(SENT)
    uid = synthetic.uid(1)
    asked = node.command("retrieve", "--study", uid)
    assert (asked.returncode, "the configuration has several projects; name one with" in asked.stdout) == (2, True)
    for project, here, there in (("default", lung, 0), ("heart", heart, 5)):
        result = node.command("retrieve", "--project", project, "--study", uid)
        assert result.returncode == 0, result.stdout
        node.wait_settled()
        assert (len(here.files()), len(heart.files())) == (5, there)
    _check_copies(node, lung, heart)


def test_what_one_project_lacks_is_fetched_for_that_one_and_late_ones_amend_that_one(site) -> None:
    staging, node, lung, heart = site
    ids = staging.upload(SENT[:4])
    staging.store("lung", ids)
    staging.store("heart", ids[:2])
    node.wait_settled(2)
    assert (len(lung.files()), len(heart.files())) == (4, 4)
    assert [event["project"] for event in node.events("gap-fetched")] == ["heart"]
    late = staging.upload(SENT[4:])
    staging.store("heart", late)
    until(lambda: len(heart.files()) == 5, 30, "the late instance")
    node.wait_settled(2)
    assert len(lung.files()) == 4
    amended = {study["project"]: study["amended"] for study in node.studies()}
    assert amended == {"default": False, "heart": True}


def test_a_dead_destination_of_one_project_does_not_hold_the_other(site) -> None:
    staging, node, lung, heart = site
    ids = staging.upload(SENT)
    heart.stop()
    staging.store("heart", ids)
    staging.store("lung", ids)
    until(lambda: len(lung.files()) == 5, 30, "the other project")
    until(lambda: node.events("destination-down"), 30, "the dead one is seen")
    states = {study["project"]: study["state"] for study in node.studies()}
    assert states["heart"] == "forwarding"


def test_an_identified_copy_of_one_project_means_nothing_to_the_other(site, write_files) -> None:
    """What a peer may send to one title it may send to the other; each goes by its own called AE title alone."""
    _, node, lung, heart = site
    dcmtk.dcmsend(node.port, write_files(SENT[:1]), called="HEART")
    until(lambda: len(heart.files()) == 1, 30, "it goes to heart")
    assert lung.files() == []
    assert dcmtk.dcmsend(node.port, write_files(SENT[1:2], "more"), called="LUNGS").statuses == []
