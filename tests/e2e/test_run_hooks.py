"""A run hook in Python: an entry point of the group dicomnode.hooks, called once, before anything is pushed."""

from __future__ import annotations

import json
import sqlite3

import pytest
import synthetic

CODE = """
import json
from pathlib import Path

HERE = Path(__file__).parent


def custom_hook(run_dir, overview, practice):
    sent = list(Path((HERE / "research").read_text()).glob("*"))
    files = sorted(path.name for path in Path(run_dir, "to_production").rglob("*.dcm"))
    with (HERE / "calls").open("a") as calls:
        calls.write(json.dumps([run_dir, files, len(sent), practice]) + chr(10))
    if (HERE / "fails").exists():
        raise ValueError("Zwetschgenbaum^Ottokar")
    overview.write("2 files were hooked up")
    return "post anon complete"
"""


@pytest.fixture
def package(tmp_path):
    """An installed distribution with the entry point register-study."""
    folder = tmp_path / "packages"
    about = folder / "site_hooks-1.0.dist-info"
    about.mkdir(parents=True)
    (folder / "site_hooks.py").write_text(CODE)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: site-hooks\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[dicomnode.hooks]\nregister-study = site_hooks:custom_hook\n")
    return folder


@pytest.fixture
def hooked(make_site, package):
    site = make_site(hooks={"run": "register-study"})
    (package / "research").write_text(str(site.research.folder))
    return site


def _calls(package):
    return [json.loads(line) for line in (package / "calls").read_text().splitlines()]


def test_an_entry_point_is_called_once_with_all_files_and_before_the_push(hooked, package):
    result = hooked.run("--list", str(hooked.list), path=package)
    assert result.returncode == 0, result.stdout
    ((run_dir, files, sent, practice),) = _calls(package)
    assert (run_dir, len(files), sent, practice) == (str(hooked.folders[0]), 2, 0, False)
    assert hooked.text("post_anon_output.txt") == "post anon complete\n"
    assert "2 files were hooked up\n" in hooked.text("overview.txt")
    assert len(hooked.research.files()) == 2


def test_one_that_fails_or_is_not_there_stops_the_run_and_a_restart_takes_it_up(hooked, package):
    missing = hooked.run("--list", str(hooked.list))
    assert missing.returncode == 1
    assert "no installed package has the hook register-study; install it into this environment" in missing.stdout
    (package / "fails").touch()
    failed = hooked.run("-r", path=package)
    assert failed.returncode == 1
    assert "the hook register-study failed: ValueError; mend it, then: dicomnode run -r" in failed.stdout
    assert "Stopped: the hook register-study failed: ValueError" in hooked.text("overview.txt")
    for text in (failed.stdout, hooked.text("overview.txt")):
        assert "Zwetschgenbaum" not in text
    assert {study["state"] for study in hooked.node.studies()} == {"held"}
    assert hooked.research.files() == []
    (package / "fails").unlink()
    again = hooked.run("-r", path=package)
    assert again.returncode == 0, again.stdout
    assert [sent for _, _, sent, _ in _calls(package)] == [0, 0]
    assert len(hooked.research.files()) == 2


def test_the_originals_of_a_run_are_told_to_who_asks_with_a_record(hooked, package):
    assert hooked.run("--list", str(hooked.list), path=package).returncode == 0
    told = hooked.node.command("reidentify", "--run", str(hooked.folders[0]))
    assert told.returncode == 0, told.stdout
    assert [line for line in told.stdout.splitlines() if not line.startswith("{")] == [
        f"{hooked.name(1)}  StudyInstanceUID  {synthetic.uid(1)}",
        "\tThorax",
        f"{hooked.name(2)}  StudyInstanceUID  {synthetic.uid(2)}",
        "\tHerr Zwetschgenbaum was moving",
    ]
    with sqlite3.connect(hooked.node.storage / "journal.db") as journal:
        (count,) = journal.execute("SELECT count(*) FROM event WHERE name = 'reidentified'").fetchone()
    assert count == 2
    unknown = hooked.node.command("reidentify", "--run", str(hooked.node.folder))
    assert unknown.returncode == 1
