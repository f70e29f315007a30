"""SIGKILL at random moments: what was answered with 0x0000 arrives at research, with identical bytes."""

from __future__ import annotations

import random
import threading
import time

import synthetic
from peers import dcmtk
from peers.process import until

KILLS = 6
QUIET = "300ms"


def _mixed(study: int, count: int) -> dict[str, bytes]:
    """Original SOP Instance UID -> file: small instances and some of 0.5 MB, all of one study."""
    small = dict(_named(study, 1, synthetic.numbered(synthetic.small(study, 1, 0), count)))
    return small | dict(_named(study, 2, synthetic.series(count // 4, study, 2)))


def _named(study, series, files):
    return ((synthetic.uid(study, series, number), data) for number, data in enumerate(files, start=1))


def _written(chain):
    return sum(path.stat().st_size for path in (chain.node.storage / "outbox").rglob("*") if path.is_file())


def test_killed_while_receiving(way, write_files):
    chain = way(quiet=QUIET)
    moments = random.Random(4711)
    acknowledged: dict[str, bytes] = {}
    for study in range(1, KILLS + 1):
        sent = _mixed(study, 200)
        files = write_files(sent.values(), f"sent{study}")
        results: list[dcmtk.Result] = []
        sender = threading.Thread(target=lambda f=files, r=results: r.append(dcmtk.storescu(chain.port, f)))
        written = _written(chain)
        sender.start()
        until(lambda before=written: _written(chain) > before, what="the first instance on the disk")
        time.sleep(moments.random() * 0.25)
        chain.node.kill()
        sender.join()
        acknowledged |= {uid: sent[uid] for uid in results[0].acknowledged}
        chain.node.restart()
    assert len(acknowledged) >= KILLS
    studies = len({uid.rsplit(".", 2)[0] for uid in acknowledged})
    chain.node.wait_settled(studies, 60)
    arrived = chain.research.data_sets()
    for part10 in acknowledged.values():
        uid, contents = chain.clean(part10)
        assert arrived.get(uid) == contents


def test_killed_while_forwarding(way, write_files):
    chain = way(quiet=QUIET, settings={"forward": {"first": "100ms", "most": "500ms"}})
    moments = random.Random(815)
    sent = [data for study in range(1, 4) for data in _mixed(study, 120).values()]
    result = dcmtk.storescu(chain.port, write_files(sent))
    assert result.statuses == [0] * len(sent)
    for _ in range(KILLS):
        time.sleep(0.05 + moments.random() * 0.4)
        chain.node.kill()
        chain.node.restart()
    chain.node.wait_settled(3, 60)
    assert chain.research.data_sets() == chain.expect(sent)
