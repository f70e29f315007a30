"""What people do with studies, with the node running and without."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time

import images
import synthetic
from peers import dcmtk, raw
from peers.process import HOST, until
from pynetdicom import AE, AllStoragePresentationContexts, evt

SOON = {"forward": {"first": "200ms", "most": "1s"}}


def state(node, number=0):
    return node.studies()[number]["state"]


def do(node, *words):
    result = node.command("studies", *words)
    return result.returncode, result.stdout


def test_a_story(way, write_files):
    chain = way(quiet="300ms")
    good, cut = synthetic.series(2)
    assert raw.store(chain.port, [good, cut[:-1000]]) == [0, 0]
    (study,) = chain.node.wait_settled()
    code, text = do(chain.node, "show", study["study_key"][:8])
    assert code == 0
    lines = text.splitlines()
    order = [
        next(n for n, line in enumerate(lines) if words in line)
        for words in ("first instance", "instance-withheld", "study-complete", "delivery-sent", "study-confirmed")
    ]
    assert order == sorted(order)
    for needle in (*synthetic.PERSON.needles(), synthetic.ROOT):
        assert needle not in text
    (told,) = [json.loads(chain.node.command("studies", "show", study["study_key"], "--json").stdout)]
    assert {event["event"] for event in told["events"]} >= {"study-receiving", "delivery-sent", "study-confirmed"}
    assert [each["reason"] for each in told["withheld"]] == ["truncated"]
    assert do(chain.node, "show", "zzzz") == (1, "dicomnode: no study begins so; " + HINT)


HINT = "dicomnode studies lists them; --project tells those of several projects apart\n"


def test_hold_and_let_go(node, storescp, free_port, write_files):
    port = free_port()
    made = node({"staging": ("STAGING", free_port()), "research": ("RESEARCH", port)}, quiet="300ms", settings=SOON)
    made.start()
    sent = list(synthetic.series(3))
    dcmtk.dcmsend(made.port, write_files(sent[:2]))
    until(lambda: state(made) == "forwarding", what="forwarding")
    key = made.studies()[0]["study_key"]
    assert do(made, "hold", key) == (0, f"{key[:10]}: on-hold\n")
    dcmtk.dcmsend(made.port, write_files(sent[2:], "late"))
    research = storescp("research", port=port)
    time.sleep(2)
    assert (state(made), research.instances()) == ("on-hold", {})
    made.terminate()
    made.restart()
    time.sleep(1)
    assert (state(made), research.instances()) == ("on-hold", {})
    assert do(made, "forward", key)[0] == 0
    made.wait_settled()
    assert len(research.instances()) == 3
    code, text = do(made, "hold", key)
    assert (code, text) == (1, "dicomnode: hold: the study is confirmed; nothing was changed\n")
    code, text = do(made, "hold", "nosuch", key)
    assert (code, text.count("\n")) == (1, 2)  # the first one keeps nobody from the second
    assert "ID 1: no study begins so" in text and "ID 2: hold: the study is confirmed" in text
    assert "study-decided" in made.command("studies", "show", key).stdout


def test_a_hold_without_a_node_is_kept_for_the_next(node, storescp, free_port, write_files):
    port = free_port()
    made = node({"staging": ("STAGING", free_port()), "research": ("RESEARCH", port)}, quiet="300ms", settings=SOON)
    made.start()
    dcmtk.dcmsend(made.port, write_files(synthetic.series(1)))
    until(lambda: state(made) == "forwarding", what="forwarding")
    key = made.studies()[0]["study_key"]
    made.kill()
    assert do(made, "hold", key) == (0, f"{key[:10]}: on-hold\n")
    research = storescp("research", port=port)
    made.restart()
    time.sleep(2)
    assert (state(made), research.instances()) == ("on-hold", {})
    made.terminate()
    assert do(made, "forward", key)[0] == 0
    made.restart()
    made.wait_settled()
    assert len(research.instances()) == 1


def test_close_ends_it_until_more_comes(node, storescp, free_port, write_files):
    port = free_port()
    made = node({"staging": ("STAGING", free_port()), "research": ("RESEARCH", port)}, quiet="300ms", settings=SOON)
    made.start()
    sent = list(synthetic.series(2))
    dcmtk.dcmsend(made.port, write_files(sent[:1]))
    until(lambda: state(made) == "forwarding", what="forwarding")
    key = made.studies()[0]["study_key"]
    assert do(made, "close", key)[0] == 1
    assert do(made, "hold", key)[0] == 0
    assert do(made, "close", key) == (0, f"{key[:10]}: closed\n")
    research = storescp("research", port=port)
    time.sleep(2)
    assert (state(made), research.instances()) == ("closed", {})
    dcmtk.dcmsend(made.port, write_files(sent[1:], "more"))
    made.wait_settled()
    assert len(research.instances()) == 2


class Fussy:
    """A research PACS that refuses whatever it does not like."""

    def __init__(self, port: int):
        self.kept: set[str] = set()
        self.likes = False
        entity = AE("RESEARCH")
        entity.supported_contexts = AllStoragePresentationContexts
        self.server = entity.start_server((HOST, port), block=False, evt_handlers=[(evt.EVT_C_STORE, self.store)])

    def store(self, event: evt.Event) -> int:
        if self.likes:
            self.kept.add(event.request.AffectedSOPInstanceUID)
        return 0x0000 if self.likes else 0xA900


def test_what_was_refused_is_sent_again(node, free_port, write_files):
    port = free_port()
    fussy = Fussy(port)
    made = node({"staging": ("STAGING", free_port()), "research": ("RESEARCH", port)}, quiet="300ms", settings=SOON)
    made.start()
    try:
        dcmtk.dcmsend(made.port, write_files(synthetic.series(2)))
        until(lambda: state(made) == "failed", what="the refusal")
        fussy.likes = True
        (study,) = made.studies()
        assert do(made, "retry", study["study_key"])[0] == 0
        (study,) = made.wait_settled()
        assert len(fussy.kept) == 2
        assert [(each["sent"], each["failed"]) for each in study["deliveries"]] == [(2, 0)]
    finally:
        fussy.server.shutdown()


def test_export(node, free_port, write_files, tmp_path):
    made = node({"staging": ("STAGING", free_port()), "research": ("RESEARCH", free_port())}, quiet="300ms").start()
    sent = list(synthetic.series(3))
    dcmtk.dcmsend(made.port, write_files(sent))
    until(lambda: made.studies() and state(made) == "forwarding", what="forwarding")
    key = made.studies()[0]["study_key"]
    assert do(made, "export", key, "--to", str(tmp_path / "out")) == (0, f"3 instances in {tmp_path / 'out'}\n")
    files = sorted((tmp_path / "out").rglob("*.dcm"))
    assert len(files) == 3
    kept = [file.read_bytes() for file in files]
    for file in files:
        content = file.read_bytes()
        data_set = images.parse(content)
        assert (file.stem, file.parent.name) == (data_set.SOPInstanceUID, data_set.SeriesInstanceUID)
        assert not any(needle.encode() in content for needle in synthetic.PERSON.needles())
    for there in (tmp_path / "out", files[0]):
        again = made.command("studies", "export", key, "--to", str(there))
        assert (again.returncode, again.stdout.endswith(" is there already; name a new folder\n")) == (1, True), again
    assert [file.read_bytes() for file in files] == kept


def test_the_list_lives(way, write_files):
    chain = way(quiet="300ms")
    dcmtk.dcmsend(chain.port, write_files(synthetic.series(1)))
    chain.node.wait_settled()
    ours, theirs = pty.openpty()
    line = [sys.executable, "-m", "dicomnode", "studies", "--watch", "--config", str(chain.node.config)]
    with subprocess.Popen(  # a suite that runs in the background has its children ignore SIGINT
        line,
        stdout=theirs,
        stderr=theirs,
        stdin=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as watching:
        os.close(theirs)
        seen, ends = b"", time.monotonic() + 20
        while seen.count(b"confirmed") < 2 and time.monotonic() < ends:
            if select.select([ours], [], [], 1)[0]:
                seen += os.read(ours, 65536)
        watching.send_signal(signal.SIGINT)
        assert watching.wait(10) == 130
    os.close(ours)
    assert seen.count(b"confirmed") >= 2


def test_a_study_is_found_by_its_original_uid_which_is_shown_nowhere(way, write_files):
    chain = way(quiet="300ms")
    dcmtk.dcmsend(chain.port, write_files(synthetic.series(2)))
    (study,) = chain.node.wait_settled()
    uid = synthetic.uid(1)
    for state in ("running", "stopped"):
        code, text = do(chain.node, "show", uid)
        assert (code, text.split()[1]) == (0, study["study_key"]), state
        assert uid not in text
        code, text = do(chain.node, "show", synthetic.uid(9))
        assert (code, text) == (1, "dicomnode: no study begins so; " + HINT), state
        code, text = do(chain.node, "hold", uid)
        assert (code, text) == (1, "dicomnode: hold: the study is confirmed; nothing was changed\n"), state
        if state == "running":
            chain.node.terminate()
    assert uid not in chain.node.output()
    assert len(chain.node.events("node-listening")) == 1
    assert chain.node.events("listening") == []
