"""A site with a reviewed list: a node, its archive and its research PACS."""

from __future__ import annotations

import os
import subprocess
import sys

import images
import synthetic
from peers import dcmtk

from dicomnode.deidentify.pseudonyms import Pseudonyms
from dicomnode.keys import load_key

RULES = "profile: basic\nsuspicious_pixels: {off: all}\n"
HOOK = """#!/bin/sh
cat > "$0.asked"
find data -name '*.dcm' | wc -l
echo "2 files containing 2 studies were successfully hooked up to an encounter." >&2
[ ! -e "$0.fails" ]
"""


def _study(number, *descriptions):
    return [images.written(_series(number, n, text)) for n, text in enumerate(descriptions, 1)]


def _series(study, series, description):
    data_set = synthetic.small(study, series, 1)
    data_set.SeriesDescription = description
    data_set.PatientID = f"P-{study}"
    return data_set


class Site:
    """A node, its archive and research PACS, and the list of a review application."""

    def __init__(self, node, research, files, list_file, hook):
        self.node, self.research, self.files, self.list, self.hook = node, research, files, list_file, hook

    def run(self, *arguments, path=""):
        """`dicomnode run` in the node's folder, with more packages in the folder `path`."""
        line = [sys.executable, "-m", "dicomnode", "run", *arguments, "--config", self.node.config]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        search = os.pathsep.join([str(path), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": search} if path else None
        options["env"] = environment
        return subprocess.run(line, cwd=self.node.folder, text=True, timeout=240, check=False, **options)

    @property
    def folders(self):
        return sorted((self.node.folder / "data").glob("run_at_*"))

    def text(self, name):
        return (self.folders[-1] / name).read_text()

    def name(self, study):
        """The pseudonym of a study at research."""
        return Pseudonyms(load_key(self.node.key_file).pseudonym, {}).uid(synthetic.uid(study))


def make_site(dcmqrscp, node, storescp, free_port, write_files, tmp_path, settings=None):
    """The site, with its own hook unless `settings` of the project name another."""
    research, port, hook = storescp(), free_port(), tmp_path / "hook.sh"
    hook.write_text(HOOK)
    hook.chmod(0o755)
    made = node(
        {"staging": ("STAGING", port), "research": ("RESEARCH", research.port)},
        rules=RULES,
        settings={"projects": {"default": {"hooks": {"run": str(hook)}, **(settings or {})}}},
        key=bytes(range(32)),
    )
    dcmqrscp({"DICOMNODE": made.port}, port=port)
    files = {
        1: _study(1, "Thorax", "Patient Protocol"),
        2: _study(2, "Abdomen"),
        3: _study(3, "Kopf"),
        4: _study(4, "Knie"),
        5: _study(5, "Thorax", "Scout"),
    }
    scout = images.parse(files[5][1])
    scout.Modality = "CT"
    files[5][1] = images.written(scout)
    sent = [part10 for study in files.values() for part10 in study]
    assert set(dcmtk.dcmsend(port, write_files(sent), called="STAGING").statuses) == {0}
    listed = tmp_path / "reviewed.csv"
    listed.write_text(
        "original_study_uid,reviewed,has_phi,relevant,has_protocol_series,comment\n"
        f"{synthetic.uid(1)},yes,no,yes,yes,Thorax\n"
        f"{synthetic.uid(2)},yes,no,yes,yes,Herr Zwetschgenbaum was moving\n"
        f"{synthetic.uid(3)},yes,yes,yes,no,name in the picture\n"
        f"{synthetic.uid(4)},no,,,,not yet\n"
    )
    return Site(made, research, files, listed, hook)
