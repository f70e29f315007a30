"""Runs: a reviewed list becomes an audit trail in the words of dicom-pipeline, with the site's hook before the push."""

from __future__ import annotations

import re
import stat

import images
import pytest
import synthetic
from chain import cleaned

NAMES = {
    "overview.txt",
    "comments.txt",
    "studies_to_retrieve.txt",
    "pull_output.txt",
    "anonymize_output.txt",
    "post_anon_output.txt",
    "push_started.txt",
    "push_output.txt",
    "found_protocol_studies.txt",
    "missing_protocol_studies.txt",
    "reviewed_protocol_studies.txt",
}


def _secrets(site):
    return [synthetic.uid(n) for n in site.files] + ["P-1", "P-2", "Zwetschgenbaum"]


@pytest.mark.parametrize("running", [True, False], ids=["with a node", "alone"])
def test_a_run_leaves_its_trail_and_pushes_after_the_hook(site, running):
    if running:
        site.node.start()
    result = site.run("--list", str(site.list), "--keep-clean")
    assert result.returncode == 0, result.stdout
    (folder,) = site.folders
    assert {path.name for path in folder.iterdir() if path.is_file()} == NAMES | {"done.txt"}
    one, two = site.name(1), site.name(2)
    overview = site.text("overview.txt").splitlines()
    minute = r"\d{4}-\d\d-\d\d \d\d:\d\d"
    expected = [
        rf"Starting at {minute}",
        r"2 valid reviewed studies\. Please review comments\.txt",
        r"Received 3 files containing 2 studies",
        r"2 studies marked as having a protocol series, 1 studies found with protocol series during anonymization\.",
        r"1 studies marked as having a protocol series but not found, see 'missing_protocol_studies\.txt'\.",
        r"2 files containing 2 studies were successfully hooked up to an encounter\.",
        rf"Push completed at {minute}",
        r"2 studies marked as pushed",
    ]
    assert len(overview) == len(expected), overview
    for line, pattern in zip(overview, expected, strict=True):
        assert re.fullmatch(pattern, line), line
    assert site.text("studies_to_retrieve.txt").split() == [one, two]
    assert site.text("found_protocol_studies.txt").split() == [one]
    assert site.text("missing_protocol_studies.txt").split() == [two]
    assert site.text("reviewed_protocol_studies.txt").split() == sorted([one, two])
    assert site.text("comments.txt").startswith(f"{one}:\n\tThorax\n{two}:\n\t(withheld:")
    assert site.text("post_anon_output.txt").split() == ["2"]
    assert "1 withheld: protocol-series (0008,103E)" in site.text("anonymize_output.txt")
    assert f"{one} confirmed\n\tresearch sent, 1 sent, 0 refused" in site.text("push_output.txt")
    assert str(folder) in (site.hook.parent / "hook.sh.asked").read_text()
    wanted = [site.files[1][0], site.files[2][0]]
    assert site.research.data_sets() == dict(cleaned(site.node, part10) for part10 in wanted)
    clean = {path.stem: images.split(path.read_bytes()) for path in (folder / "to_production").rglob("*.dcm")}
    assert clean == site.research.data_sets()
    assert not (folder / "from_staging").exists()
    sealed = list((folder / "quarantine").rglob("*.sealed"))
    assert len(sealed) == 1
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for secret in _secrets(site):
            assert secret.encode() not in path.read_bytes(), path
    for secret in _secrets(site):
        assert secret not in result.stdout
    for line in overview:
        assert line in result.stdout or "hooked up" in line
    others = site.run("--list", str(site.list), "-a", "CT")
    assert others.returncode == 1
    assert "Received 0 files containing 0 studies" in site.text("overview.txt")
    assert site.text("anonymize_output.txt") == site.text("found_protocol_studies.txt") == ""
    assert f"{one} wrong-modality, nothing received" in site.text("pull_output.txt")
    assert f"{one} wrong-modality, nothing to push" in site.text("push_output.txt")
    assert "push_output.txt says why" in others.stdout


def test_a_failing_hook_stops_the_push_and_a_restart_goes_on(site):
    (site.hook.parent / "hook.sh.fails").touch()
    result = site.run("--list", str(site.list))
    assert result.returncode == 1
    assert "ended with exit code 1; see post_anon_in_progress.txt and overview.txt of the run" in result.stdout
    assert site.research.files() == []
    assert {study["state"] for study in site.node.studies()} == {"held"}
    assert not (site.folders[0] / "post_anon_output.txt").exists()
    site.node.start()
    assert {study["state"] for study in site.node.studies()} == {"held"}
    (site.hook.parent / "hook.sh.fails").unlink()
    again = site.run("-r", "--no-push")
    assert again.returncode == 0, again.stdout
    assert f"nothing was pushed; dicomnode run -r --run {site.folders[0]} pushes" in again.stdout
    assert site.research.files() == []
    pushed = site.run("-r")
    assert pushed.returncode == 0, pushed.stdout
    assert len(site.research.files()) == 2
    assert len(site.folders) == 1
    assert not (site.folders[0] / "to_production").exists()
    assert site.run("-r").returncode == 0
    assert len(site.research.files()) == 2
    events = [line["event"] for line in site.node.events()]
    assert "hook-failed" not in events


def test_a_practice_run_sends_nothing_and_leaves_no_store(site):
    result = site.run("--list", str(site.list), "--practice", "--keep-clean")
    assert result.returncode == 0, result.stdout
    assert site.research.files() == []
    assert "2 files containing 2 studies were successfully hooked up" in site.text("overview.txt")
    assert 'practice": true' in (site.hook.parent / "hook.sh.asked").read_text()
    assert "Push completed" not in site.text("overview.txt")
    assert [path.name for path in site.node.storage.iterdir()] == ["keys"]
    assert (site.folders[0] / "to_production").exists()
    assert site.run("--list", str(site.list), "--practice").returncode == 0
    assert not (site.folders[1] / "to_production").exists()
    assert site.run("-r").returncode == 1
    site.node.start()
    refused = site.run("--list", str(site.list), "--practice")
    assert refused.returncode == 2
    assert "stop it for the practice run" in refused.stdout


def test_conflicting_reviews_stop_the_run_until_a_person_has_decided(site):
    rows = site.list.read_text() + f"{synthetic.uid(2)},yes,yes,yes,no,I see a name\n"
    site.list.write_text(rows)
    result = site.run("--list", str(site.list))
    assert result.returncode == 1
    two = site.name(2)
    assert f"Study {two} has conflicting reviews, please address manually and continue pipeline." in result.stdout
    assert "2 valid reviewed studies" in site.text("overview.txt")
    assert not (site.folders[0] / "pull_output.txt").exists()
    studies = site.folders[0] / "studies_to_retrieve.txt"
    studies.write_text(studies.read_text().replace(f"{two}\n", ""))
    again = site.run("-r")
    assert again.returncode == 0, again.stdout
    assert site.research.data_sets() == dict([cleaned(site.node, site.files[1][0])])


def test_at_most_so_many_of_the_modalities_asked_for(site):
    result = site.run("--list", str(site.list), "-m", "1", "-a", "CT")
    assert result.returncode == 1
    assert "wrong-modality: its modalities are MR" in site.text("pull_output.txt")
    assert "Received 0 files containing 0 studies" in site.text("overview.txt")
    assert site.research.files() == []


def test_instances_of_other_modalities_are_withheld(site):
    site.list.write_text(f"study_uid,has_phi,relevant\n{synthetic.uid(5)},no,yes\n")
    result = site.run("--list", str(site.list), "-a", "mr")
    assert result.returncode == 0, result.stdout
    assert "Received 2 files containing 1 studies" in site.text("overview.txt")
    assert "1 withheld: not-accepted (0008,0060)" in site.text("anonymize_output.txt")
    assert site.research.data_sets() == dict([cleaned(site.node, site.files[5][0])])
    assert site.run("--list", str(site.list), "-a", "ct").returncode == 0
    assert "Received 2 files containing 1 studies" in site.text("overview.txt")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1.2.3\n", "the reviewed list is no CSV"),
        ("study_uid,relevant\n1.2.3,yes\n", "the list lacks the column has_phi"),
        ("study_uid,has_phi,relevant\n1.2.3,perhaps,yes\n", "line 2 of the list: phi is neither yes nor no"),
        ("study_uid,has_phi,relevant\nX-1,no,yes\n", "line 2 of the list is not a UID"),
    ],
)
def test_a_list_that_does_not_say_it_is_refused(site, text, words):
    site.list.write_text(text)
    result = site.run("--list", str(site.list))
    assert result.returncode == 2
    assert words in result.stdout
    assert site.folders == []
