"""A command does not wait for ever for a database that cannot be written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from dicomnode.disk import ASKED
from dicomnode.errors import CannotKeep

LOOK_EVERY = 2.5  # seconds


class Stalled:
    """Watches commands while they are carried out."""

    def __init__(self, trouble: Callable[[], str]) -> None:
        """`trouble` says what cannot be written now; nothing while all can."""
        self._trouble = trouble
        self._left: set[asyncio.Task[int]] = set()  # whoever asked has his answer; what they put is written when it can

    async def watched(self, command: Coroutine[None, None, int]) -> int:
        """The exit code of a command. Raises what it raises, and CannotKeep when a database cannot be written twice
        in a row; the command then goes on without whoever asked."""
        task, troubled = asyncio.get_running_loop().create_task(command), ""
        try:
            while not (await asyncio.wait({task}, timeout=LOOK_EVERY))[0]:
                before, troubled = troubled, self._trouble()
                if before and troubled:
                    self._leave(task)
                    raise CannotKeep(troubled, ASKED)
        except asyncio.CancelledError:
            task.cancel()
            raise
        return task.result()

    def _leave(self, task: asyncio.Task[int]) -> None:
        self._left.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[int]) -> None:
        self._left.discard(task)
        if not task.cancelled():
            task.exception()  # nobody waits for it any more
