"""The same instance again, and another one under its UID: one after the other, at once, held whole and streamed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import images
import pytest
import synthetic
from hostile import Caller, stored
from peers.process import until

LIMITS = {"node": {"whole": "1MiB"}}
SIZES = {"held whole": 64, "streamed": 1000}


def pair(size: int):
    """An instance, and another one under its UID: the same header up to one value."""
    first, other = (synthetic.ct(number=1, rows=size, columns=size) for _ in range(2))
    other.WindowCenter = [50, -500]
    return first, other


def send_at_once(port: int, messages: list[bytes]) -> list[int]:
    """Each on an association of its own; the last bytes go out together."""
    barrier = Barrier(len(messages))

    def send(said: bytes) -> int:
        with Caller(port).associate() as caller:
            caller.say(said[:-10])
            barrier.wait(20)
            caller.say(said[-10:])
            return caller.status()

    with ThreadPoolExecutor(len(messages)) as threads:
        return list(threads.map(send, messages))


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_twins_at_once_are_one_copy(way, size):
    chain = way(settings=LIMITS)
    first, _ = pair(size)
    assert send_at_once(chain.port, [stored(n, first) for n in range(1, 7)]) == [0] * 6
    (study,) = chain.node.wait_settled()
    assert (study["stored"], study["withheld"]) == (1, 0)
    assert chain.node.quarantine() == []
    assert chain.research.output().count("Received Store Request") == 1
    assert chain.research.data_sets() == chain.expect([images.written(first)])
    assert len(chain.node.events("instance-duplicate")) == 5


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_other_content_at_once_is_a_conflict_for_one_of_them(way, size):
    chain = way(settings=LIMITS)
    first, other = pair(size)
    assert send_at_once(chain.port, [stored(1, first), stored(2, other)]) == [0, 0]
    (study,) = chain.node.wait_settled()
    assert (study["stored"], study["withheld"]) == (1, 1)
    assert [each["reason"] for each in chain.node.quarantine()] == ["conflict"]
    assert len(chain.node.events("instance-withheld")) == 1
    arrived = chain.research.data_sets()
    assert arrived in (chain.expect([images.written(first)]), chain.expect([images.written(other)]))


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_again_and_again_and_after_a_restart(way, size):
    """The first copy stays what it is; what conflicts with it is sealed once, however often it comes."""
    chain = way(settings=LIMITS)
    first, other = pair(size)
    for _ in range(2):
        with Caller(chain.port).associate() as caller:
            for number, each in enumerate((first, other, first, other), 1):
                caller.say(stored(number, each))
                assert caller.status() == 0
        chain.node.wait_settled()
        chain.node.kill()
        chain.node.restart()
    until(lambda: chain.node.studies(), 10, "the study")
    (study,) = chain.node.wait_settled()
    assert (study["stored"], study["withheld"]) == (1, 1)
    assert [each["reason"] for each in chain.node.quarantine()] == ["conflict"]
    assert chain.research.data_sets() == chain.expect([images.written(first)])
    assert chain.research.output().count("Received Store Request") == 1


def test_held_whole_and_streamed_are_the_same(way):
    """The limit between the two may change: what came one way is known when it comes the other way."""
    chain = way(settings=LIMITS)
    first, other = pair(1000)
    with Caller(chain.port).associate() as caller:
        caller.say(stored(1, first))
        assert caller.status() == 0
    assert chain.node.terminate() == 0
    settings = {**chain.node.settings, "node": {**chain.node.settings["node"], "whole": "8MiB"}}
    chain.node.write(settings)
    chain.node.restart()
    with Caller(chain.port).associate() as caller:
        caller.say(stored(1, first), stored(2, other))
        assert [caller.status(), caller.status()] == [0, 0]
    (study,) = chain.node.wait_settled()
    assert (study["stored"], study["withheld"]) == (1, 1)
    assert chain.research.data_sets() == chain.expect([images.written(first)])


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_an_association_that_repeats_another_study_has_moved_on(way, size):
    """Else the study that it brought before would wait for its end."""
    chain = way(settings=LIMITS)
    old, new = (synthetic.ct(number=study, study=study, rows=size, columns=size) for study in (2, 1))
    with Caller(chain.port).associate() as caller:
        caller.say(stored(1, old))
        assert caller.status() == 0
    chain.node.wait_settled(1)
    with Caller(chain.port).associate() as caller:
        caller.say(stored(1, new))
        assert caller.status() == 0
        caller.say(stored(2, old))
        assert caller.status() == 0
        chain.node.wait_settled(2)
    assert chain.research.data_sets() == chain.expect([images.written(old), images.written(new)])
