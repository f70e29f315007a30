"""SIGHUP: configuration and rules are taken up whole, or the old ones stay and the log says why."""

from __future__ import annotations

import asyncio
import copy
import signal

import images
import synthetic
from peers import dcmtk
from peers.process import HOST, until

from dicomnode.dimse.sender import Sender
from dicomnode.model import Peer

LESS = "attributes:\n  SliceThickness: remove\n"


def reload(node, event):
    before = len(node.events(event))
    node.process.signal(signal.SIGHUP)
    until(lambda: len(node.events(event)) > before, what=event)
    return node.events(event)[-1]


def test_new_rules_hold_for_new_associations_and_old_ones_for_those_in_flight(way, write_files):
    chain = way(quiet="500ms")
    first, second, third = synthetic.series(3)

    async def talk():
        sender = await Sender.connect(
            Peer("node", "DICOMNODE", HOST, chain.port, ()), "STAGING", [(str(_class(first)), _syntax(first))]
        )
        assert await _store(sender, first) == 0
        chain.node.rules.write_text(chain.node.rules.read_text() + LESS)
        await asyncio.to_thread(reload, chain.node, "configuration-loaded")
        assert await _store(sender, second) == 0
        await sender.release()

    old, before = dict(chain.clean(part10) for part10 in (first, second)), chain.clean(third)
    asyncio.run(talk())
    dcmtk.dcmsend(chain.port, write_files([third]))
    chain.node.wait_settled()
    new = dict([chain.clean(third)])
    assert new != dict([before])
    until(lambda: len(chain.research.files()) == 3, what="all three")
    assert chain.research.data_sets() == {**old, **new}


def _class(part10):
    return images.header(part10).SOPClassUID


def _syntax(part10):
    return images.split(part10)[0]


async def _store(sender, part10):
    header = images.header(part10)
    syntax, data = images.split(part10)
    return await sender.store(str(header.SOPClassUID), str(header.SOPInstanceUID), syntax, [data])


def test_a_new_project_and_a_new_destination(way, storescp, write_files):
    chain = way(quiet="300ms")
    lung = storescp("lung", ae_title="LUNGPACS")
    settings = copy.deepcopy(chain.node.settings)
    settings["peers"]["lungpacs"] = {"ae_title": "LUNGPACS", "host": HOST, "port": lung.port}
    settings["projects"]["lung"] = {
        **copy.deepcopy(settings["projects"]["default"]),
        "ae_title": "LUNG",
        "destinations": ["lungpacs"],
    }
    chain.node.write(settings)
    reload(chain.node, "configuration-loaded")
    dcmtk.dcmsend(chain.port, write_files(synthetic.series(2)), called="LUNG")
    until(lambda: len(lung.files()) == 2, what="at the new destination")
    (study,) = chain.node.wait_settled()
    assert study["project"] == "lung"


def test_what_is_wrong_is_said_in_one_line_and_the_old_goes_on(way, write_files):
    chain = way(quiet="300ms")
    good = chain.node.config.read_text()
    for content, said in [
        (good.replace("destinations", "destination"), "did you mean 'destinations'?"),
        (good.replace(f"port: {chain.node.port}", "port: 104"), "node.port cannot change while the node runs"),
        (good + "\n  - [", "not valid YAML"),
    ]:
        chain.node.config.write_text(content)
        line = reload(chain.node, "configuration-kept")
        assert said in line["error"]
    chain.node.config.write_text(good)
    chain.node.rules.write_text("profile: basik\n")
    assert "basi" in reload(chain.node, "configuration-kept")["error"]
    chain.node.rules.write_text("profile: basic\n")
    reload(chain.node, "configuration-loaded")
    dcmtk.dcmsend(chain.port, write_files(synthetic.series(2)))
    chain.node.wait_settled()
    assert len(chain.research.files()) == 2


def test_a_peer_that_moved_is_found(node, storescp, free_port, write_files):
    wrong = free_port()
    soon = {"forward": {"first": "30s", "most": "60s"}}
    made = node({"staging": ("STAGING", free_port()), "research": ("RESEARCH", wrong)}, quiet="300ms", settings=soon)
    made.start()
    dcmtk.dcmsend(made.port, write_files(synthetic.series(1)))
    until(lambda: made.events("destination-down"), what="down")
    research = storescp("research")
    settings = copy.deepcopy(made.settings)
    settings["peers"]["research"]["port"] = research.port
    made.write(settings)
    reload(made, "configuration-loaded")
    until(lambda: len(research.files()) == 1, 45, what="at its new port")


def test_a_line_for_each_instance_from_when_on_the_log_wants_it(way, write_files):
    chain = way(quiet="300ms")
    files = list(synthetic.series(4))
    dcmtk.dcmsend(chain.port, write_files(files[:1]))
    assert chain.node.events("instance-stored") == []
    settings = copy.deepcopy(chain.node.settings)
    settings["log"] = {**settings.get("log", {}), "level": "debug"}
    chain.node.write(settings)
    reload(chain.node, "configuration-loaded")
    dcmtk.dcmsend(chain.port, write_files(files[1:]))
    chain.node.wait_settled()
    assert len({line["instance"] for line in chain.node.events("instance-stored")}) == 3
