"""A node in this process over real sockets: what it does to the disk can be made to fail, its clock to jump."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import images
import synthetic

from dicomnode import config
from dicomnode.control import Own
from dicomnode.dimse.sender import Sender
from dicomnode.errors import PeerUnreachable
from dicomnode.model import Peer
from dicomnode.node import Node
from dicomnode.store.journal import Journal

OUT_OF_RESOURCES = 0xA700


class Machine:
    """A node on `folder`/storage; keyword arguments are sections or keys of the configuration, as YAML flow text."""

    def __init__(self, folder: Path, research: int, **settings: Any) -> None:
        self.folder = folder
        self.storage = folder / "storage"
        self.rules = folder / "rules.yaml"
        self.key_file = self.storage / "keys" / "default.key"
        self.research = research
        self.settings = {
            "quiet": "300ms",
            "verify": "quiet",
            "confirm": "status",
            "whole": "64KiB",
            "storage": "min_free: 1MiB",
            "forward": "first: 100ms, most: 400ms",
            "hooks": "timeout: 60s",
            "staging": 4242,
        }
        self.settings |= settings
        self._node: Node | None = None
        self._running: asyncio.Task[None] | None = None

    @property
    def node(self) -> Node:
        """The running node."""
        assert self._node is not None
        return self._node

    @property
    def journal(self) -> Journal:
        """Its journal."""
        return self.node._journal

    def configuration(self) -> config.Settings:
        """What the node runs under."""
        return config.parse(self.text().encode(), self.folder / "dicomnode.yaml")

    def text(self) -> str:
        """The configuration file."""
        told = self.settings
        completion = f"quiet: {told['quiet']}, verify: {told['verify']}"
        return f"""
node: {{ae_title: DICOMNODE, bind: 127.0.0.1, port: 0, whole: {told["whole"]}}}
storage: {{directory: {self.storage}, {told["storage"]}}}
peers:
  staging: {{ae_title: STAGING, host: 127.0.0.1, port: {told["staging"]}}}
  research: {{ae_title: RESEARCH, host: 127.0.0.1, port: {self.research}}}
projects:
  default:
    rules: {self.rules}
    source: staging
    destinations: [research]
    completion: {{{completion}}}
    confirm: {told["confirm"]}
    hooks: {{{told["hooks"]}}}
forward: {{{told["forward"]}}}
"""

    async def start(self) -> Machine:
        """Start it; again after `stop` too."""
        self.folder.mkdir(exist_ok=True)
        self.rules.write_text("profile: basic\n")
        made = Node(self.configuration())
        try:
            await made.start()
        except BaseException:
            await made.close()
            raise
        self._node = made
        self._running = asyncio.create_task(made.run())
        return self

    async def stop(self) -> None:
        """Drain and close it; one that does not run is left alone."""
        if self._node is not None and self._running is not None:
            node, self._node = self._node, None
            node.stop()
            try:
                await self._running
            finally:
                await node.close()

    async def send(self, files: Iterable[bytes]) -> list[int]:
        """Send Part 10 files on one association; the statuses."""
        parsed = [(images.parse(part10), *images.split(part10)) for part10 in files]
        contexts = list(dict.fromkeys((str(header.SOPClassUID), syntax) for header, syntax, _ in parsed))
        peer = Peer("node", "DICOMNODE", "127.0.0.1", self.node.port, ())
        sender = await Sender.connect(peer, "STAGING", contexts)
        statuses = []
        try:
            for header, syntax, data in parsed:
                sop_class, sop_uid = str(header.SOPClassUID), str(header.SOPInstanceUID)
                statuses.append(await sender.store(sop_class, sop_uid, syntax, [data]))
            await sender.release()
        except PeerUnreachable:
            statuses += [OUT_OF_RESOURCES] * (len(parsed) - len(statuses))
        return statuses

    def states(self) -> dict[str, int]:
        """How many studies are in each state."""
        found: dict[str, int] = {}
        for study in self.journal.studies():
            found[str(study.state)] = found.get(str(study.state), 0) + 1
        return found

    async def until(self, condition: Callable[[], object], seconds: float = 20, what: str = "") -> None:
        """Wait until the condition holds."""
        ends = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < ends, f"{what or 'the condition'} did not come about: {self.states()}"
            await asyncio.sleep(0.02)

    async def settled(self, count: int, seconds: float = 30) -> None:
        """Wait until so many studies are confirmed or withheld as a whole, and no other is there."""

        def all_ended() -> bool:
            states = self.states()
            return sum(states.values()) == count == states.get("confirmed", 0) + states.get("withheld", 0)

        await self.until(all_ended, seconds, f"{count} studies")


def four(study: int) -> dict[str, list[bytes]]:
    """Two clean and two bad instances of one study, one of each held whole and one streamed (whole: 64KiB)."""
    small, large = synthetic.small(study, 1, 1), synthetic.ct(study, 2, 1, rows=256, columns=256)
    cut, cut_large = synthetic.small(study, 3, 1), synthetic.ct(study, 4, 1, rows=256, columns=256)
    for data_set in (cut, cut_large):
        data_set.PixelData = data_set.PixelData[:-512]
    written = [images.written(data_set) for data_set in (small, large, cut, cut_large)]
    return {"clean": written[:2], "bad": written[2:]}


async def asked(node: Node, studies: list[str], report: Callable[[dict[str, object]], None], **told: Any) -> int:
    """`dicomnode retrieve` of these studies, as the node carries it out; its exit code."""
    number: list[dict[str, Any]] = []
    lines = [["study", uid, "", "", ""] for uid in studies]
    options = {"priority": 0, "modalities": "", "most": 0, "any_time": False} | told
    request = {"command": "retrieve", "do": "enter", "lines": lines, "last": True, **options}
    assert await node.command(request, Own(number.append)) == 0
    follow: dict[str, object] = {"command": "retrieve", "do": "follow", "retrieval": number[0]["retrieval"]}
    return await node.command(follow, Own(report))
