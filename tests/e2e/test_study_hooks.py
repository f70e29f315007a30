"""A study hook is asked before a study is sent; one that fails or is not there holds it, loudly."""

from __future__ import annotations

import json
import time

import synthetic
from peers import dcmtk
from peers.process import until

HOOK = """#!/bin/sh
cat > "$0.asked"
echo hooked
[ ! -e "$0.fails" ]
"""


def _hook(tmp_path):
    hook = tmp_path / "hook.sh"
    hook.write_text(HOOK)
    hook.chmod(0o755)
    return hook


def _state(node):
    return [study["state"] for study in node.studies()]


def test_a_study_goes_when_its_hook_has_ended_well(way, write_files, tmp_path):
    hook = _hook(tmp_path)
    (tmp_path / "hook.sh.fails").touch()
    chain = way(settings={"projects": {"default": {"hooks": {"study": str(hook)}}}})
    assert dcmtk.dcmsend(chain.port, write_files(synthetic.series(2))).statuses == [0, 0]
    until(lambda: chain.node.events("hook-failed"), 30, "the hook's failure")
    (study,) = chain.node.studies()
    assert study["state"] == "held"
    assert chain.research.files() == []
    told = json.loads((tmp_path / "hook.sh.asked").read_text())
    assert (told["study"], told["stored"], len(told["instances"])) == (study["study_key"], 2, 2)
    assert told["study_uid"].startswith("2.25.")
    for needle in synthetic.PERSON.needles():
        assert needle not in json.dumps(told)
    chain.node.terminate()
    (tmp_path / "hook.sh.fails").unlink()
    chain.node.restart()
    chain.node.wait_settled()
    assert len(chain.research.files()) == 2
    output = chain.node.storage / "hooks" / "default" / f"{study['study_key']}.txt"
    assert output.read_text() == "hooked\n"


def test_a_hook_that_nobody_provides_holds_the_study_until_it_is_there(way, write_files, tmp_path):
    chain = way(settings={"projects": {"default": {"hooks": {"study": "register-study"}}}})
    assert dcmtk.dcmsend(chain.port, write_files(synthetic.series(1))).statuses == [0]
    until(lambda: chain.node.events("hook-failed"), 30, "the hook's failure")
    assert _state(chain.node) == ["held"]
    chain.node.terminate()
    project = {**chain.node.settings["projects"]["default"], "hooks": {"study": str(_hook(tmp_path))}}
    chain.node.write({**chain.node.settings, "projects": {"default": project}})
    chain.node.restart()
    chain.node.wait_settled()
    assert len(chain.research.files()) == 1


def test_a_hook_that_runs_does_not_keep_the_node_from_ending(way, write_files, tmp_path):
    hook = tmp_path / "slow.sh"
    hook.write_text('#!/bin/sh\ntouch "$0.runs"\nexec sleep 20\n')
    hook.chmod(0o755)
    chain = way(settings={"projects": {"default": {"hooks": {"study": str(hook)}}}})
    assert dcmtk.dcmsend(chain.port, write_files(synthetic.series(1))).statuses == [0]
    until((tmp_path / "slow.sh.runs").exists, 30, "the hook")
    begun = time.monotonic()
    assert chain.node.terminate() == 0
    assert time.monotonic() - begun < 8
    hook.write_text("#!/bin/sh\n")
    chain.node.restart()
    chain.node.wait_settled()
    assert len(chain.research.files()) == 1
