"""Jobs in threads: what they return and raise, being cancelled, and what nobody waits for."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator

import pytest

from dicomnode.crew import Crew


@pytest.fixture
async def crew() -> Iterator[Crew]:
    crew = Crew(2, "test")
    yield crew
    crew.close()


class Held:
    """Work that waits until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()
        self.done = 0

    def __call__(self) -> int:
        self.begun.set()
        assert self.go.wait(10)
        self.done += 1
        return self.done


async def begun(held: Held) -> None:
    assert await asyncio.to_thread(held.begun.wait, 10)


async def test_returns_what_the_work_returns(crew: Crew) -> None:
    assert await crew.submit(divmod, 7, 3) == (2, 1)


async def test_raises_what_the_work_raises(crew: Crew) -> None:
    job = crew.submit(int, "no number")
    with pytest.raises(ValueError, match="no number"):
        await job


async def test_may_be_awaited_after_its_end(crew: Crew) -> None:
    job = crew.submit(pow, 2, 5)
    await crew.submit(pow, 1, 1)
    await asyncio.sleep(0.05)
    assert await job == 32


async def test_many_at_once_each_have_their_own(crew: Crew) -> None:
    async def ask(number: int) -> int:
        return await crew.submit(lambda: number)

    assert await asyncio.gather(*map(ask, range(500))) == list(range(500))


async def test_work_goes_on_when_its_task_is_cancelled(crew: Crew) -> None:
    held, told = Held(), []
    job = crew.submit(held)
    job.add_done_callback(told.append)

    async def wait() -> None:
        await job

    task = asyncio.create_task(wait())
    await begun(held)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not told, "it has not ended"
    held.go.set()
    await crew.submit(int)
    await asyncio.sleep(0.05)
    assert (held.done, told) == (1, [job])


async def test_what_is_cancelled_before_it_began_is_not_begun(crew: Crew) -> None:
    first, second, third = Held(), Held(), Held()
    jobs = [crew.submit(first), crew.submit(second), crew.submit(third)]
    await begun(first)
    await begun(second)

    async def wait() -> None:
        await jobs[2]

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    for held in (first, second, third):
        held.go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [await jobs[0], await jobs[1]] == [1, 1]
    await crew.submit(int)
    assert not third.done


async def test_a_deadline_ends_the_wait(crew: Crew) -> None:
    held = Held()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await crew.submit(held)
    held.go.set()


async def test_close_waits_for_what_was_submitted() -> None:
    crew, held = Crew(1, "test"), Held()
    crew.submit(held)
    last = crew.submit(int)
    closing = asyncio.create_task(asyncio.to_thread(crew.close))
    await begun(held)
    await asyncio.sleep(0.05)
    assert not closing.done()
    held.go.set()
    await closing
    assert held.done == 1
    assert await last == 0


async def test_close_ends_while_more_is_submitted() -> None:
    """Associations may still end while the node closes: a thread that began meanwhile ends too."""
    crew, held = Crew(4, "test"), Held()
    crew.submit(held)
    await begun(held)
    closing = asyncio.create_task(asyncio.to_thread(crew.close))
    await asyncio.sleep(0.05)
    with pytest.raises(RuntimeError, match="ended"):
        crew.submit(int)
    held.go.set()
    await asyncio.wait_for(closing, 5)


async def test_an_error_keeps_no_buffer(crew: Crew) -> None:
    """A disk that fails many times must not fill the memory until cycles are collected."""

    class Data(bytearray):
        pass

    def fail(data: Data) -> None:
        raise OSError("disk")

    data = Data(10)
    kept = weakref.ref(data)
    gc.disable()
    try:
        try:
            await crew.submit(fail, data)
        except OSError as error:
            assert str(error) == "disk"
        del data
        for _ in range(100):  # the loop and the thread may still hold what they have just done
            if kept() is None:
                break
            await asyncio.sleep(0.01)
        assert kept() is None
    finally:
        gc.enable()


def test_what_ends_after_the_loop_troubles_nobody() -> None:
    held = Held()

    async def leave() -> Crew:
        crew = Crew(1, "test")
        crew.submit(held)
        await begun(held)
        return crew

    crew = asyncio.run(leave())
    held.go.set()
    crew.close()
    assert held.done == 1
