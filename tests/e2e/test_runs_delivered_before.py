"""A run over studies that had been delivered before it: its trail says so, and counts none as pushed."""

from __future__ import annotations

import re

import images
import synthetic
from peers import dcmtk

MINUTE = r"\d{4}-\d\d-\d\d \d\d:\d\d"
COUNTED = "2 studies marked as pushed\n"


def test_what_had_been_delivered_is_not_told_as_pushed(site, write_files):
    site.node.start()
    first = site.run("--list", str(site.list))
    assert first.returncode == 0, first.stdout
    assert COUNTED in site.text("overview.txt")
    late = synthetic.small(2, 9, 9)
    late.PatientID = "P-2"
    archive = site.node.settings["peers"]["staging"]["port"]
    assert dcmtk.dcmsend(archive, write_files([images.written(late)], "late"), called="STAGING").statuses == [0]
    again = site.run("--list", str(site.list), "--keep-clean")
    assert again.returncode == 0, again.stdout
    one, two = site.name(1), site.name(2)
    pushed = site.text("push_output.txt")
    assert re.search(
        rf"^{one} confirmed: delivered before this run, {MINUTE}, and nothing was sent now; "
        rf"its clean files are not here any more, a destination has them\n"
        rf"\tresearch sent, 0 sent, 0 refused, 1 sent before this run$",
        pushed,
        re.MULTILINE,
    ), pushed
    assert f"{two} confirmed\n\tresearch sent, 1 sent, 0 refused, 1 sent before this run\n" in pushed
    overview = site.text("overview.txt")
    assert "1 studies had been delivered before this run: the hook gets no files of them\n" in overview
    told = "1 studies had been delivered before this run, see 'push_output.txt'.\n"
    assert f"1 studies marked as pushed\n{told}" in overview
    assert site.text("post_anon_output.txt").split() == ["1"]
    assert len(list((site.folders[-1] / "to_production").rglob("*.dcm"))) == 1
    (site.folders[-1] / "done.txt").unlink()
    assert site.run("-r").returncode == 0
    assert site.text("overview.txt").count("1 studies marked as pushed\n") == 2
    assert site.text("push_output.txt") == pushed
    for name in ("push_output.txt", "overview.txt"):
        assert "P-2" not in site.text(name)


def test_a_run_of_nothing_new_gives_its_hook_an_empty_folder_and_pushes_nothing(site):
    assert site.run("--list", str(site.list)).returncode == 0
    again = site.run("--list", str(site.list), "--keep-clean")
    assert again.returncode == 0, again.stdout
    assert "0 studies marked as pushed\n2 studies had been delivered before this run" in site.text("overview.txt")
    assert site.text("post_anon_output.txt").split() == ["0"]
    assert list((site.folders[-1] / "to_production").iterdir()) == []
    assert len(site.research.files()) == 2
