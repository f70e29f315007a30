"""Runs that keep the originals: sealed, and opened for a person on request, with a record."""

from __future__ import annotations

import stat

import images
import pytest
import synthetic


@pytest.mark.parametrize("whole", ["8MiB", "4KiB"], ids=["held whole", "streamed"])
def test_the_originals_of_a_run_are_sealed_and_open_to_who_asks(make_site, whole, tmp_path):
    site = make_site(keep_identified=True)
    site.node.write({**site.node.settings, "node": {**site.node.settings["node"], "whole": whole}})
    assert site.run("--list", str(site.list)).returncode == 0
    (folder,) = site.folders
    sealed = sorted((folder / "from_staging").rglob("*.sealed"))
    assert {path.parent.name for path in sealed} == {site.name(1), site.name(2)}
    assert len(sealed) == 2
    assert "2 sealed originals are in from_staging" in site.text("pull_output.txt")
    assert not [path for path in (site.node.storage / "from_staging").rglob("*") if path.is_file()]
    for path in sealed:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        for secret in (synthetic.uid(1), synthetic.uid(2), "P-1", "P-2"):
            assert secret.encode() not in path.read_bytes()
    target = tmp_path / "clear"
    opened = site.node.command("unseal", str(folder / "from_staging"), "--to", str(target))
    assert opened.returncode == 0, opened.stdout
    assert "2 IDENTIFIED originals" in opened.stdout
    clear = sorted(target.rglob("*.dcm"))
    found = {images.split(path.read_bytes())[1] for path in clear}
    assert found == {images.split(part10)[1] for part10 in (site.files[1][0], site.files[2][0])}
    assert {stat.S_IMODE(path.stat().st_mode) for path in clear} == {0o600}
    withheld = site.node.command("unseal", str(folder / "quarantine"), "--to", str(tmp_path / "withheld"))
    assert withheld.returncode == 0, withheld.stdout
    (protocol,) = (tmp_path / "withheld").rglob("*.dcm")
    assert images.split(protocol.read_bytes())[1] == images.split(site.files[1][1])[1]


def test_what_is_damaged_or_belongs_nowhere_is_refused_on_one_line(make_site, tmp_path):
    site = make_site(keep_identified=True)
    assert site.run("--list", str(site.list)).returncode == 0
    folder = site.folders[0] / "from_staging"
    for target in (site.node.storage / "clear", folder.parent / "clear"):
        refused = site.node.command("unseal", str(folder), "--to", str(target))
        assert refused.returncode == 2
        assert "hold nothing identified in the clear" in refused.stdout
    empty = tmp_path / "empty"
    empty.mkdir()
    assert site.node.command("unseal", str(empty), "--to", str(tmp_path / "clear")).returncode == 1
    path = sorted(folder.rglob("*.sealed"))[0]
    *rest, last = path.read_bytes()
    path.write_bytes(bytes([*rest, last ^ 1]))
    damaged = site.node.command("unseal", str(folder), "--to", str(tmp_path / "clear"))
    assert damaged.returncode == 1
    assert damaged.stdout.splitlines()[-1].startswith("dicomnode: a sealed chunk does not authenticate")
    assert not (tmp_path / "clear" / path.relative_to(folder).with_suffix(".dcm")).exists()
