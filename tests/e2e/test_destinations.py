"""Several destinations behind one project: each with its own state, its own proof and its own associations."""

from __future__ import annotations

import time

import synthetic
from peers import dcmtk
from peers.archive import Archive
from peers.process import until

SOON = {"forward": {"first": "200ms", "most": "1s"}}


def test_orthanc_confirms_by_find_and_another_destination_by_status(
    orthanc, node, storescp, free_port, write_files
) -> None:
    archive = storescp("archive", ae_title="ARCHIVE")
    port = free_port()
    peers = {"research": ("RESEARCH", port), "archive": ("ARCHIVE", archive.port), "staging": ("STAGING", free_port())}
    settings = {**SOON, "projects": {"default": {"confirm": "find"}}, "peers": {"archive": {"confirm": "status"}}}
    made = node(peers, destinations=["research", "archive"], settings=settings, quiet="300ms")
    research = orthanc("research", {"node": ("DICOMNODE", made.port)}, ae_title="RESEARCH", port=port)
    made.start()
    assert dcmtk.dcmsend(made.port, write_files(synthetic.series(4))).statuses == [0] * 4
    until(lambda: made.events("study-confirmed"), 30, "a confirmed study")
    deliveries = {each["destination"]: each["state"] for each in made.studies()[0]["deliveries"]}
    assert deliveries == {"research": "confirmed", "archive": "sent"}
    assert (len(research.instances()), len(archive.files())) == (4, 4)
    assert made.events("delivery-unconfirmed") == []


def test_what_orthanc_lost_before_it_was_asked_comes_again(orthanc, node, free_port, write_files) -> None:
    port = free_port()
    peers = {"research": ("RESEARCH", port), "staging": ("STAGING", free_port())}
    made = node(peers, settings={**SOON, "projects": {"default": {"confirm": "find"}}}, quiet="300ms")
    settings = {"DicomAlwaysAllowFind": False}
    stranger = orthanc("research", ae_title="RESEARCH", port=port, settings=settings)  # it does not let us ask
    made.start()
    assert dcmtk.dcmsend(made.port, write_files(synthetic.series(3))).statuses == [0] * 3
    until(lambda: made.events("delivery-unconfirmed"), 30, "a question that was refused")
    assert made.studies()[0]["state"] == "forwarded"
    stranger.delete_all()
    stranger.stop()
    research = orthanc("research2", {"node": ("DICOMNODE", made.port)}, ae_title="RESEARCH", port=port)
    until(lambda: made.events("study-confirmed"), 40, "a confirmed study")
    assert len(research.instances()) == 3


def test_a_dead_destination_holds_no_other_and_each_has_its_own_number_of_associations(
    node, free_port, write_files, programs
) -> None:
    quick = programs.enter_context(Archive(ae_title="QUICK"))
    slow = programs.enter_context(Archive(ae_title="SLOW"))
    open_now = {"quick": 0, "slow": 0}
    most = dict(open_now)

    def watch(name: str, archive: Archive) -> None:
        store = archive._store

        def stored(event):
            open_now[name] += 1
            most[name] = max(most[name], open_now[name])
            time.sleep(0.15)
            open_now[name] -= 1
            return store(event)

        archive.stop()
        archive._store = stored  # type: ignore[method-assign]
        archive.start()

    watch("quick", quick)
    watch("slow", slow)
    peers = {"quick": ("QUICK", quick.port), "slow": ("SLOW", slow.port), "dead": ("DEAD", free_port())}
    peers["staging"] = ("STAGING", free_port())
    settings = {**SOON, "peers": {"quick": {"associations": 3}}}
    made = node(peers, destinations=["dead", "quick", "slow"], settings=settings, quiet="300ms").start()
    sent = [part10 for study in range(1, 7) for part10 in synthetic.series(2, study=study)]
    assert dcmtk.dcmsend(made.port, write_files(sent)).statuses == [0] * 12
    until(lambda: len(quick.received) == len(slow.received) == 12, 40, "both living destinations")
    assert most == {"quick": 3, "slow": 1}
    assert made.events("destination-down")
    assert {study["state"] for study in made.studies()} == {"forwarding"}
