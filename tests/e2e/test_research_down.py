"""The research PACS is away: nothing is lost, nothing is forgotten over a restart, and all goes out when it is back."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import synthetic
from chain import Way
from peers import dcmtk
from peers.node import SETTLED
from peers.process import until
from peers.scripted import Acceptor

from dicomnode.upper_layer import AssociateReject
from dicomnode.upper_layer.pdus import encode_reject

SOON = {"forward": {"first": "200ms", "most": "1s"}}


def test_down_and_back(node, storescp, free_port, write_files):
    port = free_port()
    peers = {"staging": ("STAGING", free_port()), "research": ("RESEARCH", port)}
    made = node(peers, quiet="300ms", settings=SOON).start()
    sent = list(synthetic.series(4))
    assert dcmtk.dcmsend(made.port, write_files(sent)).statuses == [0] * 4
    time.sleep(2)
    (study,) = made.studies()
    assert study["state"] not in SETTLED
    made.kill()
    made.restart()
    time.sleep(1)
    research = storescp("research", port=port)
    made.wait_settled()
    assert research.data_sets() == Way(made, research).expect(sent)


def test_who_retrieves_is_told_why_it_does_not_arrive(dcmqrscp, node, storescp, free_port, write_files):
    port, away = free_port(), free_port()
    made = node({"staging": ("STAGING", port), "research": ("RESEARCH", away)}, settings=SOON)
    archive = dcmqrscp({"DICOMNODE": made.port}, port=port)
    assert dcmtk.dcmsend(archive.port, write_files(synthetic.series(2)), called="STAGING").statuses == [0] * 2
    made.start()
    with ThreadPoolExecutor() as beside:
        retrieved = beside.submit(made.command, "retrieve", "--study", synthetic.uid(1))
        until(lambda: made.events("delivery-postponed"))
        storescp("research", port=away)
        result = retrieved.result()
    assert result.returncode == 0, result.stdout
    told = (
        f": not delivered yet: research (127.0.0.1:{away}) cannot be reached: Connection refused; the node tries again"
    )
    assert sum(line.endswith(told) for line in result.stdout.splitlines()) == 1, result.stdout
    assert result.stdout.endswith("1 of 1 study delivered\n")


def test_away_in_the_middle(way, storescp, write_files):
    chain = way(quiet="300ms", settings=SOON)
    first, second = list(synthetic.series(3, 1)), list(synthetic.series(3, 2))
    assert dcmtk.dcmsend(chain.port, write_files(first, "one")).statuses == [0] * 3
    chain.node.wait_settled(1)
    chain.research.stop()
    assert dcmtk.dcmsend(chain.port, write_files(second, "two")).statuses == [0] * 3
    time.sleep(1.5)
    assert sorted(study["state"] in SETTLED for study in chain.node.studies()) == [False, True]
    again = storescp("again", port=chain.research.port)
    chain.node.wait_settled(2)
    assert again.data_sets() == chain.expect(second)
    assert chain.research.data_sets() == chain.expect(first)


def test_how_long_a_slow_answer_is_waited_for(node, free_port, write_files):
    """timeouts.connect is for those whom we call, timeouts.handshake for those who call us."""
    rejected = encode_reject(AssociateReject(2, 3, 1))
    with Acceptor(["pdu", 1.5, rejected, "end"]) as slow:
        peers = {"staging": ("STAGING", free_port()), "research": ("RESEARCH", slow.port)}
        waits = {"timeouts": {"connect": "10s", "handshake": "300ms"}, **SOON}
        made = node(peers, quiet="300ms", settings=waits).start()
        dcmtk.dcmsend(made.port, write_files(synthetic.series(1)))
        until(lambda: made.events("delivery-postponed"), 20, "the answer")
        assert "refused the association" in made.events("delivery-postponed")[0]["error"]
