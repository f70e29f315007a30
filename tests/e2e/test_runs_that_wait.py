"""Several runs beside each other: each study that still waits for one of them is told, with what brings it on."""

from __future__ import annotations

import synthetic


def _list(site, name, *rows):
    listed = site.list.with_name(name)
    listed.write_text("".join(f"{row}\n" for row in ("study_uid,has_phi,relevant", *rows)))
    return str(listed)


def _go_on(folder):
    return f"dicomnode run -r --run {folder}"


def _states(site):
    return {study["study_uid"]: study["state"] for study in site.node.studies()}


def test_a_run_that_was_not_pushed_is_named_when_a_later_one_has_ended(site):
    site.node.start()
    waits = site.run("--list", _list(site, "one.csv", f"{synthetic.uid(1)},no,yes"), "-n")
    assert waits.returncode == 0, waits.stdout
    (first,) = site.folders
    assert f"nothing was pushed; {_go_on(first)} pushes" in waits.stdout
    assert site.run("--list", _list(site, "two.csv", f"{synthetic.uid(2)},no,yes")).returncode == 0
    ended = site.run("-r")
    assert ended.returncode == 1
    assert f"this run has ended; {first.name} has not ended: {_go_on(first)}\n" in ended.stdout
    assert site.run("--list", _list(site, "none.csv", f"{synthetic.uid(3)},yes,yes")).returncode == 1
    nothing = site.run("-r")
    assert nothing.returncode == 1
    assert f"nothing was asked for in this run; {first.name} has not ended: {_go_on(first)}\n" in nothing.stdout
    for decision in ("retry", "forward"):
        refused = site.node.command("studies", decision, site.name(1))
        assert (refused.returncode, refused.stdout) == (
            1,
            f"dicomnode: {decision}: the study is held, it waits for the end of {first.name}: {_go_on(first)}; "
            "nothing was changed\n",
        )
    assert _states(site) == {site.name(1): "held", site.name(2): "confirmed"}
    pushed = site.run("-r", "--run", str(first))
    assert pushed.returncode == 0, pushed.stdout
    assert set(_states(site).values()) == {"confirmed"}
    over = site.run("-r", "--run", str(first))
    assert over.returncode == 0
    assert "this run has ended; begin another: dicomnode run --list FILE" in over.stdout


def test_a_study_that_another_run_has_too_is_told_with_that_run(site):
    site.node.start()
    assert site.run("--list", _list(site, "one.csv", f"{synthetic.uid(1)},no,yes"), "-n").returncode == 0
    rows = (f"{synthetic.uid(1)},no,yes", f"{synthetic.uid(1)},yes,yes")
    stopped = site.run("--list", _list(site, "two.csv", *rows), "--data", "other data")
    assert stopped.returncode == 1
    (other,) = (site.node.folder / "other data").iterdir()
    held = site.run("-r")
    assert held.returncode == 1
    why = f"it waits for the end of another run: dicomnode run -r --run '{other}'"
    assert f"{site.name(1)} held: {why}\n" in site.text("push_output.txt")
    told = [event["why"] for event in site.node.events("study-held")]
    assert told[-1] == "it waits for the end of the run of retrieval 2"
    hold = site.node.command("studies", "hold", site.name(1))
    assert hold.returncode == 0
    let_go = site.node.command("studies", "forward", site.name(1))
    assert let_go.returncode == 0
    assert f": held (it waits for the end of {other.name}: dicomnode run -r --run '{other}')\n" in let_go.stdout
    assert site.node.command("jobs", "cancel", "2").returncode == 0
    pushed = site.run("-r")
    assert pushed.returncode == 0, pushed.stdout
    assert set(_states(site).values()) == {"confirmed"}


def test_a_run_goes_on_with_what_had_come_when_its_retrieval_was_cancelled(site):
    rows = (f"{synthetic.uid(1)},no,yes", f"{synthetic.uid(1)},yes,yes")
    assert site.run("--list", _list(site, "one.csv", *rows)).returncode == 1
    (first,) = site.folders
    assert site.node.command("jobs", "cancel", "1").returncode == 0
    assert site.run("--list", _list(site, "two.csv", f"{synthetic.uid(2)},no,yes")).returncode == 0
    ended = site.run("-r")
    assert (ended.returncode, first.name in ended.stdout) == (0, False), ended.stdout
    nothing = site.run("-r", "--run", str(first))
    assert nothing.returncode == 1
    assert f"1 studies were not pushed:\n {site.name(1)}" in (first / "overview.txt").read_text()
    assert [path.name for path in first.glob("done.txt")] == ["done.txt"]


def test_what_is_no_run_is_not_gone_on_with(site):
    assert site.run("--run", "data", "--list", str(site.list)).returncode == 2
    refused = site.run("-r", "--run", "data")
    assert refused.returncode == 1
    assert "data is no folder of a run; name one: data/run_at_..." in refused.stdout
