"""A run whose source did not give all: -r fetches the rest, hooks it, pushes it."""

from __future__ import annotations

import images
import pytest
import synthetic
from chain import cleaned
from peers.archive import Archive
from peers.dcmtk import dcmsend
from peers.process import until
from reviewing import HOOK, RULES, Site


@pytest.fixture
def lacking(request, node, storescp, tmp_path):
    """A site whose archive lists an instance of study 2 that it does not send; the parameter is for its project."""
    files = {study: [images.written(synthetic.small(study, 1, n)) for n in (1, 2)] for study in (1, 2)}
    research, hook = storescp(), tmp_path / "hook.sh"
    hook.write_text(HOOK)
    hook.chmod(0o755)
    with Archive([part10 for study in files.values() for part10 in study]) as archive:
        made = node(
            {"staging": ("STAGING", archive.port), "research": ("RESEARCH", research.port)},
            rules=RULES,
            settings={"projects": {"default": {"hooks": {"run": str(hook)}, **getattr(request, "param", {})}}},
            key=bytes(range(32)),
        )
        archive.destinations = {"DICOMNODE": made.port}
        archive.hides = {3}
        listed = tmp_path / "reviewed.csv"
        listed.write_text(
            f"study_uid,has_phi,relevant\n{synthetic.uid(1)},no,yes\n{synthetic.uid(2)},no,yes\n",
        )
        yield Site(made, research, files, listed, hook), archive


def test_a_restart_fetches_again_what_did_not_come_whole(lacking):
    site, archive = lacking
    first = site.run("--list", str(site.list))
    assert first.returncode == 1, first.stdout
    assert f"{site.name(2)} incomplete, 1 files received" in site.text("pull_output.txt")
    assert f"1 studies were not pushed:\n {site.name(2)}" in site.text("overview.txt")
    assert site.research.data_sets() == dict(cleaned(site.node, part10) for part10 in site.files[1])
    assert site.run("-r").returncode == 1
    archive.hides = set()
    again = site.run("-r")
    assert again.returncode == 0, again.stdout
    assert "1 studies that did not come whole are fetched again" in site.text("overview.txt")
    sent = [part10 for study in site.files.values() for part10 in study]
    assert site.research.data_sets() == dict(cleaned(site.node, part10) for part10 in sent)
    assert f"{site.name(2)} arrived, 2 files received" in site.text("pull_output.txt")
    assert len(site.folders) == 1
    moved = len(archive.moved)
    ended = site.run("-r")
    assert ended.returncode == 0
    assert "this run has ended" in ended.stdout
    assert len(archive.moved) == moved


@pytest.mark.parametrize("lacking", [{"completion": {"quiet": "1s", "incomplete": "forward"}}], indirect=True)
def test_what_the_source_no_longer_knows_is_hooked_before_it_goes(lacking):
    site, archive = lacking
    failing = site.hook.with_name("hook.sh.fails")
    failing.touch()
    assert site.run("--list", str(site.list)).returncode == 1
    assert f"{site.name(2)} incomplete, 1 files received" in site.text("pull_output.txt")
    assert site.research.files() == []
    archive.held = [each for each in archive.held if each.StudyInstanceUID != synthetic.uid(2)]
    failing.unlink()
    again = site.run("-r")
    assert len(site.research.files()) == 3
    assert f"{site.name(2)} unknown, 1 files received" in site.text("pull_output.txt"), again.stdout
    assert site.text("post_anon_output.txt").split() == ["3"]
    assert f"{site.name(2)} confirmed\n" in site.text("push_output.txt")


@pytest.mark.parametrize("lacking", [{"completion": {"quiet": "1s", "verify": "quiet"}}], indirect=True)
def test_what_comes_by_itself_and_waits_for_the_run_is_hooked_before_it_goes(lacking, write_files):
    site, archive = lacking
    archive.held, archive.hides = [each for each in archive.held if each.StudyInstanceUID != synthetic.uid(2)], set()
    failing = site.hook.with_name("hook.sh.fails")
    failing.touch()
    site.node.start()
    assert site.run("--list", str(site.list)).returncode == 1
    assert f"{site.name(2)} unknown, nothing received" in site.text("pull_output.txt")
    assert dcmsend(site.node.port, write_files(site.files[2])).statuses == [0, 0]
    until(lambda: [study["state"] for study in site.node.studies()] == ["held", "held"], 20, "both wait for the run")
    failing.unlink()
    again = site.run("-r")
    assert again.returncode == 0, again.stdout
    assert len(site.research.files()) == 4
    assert site.text("post_anon_output.txt").split() == ["4"]
