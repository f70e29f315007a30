"""Brings clean instances into another transfer syntax, in a worker process with limits on memory and time."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

from dicomnode.errors import PermanentError
from dicomnode.model import Buffer
from dicomnode.transcode.frame import ANSWER, FAILED, MEMORY, MOST, NO_EXTRA, REQUEST, TARGETS

SECONDS = 300.0

_PIECE = 1 << 20
_WORDS = {
    NO_EXTRA: "the extra 'pixels', which decodes, is not installed",
    FAILED: "it cannot be decoded",
}


class CannotTranscode(PermanentError):
    """An instance cannot be brought into a transfer syntax that the destination takes."""


class Transcoder:
    """Starts its worker when it is first needed, and again after it was killed; the worker ends with the block."""

    def __init__(self, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        self._seconds = seconds
        self._memory = memory
        self._worker: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._kill()

    async def transcode(self, part10: Iterable[Buffer], length: int, syntax: str) -> bytes:
        """The data set of a Part 10 file in Explicit or Implicit VR Little Endian, UIDs unchanged.

        The file comes in pieces, `length` bytes in all; each is asked for in a thread, and what that raises is raised.
        Raises CannotTranscode; the reason holds nothing of the instance.
        """
        try:
            async with asyncio.timeout(self._seconds):
                return await self._ask(iter(part10), length, syntax)
        except TimeoutError:
            why = f"decoding takes longer than {self._seconds:g} s"
        except (asyncio.IncompleteReadError, ConnectionError, OSError):
            why = "the worker died, perhaps for want of memory"
        except BaseException:
            await self._kill()
            raise
        await self._kill()
        raise _cannot(why)

    async def _ask(self, part10: Iterator[Buffer], length: int, syntax: str) -> bytes:
        worker = self._worker or await self._start()
        assert worker.stdin is not None and worker.stdout is not None
        worker.stdin.write(REQUEST.pack(TARGETS.index(syntax), length))
        while piece := await asyncio.to_thread(next, part10, None):
            view = memoryview(piece)
            for at in range(0, len(view), _PIECE):
                worker.stdin.write(view[at : at + _PIECE])
                await worker.stdin.drain()
        code, length = ANSWER.unpack(await worker.stdout.readexactly(ANSWER.size))
        if code:
            raise _cannot(_WORDS.get(code, _WORDS[FAILED]))
        if length > MOST:
            await self._kill()
            raise _cannot(f"it is larger than {MOST >> 20} MiB when decoded")
        return await worker.stdout.readexactly(length)

    async def _start(self) -> asyncio.subprocess.Process:
        # One thread is enough, and each would reserve address space, which is limited.
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._worker = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "dicomnode.transcode.worker",
            str(self._memory),
            str(self._seconds),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        return self._worker

    async def _kill(self) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            return
        if worker.returncode is None:
            worker.kill()
        assert worker.stdout is not None
        while await worker.stdout.read(_PIECE):  # asyncio sees that it ended only when its output was read to the end
            pass
        await worker.wait()


def _cannot(why: str) -> CannotTranscode:
    return CannotTranscode(
        f"cannot be transcoded to what the destination takes: {why}", "have the destination take the transfer syntax"
    )
