"""Associations that stay open for a moment: used again, replaced when the peer has ended them, ended when idle."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import images
import pytest
import synthetic
from keeper import peer
from peers.archive import Archive
from peers.process import until
from pynetdicom import AE, evt

from dicomnode.dimse import lines, query
from dicomnode.dimse.lines import Lines
from dicomnode.dimse.query import Found
from dicomnode.dimse.syntaxes import FIND
from dicomnode.errors import PeerUnreachable, PermanentError

CALLING = "DICOMNODE"
STUDY = synthetic.uid(1)


class Counted(Archive):
    """An archive that counts the associations that it has accepted."""

    def __init__(self) -> None:
        super().__init__([images.written(synthetic.small(1, 1, number)) for number in (1, 2)])
        self.accepted: list[object] = []

    def start(self) -> None:
        super().start()
        self._server.bind(evt.EVT_ACCEPTED, lambda event: self.accepted.append(event.assoc))

    @property
    def open(self) -> int:
        return sum(association.is_established for association in self.accepted)  # type: ignore[attr-defined]


def _ask(archive: Archive, kept: Lines) -> Found | None:
    return query.find_study(peer(archive.port), CALLING, STUDY, lines=kept)


def test_one_association_does_for_a_study_and_is_ended_when_idle() -> None:
    kept = Lines()
    with Counted() as archive:
        source = peer(archive.port)
        for _ in range(2):
            assert _ask(archive, kept) == Found(STUDY, count=2)
            assert len(query.find_instances(source, CALLING, STUDY, lines=kept) or ()) == 2
            moved = query.move_study(
                source, CALLING, "NOBODY", STUDY, progress=lambda _: None, alive=time.monotonic, lines=kept
            )
            assert moved.status == 0xA801
        assert (len(archive.accepted), archive.open) == (1, 1)
        until(lambda: archive.open == 0, 10, "the end of the idle association")


def test_one_that_the_source_has_ended_is_replaced() -> None:
    kept = Lines()
    with Counted() as archive:
        assert _ask(archive, kept) is not None
        archive.accepted[0].abort()  # type: ignore[attr-defined]
        assert _ask(archive, kept) is not None
        assert len(archive.accepted) == 2
        archive.accepted[1].abort()  # type: ignore[attr-defined]
        archive.stop()
        with pytest.raises(PeerUnreachable):
            _ask(archive, kept)
    kept.close()


def test_those_who_ask_at_once_do_not_share_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "IDLE", 60.0)
    kept = Lines()
    with Counted() as archive, ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: _ask(archive, kept), range(40)))
        assert found == [Found(STUDY, count=2)] * 40
        assert 1 <= len(archive.accepted) <= 4
        kept.close()
        until(lambda: archive.open == 0, 10, "the end of all")


def test_a_source_without_c_move_can_be_asked_and_says_no_to_the_move(free_port: Callable[[], int]) -> None:
    entity, kept = AE("STAGING"), Lines()
    entity.add_supported_context(FIND)
    port = free_port()
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_FIND, lambda _: iter(()))])
    try:
        assert query.find_study(peer(port), CALLING, STUDY, lines=kept) is None
        with pytest.raises(PermanentError, match="accepts none of the services"):
            query.move_study(
                peer(port), CALLING, CALLING, STUDY, progress=lambda _: None, alive=time.monotonic, lines=kept
            )
    finally:
        kept.close()
        server.shutdown()
